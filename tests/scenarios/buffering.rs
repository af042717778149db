//! Slow clients do not hold the app: its answers are taken off it into memory, then into files, within bounds.
//!
//! Over Unix sockets, whose kernel buffers are small and do not grow: what the app got rid of beyond them is with
//! tollgate.

use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::harness::client::get;
use crate::harness::{Client, Framing, Origin, PATIENCE, Peer, Setup, Tollgate};

const MEBIBYTE: usize = 1 << 20;
/// What the kernel and hyper hold of an answer, at most.
const ON_ITS_WAY: usize = MEBIBYTE;
/// Long enough for an app that is read from to get rid of another piece, even on a busy machine.
const STALLED: Duration = Duration::from_millis(1000);

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// In front of `origin`, on a Unix socket.
fn before(origin: &Origin) -> Setup {
    let setup = Setup::before(origin.address());
    let socket = setup.file("http.sock");
    setup.address(format!("\"unix:{}\"", socket.display()))
}

/// An app that answers a request for `/LENGTH` with so many bytes, and tells when it is rid of them: when tollgate has
/// let go of its connection.
fn answering_at_length() -> (Origin, Receiver<usize>) {
    let (rid, is_rid) = mpsc::channel();
    let rid = Mutex::new(rid);
    let origin = Origin::start_unix(move |mut peer| {
        let request = peer.expect_request();
        let length: usize = request.target[1..].parse().unwrap();
        peer.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"));
        peer.send(pattern(length));
        peer.wait_for_end();
        let _ = rid.lock().unwrap().send(length);
    });
    (origin, is_rid)
}

/// An app that answers without end as fast as it can, with what stands in the target's query as further fields, and
/// tells how many bytes it got rid of before it could not for a while.
fn answering_without_end() -> (Origin, Receiver<usize>) {
    let (stopped, stop) = mpsc::channel();
    let stopped = Mutex::new(stopped);
    let origin = Origin::start_unix(move |mut peer| {
        let fields = match peer.expect_request().target.as_str() {
            "/events" => "Content-Type: text/event-stream; charset=utf-8\r\n",
            "/unbuffered" => "X-Accel-Buffering: No\r\n",
            "/buffered" => "X-Accel-Buffering: yes\r\n",
            _ => "",
        };
        peer.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 1000000000\r\n\r\n"));
        let written = write_until_stalled(&mut peer);
        stopped.lock().unwrap().send(written).unwrap();
        peer.wait_for_end();
    });
    (origin, stop)
}

fn write_until_stalled(peer: &mut Peer) -> usize {
    peer.wire().socket().set_timeout(Some(STALLED));
    let piece = pattern(16 * 1024);
    let written = (0..60_000).take_while(|_| peer.try_send(&piece).is_ok()).count() * piece.len();
    peer.wire().socket().set_timeout(Some(PATIENCE));
    written
}

/// A client that asked and reads no more than the head of the answer.
fn asking(tollgate: &Tollgate, target: &str) -> (Client, crate::harness::client::Head) {
    let mut client = tollgate.client();
    client.send(get(target));
    let head = client.head();
    (client, head)
}

fn assert_whole(client: &mut Client, length: usize) {
    let mut received = 0;
    while received < length {
        let some = client.wire().some().expect("the body goes on");
        let right = some.iter().enumerate().all(|(at, byte)| *byte == ((received + at) % 251) as u8);
        assert!(right, "other bytes behind {received}");
        received += some.len();
    }
    assert_eq!(received, length);
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_app_is_done_with_an_answer_of_which_the_client_has_read_nothing() {
    let (origin, is_rid) = answering_at_length();
    let tollgate = before(&origin).start();
    let mut client = tollgate.client();
    client.send(get(&format!("/{MEBIBYTE}")));
    assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(MEBIBYTE));
    let head = client.head();
    assert_eq!(head.framing("GET"), Framing::Length(MEBIBYTE as u64));
    assert_whole(&mut client, MEBIBYTE);
    let record = tollgate.record_of(&format!("/{MEBIBYTE}"));
    assert_eq!((&record["outcome"], &record["status"]), (&"complete".into(), &200.into()));
    assert_eq!(client.request("GET", "/1", "").text(), "\0", "the connection goes on");
}

