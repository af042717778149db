//! The real nginx, with the files of `deploy/nginx/`, in front of tollgate.

use std::sync::{Mutex, mpsc};

use serde_json::Value;

use super::ok;
use crate::harness::client::{get, post};
use crate::harness::nginx::{self, InFront, LOAD_BALANCER, Nginx};
use crate::harness::websocket::{self, AGREED, CLOSE, HANDSHAKE, TEXT};
use crate::harness::{Binding, Gunicorn, Origin, Setup, Tollgate, WorkerClass};

/// Anybody's address, of whom nothing is believed.
const CLIENT: [u8; 4] = [127, 0, 0, 9];

/// What a client says of itself to be somebody else.
const INVENTED: &str = "X-Forwarded-For: 203.0.113.66\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.test\r\n\
    X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nX-Real-IP: 203.0.113.66\r\nForwarded: for=203.0.113.66\r\n\
    Remote-User: root\r\nX-Request-Id: chosen\r\n";

#[derive(Debug, Clone, Copy)]
enum Over {
    Tcp,
    UnixSocket,
}

/// tollgate where nginx can find it.
fn tollgate(app: &str, over: Over) -> Setup {
    let setup = Setup::before(app).admin("").listen("max_body = \"64MiB\"");
    match over {
        Over::Tcp => setup,
        Over::UnixSocket => {
            let socket = format!("\"unix:{}\"", setup.file("http.sock").display());
            setup.address(socket)
        }
    }
}

fn field<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let fields = echo["headers"].as_array().unwrap().iter();
    fields.filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap()).collect()
}

fn connections_of_nginx(tollgate: &Tollgate) -> u64 {
    let metrics = tollgate.operator().get("/metrics").text;
    let value = metrics.lines().find_map(|line| line.strip_prefix("tollgate_connections_total "));
    value.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

fn serves_a_real_app(over: Over) {
    let app = Gunicorn::start(WorkerClass::Gthread, Binding::Unix);
    let tollgate = tollgate(app.address(), over).start();
    let nginx = Nginx::before(tollgate.address(), InFront::Clients);

    let mut client = nginx.client_from(CLIENT);
    let answer = client.request("GET", "/echo?a=%20b&c", INVENTED);
    let echo = answer.json();
    assert_eq!(echo["path"], "/echo?a=%20b&c");
    assert_eq!(field(&echo, "X-Forwarded-For"), ["127.0.0.9"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Proto"), ["http"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Host"), ["app.test"], "{echo}");
    assert_eq!(field(&echo, "Host"), ["app.test"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Port"), ["8081"], "{echo}");
    for invented in ["203.0.113.66", "gopher", "evil", "root", "chosen"] {
        assert!(!echo.to_string().contains(invented), "`{invented}` reached the app: {echo}");
    }
    let record = tollgate.record_of("/echo");
    assert_eq!(record["client_addr"], "127.0.0.9");

    let id = record["request_id"].as_str().unwrap();
    assert_eq!(field(&echo, "X-Request-Id"), [id]);
    assert_eq!(answer.header("x-request-id").as_deref(), Some(id));
    let line = nginx.wait_for_line(|line| line["request_id"] == id);
    assert_eq!((&line["client_addr"], &line["status"]), (&"127.0.0.9".into(), &200.into()), "{line}");

    for _ in 0..20 {
        assert_eq!(client.get("/json").status(), 200);
        assert_eq!(nginx.client().get("/json").status(), 200);
    }
    assert_eq!(connections_of_nginx(&tollgate), 1, "one connection is kept for all");

    let body: Vec<u8> = (0..32 * 1024 * 1024_u32).map(|number| (number % 251) as u8).collect();
    client.send(post("/upload", &body));
    assert_eq!(client.response().json()["bytes"], body.len());
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n").send("6\r\n world\r\n0\r\n\r\n");
    assert_eq!(client.response().json()["bytes"], 11);
    assert_eq!(client.get("/download?bytes=3000000").body.bytes, vec![0; 3_000_000]);
}

#[test]
fn nginx_takes_the_files_in_every_arrangement() {
    for tollgate in ["unix:/run/tollgate/http.sock", "127.0.0.1:8080"] {
        for in_front in [InFront::Clients, InFront::LoadBalancer] {
            let (taken, said) = nginx::check(tollgate, in_front);
            assert!(taken, "{said}");
            let complaints = ["[warn]", "[error]", "[emerg]", "[alert]"];
            assert!(!complaints.iter().any(|complaint| said.contains(complaint)), "{said}");
        }
    }
}

#[test]
fn a_real_app_is_served_through_nginx_over_tcp() {
    serves_a_real_app(Over::Tcp);
}

#[test]
fn a_real_app_is_served_through_nginx_over_a_unix_socket() {
    serves_a_real_app(Over::UnixSocket);
}

#[test]
fn what_the_app_sends_comes_through_nginx_as_it_is_made() {
    let (seen, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        while let Some(request) = peer.request() {
            let (framing, first, second) = match request.target.as_str() {
                "/events" => ("Transfer-Encoding: chunked", "5\r\nfirst\r\n", "6\r\nsecond\r\n0\r\n\r\n"),
                _ => ("Content-Length: 11", "first", "second"),
            };
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n{first}"
            ));
            wait.lock().unwrap().recv().unwrap();
            peer.send(second);
        }
    });
    let tollgate = tollgate(origin.address(), Over::UnixSocket).start();
    let nginx = Nginx::before(tollgate.address(), InFront::Clients);
    let mut client = nginx.client();
    // The app sends nothing more before the client has what it sent first.
    client.send(get("/events"));
    let head = client.head();
    assert_eq!(client.wire().chunk().unwrap().0, b"first");
    seen.send(()).unwrap();
    assert_eq!(client.body(&head, "GET").bytes, b"second");
    client.send(get("/file"));
    client.head();
    assert_eq!(client.wire().exactly(5).unwrap(), b"first");
    seen.send(()).unwrap();
    assert_eq!(client.wire().exactly(6).unwrap(), b"second");
}

