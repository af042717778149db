//! Restarts that nobody notices: with a socket that is kept open, and by a process that takes over from another.
//!
//! What counts as a failed request is said in `harness/load.rs`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, mpsc};

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::load::{Habit, Load};
use crate::harness::scratch::Scratch;
use crate::harness::{Origin, Setup, Tollgate};

const RESTARTS: usize = 5;
const LIMIT_FIELDS: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
/// What one caller may ask for in a month: no time of the test gives any of it back.
const QUOTA: usize = 10_000_000;
const CLIENTS: [Habit; 8] = [
    Habit::Keep("GET"),
    Habit::Keep("GET"),
    Habit::Keep("GET"),
    Habit::Keep("POST"),
    Habit::Keep("POST"),
    Habit::New,
    Habit::New,
    Habit::New,
];

fn setup(origin: &Origin, snapshot: &Path) -> Setup {
    let tables = format!(
        "[store]\nsnapshot = \"{}\"\ninterval = \"1s\"\n\n[limits.all]\nkey = \"ip\"\nquota = \"{QUOTA}/month\"\n\n\
         [limiting]\nheaders = \"legacy\"\n\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"all\"\n",
        snapshot.display()
    );
    Setup::before(origin.address()).workers(2).table(&tables)
}

/// What was spent, this one included.
fn spent(tollgate: &Tollgate) -> usize {
    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
    let left: usize = client.get("/").header("x-ratelimit-remaining").unwrap().parse().unwrap();
    QUOTA - left
}

/// A handshake that is under way when a listener closes goes to the other listener of the port only if the kernel is
/// told so, as `systemd/60-tollgate.sysctl.conf` tells it.
fn let_handshakes_move() {
    const SETTING: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
    if fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "1") {
        return;
    }
    if let Err(error) = fs::write(SETTING, "1") {
        eprintln!(
            "ATTENTION: {SETTING} cannot be set ({error}): a connection whose handshake is under way at a restart may \
             be reset, and this test then fails for no fault of tollgate's"
        );
    }
}

#[test]
fn restarts_behind_a_socket_that_stays_open_fail_no_request_and_forget_nothing() {
    let origin = echoing();
    let scratch = Scratch::new();
    let snapshot = scratch.file("limits.snapshot");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = || setup(&origin, &snapshot).address("\"systemd:http\"").passing("http", &listener).start();
    let mut running = start();
    let load = Load::default();
    let address = running.address().to_owned();
    std::thread::scope(|scope| {
        let _stop = load.stop_when_left();
        for habit in CLIENTS {
            load.client(scope, &address, habit);
        }
        for _ in 0..RESTARTS {
            load.wait_for_more(300);
            // As `systemctl restart` does: first the end, then the start.
            assert_eq!(running.stop(), 0);
            running = start();
        }
        load.wait_for_more(300);
        load.stop();
    });
    let (served, repeated) = (load.served.load(Ordering::Relaxed), load.repeated.load(Ordering::Relaxed));
    let closes = load.closes.load(Ordering::Relaxed);
    eprintln!("{served} served over {RESTARTS} restarts, {repeated} sent once more, {closes} told to close");
    assert!(closes >= RESTARTS, "kept connections are told that they end");
    assert_eq!(spent(&running), served + 1, "what was spent, against what was served");
}

/// What the replaced process spends when its successor has read what was spent: for requests that were on their way,
/// or came on a connection that it had accepted. One for each client at most.
fn forgotten_at_most(restarts: usize) -> usize {
    restarts * CLIENTS.len()
}

