use std::future::poll_fn;
use std::io;

use http::HeaderValue;

use super::*;
use crate::upstream::budget::Budget;

const NOW: Tick = Tick(0);

fn backlog(budget: &Arc<Budget>, max: usize, spill: Option<Arc<Spill>>) -> Backlog {
    Backlog::new(Blocks::new(max, budget.lease()), spill)
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

async fn next(backlog: &mut Backlog) -> Option<Result<Frame<Bytes>, UpstreamFault>> {
    poll_fn(|cx| backlog.poll_next(cx, NOW)).await
}

/// Keeps pieces while there is room, waiting for a disk if need be; tells how many bytes were taken.
async fn fill(backlog: &mut Backlog, bytes: &Bytes, piece: usize) -> usize {
    let mut taken = 0;
    while taken < bytes.len() {
        let has_room = poll_fn(|cx| match backlog.has_room(cx, NOW) {
            true => Poll::Ready(true),
            false if backlog.spill.is_none() => Poll::Ready(false),
            // The disk wakes the task.
            false => Poll::Pending,
        })
        .await;
        if !has_room {
            break;
        }
        let end = bytes.len().min(taken + piece);
        taken += backlog.keep(Frame::data(bytes.slice(taken..end)));
    }
    taken
}

async fn data(backlog: &mut Backlog) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) = next(backlog).await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    bytes
}

#[test]
fn bytes_come_first_then_trailers_then_the_end() {
    on_runtime(async {
        let budget = Budget::new(1 << 30);
        let mut backlog = backlog(&budget, 1 << 20, None);
        assert_eq!(fill(&mut backlog, &pattern(100_000), 999).await, 100_000);
        let trailers: HeaderMap =
            [(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))].into_iter().collect();
        backlog.keep(Frame::trailers(trailers.clone()));
        assert!(!backlog.is_empty());
        let mut bytes = Vec::new();
        let last = loop {
            match next(&mut backlog).await.unwrap().unwrap().into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => break frame.into_trailers().unwrap(),
            }
        };
        assert!(bytes == pattern(100_000) && last == trailers);
        assert!(next(&mut backlog).await.is_none() && backlog.is_empty());
        drop(backlog);
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn a_fault_comes_behind_the_bytes_before_it() {
    on_runtime(async {
        let budget = Budget::new(1 << 30);
        let mut backlog = backlog(&budget, 1 << 20, None);
        fill(&mut backlog, &pattern(50_000), 5000).await;
        backlog.fail(UpstreamFault::Cut(io::ErrorKind::UnexpectedEof.into()));
        let mut bytes = 0;
        let fault = loop {
            match next(&mut backlog).await.unwrap() {
                Ok(frame) => bytes += frame.into_data().unwrap().len(),
                Err(fault) => break fault,
            }
        };
        assert_eq!(bytes, 50_000);
        assert!(matches!(fault, UpstreamFault::Cut(_)) && backlog.is_empty());
    });
}

#[test]
fn memory_is_bounded_by_what_the_answer_may_have_and_by_what_all_may() {
    on_runtime(async {
        for (max, total) in [(100_000, 1 << 30), (1 << 30, 100_000)] {
            let budget = Budget::new(total);
            let mut backlog = backlog(&budget, max, None);
            let taken = fill(&mut backlog, &pattern(1 << 20), 30_000).await;
            assert!((90_000..=130_000).contains(&taken), "{taken}");
            assert!(budget.used() <= 100_000);
            assert!(data(&mut backlog).await == pattern(1 << 20)[..taken]);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(backlog.has_room(&mut cx, NOW), "room comes back");
        }
    });
}

#[test]
fn what_memory_cannot_hold_goes_through_a_file_in_order() {
    let directory = std::env::temp_dir().join(format!("tollgate-backlog-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    on_runtime(async {
        let spill = Spill::open(&directory, 1 << 30).unwrap();
        let budget = Budget::new(1 << 30);
        let mut backlog = backlog(&budget, 100_000, Some(spill));
        let expected = pattern(3 << 20);
        assert_eq!(fill(&mut backlog, &expected, 30_000).await, 3 << 20);
        backlog.fail(UpstreamFault::Malformed("the end"));
        let mut bytes = Vec::new();
        while let Ok(frame) = next(&mut backlog).await.unwrap() {
            bytes.extend_from_slice(&frame.into_data().unwrap());
        }
        assert!(bytes == expected);
        assert!(backlog.is_empty());
    });
    std::fs::remove_dir_all(&directory).unwrap();
}