#[test]
fn chunks_and_trailers_come_whole_behind_what_was_kept() {
    let (rid, is_rid) = mpsc::channel();
    let rid = Mutex::new(rid);
    let origin = Origin::start_unix(move |mut peer| {
        peer.expect_request();
        peer.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nTrailer: X-Sum\r\n\r\n",
        );
        for piece in pattern(MEBIBYTE).chunks(1000) {
            peer.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        peer.send("0\r\nX-Sum: 1\r\n\r\n");
        peer.wait_for_end();
        rid.lock().unwrap().send(()).unwrap();
    });
    let tollgate = before(&origin).start();
    let mut client = tollgate.client().allow(&["trailer"]);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    is_rid.recv_timeout(PATIENCE).expect("the app is not rid of its answer");
    let head = client.head();
    assert_eq!(head.framing("GET"), Framing::Chunked);
    let body = client.body(&head, "GET");
    assert!(body.bytes == pattern(MEBIBYTE) && body.cut.is_none());
    assert_eq!(tollgate.record_of("/")["outcome"], "complete");
}

#[test]
fn an_answer_that_breaks_off_is_cut_behind_what_was_kept() {
    for framing in ["Content-Length: 2000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (rid, is_rid) = mpsc::channel();
        let rid = Mutex::new(rid);
        let origin = Origin::start_unix(move |mut peer| {
            peer.expect_request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
            let chunked = framing.starts_with("Transfer");
            peer.send(if chunked { "100000\r\n" } else { "" });
            peer.send(pattern(MEBIBYTE));
            rid.lock().unwrap().send(()).unwrap();
        });
        let tollgate = before(&origin).start();
        let mut client = tollgate.client();
        client.send(get("/cut"));
        is_rid.recv_timeout(PATIENCE).expect("the app is not rid of its answer");
        let response = client.assert_cut().expect("a head");
        let bytes = response.body.bytes;
        assert!(bytes.len() > MEBIBYTE / 2 && bytes == pattern(MEBIBYTE)[..bytes.len()]);
        let record = tollgate.record_of("/cut");
        assert_eq!((&record["outcome"], &record["fault"]), (&"upstream_reset".into(), &"upstream".into()));
    }
}

#[test]
fn one_answer_is_kept_up_to_its_buffer_and_then_the_app_waits() {
    let (origin, stop) = answering_without_end();
    let tollgate = before(&origin).upstream("buffer_response = \"4MiB\"").start();
    let (_client, _) = asking(&tollgate, "/");
    let written = stop.recv_timeout(PATIENCE).expect("the app was never stopped");
    let most = 4 * MEBIBYTE + ON_ITS_WAY;
    assert!((4 * MEBIBYTE..most).contains(&written), "{written} bytes were taken off the app");
}

#[test]
fn all_answers_together_are_kept_up_to_the_total() {
    let (origin, stop) = answering_without_end();
    let setup = before(&origin).upstream("buffer_response = \"4MiB\"\nbuffer_total = \"6MiB\"");
    let tollgate = setup.workers(2).start();
    let clients: Vec<_> = (0..6).map(|_| asking(&tollgate, "/")).collect();
    let written: usize = clients.iter().map(|_| stop.recv_timeout(PATIENCE).unwrap()).sum();
    let most = 6 * MEBIBYTE + clients.len() * ON_ITS_WAY;
    assert!((6 * MEBIBYTE..most).contains(&written), "{written} bytes were taken off the app");
    // What one gives back, another may have.
    drop(clients);
    let (_client, _) = asking(&tollgate, "/");
    assert!(stop.recv_timeout(PATIENCE).unwrap() > 4 * MEBIBYTE);
}

#[test]
fn what_is_to_reach_the_client_as_it_comes_is_not_kept() {
    let (origin, stop) = answering_without_end();
    let routes = "[[routes]]\nname = \"stream\"\nmatch = \"/stream\"\nstream = true\n\
                  [[routes]]\nname = \"rest\"\nmatch = \"/*\"\n";
    let tollgate = before(&origin).upstream("buffer_response = \"4MiB\"").table(routes).start();
    for target in ["/stream", "/events", "/unbuffered"] {
        let (_client, head) = asking(&tollgate, target);
        assert!(!head.headers.has("x-accel-buffering"));
        let written = stop.recv_timeout(PATIENCE).unwrap();
        assert!(written < ON_ITS_WAY, "{written} bytes of {target} were taken off the app");
    }
    let (_client, head) = asking(&tollgate, "/buffered");
    assert!(!head.headers.has("x-accel-buffering"));
    assert!(stop.recv_timeout(PATIENCE).unwrap() >= 4 * MEBIBYTE);
}

/// Spills answers into `directory`, beyond 64 KiB of memory.
fn spilling(setup: Setup, directory: &std::path::Path, max: &str) -> Setup {
    setup.upstream(&format!(
        "buffer_request = \"64KiB\"\nbuffer_response = \"64KiB\"\nspill = [\"responses\", \"requests\"]\n\
         spill_dir = \"{}\"\nspill_max = \"{max}\"",
        directory.display()
    ))
}

