//! Through a real directory, on a runtime as a worker has it.

use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const NOW: Tick = Tick(0);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).build().unwrap()
}

fn spill(max: u64) -> (tempdir::Directory, Arc<Spill>) {
    let directory = tempdir::Directory::new();
    let spill = Spill::open(directory.path(), max).unwrap();
    (directory, spill)
}

/// A directory that is gone with its test.
mod tempdir {
    use super::PathBuf;

    #[derive(Debug)]
    pub(super) struct Directory(PathBuf);

    impl Directory {
        pub(super) fn new() -> Directory {
            let name = format!("tollgate-spill-{}-{:x}", std::process::id(), fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Directory(path)
        }

        pub(super) fn path(&self) -> &std::path::Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}

async fn room(queue: &mut SpillQueue) -> Result<(), NoRoom> {
    poll_fn(|cx| queue.poll_room(cx, NOW)).await
}

/// Keeps until there is no room; gives back what was not kept.
async fn keep(queue: &mut SpillQueue, mut bytes: Bytes) -> Bytes {
    while !bytes.is_empty() && room(queue).await.is_ok() {
        queue.keep(&mut bytes);
    }
    bytes
}

async fn next(queue: &mut SpillQueue) -> Option<Bytes> {
    poll_fn(|cx| queue.poll_next(cx, NOW)).await.unwrap()
}

async fn all(queue: &mut SpillQueue) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = next(queue).await {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// Waits until the threads for blocking work have closed what was dropped.
async fn settled(spill: &Spill) {
    while spill.room().used() > 0 {
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
}

#[test]
fn bytes_come_out_as_they_came() {
    runtime().block_on(async {
        for piece in [1000, PIECE - 1, PIECE, 3 * PIECE + 1] {
            let (_directory, spill) = spill(1 << 30);
            let mut queue = SpillQueue::new(&spill);
            let expected = pattern(10 * PIECE + 17);
            for part in expected.chunks(piece) {
                assert!(keep(&mut queue, Bytes::copy_from_slice(part)).await.is_empty());
            }
            assert!(spill.room().used() >= 9 * PIECE as u64);
            assert!(all(&mut queue).await == expected, "pieces of {piece}");
            assert!(queue.is_empty());
            drop(queue);
            settled(&spill).await;
        }
    });
}

#[test]
fn what_is_taken_while_more_comes_is_in_order() {
    runtime().block_on(async {
        let (_directory, spill) = spill(1 << 30);
        let mut queue = SpillQueue::new(&spill);
        let expected = pattern(40 * PIECE);
        let mut taken = Vec::new();
        for (at, part) in expected.chunks(PIECE / 3).enumerate() {
            assert!(keep(&mut queue, Bytes::copy_from_slice(part)).await.is_empty());
            if at % 2 == 0 {
                taken.extend_from_slice(&next(&mut queue).await.unwrap());
            }
        }
        taken.extend_from_slice(&all(&mut queue).await);
        assert!(taken == expected);
    });
}

#[test]
fn beyond_what_may_be_spilled_there_is_no_room_until_something_is_given_back() {
    runtime().block_on(async {
        let (_directory, spill) = spill(2 * PIECE as u64);
        let mut queue = SpillQueue::new(&spill);
        let expected = pattern(10 * PIECE);
        let rest = keep(&mut queue, expected.clone()).await;
        assert_eq!(rest.len(), 7 * PIECE, "two pieces in the file, one in memory");
        let mut other = SpillQueue::new(&spill);
        let left = keep(&mut other, expected.clone()).await;
        assert_eq!(left.len(), 9 * PIECE);
        assert!(all(&mut other).await == expected[..PIECE]);
        assert!([&all(&mut queue).await[..], &rest[..]].concat() == expected);
        drop(queue);
        settled(&spill).await;
        assert_eq!(keep(&mut other, expected.clone()).await.len(), 7 * PIECE);
    });
}

#[test]
fn nothing_is_lost_when_the_directory_is_gone() {
    runtime().block_on(async {
        let (directory, spill) = spill(1 << 30);
        drop(directory);
        let mut queue = SpillQueue::new(&spill);
        let expected = pattern(4 * PIECE);
        let rest = keep(&mut queue, expected.clone()).await;
        assert_eq!((rest.len(), spill.room().used()), (3 * PIECE, 0));
        assert!([&all(&mut queue).await[..], &rest[..]].concat() == expected);
        assert!(queue.is_empty());
    });
}

#[test]
fn a_queue_that_is_dropped_while_it_writes_gives_everything_back() {
    let runtime = runtime();
    let (directory, spill) = spill(1 << 30);
    runtime.block_on(async {
        for _ in 0..100 {
            let mut queue = SpillQueue::new(&spill);
            assert!(keep(&mut queue, pattern(3 * PIECE)).await.is_empty());
            let _ = poll_fn(|cx| Poll::Ready(queue.poll_next(cx, NOW))).await;
        }
        settled(&spill).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "a file has a name");
}

#[test]
fn a_directory_that_is_not_there_is_an_error_at_once() {
    let (directory, _) = spill(1);
    let missing = directory.path().join("missing");
    assert_eq!(Spill::open(&missing, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn warnings_have_a_pause_between_them() {
    let (_directory, spill) = spill(1);
    let until = |spill: &Spill| spill.quiet_until.load(std::sync::atomic::Ordering::Relaxed);
    spill.warn(&SpillFault::Full, Tick(5));
    let first = until(&spill);
    assert_eq!(first, 5 + 10_000_000_000);
    spill.warn(&SpillFault::Full, Tick(first - 1));
    assert_eq!(until(&spill), first);
    spill.warn(&SpillFault::Full, Tick(first));
    assert!(until(&spill) > first);
}
