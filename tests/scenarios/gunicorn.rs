//! The real app: every worker class, over TCP and a Unix socket.

use crate::harness::client::{get, post};
use crate::harness::{Binding, Client, Gunicorn, Setup, WorkerClass};

/// What an app behind tollgate is used for, on one connection and on several.
fn serves_everything(class: WorkerClass, binding: Binding) {
    let app = Gunicorn::start(class, binding);
    let tollgate = Setup::before(app.address()).start();
    let mut client = tollgate.client();

    for _ in 0..20 {
        let response = client.get("/json");
        assert_eq!(response.status(), 200);
        assert_eq!(response.json()["message"], "hello from Flask");
        assert!(!response.head.closes(), "the client's connection is kept, whatever the app does");
    }

    let body: Vec<u8> = (0..1024 * 1024_u32).map(|number| (number % 251) as u8).collect();
    client.send(post("/upload", &body));
    assert_eq!(client.response().json()["bytes"], body.len());
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n").send("6\r\n world\r\n0\r\n\r\n");
    let answer = client.response().json();
    assert_eq!(answer["bytes"], 11);
    let digest = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    assert_eq!(answer["sha256"], digest);

    assert_eq!(client.get("/download?bytes=3000000").body.bytes, vec![0; 3_000_000]);
    assert_eq!(client.request("HEAD", "/json", "").status(), 200);
    let empty = client.get("/empty");
    assert_eq!((empty.status(), empty.body.bytes.len()), (204, 0));
    assert_eq!(client.get("/error").status(), 500);
    assert_eq!(client.get("/missing").status(), 404);
    let echo = client.request("GET", "/echo?a=%20b&c", "X-Custom: yes\r\n").json();
    assert_eq!(echo["path"], "/echo?a=%20b&c");
    let custom = echo["headers"].as_array().unwrap().iter();
    assert_eq!(custom.filter(|field| field[0] == "X-Custom" && field[1] == "yes").count(), 1);

    let mut clients: Vec<Client> = (0..16).map(|_| tollgate.client()).collect();
    for client in &mut clients {
        client.send(get("/json"));
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    let records = tollgate.final_records();
    assert_eq!(records.len(), 20 + 8 + 16);
    assert!(records.iter().all(|record| record["outcome"] == "complete"), "{records:#?}");
}

#[test]
fn sync_workers_over_tcp() {
    serves_everything(WorkerClass::Sync, Binding::Tcp);
}

#[test]
fn sync_workers_over_a_unix_socket() {
    serves_everything(WorkerClass::Sync, Binding::Unix);
}

#[test]
fn gthread_workers_over_tcp() {
    serves_everything(WorkerClass::Gthread, Binding::Tcp);
}

#[test]
fn gthread_workers_over_a_unix_socket() {
    serves_everything(WorkerClass::Gthread, Binding::Unix);
}

#[test]
fn gevent_workers_over_tcp() {
    serves_everything(WorkerClass::Gevent, Binding::Tcp);
}

#[test]
fn gevent_workers_over_a_unix_socket() {
    serves_everything(WorkerClass::Gevent, Binding::Unix);
}

#[test]
fn a_worker_that_closes_after_a_few_requests_costs_none() {
    let app = Gunicorn::start_with(
        WorkerClass::Gthread,
        Binding::Unix,
        &["--keep-alive", "1", "--max-requests", "7", "--workers", "2"],
    );
    let tollgate = Setup::before(app.address()).start();
    let mut client = tollgate.client();
    for _ in 0..60 {
        assert_eq!(client.get("/json").status(), 200);
    }
}

#[test]
fn the_app_sees_the_client_and_the_scheme_the_trusted_proxy_saw() {
    let app = Gunicorn::start(WorkerClass::Gthread, Binding::Unix);
    let tollgate = Setup::before(app.address()).listen("trusted_proxies = [\"127.0.0.1\"]").start();
    let fields = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n";
    let echo = tollgate.client().request("GET", "/echo", fields).json();
    assert_eq!(echo["scheme"], "https", "{echo}");
    let fields = echo["headers"].as_array().unwrap();
    let value = |name| fields.iter().find(|field| field[0] == name).map(|field| &field[1]);
    assert_eq!(value("X-Forwarded-For"), Some(&"198.51.100.7".into()), "{echo}");
}

#[test]
fn server_sent_events_of_a_real_app_come_one_by_one() {
    let app = Gunicorn::start(WorkerClass::Gevent, Binding::Unix);
    let tollgate = Setup::before(app.address()).start();
    let mut client = tollgate.client();
    client.send(get("/events?count=2"));
    let head = client.head();
    assert_eq!(head.headers.get("content-type").as_deref(), Some("text/event-stream; charset=utf-8"));
    let first = client.wire().chunk().unwrap().0;
    assert_eq!(String::from_utf8_lossy(&first), "id: 1\ndata: event 1 of 2\n\n");
    let rest = client.body(&head, "GET");
    assert_eq!(String::from_utf8_lossy(&rest.bytes), "id: 2\ndata: event 2 of 2\n\n");
    assert_eq!(rest.cut, None);
}
