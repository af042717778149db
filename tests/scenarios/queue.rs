//! Places in the app: who has one, who waits in which order, who is refused, and what becomes of them when clients leave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::origin::refused_address;
use crate::harness::{Client, Origin, PATIENCE, Setup, Tollgate};

/// An app that answers each request with its target when it is told to, one at a time.
struct Held {
    origin: Origin,
    go: Sender<()>,
}

impl Held {
    fn start() -> Held {
        let (go, gone): (Sender<()>, Receiver<()>) = mpsc::channel();
        let gone = Mutex::new(gone);
        let origin = Origin::start(move |mut peer| {
            while let Some(request) = peer.request() {
                gone.lock().unwrap().recv_timeout(PATIENCE).expect("the test goes on");
                peer.send(ok(&request.target));
            }
        });
        Held { origin, go }
    }

    fn release(&self, count: usize) {
        (0..count).for_each(|_| self.go.send(()).unwrap());
    }

    /// The targets in the order the app had them.
    fn order(&self, count: usize) -> Vec<String> {
        self.origin.wait_for_requests(count).into_iter().map(|request| request.target).collect()
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn app_of(tollgate: &Tollgate) -> Value {
    tollgate.operator().get("/status").json()["apps"][0].clone()
}

fn wait_until_waiting(tollgate: &Tollgate, count: usize) {
    eventually("requests that wait", || app_of(tollgate)["waiting"] == count);
}

/// A client behind the proxy on this machine, at this address.
fn from(tollgate: &Tollgate, address: &str, target: &str) -> Client {
    let mut client = tollgate.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n"));
    client
}

/// A flood of five from one caller behind the request that has the only place, then one of another caller.
fn flood_and_one(queue: &str) -> Vec<String> {
    let app = Held::start();
    let setup = Setup::before(app.origin.address()).admin("");
    let tollgate = setup.upstream(&format!("max_in_flight = 1\n{queue}")).start();
    let mut clients = vec![from(&tollgate, "192.0.2.1", "/a0")];
    app.origin.wait_for_requests(1);
    for number in 1..=5 {
        clients.push(from(&tollgate, "192.0.2.1", &format!("/a{number}")));
        wait_until_waiting(&tollgate, number);
    }
    clients.push(from(&tollgate, "192.0.2.2", "/b"));
    wait_until_waiting(&tollgate, 6);
    app.release(7);
    assert!(clients.iter_mut().all(|client| client.response().status() == 200));
    app.order(7)
}

#[test]
fn a_flood_delays_itself_and_not_the_caller_with_one_request() {
    assert_eq!(flood_and_one(""), ["/a0", "/a1", "/b", "/a2", "/a3", "/a4", "/a5"]);
}

#[test]
fn without_fairness_requests_are_served_in_the_order_they_came() {
    let order = flood_and_one("queue = { fair = false }");
    assert_eq!(order, ["/a0", "/a1", "/a2", "/a3", "/a4", "/a5", "/b"]);
}

#[test]
fn urgent_routes_go_first_and_the_least_urgent_make_room() {
    let app = Held::start();
    let routes = ["high", "normal", "low"]
        .map(|name| format!("[[routes]]\nname = \"{name}\"\nmatch = \"/{name}/*\"\npriority = \"{name}\"\n"));
    let tollgate = Setup::before(app.origin.address())
        .upstream("max_in_flight = 1\nqueue = { size = 3 }")
        .admin("")
        .table(&routes.concat())
        .start();
    let mut first = from(&tollgate, "192.0.2.1", "/normal/0");
    app.origin.wait_for_requests(1);
    let mut waiting = Vec::new();
    for (number, target) in ["/low/1", "/low/2", "/normal/3"].into_iter().enumerate() {
        waiting.push(from(&tollgate, "192.0.2.1", target));
        wait_until_waiting(&tollgate, number + 1);
    }
    let mut urgent = from(&tollgate, "192.0.2.1", "/high/4");
    let mut shed = waiting.remove(1);
    let refused = shed.response();
    refused.assert_local(503, "overloaded");
    app.release(4);
    for client in [&mut first, &mut urgent].into_iter().chain(&mut waiting) {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(app.order(4), ["/normal/0", "/high/4", "/normal/3", "/low/1"]);
}

#[test]
fn who_waits_too_long_or_finds_the_queue_full_is_told_when_to_come_again() {
    let app = Held::start();
    let tollgate = Setup::before(app.origin.address())
        .upstream("max_in_flight = 1\nqueue = { size = 1, timeout = \"300ms\" }")
        .admin("")
        .start();
    let mut first = from(&tollgate, "192.0.2.1", "/first");
    app.origin.wait_for_requests(1);
    let mut late = from(&tollgate, "192.0.2.1", "/late");
    wait_until_waiting(&tollgate, 1);
    let full = tollgate.client().request("GET", "/full", "X-Forwarded-For: 192.0.2.1\r\n");
    let late = late.response();
    for refused in [&full, &late] {
        refused.assert_local(503, "overloaded");
        let seconds: u64 = refused.header("retry-after").expect("a time").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    assert!(tollgate.record_of("/late")["queue_ms"].as_f64().unwrap() >= 300.0);
    assert_eq!(tollgate.record_of("/late")["upstream"], Value::Null, "the app never heard of it");
    app.release(1);
    assert_eq!(first.response().status(), 200);
    assert_eq!(app.order(1), ["/first"]);
}

#[test]
fn a_client_that_leaves_the_queue_takes_its_place_with_it() {
    let app = Held::start();
    let tollgate = Setup::before(app.origin.address()).upstream("max_in_flight = 1").admin("").start();
    let mut first = from(&tollgate, "192.0.2.1", "/first");
    app.origin.wait_for_requests(1);
    for number in 0..50 {
        let gone: Vec<Client> = (0..4).map(|_| from(&tollgate, "192.0.2.1", "/gone")).collect();
        wait_until_waiting(&tollgate, 4);
        drop(gone);
        wait_until_waiting(&tollgate, 0);
        assert_eq!(app.origin.received().len(), 1, "round {number}");
    }
    app.release(2);
    assert_eq!(first.response().status(), 200);
    assert_eq!(tollgate.client().get("/next").text(), "/next");
    assert_eq!(app.order(2), ["/first", "/next"]);
    tollgate.wait_for_records(202);
}

#[test]
fn a_request_that_waits_takes_less_memory_than_check_counts() {
    const MANY: usize = 2_000;
    let app = Held::start();
    let upstream = "max_in_flight = 1\nqueue = { size = 10_000, timeout = \"60s\" }";
    let tollgate = Setup::before(app.origin.address()).upstream(upstream).admin("").start();
    let mut clients = vec![from(&tollgate, "192.0.2.1", "/first")];
    app.origin.wait_for_requests(1);
    wait_until_waiting(&tollgate, 0);
    let before = tollgate.peak_memory_kib();
    clients.extend((0..MANY).map(|number| from(&tollgate, &format!("192.0.2.{}", number % 250), "/waits")));
    wait_until_waiting(&tollgate, MANY);
    let each = (tollgate.peak_memory_kib() - before) as f64 / MANY as f64;
    assert!(each < 40.0, "{each} KiB");
    drop(clients.split_off(1));
    wait_until_waiting(&tollgate, 0);
    app.release(1);
    assert_eq!(clients[0].response().status(), 200);
    eventually("a second flood in the same memory", || app_of(&tollgate)["in_flight"] == 0);
}

/// The most requests that were in the app at a time. A request is in it until its answer is written.
fn crowded(config: &str, clients: usize, client: fn(&Tollgate, usize)) -> (usize, Tollgate) {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let origin = Origin::start(move |mut peer| {
        while peer.request().is_some() {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(3));
            inside.fetch_sub(1, Ordering::SeqCst);
            peer.send(ok("done"));
        }
    });
    let tollgate = Setup::before(origin.address()).upstream(config).workers(2).admin("").start();
    thread::scope(|scope| {
        for number in 0..clients {
            let tollgate = &tollgate;
            scope.spawn(move || client(tollgate, number));
        }
    });
    eventually("an empty app", || app_of(&tollgate)["in_flight"] == 0 && app_of(&tollgate)["waiting"] == 0);
    (seen.load(Ordering::SeqCst), tollgate)
}

#[test]
fn never_more_requests_are_in_the_app_than_may_whatever_clients_do() {
    let (most, tollgate) = crowded("max_in_flight = 3", 12, |tollgate, number| {
        for round in 0..40 {
            let mut client = tollgate.client();
            match (number + round) % 5 {
                // Leaves while it waits, or while the app is at it.
                0 | 1 => {
                    client.send(get("/gone"));
                }
                2 => {
                    client.send(get("/gone"));
                    thread::sleep(Duration::from_millis(2));
                    client.reset();
                }
                // Leaves in the middle of its body.
                3 => {
                    client.send("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf");
                }
                _ => assert_eq!(client.get("/stays").status(), 200),
            }
        }
    });
    assert!((1..=3).contains(&most), "{most} at a time");
    assert_eq!(tollgate.client().get("/after").status(), 200);
}

#[test]
fn an_aborted_request_has_its_place_until_the_app_has_ended() {
    let route = "[[routes]]\nname = \"all\"\nmatch = \"/*\"\non_disconnect = \"abort\"\n";
    let app = Held::start();
    let tollgate =
        Setup::before(app.origin.address()).upstream("max_in_flight = 1").admin("").table(route).start();
    let gone = from(&tollgate, "192.0.2.1", "/gone");
    app.origin.wait_for_requests(1);
    drop(gone);
    tollgate.record_of("/gone");
    let mut next = from(&tollgate, "192.0.2.1", "/next");
    wait_until_waiting(&tollgate, 1);
    app.release(2);
    assert_eq!(next.response().text(), "/next");
}

#[test]
fn what_a_client_left_behind_is_charged_by_its_answer() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let origin = Origin::start(move |mut peer| {
        while let Some(request) = peer.request() {
            let mut cost = "";
            if request.target == "/left" {
                gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                cost = "X-Cost: 20000\r\n";
            }
            peer.send(format!("HTTP/1.1 200 OK\r\n{cost}Content-Length: 0\r\n\r\n"));
        }
    });
    let limits = "[limiting]\nheaders = []\n[limits.tokens]\nkey = \"ip\"\nrate = \"10000/hour\"\ncost = { response_header = \"X-Cost\" }\n\
                  [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"tokens\"\n";
    let tollgate = Setup::before(origin.address()).table(limits).start();
    let left = from(&tollgate, "192.0.2.1", "/left");
    origin.wait_for_requests(1);
    drop(left);
    tollgate.record_of("/left");
    go.send(()).unwrap();
    eventually("the charge", || {
        let fields = "X-Forwarded-For: 192.0.2.1\r\n";
        tollgate.client().request("GET", "/next", fields).status() == 429
    });
}

#[test]
fn a_body_is_read_before_a_place_in_the_app_is_taken() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).upstream("max_in_flight = 1").start();
    let mut slow = tollgate.client();
    slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    assert_eq!(tollgate.client().get("/quick").text(), "/quick");
    slow.send("4\r\nhalf\r\n0\r\n\r\n");
    assert_eq!(slow.response().text(), "/slow");
    let received = origin.received().pop().unwrap();
    assert_eq!(
        (received.body.bytes.as_slice(), received.headers.get("content-length")),
        (&b"halfhalf"[..], Some("8".to_owned()))
    );
    assert!(!received.headers.has("transfer-encoding"));
}

