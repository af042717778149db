//! An app that is restarted, down, ill, or asks for less: what its callers are told, and what operators see.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ok;
use crate::harness::client::post;
use crate::harness::{Binding, Client, Gunicorn, Origin, PATIENCE, Peer, Setup, Tollgate, WorkerClass};

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Clients that ask one after the other until they are told to stop, and the statuses they were told.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<u16>>>,
}

impl Load {
    fn start(tollgate: &Tollgate, clients: usize, request: &[u8]) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (address, request) = (tollgate.address().to_owned(), request.to_owned());
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            thread::spawn(move || {
                let mut client = Client::connect(&address);
                let mut statuses = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    client.send(&request);
                    let response = client.response();
                    statuses.push(response.status());
                    if response.head.closes() {
                        client = Client::connect(&address);
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                statuses
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { stop, sent, clients }
    }

    /// Waits until so many more were answered.
    fn wait_for(&self, more: usize) {
        let before = self.sent.load(Ordering::Relaxed);
        eventually("more answers", || self.sent.load(Ordering::Relaxed) >= before + more);
    }

    fn end(self) -> Vec<u16> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

const GET: &[u8] = b"GET /json HTTP/1.1\r\nHost: a\r\n\r\n";

fn upload() -> Vec<u8> {
    post("/upload", b"some bytes")
}

/// Patient enough for an app that takes long to start on a busy machine.
fn patient(upstream: &str) -> Setup {
    Setup::before(upstream).upstream("max_in_flight = 4\nqueue = { size = 100, timeout = \"60s\" }")
}

fn all_are(statuses: &[u16], allowed: &[u16]) {
    let others: Vec<&u16> = statuses.iter().filter(|status| !allowed.contains(status)).collect();
    assert!(others.is_empty(), "{} of {} were {others:?}", others.len(), statuses.len());
}

#[test]
fn an_app_that_is_stopped_and_started_again_loses_no_idempotent_request() {
    for class in [WorkerClass::Sync, WorkerClass::Gthread] {
        let mut app = Gunicorn::start(class, Binding::Tcp);
        let tollgate = patient(app.address()).start();
        let (gets, posts) = (Load::start(&tollgate, 4, GET), Load::start(&tollgate, 2, &upload()));
        gets.wait_for(50);
        for _ in 0..2 {
            app.restart();
            gets.wait_for(50);
            posts.wait_for(5);
        }
        all_are(&gets.end(), &[200]);
        all_are(&posts.end(), &[200, 502, 503]);
        tollgate.wait_for_event("the app takes no connections, requests wait for it");
        tollgate.wait_for_event("the app is up again");
    }
}

#[test]
fn an_app_that_reloads_or_recycles_its_workers_loses_no_idempotent_request() {
    let app = Gunicorn::start_with(WorkerClass::Sync, Binding::Tcp, &["--max-requests", "20"]);
    let tollgate = patient(app.address()).start();
    let load = Load::start(&tollgate, 4, GET);
    load.wait_for(200);
    for _ in 0..2 {
        app.signal(Signal::HUP);
        load.wait_for(100);
    }
    all_are(&load.end(), &[200]);
    assert!(app.said().contains("Autorestarting worker"), "{}", app.said());
}

/// Listens at a path and answers everything; says how many requests it had at a time at most, of those that came early.
fn listen_at(path: &Path) -> JoinHandle<()> {
    serve(UnixListener::bind(path).unwrap())
}

/// Answers whoever comes.
fn serve(listener: UnixListener) -> JoinHandle<()> {
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            answer_all(socket);
        }
    })
}

/// Answers each request of a connection.
fn answer_all(mut socket: impl Read + Write + Send + 'static) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while matches!(socket.read(&mut bytes), Ok(1..)) {
            if socket.write_all(ok("here").as_bytes()).is_err() {
                break;
            }
        }
    });
}

#[test]
fn an_app_that_was_never_up_is_refused_at_once_and_served_when_it_comes() {
    let place = Setup::before("127.0.0.1:1");
    let path = place.file("app.sock");
    let tollgate = Setup::before(&format!("unix:{}", path.display())).admin("").start();
    let operator = tollgate.operator();
    tollgate.wait_for_event("the app is down, requests are refused");
    assert_eq!(operator.get("/readyz").json()["status"], "upstream_down");
    let mut client = tollgate.client();
    for _ in 0..5 {
        let refused = client.get("/");
        refused.assert_local(503, "upstream_unavailable");
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    }
    let asked: Vec<_> = tollgate.wait_for_records(5);
    assert!(
        asked.iter().all(|record| record.get("connect_ms").is_none_or(|time| time.is_null())),
        "{asked:?}"
    );
    assert_eq!(operator.status()["upstream"]["connect_failures"], 0, "no request tried to connect");
    let _app = listen_at(&path);
    eventually("served", || client.get("/").status() == 200);
    eventually("ready", || operator.get("/readyz").status == 200);
}