fn spill_directory(setup: &Setup) -> std::path::PathBuf {
    let directory = setup.file("spilled");
    std::fs::create_dir(&directory).unwrap();
    directory
}

#[test]
fn a_large_answer_waits_in_a_file_for_a_slow_client() {
    const LENGTH: usize = 64 * MEBIBYTE;
    let (origin, is_rid) = answering_at_length();
    let setup = before(&origin);
    let directory = spill_directory(&setup);
    let tollgate = spilling(setup, &directory, "128MiB").start();
    let (mut client, _) = asking(&tollgate, &format!("/{LENGTH}"));
    assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "the file has a name");
    assert_whole(&mut client, LENGTH);
    assert_eq!(tollgate.record_of(&format!("/{LENGTH}"))["outcome"], "complete");
    assert!(tollgate.peak_memory_kib() < 48 * 1024, "{} KiB", tollgate.peak_memory_kib());
}

#[test]
fn beyond_what_may_be_spilled_the_app_waits_and_nothing_is_lost() {
    const LENGTH: usize = 8 * MEBIBYTE;
    let (origin, is_rid) = answering_at_length();
    let setup = before(&origin);
    let directory = spill_directory(&setup);
    let tollgate = spilling(setup, &directory, "1MiB").start();
    let (mut client, _) = asking(&tollgate, &format!("/{LENGTH}"));
    let warning = tollgate.wait_for_event(CANNOT_SPILL);
    assert_eq!((&warning["level"], &warning["reason"]), (&"WARN".into(), &"`spill_max` is used up".into()));
    assert!(is_rid.try_recv().is_err());
    assert_whole(&mut client, LENGTH);
    assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH));
}

const CANNOT_SPILL: &str = "cannot spill, what is too large for memory waits or is refused";

#[test]
fn a_directory_that_is_gone_costs_speed_and_no_answer() {
    const LENGTH: usize = 8 * MEBIBYTE;
    let (origin, is_rid) = answering_at_length();
    let setup = before(&origin);
    let directory = spill_directory(&setup);
    let tollgate = spilling(setup, &directory, "1GiB").start();
    std::fs::remove_dir(&directory).unwrap();
    for _ in 0..3 {
        let (mut client, _) = asking(&tollgate, &format!("/{LENGTH}"));
        tollgate.wait_for_event(CANNOT_SPILL);
        assert_whole(&mut client, LENGTH);
        assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH));
    }
    let warnings = tollgate.events().iter().filter(|event| event["message"] == CANNOT_SPILL).count();
    assert_eq!(warnings, 1, "one in ten seconds");
    std::fs::create_dir(&directory).unwrap();
    let (_client, _) = asking(&tollgate, &format!("/{LENGTH}"));
    assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH), "a directory that is back is used again");
}

/// A file system of one mebibyte, gone with the test.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: std::path::PathBuf) -> Option<SmallDisk> {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path).output().unwrap();
        if !mounted.status.success() {
            eprintln!("no file system can be mounted here: {}", String::from_utf8_lossy(&mounted.stderr));
            return None;
        }
        Some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_speed_and_no_answer() {
    const LENGTH: usize = 8 * MEBIBYTE;
    let (origin, is_rid) = answering_at_length();
    let setup = before(&origin);
    let directory = spill_directory(&setup);
    // Where nothing can be mounted, a directory without a place for files stands for it.
    let disk = SmallDisk::mount(directory.clone());
    let tollgate = spilling(setup, &directory, "1GiB").start();
    if disk.is_none() {
        std::fs::remove_dir(&directory).unwrap();
    }
    for _ in 0..2 {
        let (mut client, _) = asking(&tollgate, &format!("/{LENGTH}"));
        let warning = tollgate.wait_for_event(CANNOT_SPILL);
        if disk.is_some() {
            assert!(warning["reason"].as_str().unwrap().starts_with("No space left"), "{warning}");
        }
        assert_whole(&mut client, LENGTH);
        assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH));
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_an_error_at_start() {
    let origin = Origin::ok();
    let setup = Setup::before(origin.address());
    let missing = setup.file("missing");
    let mut tollgate = spilling(setup, &missing, "1GiB").spawn();
    assert_eq!(tollgate.process.wait(), 1);
    tollgate.process.wait_for_output();
    let said = tollgate.process.said();
    let expected = format!(
        "tollgate: cannot write files in `{}`: no such file or directory; make the directory of \
         `[upstream] spill_dir`, and let the user of this process write there",
        missing.display()
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_reload_changes_directory_and_bounds_if_it_can() {
    const LENGTH: usize = 8 * MEBIBYTE;
    let (origin, is_rid) = answering_at_length();
    let setup = before(&origin);
    let directory = spill_directory(&setup);
    let other = setup.file("other");
    let tollgate = spilling(setup, &directory, "1MiB").start();
    let old = tollgate.config_text();
    let new = old.replace("/spilled\"", "/other\"").replace("\"1MiB\"", "\"16MiB\"");
    let refused = tollgate.reload(&new);
    let problem = format!("cannot write files in `{}`: no such file", other.display());
    assert!(
        refused.iter().any(|event| event["message"].as_str().unwrap().starts_with(&problem)),
        "{refused:#?}"
    );
    let (mut client, _) = asking(&tollgate, &format!("/{LENGTH}"));
    tollgate.wait_for_event(CANNOT_SPILL);
    assert_whole(&mut client, LENGTH);
    assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH));
    std::fs::create_dir(&other).unwrap();
    let taken_over = tollgate.reload(&new);
    assert!(taken_over.iter().any(|event| event["message"] == "reloaded"), "{taken_over:#?}");
    std::fs::remove_dir(&directory).unwrap();
    let (_client, _) = asking(&tollgate, &format!("/{LENGTH}"));
    assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH), "the new directory and its bound hold");
}