fn restarts_by_taking_over(address: &str) {
    let origin = echoing();
    let scratch = Scratch::new();
    let snapshot = scratch.file("limits.snapshot");
    let mut running = setup(&origin, &snapshot).address(address).start();
    let address = running.address().to_owned();
    let load = Load::default();
    std::thread::scope(|scope| {
        let _stop = load.stop_when_left();
        for habit in CLIENTS {
            load.client(scope, &address, habit);
        }
        for _ in 0..RESTARTS {
            load.wait_for_more(300);
            let replaces = running.process.id().to_string();
            let next = setup(&origin, &snapshot).address(format!("\"{address}\""));
            let next = next.argument("--replaces").argument(replaces).start();
            assert_eq!(running.process.wait(), 0, "{}", running.process.said());
            running.wait_for_event("another process takes over");
            next.wait_for_event("restored what was spent");
            running = next;
        }
        load.wait_for_more(300);
        load.stop();
    });
    let (served, repeated) = (load.served.load(Ordering::Relaxed), load.repeated.load(Ordering::Relaxed));
    let closes = load.closes.load(Ordering::Relaxed);
    let spent = spent(&running) - 1;
    eprintln!(
        "{address}: {served} served over {RESTARTS} restarts, {repeated} sent once more, {closes} told to close, \
         {} forgotten",
        served - spent.min(served)
    );
    assert!(spent <= served + repeated, "{spent} spent of {served}");
    assert!(spent + forgotten_at_most(RESTARTS) >= served, "{spent} spent of {served}");
    assert!(!scratch.file("limits.snapshot.handed-over").exists(), "a note is left");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_process_that_takes_over_ports_from_another_fails_no_request() {
    let_handshakes_move();
    restarts_by_taking_over("\"127.0.0.1:0\"");
}

#[test]
fn a_process_that_takes_over_a_unix_socket_from_another_fails_no_request() {
    let scratch = Scratch::new();
    let path = scratch.file("http.sock");
    restarts_by_taking_over(&format!("\"unix:{}\"", path.display()));
    assert!(!path.exists(), "the last one takes its name back");
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn operators_find_the_process_that_took_over_and_readiness_never_fails() {
    let origin = echoing();
    let scratch = Scratch::new();
    let admin = format!(
        "[admin]\naddress = \"unix:{}\"\nready_path = \"/ready\"\n",
        scratch.file("admin.sock").display()
    );
    let listen = "drain_delay = \"1h\"";
    let mut first = Setup::before(origin.address()).listen(listen).table(&admin).start();
    let address = first.address().to_owned();
    let mut kept = first.client();
    assert_eq!(kept.get("/ready").status(), 200);
    let replaces = first.process.id().to_string();
    let next = Setup::before(origin.address()).address(format!("\"{address}\"")).listen(listen);
    let next = next.table(&admin).argument("--replaces").argument(replaces).start();
    first.wait_for_event("draining");
    // The one that was replaced answers that requests should be sent to this address, and that it is done.
    let last = kept.get("/ready");
    assert_eq!((last.status(), last.head.closes()), (200, true));
    assert_eq!(first.process.wait(), 0, "it has no delay to wait for: nobody is to go elsewhere");
    let status = next.operator().get("/readyz");
    assert_eq!(status.status, 200, "{status:?}");
    assert_eq!(next.client().get("/here").text(), "/here");
}

/// The one line of a start that fails.
fn refused(setup: Setup) -> String {
    let mut tollgate = setup.spawn();
    assert_eq!(tollgate.process.wait(), 1);
    tollgate.process.wait_for_output();
    tollgate.process.said()
}

#[test]
fn what_is_no_tollgate_that_can_hand_over_is_not_replaced() {
    let origin = echoing();
    let replacing = |id: u32| Setup::before(origin.address()).argument("--replaces").argument(id.to_string());
    let said = refused(replacing(std::process::id()));
    assert!(said.contains("it is no tollgate"), "{said}");
    let mut ended = Tollgate::before(origin.address());
    assert_eq!(ended.stop(), 0);
    let said = refused(replacing(ended.process.id()));
    assert!(said.contains("no such process"), "{said}");
}

#[test]
fn a_process_that_cannot_start_leaves_the_one_it_was_to_replace_alone() {
    let origin = echoing();
    let scratch = Scratch::new();
    let path = scratch.file("http.sock");
    let address = format!("\"unix:{}\"", path.display());
    let first = Setup::before(origin.address()).address(address.clone()).start();
    let next = Setup::before(origin.address()).address(format!("[{address}, \"192.0.2.1:1\"]"));
    let said = refused(next.argument("--replaces").argument(first.process.id().to_string()));
    assert!(said.contains("192.0.2.1:1"), "{said}");
    assert_eq!(first.client().get("/still").text(), "/still");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "its name for a while is taken back");
}

#[test]
fn a_process_that_was_replaced_writes_no_snapshot_over_its_successors() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        while let Some(request) = peer.request() {
            if request.target == "/slow" {
                wait.lock().unwrap().recv().unwrap();
            }
            peer.send(ok(&request.target));
        }
    });
    let scratch = Scratch::new();
    let snapshot = scratch.file("limits.snapshot");
    let mut first = setup(&origin, &snapshot).start();
    let address = first.address().to_owned();
    let mut slow = first.client().allow(&LIMIT_FIELDS);
    slow.send(get("/slow"));
    origin.wait_for_requests(1);
    let next = setup(&origin, &snapshot).address(format!("\"{address}\""));
    let mut next = next.argument("--replaces").argument(first.process.id().to_string()).start();
    assert_eq!(spent(&next), 2, "the one that is on its way at the other, and this one");
    assert_eq!(next.stop(), 0);
    let written = fs::read(&snapshot).unwrap();
    go.send(()).unwrap();
    assert_eq!(slow.response().text(), "/slow");
    assert_eq!(first.process.wait(), 0);
    assert!(fs::read(&snapshot).unwrap() == written, "the first one wrote over it");
    assert_eq!(spent(&setup(&origin, &snapshot).start()), 3);
}

#[test]
fn a_process_that_is_about_to_end_hands_over_as_well() {
    let origin = echoing();
    let scratch = Scratch::new();
    let snapshot = scratch.file("limits.snapshot");
    let mut first = setup(&origin, &snapshot).listen("drain_delay = \"1h\"").start();
    let address = first.address().to_owned();
    first.terminate();
    first.wait_for_event("not ready anymore, serving on");
    assert_eq!(spent(&first), 1);
    let next = setup(&origin, &snapshot).address(format!("\"{address}\""));
    let next = next.argument("--replaces").argument(first.process.id().to_string()).start();
    assert_eq!(first.process.wait(), 0, "nobody is to go elsewhere");
    assert_eq!(spent(&next), 2);
}