fn with_canary(canary: &str) -> (Origin, Setup) {
    let main = Origin::answering(ok("main"));
    let setup = Setup::before(main.address())
        .table(&format!("[upstream.canary]\naddress = \"{canary}\"\nweight = 50\n"));
    (main, setup)
}

#[test]
fn callers_stay_with_the_version_of_the_app_that_is_theirs() {
    let canary = Origin::answering(ok("canary"));
    let (main, setup) = with_canary(canary.address());
    let tollgate = setup.start();
    let mut client = tollgate.client();
    let mut ask =
        |address: String| client.request("GET", "/", &format!("X-Forwarded-For: {address}\r\n")).text();
    let of: Vec<String> = (1..=60).map(|last| ask(format!("192.0.2.{last}"))).collect();
    let again: Vec<String> = (1..=60).map(|last| ask(format!("192.0.2.{last}"))).collect();
    assert_eq!(of, again);
    let canaries = of.iter().filter(|answer| *answer == "canary").count();
    assert!((15..=45).contains(&canaries), "{canaries} of 60 at 50%");
    let told = tollgate.wait_for_records(120);
    assert_eq!(told.iter().filter(|record| record["canary"] == true).count(), 2 * canaries);
    assert!(
        !main.received().iter().chain(&canary.received()).any(|got| got.headers.has("x-tollgate-canary"))
    );
}