/// A leak of one in a hundred would use up the bounds, which leave room for a few at a time.
#[test]
fn clients_that_leave_a_thousand_times_leave_nothing_behind() {
    const LENGTH: usize = 1_500_000;
    for spill in [false, true] {
        let (origin, is_rid) = answering_at_length();
        let setup = before(&origin);
        let directory = spill_directory(&setup);
        let setup = match spill {
            false => setup.upstream("buffer_response = \"1500KiB\"\nbuffer_total = \"8MiB\""),
            true => spilling(setup, &directory, "8MiB"),
        };
        let tollgate = setup.start();
        let leave = |rounds| {
            for _ in 0..rounds {
                let (client, _) = asking(&tollgate, &format!("/{LENGTH}"));
                assert_eq!(is_rid.recv_timeout(PATIENCE), Ok(LENGTH));
                drop(client);
            }
        };
        leave(10);
        wait_until("ten records", || tollgate.records().len() == 10);
        let files = tollgate.process.open_files();
        leave(1000);
        wait_until("all records", || tollgate.records().len() == 1010);
        wait_until("as many descriptors as before", || tollgate.process.open_files() <= files);
        let complained = tollgate.events().iter().any(|event| event["message"] == CANNOT_SPILL);
        assert!(!complained, "room was not given back");
        let spilled = std::fs::read_dir(format!("/proc/{}/fd", tollgate.process.id())).unwrap();
        let spilled = spilled.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        assert_eq!(spilled.filter(|path| path.starts_with(&directory)).count(), 0);
    }
}

/// An app that tells the size of a body once it has read it, behind a route that spills requests into at most `max`.
fn spilling_requests(max: &str) -> (Origin, Tollgate) {
    let origin = Origin::start_unix(|mut peer| {
        while let Some(request) = peer.request() {
            let same = request.body.bytes == pattern(request.body.bytes.len());
            let text = format!("{same} {}", request.body.bytes.len());
            peer.send(super::ok(&text));
        }
    });
    let setup = Setup::before(origin.address()).listen("max_body = \"64MiB\"");
    let directory = spill_directory(&setup);
    let tollgate = setup
        .upstream(&format!(
            "max_in_flight = 1\nspill_dir = \"{}\"\nspill_max = \"{max}\"",
            directory.display()
        ))
        .table("[[routes]]\nname = \"all\"\nmatch = \"/*\"\nspill = \"requests\"")
        .start();
    (origin, tollgate)
}

#[test]
fn a_large_body_waits_in_a_file_and_the_app_gets_it_whole() {
    let (origin, tollgate) = spilling_requests("64MiB");
    let body = pattern(8 * MEBIBYTE);
    let mut client = tollgate.client();
    client.send(format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body[..body.len() - 1]);
    // The only place in the app is free meanwhile.
    assert_eq!(tollgate.client().get("/quick").text(), "true 0");
    assert_eq!(origin.received().len(), 1, "nothing of the app was taken for a body that is not whole");
    client.send(&body[body.len() - 1..]);
    assert_eq!(client.response().text(), format!("true {}", body.len()));
}

#[test]
fn a_body_that_finds_no_room_is_413_and_gives_back_what_it_had() {
    let (_origin, tollgate) = spilling_requests("1MiB");
    for _ in 0..20 {
        let mut client = tollgate.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 4 * MEBIBYTE));
        let _ = client.try_send(pattern(4 * MEBIBYTE));
        client.response().assert_local(413, "payload_too_large");
    }
    let mut client = tollgate.client();
    let body = pattern(MEBIBYTE / 2);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_eq!(client.response().text(), format!("true {}", body.len()));
}
