//! The end: what runs finishes, what is idle closes, what is queued is served, and no longer than
//! the deadline.

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};

use rustix::process::Signal;

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::{Ending, Manager, Origin, PATIENCE, Setup, Tollgate};

/// Holds each request until told to answer.
fn held() -> (Origin, Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        while peer.request().is_some() {
            if wait.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                return;
            }
            peer.send(ok("finished"));
        }
    });
    (origin, go)
}

#[test]
fn a_running_exchange_finishes_and_the_exit_code_is_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        let (origin, go) = held();
        let mut tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(get("/running"));
        origin.wait_for_requests(1);
        tollgate.process.signal(signal);
        tollgate.wait_for_event("draining");
        tollgate.wait_until_refusing();
        go.send(()).unwrap();
        let response = client.response();
        assert_eq!(response.text(), "finished");
        assert!(response.head.closes(), "the client is not told that the connection ends");
        assert_eq!(client.end(), Ending::Closed);
        assert_eq!(tollgate.process.wait(), 0);
        tollgate.process.wait_for_output();
        tollgate.wait_for_event("drained");
        assert_eq!(tollgate.records().len(), 1);
        assert_eq!(tollgate.records()[0]["outcome"], "complete");
    }
}

#[test]
fn a_connection_in_use_learns_from_an_answer_that_it_ends() {
    let (origin, go) = held();
    let mut tollgate = Tollgate::before(origin.address());
    let mut running = tollgate.client();
    running.send(get("/running"));
    origin.wait_for_requests(1);
    go.send(()).unwrap();
    // Answered, so it is idle, and it has been for no time.
    assert_eq!(running.response().text(), "finished");
    tollgate.terminate();
    tollgate.wait_for_event("draining");
    running.send(get("/one-more"));
    go.send(()).unwrap();
    let last = running.response();
    assert_eq!((last.status(), last.head.closes()), (200, true));
    assert_eq!(running.end(), Ending::Closed);
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn an_answer_of_our_own_says_that_it_is_the_last() {
    let origin = echoing();
    let routes = "[[routes]]\nname = \"here\"\nmatch = \"/here\"\n";
    let mut tollgate = Setup::before(origin.address()).table(routes).start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/here").status(), 200);
    tollgate.terminate();
    tollgate.wait_for_event("draining");
    // Hyper answers it within the poll in which it reads it.
    let last = client.get("/nowhere");
    assert_eq!((last.status(), last.head.closes()), (404, true));
    assert_eq!(client.end(), Ending::Closed);
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn readiness_fails_first_while_everything_is_served() {
    let origin = echoing();
    let setup =
        Setup::before(origin.address()).listen("drain_delay = \"2s\"").admin("ready_path = \"/ready\"");
    let manager = Manager::at(setup.file("notify.sock"));
    let path = manager.path().display().to_string();
    let mut tollgate = setup.env("NOTIFY_SOCKET", &path).start();
    let mut kept = tollgate.client();
    while kept.get("/ready").status() != 200 {}
    tollgate.terminate();
    tollgate.wait_for_event("not ready anymore, serving on");
    let told = manager.wait_for("STOPPING=1");
    assert_eq!(told[2], "STATUS=not ready, serving for 2s", "{told:?}");
    assert_eq!(tollgate.operator().get("/readyz").status, 503);
    assert_eq!(kept.get("/ready").status(), 503);
    for client in [&mut kept, &mut tollgate.client()] {
        let response = client.get("/still");
        assert_eq!((response.text().as_str(), response.head.closes()), ("/still", false));
    }
    let told = manager.wait_for("STOPPING=1");
    assert!(told[2].starts_with("STATUS=draining"), "{told:?}");
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn a_second_signal_does_not_wait_for_the_load_balancer() {
    let origin = echoing();
    let mut tollgate = Setup::before(origin.address()).listen("drain_delay = \"1h\"").start();
    tollgate.terminate();
    tollgate.wait_for_event("not ready anymore, serving on");
    assert_eq!(tollgate.client().get("/still").text(), "/still");
    tollgate.terminate();
    assert_eq!(tollgate.process.wait(), 1);
}

#[test]
fn idle_connections_close_soon() {
    let origin = echoing();
    let mut tollgate = Setup::before(origin.address()).workers(2).start();
    let mut fresh = tollgate.client();
    let mut used = tollgate.client();
    assert_eq!(used.get("/").status(), 200);
    // One that has given its buffers back, and one that has not.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let mut recent = tollgate.client();
    assert_eq!(recent.get("/").status(), 200);
    tollgate.terminate();
    assert_eq!(used.end(), Ending::Closed);
    assert_eq!(recent.end(), Ending::Closed);
    fresh.end();
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn a_new_connection_is_refused_while_draining() {
    let (origin, go) = held();
    let mut tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/running"));
    origin.wait_for_requests(1);
    tollgate.terminate();
    tollgate.wait_until_refusing();
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "finished");
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn connections_queued_when_the_drain_begins_are_served() {
    for _ in 0..5 {
        let origin = echoing();
        let mut tollgate = Setup::before(origin.address()).workers(2).start();
        // While it is stopped, connections wait in the listeners' queues.
        tollgate.process.signal(Signal::STOP);
        let mut clients: Vec<_> = (0..40).map(|_| tollgate.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(get(&format!("/{number}")));
        }
        tollgate.terminate();
        tollgate.process.signal(Signal::CONT);
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
        assert_eq!(tollgate.process.wait(), 0);
    }
}

#[test]
fn a_drain_that_takes_too_long_ends_with_exit_code_1() {
    let (origin, _go) = held();
    let mut tollgate = Setup::before(origin.address()).listen("drain_timeout = \"300ms\"").start();
    let mut client = tollgate.client();
    client.send(get("/stuck"));
    origin.wait_for_requests(1);
    tollgate.terminate();
    assert_eq!(tollgate.process.wait(), 1);
    client.end();
    tollgate.process.wait_for_output();
    assert_eq!(tollgate.records().len(), 1, "an exchange ended by the deadline has its record, too");
}

#[test]
fn a_second_signal_ends_at_once() {
    let (origin, _go) = held();
    let mut tollgate = Setup::before(origin.address()).listen("drain_timeout = \"1h\"").start();
    let mut client = tollgate.client();
    client.send(get("/stuck"));
    origin.wait_for_requests(1);
    tollgate.terminate();
    tollgate.wait_for_event("draining");
    tollgate.terminate();
    assert_eq!(tollgate.process.wait(), 1);
}

#[test]
fn a_body_on_its_way_in_is_taken_to_its_end() {
    let origin = echoing();
    let mut tollgate = Setup::before(origin.address()).streaming().start();
    let mut client = tollgate.client();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
    // The upstream connection shows that the exchange has begun.
    let begun = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        origin.connections() > 0
    });
    assert!(begun);
    tollgate.terminate();
    tollgate.wait_for_event("draining");
    client.send("half");
    assert_eq!(client.response().text(), "/upload");
    assert_eq!(origin.only_request().body.bytes, b"halfhalf");
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn a_unix_socket_is_gone_after_the_end_and_taken_over_at_the_start() {
    let origin = echoing();
    let scratch = crate::harness::scratch::Scratch::new();
    let path = scratch.file("tollgate.sock");
    let address = format!("\"unix:{}\"", path.display());
    let mut first = Setup::before(origin.address()).address(address.clone()).start();
    assert_eq!(first.client().get("/first").text(), "/first");
    first.process.signal(Signal::KILL);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first.process.wait())).is_err());
    assert!(path.exists(), "a killed process leaves its socket");
    let mut second = Setup::before(origin.address()).address(address).start();
    assert_eq!(second.client().get("/second").text(), "/second");
    assert_eq!(second.stop(), 0);
    assert!(!path.exists());
}