#[test]
fn a_trusted_proxy_says_who_gets_the_canary_and_the_app_is_not_told() {
    let canary = Origin::answering(ok("canary"));
    let (main, setup) = with_canary(canary.address());
    let tollgate = setup.start();
    let ask = |fields: &str| tollgate.client().request("GET", "/", fields).text();
    for last in 1..=20 {
        let from = format!("X-Forwarded-For: 192.0.2.{last}\r\n");
        assert_eq!(ask(&format!("{from}X-Tollgate-Canary: always\r\n")), "canary");
        assert_eq!(ask(&format!("{from}X-Tollgate-Canary: never\r\n")), "main");
    }
    for received in main.received().iter().chain(&canary.received()) {
        assert!(!received.headers.has("x-tollgate-canary"));
    }
    let trusts_nobody = tollgate.config_text().replacen("[listen]", "[listen]\ntrusted_proxies = []", 1);
    tollgate.reload(&trusts_nobody);
    let own = ask("");
    assert_eq!(
        (ask("X-Tollgate-Canary: always\r\n"), ask("X-Tollgate-Canary: never\r\n")),
        (own.clone(), own)
    );
}

#[test]
fn a_canary_that_is_down_has_nobody() {
    let (_main, setup) = with_canary(&refused_address());
    let tollgate = setup.start();
    for last in 1..=40 {
        let fields = format!("X-Forwarded-For: 192.0.2.{last}\r\n");
        assert_eq!(tollgate.client().request("GET", "/", &fields).text(), "main");
    }
}
