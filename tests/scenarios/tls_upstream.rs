//! TLS with the app: who vouches for it, what it is shown, and what becomes of requests when it is not who it should be.

use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::ok;
use crate::harness::app::WorkerClass;
use crate::harness::{Authority, Binding, Gunicorn, Issued, PATIENCE, Setup, Tollgate};

const NAME: &str = "app.internal";

/// `[upstream.tls]` that trusts this authority for [`NAME`].
fn trusting(authority: &Authority) -> String {
    format!("[upstream.tls]\nca = \"{}\"\nserver_name = \"{NAME}\"\n", authority.file().display())
}

fn gunicorn(issued: &Issued, class: WorkerClass) -> Gunicorn {
    let (certificate, key) = (issued.certificate.to_str().unwrap(), issued.private_key.to_str().unwrap());
    Gunicorn::start_with(class, Binding::Tcp, &["--certfile", certificate, "--keyfile", key])
}

/// A worker that is still loading shakes no hands.
const PATIENT: &str = "connect_timeout = \"20s\"";

fn before(app: &Gunicorn) -> Setup {
    Setup::before(app.address()).upstream(PATIENT)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Waits until a health check has found this.
fn wait_for_health(tollgate: &Tollgate, up: &str) {
    let sample = format!("tollgate_upstream_up{{upstream=\"main\"}} {up}");
    wait_for(&sample, || tollgate.operator().get("/metrics").text.lines().any(|line| line == sample));
}

#[test]
fn gunicorn_with_a_certificate_is_spoken_with_and_its_connections_are_kept() {
    let authority = Authority::new("Internal");
    let issued = authority.issue("app", &[NAME]);
    for class in [WorkerClass::Gthread, WorkerClass::Sync] {
        let app = gunicorn(&issued, class);
        let tollgate = before(&app)
            .admin("")
            .table(&trusting(&authority))
            .table("[upstream.health]\npath = \"/health\"\ninterval = \"1s\"\n")
            .start();
        for number in 0..5 {
            assert_eq!(tollgate.client().get("/health").status(), 200, "{class:?} {number}");
        }
        let body = vec![b'a'; 300_000];
        let mut client = tollgate.client();
        client.send(crate::harness::client::post("/health", &body));
        assert_eq!(client.response().status(), 405, "a body goes up too");
        wait_for_health(&tollgate, "1");
        let record = tollgate.record_of("/health");
        assert_eq!(record["upstream"], app.address().strip_prefix("https://").unwrap());
    }
}

#[test]
fn an_app_that_nobody_vouches_for_is_502_and_the_record_says_why() {
    let authority = Authority::new("Internal");
    let app = gunicorn(&authority.issue("app", &[NAME]), WorkerClass::Gthread);
    let strangers = Authority::new("Strangers");
    let other_name = format!(
        "[upstream.tls]\nca = \"{}\"\nserver_name = \"other.internal\"\n",
        authority.file().display()
    );
    for (tables, why) in [
        (trusting(&strangers), "UnknownIssuer"),
        (other_name, "not valid for name"),
        (format!("[upstream.tls]\nca = \"{}\"\n", authority.file().display()), "not valid for name"),
    ] {
        let tollgate = before(&app)
            .admin("")
            .table(&tables)
            .table("[upstream.health]\npath = \"/health\"\ninterval = \"1s\"\nunhealthy_after = 1000\n")
            .start();
        tollgate.client().get("/").assert_local(502, "upstream_unavailable");
        let cause = tollgate.record_of("/")["cause"].as_str().unwrap().to_owned();
        assert!(cause.starts_with("connect: ") && cause.contains(why), "{cause}");
    }
}

#[test]
fn an_app_that_speaks_no_tls_is_502_and_one_that_stalls_is_504() {
    let authority = Authority::new("Internal");
    let plain = crate::harness::Origin::start(|mut peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let tollgate =
        Setup::before(&format!("https://{}", plain.address())).table(&trusting(&authority)).start();
    tollgate.client().get("/plain").assert_local(502, "upstream_unavailable");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    let tollgate =
        Setup::before(&address).upstream("connect_timeout = \"200ms\"").table(&trusting(&authority)).start();
    tollgate.client().get("/silent").assert_local(504, "upstream_timeout");
    assert_eq!(tollgate.record_of("/silent")["cause"], "connect timeout");
}

/// An app over TLS that wants to see a certificate, and answers with whose it was and whether a session was taken up again.
fn demanding(issued: &Issued, clients: &Authority) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(clients.file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_file_iter(&issued.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&issued.private_key).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream.unwrap());
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let (kind, shown) =
                    (stream.conn.handshake_kind(), stream.conn.peer_certificates().map(<[_]>::len));
                let answer = format!("{kind:?} {shown:?}");
                // A connection for each request.
                let answer = ok(&answer).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    address
}

#[test]
fn an_app_that_asks_who_we_are_is_shown_and_sessions_are_taken_up_again() {
    let authority = Authority::new("Internal");
    let clients = Authority::new("Proxies");
    let address = demanding(&authority.issue("app", &[NAME]), &clients);
    let ours = clients.issue("tollgate", &["tollgate.internal"]);
    let tollgate =
        Setup::before(&address).table(&format!("{}{}", trusting(&authority), ours.lines())).start();
    assert_eq!(tollgate.client().get("/").text(), "Some(Full) Some(2)");
    assert_eq!(tollgate.client().get("/").text(), "Some(Resumed) Some(2)");
    let nobody = Setup::before(&address).table(&trusting(&authority)).start();
    assert_eq!(nobody.client().get("/").status(), 502);
}

#[test]
fn authorities_are_read_again_at_a_reload_and_bad_ones_change_nothing() {
    let authority = Authority::new("Internal");
    let app = gunicorn(&authority.issue("app", &[NAME]), WorkerClass::Gthread);
    let ca = authority.scratch("trusted.pem");
    std::fs::copy(Authority::new("Strangers").file(), &ca).unwrap();
    let table = format!("[upstream.tls]\nca = \"{}\"\nserver_name = \"{NAME}\"\n", ca.display());
    let tollgate = before(&app).table(&table).start();
    assert_eq!(tollgate.client().get("/health").status(), 502);
    std::fs::write(&ca, "nothing").unwrap();
    let events = tollgate.hang_up();
    let problem = events[0]["message"].as_str().unwrap();
    assert!(problem.contains("`[upstream.tls]`: ") && problem.contains("holds no certificate"), "{problem}");
    std::fs::copy(authority.file(), &ca).unwrap();
    assert_eq!(tollgate.hang_up().last().unwrap()["message"], "reloaded");
    assert_eq!(tollgate.client().get("/health").status(), 200);
}

#[test]
fn a_canary_may_be_spoken_with_over_tls_too() {
    let authority = Authority::new("Internal");
    let origin = crate::harness::Origin::ok();
    let canary = gunicorn(&authority.issue("app", &[NAME]), WorkerClass::Gthread);
    let tollgate = Setup::before(origin.address())
        .upstream(PATIENT)
        .table(&format!("[upstream.canary]\naddress = \"{}\"\nweight = 100\n", canary.address()))
        .table(&trusting(&authority))
        .start();
    assert_eq!(tollgate.client().get("/health").status(), 200);
    assert_eq!(tollgate.record_of("/health")["canary"], true);
}