#[test]
fn refusals_of_tollgate_pass_nginx_unchanged() {
    let origin = Origin::answering(ok("fine"));
    let routes = "[limits.few]\nrate = \"1/hour\"\n[[routes]]\nname = \"few\"\nmatch = \"/few\"\nlimits = [\"few\"]\n\
        [[routes]]\nname = \"small\"\nmatch = \"/small\"\nmax_body = \"1KiB\"\n";
    let tollgate = tollgate(origin.address(), Over::UnixSocket).table(routes).start();
    let nginx = Nginx::before(tollgate.address(), InFront::Clients);
    let fields =
        ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let mut client = nginx.client().allow(&fields);
    assert_eq!(client.get("/few").text(), "fine");
    let refusal = client.get("/few");
    refusal.assert_local(429, "rate_limited");
    assert!(refusal.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok()), "{refusal:#?}");
    for name in fields {
        assert!(refusal.head.headers.has(name), "no `{name}` in {refusal:#?}");
    }
    // Refused by its length alone: nothing of the body is sent.
    let mut client = nginx.client();
    client.send("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n");
    client.response().assert_local(413, "payload_too_large");
}

#[test]
fn websockets_pass_both() {
    let origin = Origin::start(|mut peer| {
        // The app is looked at before it is asked, too.
        if peer.request().is_none() {
            return;
        }
        peer.send(AGREED);
        while let Ok(frame) = websocket::read(peer.wire()) {
            peer.send(websocket::unmasked(frame.opcode, &frame.payload));
            if frame.opcode == CLOSE {
                return;
            }
        }
    });
    let tollgate = tollgate(origin.address(), Over::UnixSocket).start();
    let nginx = Nginx::before(tollgate.address(), InFront::Clients);
    let mut client = nginx.client().allow(&["sec-websocket-accept"]);
    client.send(HANDSHAKE);
    assert_eq!(client.head().status, 101);
    for payload in [b"hello".to_vec(), vec![b'x'; 100_000]] {
        client.send(websocket::masked(TEXT, &payload));
        assert!(websocket::read(client.wire()).unwrap().payload == payload);
    }
    client.send(websocket::masked(CLOSE, &1000_u16.to_be_bytes()));
    assert_eq!(websocket::read(client.wire()).unwrap().close_code(), 1000);
    client.end();
    assert_eq!(tollgate.record_of("/ws")["outcome"], "complete");
}

#[test]
fn behind_a_load_balancer_its_word_counts_and_nobody_else_s() {
    let app = Gunicorn::start(WorkerClass::Gthread, Binding::Unix);
    let tollgate = tollgate(app.address(), Over::UnixSocket).start();
    let nginx = Nginx::before(tollgate.address(), InFront::LoadBalancer);
    // The last one is a load balancer of its own, and trusted.
    let fields = "X-Forwarded-For: 203.0.113.66, 198.51.100.7, 192.0.2.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n";
    let echo = nginx.client_from(LOAD_BALANCER).request("GET", "/echo", fields).json();
    assert_eq!(field(&echo, "X-Forwarded-For"), ["198.51.100.7"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Proto"), ["https"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Port"), ["443"], "{echo}");
    assert_eq!(echo["scheme"], "https");
    let echo = nginx.client_from(CLIENT).request("GET", "/echo", fields).json();
    assert_eq!(field(&echo, "X-Forwarded-For"), ["127.0.0.9"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Proto"), ["http"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Port"), ["8081"], "{echo}");
}

#[test]
fn clients_speak_tls_and_http_2_to_nginx() {
    let app = Gunicorn::start(WorkerClass::Gthread, Binding::Unix);
    let tollgate = tollgate(app.address(), Over::UnixSocket).start();
    let nginx = Nginx::before(tollgate.address(), InFront::Clients);
    let said = nginx.curl(&["--http2", "--write-out", "\n%{http_version}"], "https", "/echo");
    let (echo, version) = said.rsplit_once('\n').unwrap();
    assert_eq!(version, "2");
    let echo: Value = serde_json::from_str(echo).unwrap();
    assert_eq!(field(&echo, "X-Forwarded-Proto"), ["https"], "{echo}");
    assert_eq!(field(&echo, "X-Forwarded-Port"), [nginx.tls_port().to_string()], "{echo}");
    assert_eq!(field(&echo, "Host"), [format!("api.example.com:{}", nginx.tls_port())], "{echo}");
    let moved = nginx.curl(&["--write-out", "%{http_code} %{redirect_url}"], "http", "/echo?a=1");
    assert!(moved.ends_with("308 https://api.example.com/echo?a=1"), "{moved}");
}