#[test]
fn an_app_that_stays_away_is_waited_for_as_long_as_the_queue_says() {
    let place = Setup::before("127.0.0.1:1");
    let path = place.file("app.sock");
    let _app = listen_at(&path);
    let address = format!("unix:{}", path.display());
    let tollgate = Setup::before(&address)
        .upstream("max_in_flight = 2\nqueue = { size = 10, timeout = \"1s\" }")
        .admin("")
        .start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/").status(), 200);
    std::fs::remove_file(&path).unwrap();
    // Connections that are open stay good; a request that needs a new one finds nobody.
    let mut others: Vec<Client> = (0..2).map(|_| tollgate.client()).collect();
    eventually("down", || {
        for other in &mut others {
            other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        let statuses: Vec<u16> = others.iter_mut().map(|other| other.response().status()).collect();
        assert!(statuses.iter().all(|status| [200, 502, 503].contains(status)), "{statuses:?}");
        statuses.contains(&503)
    });
    tollgate.wait_for_event("the app is down, requests are refused");
    let operator = tollgate.operator();
    let tried = || operator.status()["upstream"]["connect_failures"].as_u64().unwrap();
    let before = tried();
    for _ in 0..20 {
        let refused = client.get("/");
        refused.assert_local(503, "upstream_unavailable");
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    }
    assert_eq!(tried(), before, "a request tried to connect to an app that is known to be down");
}

#[test]
fn the_health_path_takes_the_app_out_and_brings_it_back() {
    let is_well = Arc::new(AtomicBool::new(true));
    let own = Arc::clone(&is_well);
    let app = Origin::start(move |mut peer: Peer| {
        while let Some(request) = peer.request() {
            let is_probe = request.target == "/healthy?deep=1";
            if is_probe {
                let agent = request.headers.get("user-agent").unwrap_or_default();
                assert!(agent.starts_with("tollgate-health/"), "{agent}");
                assert_eq!(request.headers.get("connection").as_deref(), Some("close"));
            }
            match is_probe && !own.load(Ordering::Relaxed) {
                true => peer.send("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"),
                false => peer.send(ok("well")),
            };
        }
    });
    let tollgate = Setup::before(app.address())
        .admin("")
        .table(
            "[upstream.health]\npath = \"/healthy?deep=1\"\ninterval = \"100ms\"\ntimeout = \"5s\"\n\
             healthy_after = 2\nunhealthy_after = 2\nexpect = [200]",
        )
        .start();
    let (operator, mut client) = (tollgate.operator(), tollgate.client());
    eventually("ready", || operator.get("/readyz").status == 200);
    assert_eq!(client.get("/").status(), 200);
    is_well.store(false, Ordering::Relaxed);
    let told = tollgate.wait_for_event("the app is down, requests are refused");
    assert_eq!(told["found"], "status 500");
    let refused = client.get("/");
    refused.assert_local(503, "upstream_unavailable");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(operator.get("/readyz").status, 503);
    is_well.store(true, Ordering::Relaxed);
    tollgate.wait_for_event("the app is up again");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(operator.get("/readyz").status, 200);
    let text = tollgate.config_text().replace("expect = [200]", "expect = [204]");
    tollgate.reload(&text);
    eventually("a reload changes what is expected", || client.get("/").status() == 503);
}

#[test]
fn a_breaker_spares_a_route_that_fails_and_a_trial_closes_it() {
    let is_well = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&is_well);
    let app = Origin::start(move |mut peer: Peer| {
        while let Some(request) = peer.request() {
            match request.target.starts_with("/api") && !own.load(Ordering::Relaxed) {
                true => peer.send("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"),
                false => peer.send(ok("well")),
            };
        }
    });
    let tollgate = Setup::before(app.address())
        .table(
            "[[routes]]\nname = \"api\"\nmatch = \"/api/*\"\n\
             breaker = { errors = \"50%\", over = \"60s\", at_least = 4, open_for = \"500ms\" }\n\
             [[routes]]\nname = \"rest\"\nmatch = \"/*\"",
        )
        .start();
    let mut client = tollgate.client();
    for _ in 0..4 {
        assert_eq!(client.get("/api/a").status(), 500);
    }
    let refused = client.get("/api/a");
    refused.assert_local(503, "circuit_open");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert_eq!(client.get("/other").status(), 200, "other routes are asked");
    tollgate.wait_for_event("breaker opens, the app is not asked");
    eventually("a trial", || client.get("/api/a").status() == 500);
    client.get("/api/a").assert_local(503, "circuit_open");
    is_well.store(true, Ordering::Relaxed);
    eventually("a trial that succeeds", || client.get("/api/a").status() == 200);
    tollgate.wait_for_event("breaker closes, a trial succeeded");
    for _ in 0..8 {
        assert_eq!(client.get("/api/a").status(), 200);
    }
}