#[test]
fn a_connection_accepted_as_the_drain_begins_may_still_bring_its_first_request() {
    let origin = echoing();
    let mut tollgate = Tollgate::before(origin.address());
    tollgate.process.signal(Signal::STOP);
    let mut client = tollgate.client();
    tollgate.terminate();
    tollgate.process.signal(Signal::CONT);
    tollgate.wait_for_event("draining");
    client.send(get("/first"));
    assert_eq!(client.response().text(), "/first");
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn what_the_end_of_the_drain_cuts_off_is_recorded_as_cut_off() {
    let (origin, _go) = held();
    let mut tollgate = Setup::before(origin.address()).listen("drain_timeout = \"300ms\"").start();
    let mut client = tollgate.client();
    client.send(get("/stuck"));
    origin.wait_for_requests(1);
    assert_eq!(tollgate.stop(), 1);
    tollgate.process.wait_for_output();
    let record = tollgate.record_of("/stuck");
    assert_eq!((&record["outcome"], &record["fault"]), (&"cut_off".into(), &"tollgate".into()));
    assert_eq!(record["status"], 500, "it is not the client that left");
}

#[test]
fn a_unix_socket_somebody_else_has_put_in_place_of_ours_is_left_alone() {
    let origin = echoing();
    let scratch = crate::harness::scratch::Scratch::new();
    let path = scratch.file("tollgate.sock");
    let mut tollgate =
        Setup::before(origin.address()).address(format!("\"unix:{}\"", path.display())).start();
    // Bound before ours is replaced, so that the two cannot have the same inode.
    let theirs = scratch.file("theirs.sock");
    let _successor = std::os::unix::net::UnixListener::bind(&theirs).unwrap();
    std::fs::rename(&theirs, &path).unwrap();
    assert_eq!(tollgate.stop(), 0);
    assert!(path.exists(), "the successor's socket was removed");
}