#[test]
fn an_app_whose_workers_stand_still_is_a_timeout_then_down_and_served_again_when_they_go_on() {
    let app = Gunicorn::start(WorkerClass::Sync, Binding::Tcp);
    let tollgate = Setup::before(app.address())
        .upstream(
            "max_in_flight = 2\nresponse_timeout = \"200ms\"\nqueue = { size = 10, timeout = \"300ms\" }",
        )
        .table("[upstream.health]\npath = \"/health\"\ninterval = \"200ms\"\ntimeout = \"200ms\"")
        .start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/json").status(), 200);
    app.signal(Signal::STOP);
    app.signal_workers(Signal::STOP);
    client.get("/json").assert_local(504, "upstream_timeout");
    let mut statuses = Vec::new();
    eventually("the app is down", || {
        statuses.push(client.get("/json").status());
        tollgate.events().iter().any(|event| event["message"] == "the app is down, requests are refused")
    });
    all_are(&statuses, &[503, 504]);
    client.get("/json").assert_local(503, "upstream_unavailable");
    app.signal_workers(Signal::CONT);
    app.signal(Signal::CONT);
    tollgate.wait_for_event("the app is up again");
    let mut after = 0;
    eventually("served", || {
        after += 1;
        client.get("/json").status() == 200
    });
    assert_eq!(tollgate.final_records().len(), 3 + statuses.len() + after, "one record a request");
}

/// A client in the middle of an answer that takes a minute.
fn in_an_answer(tollgate: &Tollgate) -> Client {
    let mut client = tollgate.client();
    client.send("GET /events?count=60 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    client.wire().chunk().unwrap();
    client
}

#[test]
fn a_worker_that_is_killed_in_its_answer_cuts_it_and_no_other() {
    let app = Gunicorn::start(WorkerClass::Sync, Binding::Unix);
    let tollgate = patient(app.address()).start();
    // One for each worker.
    let mut both = [in_an_answer(&tollgate), in_an_answer(&tollgate)];
    app.kill_a_worker();
    let cut = tollgate.wait_for_records(1);
    assert_eq!((cut.len(), &cut[0]["outcome"]), (1, &"upstream_reset".into()), "{cut:?}");
    // The next event comes to one of them: chunk by chunk, where the other is at its end.
    let goes_on = both.iter_mut().filter_map(|client| client.wire().chunk().ok()).count();
    assert_eq!(goes_on, 1);
    let load = Load::start(&tollgate, 4, GET);
    load.wait_for(20);
    let served = load.end();
    all_are(&served, &[200]);
    drop(both);
    assert_eq!(tollgate.final_records().len(), 2 + served.len(), "one record a request");
}

#[test]
fn a_full_backlog_of_a_unix_socket_is_a_timeout_and_serves_again_when_it_is_not() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let place = Setup::before("127.0.0.1:1");
    let path = place.file("app.sock");
    let address = SockAddr::unix(&path).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(1).unwrap();
    let mut fillers = Vec::new();
    loop {
        let filler = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        if filler.connect(&address).is_err() {
            break;
        }
        fillers.push(filler);
    }
    let tollgate = Setup::before(&format!("unix:{}", path.display()))
        .upstream("connect_timeout = \"200ms\"\nmax_in_flight = 2")
        .start();
    let mut client = tollgate.client();
    for _ in 0..2 {
        client.get("/full").assert_local(504, "upstream_timeout");
    }
    drop(fillers);
    let listener: UnixListener = listener.into();
    serve(listener);
    let mut after = 0;
    eventually("served", || {
        after += 1;
        client.get("/").status() == 200
    });
    assert_eq!(tollgate.final_records().len(), 2 + after, "one record a request");
}

#[test]
fn a_full_backlog_over_tcp_is_a_timeout_and_serves_again_when_it_is_not() {
    use std::net::{TcpListener, TcpStream};
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let fillers: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).collect();
    assert!(!fillers.is_empty());
    let tollgate = Setup::before(&address.to_string())
        .upstream("connect_timeout = \"200ms\"\nmax_in_flight = 2")
        .start();
    let mut client = tollgate.client();
    for _ in 0..2 {
        client.get("/full").assert_local(504, "upstream_timeout");
    }
    drop(fillers);
    thread::spawn(move || {
        for socket in listener.incoming() {
            answer_all(socket.unwrap());
        }
    });
    let mut after = 0;
    eventually("served", || {
        after += 1;
        client.get("/").status() == 200
    });
    assert_eq!(tollgate.final_records().len(), 2 + after, "one record a request");
}
