//! TLS with clients: versions, names, tickets, certificates of clients, and what happens to files while it runs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use rustls::{ProtocolVersion, version};

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::tls::Wanted;
use crate::harness::tollgate::binary;
use crate::harness::{Authority, Ending, Issued, Origin, PATIENCE, Scratch, Setup, TlsConnector, Tollgate};

const NAME: &str = "api.test";

/// An authority, and a certificate of it for [`NAME`].
fn certified() -> (Authority, Issued) {
    let authority = Authority::new("Test Authority");
    let issued = authority.issue("server", &[NAME]);
    (authority, issued)
}

fn metric(tollgate: &Tollgate, sample: &str) -> Option<f64> {
    let text = tollgate.operator().get("/metrics").text;
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Waits until a counter has this value; workers count for themselves.
fn wait_for_metric(tollgate: &Tollgate, sample: &str, value: f64) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while metric(tollgate, sample) != Some(value) {
        assert!(
            std::time::Instant::now() < deadline,
            "`{sample}` is {:?}, not {value}",
            metric(tollgate, sample)
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn failures(reason: &str) -> String {
    format!("tollgate_tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

#[test]
fn requests_are_served_and_the_app_is_told_of_https() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).tls(&issued.lines()).start();
    let mut client = authority.connector().connect(tollgate.secure_address(), NAME);
    assert_eq!(client.get("/one").text(), "/one");
    assert_eq!(client.get("/two").text(), "/two");
    let received = origin.received();
    assert_eq!(received[0].headers.get("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(received[0].headers.get("x-forwarded-port").as_deref(), Some("443"));
    assert_eq!(tollgate.client().get("/plain").text(), "/plain", "its plain addresses go on");
    assert_eq!(origin.received()[2].headers.get("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(tollgate.record_of("/one")["tls"], "TLSv1.3");
    assert!(tollgate.record_of("/plain").get("tls").is_none());
}

#[test]
fn both_versions_are_spoken_and_the_older_one_only_if_it_may() {
    let origin = echoing();
    let (authority, issued) = certified();
    let old = TlsConnector::speaking(&authority.file(), None, &[&version::TLS12]);
    let both = Setup::before(origin.address()).tls(&issued.lines()).start();
    for (connector, spoken) in
        [(&old, ProtocolVersion::TLSv1_2), (&authority.connector(), ProtocolVersion::TLSv1_3)]
    {
        let stream = TcpStream::connect(both.secure_address()).unwrap();
        let shaken = connector.over(stream, NAME).unwrap();
        assert_eq!(shaken.version(), spoken);
        assert_eq!(shaken.client().get("/").text(), "/");
    }
    let lines = format!("{}min_version = \"1.3\"\n", issued.lines());
    let newer = Setup::before(origin.address()).admin("").tls(&lines).start();
    let stream = TcpStream::connect(newer.secure_address()).unwrap();
    old.over(stream, NAME).expect_err("an old version was spoken");
    wait_for_metric(&newer, &failures("nothing_in_common"), 1.0);
    assert_eq!(authority.connector().connect(newer.secure_address(), NAME).get("/").text(), "/");
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let origin = echoing();
    let (authority, first) = certified();
    let other = authority.issue("other", &["other.test", "*.other.test"]);
    let lines = format!("{}certificates = [{}]\n", first.lines(), other.entry());
    let tollgate = Setup::before(origin.address()).tls(&lines).start();
    for name in [NAME, "other.test", "sub.other.test"] {
        // The client checks that the certificate is for the name.
        let mut client = authority.connector().connect(tollgate.secure_address(), name);
        assert_eq!(client.get("/").text(), "/", "{name}");
    }
    let stream = TcpStream::connect(tollgate.secure_address()).unwrap();
    let error = authority.connector().over(stream, "unknown.test").unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn sessions_are_taken_up_again_in_both_versions_and_over_a_new_certificate() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).admin("").workers(2).tls(&issued.lines()).start();
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let connector = TlsConnector::speaking(&authority.file(), None, versions);
        let resumed = || {
            let stream = TcpStream::connect(tollgate.secure_address()).unwrap();
            let shaken = connector.over(stream, NAME).unwrap();
            let is_resumed = shaken.is_resumed();
            // Tickets of TLS 1.3 come with the first answer.
            assert_eq!(shaken.client().get("/").text(), "/");
            is_resumed
        };
        assert!(!resumed());
        assert!(resumed());
        issued.replace(&authority.issue("renewed", &[NAME]));
        assert_eq!(tollgate.hang_up().last().unwrap()["message"], "reloaded");
        assert!(resumed(), "tickets are good after a reload");
    }
    assert_eq!(metric(&tollgate, "tollgate_tls_handshakes_total{kind=\"full\"}"), Some(2.0));
    assert_eq!(metric(&tollgate, "tollgate_tls_handshakes_total{kind=\"resumed\"}"), Some(4.0));
}

#[test]
fn a_renewed_certificate_is_shown_after_a_hangup_and_open_connections_go_on() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).tls(&issued.lines()).start();
    let shown = || {
        let stream = TcpStream::connect(tollgate.secure_address()).unwrap();
        authority.connector().over(stream, NAME).unwrap().certificate()
    };
    let before = shown();
    let mut open = authority.connector().connect(tollgate.secure_address(), NAME);
    assert_eq!(open.get("/before").text(), "/before");
    let renewed = authority.issue("renewed", &[NAME]);
    issued.replace(&renewed);
    assert_eq!(shown(), before, "until it is asked to, tollgate reads nothing");
    // The configuration's text is the same.
    assert_eq!(tollgate.hang_up().last().unwrap()["message"], "reloaded");
    assert_ne!(shown(), before);
    assert_eq!(open.get("/after").text(), "/after");
}

#[test]
fn files_that_cannot_be_used_are_told_at_start() {
    let (authority, issued) = certified();
    let lines = |certificate: &std::path::Path, private_key: &std::path::Path| {
        Issued { certificate: certificate.to_owned(), private_key: private_key.to_owned() }.lines()
    };
    let file = |name: &str, text: &str| {
        let path = authority.scratch(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = std::fs::read_to_string(&issued.private_key).unwrap();
    let other = authority.issue("other", &[NAME]);
    let expired = authority.issue_as("expired", &Wanted::of(&[NAME]).days(-30, -1));
    let early = authority.issue_as("early", &Wanted::of(&[NAME]).days(1, 30));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (lines, told) in [
        (lines(&authority.scratch("absent.pem"), &issued.private_key), "cannot be read"),
        (lines(&issued.certificate, &authority.scratch("absent.key")), "cannot be read"),
        (lines(&std::env::temp_dir(), &issued.private_key), "no regular file"),
        (lines(&file("empty.pem", ""), &issued.private_key), "holds no certificate"),
        (lines(&issued.private_key, &issued.private_key), "holds no certificate"),
        (lines(&issued.certificate, &issued.certificate), "holds no private key"),
        (lines(&file("broken.pem", broken), &issued.private_key), "is damaged"),
        (lines(&issued.certificate, &file("locked.key", locked)), "needs a passphrase"),
        (lines(&issued.certificate, &other.private_key), "does not belong to the first certificate"),
        (expired.lines(), "has expired"),
        (early.lines(), "is not valid before"),
        (
            format!("{}client_ca = \"{}\"\n", issued.lines(), issued.private_key.display()),
            "holds no certificate",
        ),
    ] {
        let mut tollgate = Setup::before("127.0.0.1:9").tls(&lines).spawn();
        assert_eq!(tollgate.process.wait(), 78, "{told}");
        tollgate.process.wait_for_output();
        let said = tollgate.process.said();
        assert!(said.contains("`[listen.tls]`: ") && said.contains(told), "{told}:\n{said}");
        assert!(!said.contains(key.lines().nth(1).unwrap()), "the key was told:\n{said}");
    }
}

#[test]
fn a_bad_certificate_at_a_reload_changes_nothing() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).admin("").tls(&issued.lines()).start();
    let good = std::fs::read(&issued.certificate).unwrap();
    for (bad, told) in [
        (Vec::new(), "holds no certificate"),
        (
            std::fs::read(authority.issue_as("expired", &Wanted::of(&[NAME]).days(-9, -1)).certificate)
                .unwrap(),
            "has expired",
        ),
        (std::fs::read(authority.issue("other", &[NAME]).certificate).unwrap(), "does not belong"),
    ] {
        std::fs::write(&issued.certificate, bad).unwrap();
        let events = tollgate.hang_up();
        assert!(events.last().unwrap()["message"].as_str().unwrap().starts_with("reload failed"));
        let problem = events[0]["message"].as_str().unwrap();
        assert!(problem.contains(told), "{problem}");
        assert_eq!(authority.connector().connect(tollgate.secure_address(), NAME).get("/").text(), "/");
    }
    std::fs::write(&issued.certificate, good).unwrap();
    assert_eq!(tollgate.hang_up().last().unwrap()["message"], "reloaded");
    let addresses = tollgate
        .config_text()
        .replace("[listen.tls]\naddress = \"127.0.0.1:0\"", "[listen.tls]\naddress = \"127.0.0.2:0\"");
    let events = tollgate.reload(&addresses);
    assert!(
        events[0]["message"].as_str().unwrap().contains("`listen.tls.address` cannot become"),
        "{events:#?}"
    );
}

#[test]
fn an_end_that_is_near_is_warned_of_and_measured() {
    let origin = echoing();
    let (authority, issued) = certified();
    issued.replace(&authority.issue_as("short", &Wanted::of(&[NAME]).days(-80, 10)));
    let tollgate = Setup::before(origin.address()).admin("").tls(&issued.lines()).start();
    let is_warning = |event: &serde_json::Value| {
        event["message"].as_str().unwrap_or_default().starts_with("the certificate expires in ")
    };
    let warned = tollgate.events().into_iter().find(is_warning).expect("a warning");
    assert_eq!(warned["certificate"], issued.certificate.to_str().unwrap());
    let sample = format!(
        "tollgate_tls_certificate_expiry_seconds{{certificate=\"{}\"}}",
        issued.certificate.display()
    );
    let days = (metric(&tollgate, &sample).unwrap() - unix_seconds()) / 86_400.0;
    assert!((9.0..=10.0).contains(&days), "{days}");
    issued.replace(&authority.issue("long", &[NAME]));
    let events = tollgate.hang_up();
    assert!(!events.iter().any(is_warning), "{events:#?}");
}

fn unix_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let (_authority, issued) = certified();
    std::fs::set_permissions(&issued.private_key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let tollgate = Setup::before("127.0.0.1:9").tls(&issued.lines()).start();
    let warned = tollgate.events().into_iter().find(|event| {
        event["message"]
            .as_str()
            .unwrap_or_default()
            .starts_with("everybody on this host may read the private key")
    });
    assert_eq!(warned.expect("a warning")["path"], issued.private_key.to_str().unwrap());
}

#[test]
fn handshakes_that_stall_keep_nobody_waiting_and_end_at_their_deadline() {
    let origin = echoing();
    let (authority, issued) = certified();
    let lines = format!("{}handshake_timeout = \"2s\"\n", issued.lines());
    let tollgate = Setup::before(origin.address()).admin("").tls(&lines).start();
    let stalled: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut stream = TcpStream::connect(tollgate.secure_address()).unwrap();
            match number % 3 {
                // Nothing, the beginning of a record, and a record with the beginning of a hello.
                0 => {}
                1 => stream.write_all(b"\x16\x03").unwrap(),
                _ => stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap(),
            }
            stream
        })
        .collect();
    let mut client = authority.connector().connect(tollgate.secure_address(), NAME);
    for number in 0..20 {
        assert_eq!(client.get(&format!("/{number}")).text(), format!("/{number}"));
        let fresh = TlsConnector::trusting(&authority.file(), None);
        assert_eq!(fresh.connect(tollgate.secure_address(), NAME).get("/new").text(), "/new");
    }
    for mut stream in stalled {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = stream.read(&mut [0; 16]);
        assert!(matches!(ended, Ok(0)) || ended.is_err_and(|error| crate::harness::wire::reset(&error)));
    }
    wait_for_metric(&tollgate, &failures("timeout"), 300.0);
    drop(client);
    wait_for_metric(&tollgate, "tollgate_connections_open", 0.0);
}

#[test]
fn what_is_no_tls_is_dropped_and_plain_http_is_told() {
    let origin = echoing();
    let (_authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).admin("").tls(&issued.lines()).start();
    let mut plain = crate::harness::Client::connect(tollgate.secure_address());
    let answer = plain.get("/secret");
    answer.assert_local(400, "tls_required");
    assert_eq!(plain.end(), Ending::Closed);
    let record = tollgate.record_of("/secret");
    assert_eq!((&record["status"], &record["outcome"]), (&400.into(), &"tls_required".into()));
    let mut garbage = TcpStream::connect(tollgate.secure_address()).unwrap();
    garbage.write_all(b"\x80\x2e\x01\x00\x02").unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
    let left = TcpStream::connect(tollgate.secure_address()).unwrap();
    left.shutdown(Shutdown::Both).unwrap();
    let mut malformed = TcpStream::connect(tollgate.secure_address()).unwrap();
    malformed.write_all(b"\x16\x03\x01\x00\x05\x63\x00\x00\x01\x00").unwrap();
    let _ = malformed.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&0x15), "an alert");
    for reason in ["plain_http", "not_tls", "client_left", "malformed"] {
        wait_for_metric(&tollgate, &failures(reason), 1.0);
    }
    assert!(origin.received().is_empty());
}

#[test]
fn a_stalled_handshake_has_a_place_among_those_of_its_address() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address())
        .listen("trusted_proxies = []\nmax_connections_per_ip = 2")
        .tls(&issued.lines())
        .start();
    let held: Vec<TcpStream> =
        (0..2).map(|_| TcpStream::connect(tollgate.secure_address()).unwrap()).collect();
    let stream = TcpStream::connect(tollgate.secure_address()).unwrap();
    authority.connector().over(stream, NAME).expect_err("a third place");
    drop(held);
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut shaken = None;
    while shaken.is_none() {
        assert!(std::time::Instant::now() < deadline, "the places stay taken");
        let stream = TcpStream::connect(tollgate.secure_address()).unwrap();
        shaken = authority.connector().over(stream, NAME).ok();
    }
    assert_eq!(shaken.unwrap().client().get("/").text(), "/");
}

#[test]
fn a_client_certificate_names_the_user_and_nobody_is_served_without_one() {
    let origin = echoing();
    let (authority, issued) = certified();
    let clients = Authority::new("Clients");
    let erin = clients.issue_as("erin", &Wanted::of(&["erin.test"]).common_name("erin"));
    let lines = format!("{}client_ca = \"{}\"\n", issued.lines(), clients.file().display());
    let limit = "[limits.user]\nrate = \"3/hour\"\nkey = \"user\"\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"user\"\n";
    let tollgate = Setup::before(origin.address())
        .admin("")
        .table("[identity]\nsources = [\"certificate\"]\n")
        .table(limit)
        .tls(&lines)
        .start();
    let address = tollgate.secure_address();
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let connector = TlsConnector::speaking(&authority.file(), Some(&erin), versions);
        let path = format!("/{:?}", versions[0].version);
        assert_eq!(connector.connect(address, NAME).allow(LIMIT_FIELDS).get(&path).text(), path);
        assert_eq!(tollgate.record_of(&path)["user"], "erin");
    }
    // Of a session that is taken up again too.
    let connector = TlsConnector::trusting(&authority.file(), Some(&erin));
    drop(connector.connect(address, NAME).allow(LIMIT_FIELDS).get("/full"));
    let stream = TcpStream::connect(address).unwrap();
    let shaken = connector.over(stream, NAME).unwrap();
    assert!(shaken.is_resumed());
    let refused = shaken.client().allow(LIMIT_FIELDS).get("/resumed");
    assert_eq!(refused.status(), 429, "the same caller, whatever connection it comes on");
    assert_eq!(tollgate.record_of("/resumed")["user"], "erin");
    let strangers = Authority::new("Strangers");
    let mallory = strangers.issue_as("mallory", &Wanted::of(&["m.test"]).common_name("erin"));
    for shown in [None, Some(&mallory)] {
        let connector = TlsConnector::trusting(&authority.file(), shown);
        let stream = TcpStream::connect(address).unwrap();
        // TLS 1.3 tells a client only after its part of the handshake.
        let served = connector.over(stream, NAME).and_then(|shaken| shaken.client().try_get("/stranger"));
        served.expect_err("a stranger was served");
    }
    wait_for_metric(&tollgate, &failures("client_certificate"), 2.0);
    let names: Vec<String> = origin.received().into_iter().map(|request| request.target).collect();
    assert!(!names.contains(&"/stranger".to_owned()), "{names:?}");
}

const LIMIT_FIELDS: &[&str] =
    &["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

#[test]
fn where_a_certificate_is_only_asked_for_others_are_anonymous_and_no_field_names_them() {
    let origin = echoing();
    let (authority, issued) = certified();
    let clients = Authority::new("Clients");
    let uri = rcgen::SanType::URI("spiffe://test/erin".try_into().unwrap());
    let erin = clients.issue_as("erin", &Wanted::of(&["erin.test"]).name(uri));
    let lines = format!(
        "{}client_ca = \"{}\"\nclient_auth = \"request\"\n",
        issued.lines(),
        clients.file().display()
    );
    let tollgate = Setup::before(origin.address())
        .table("[identity]\nsources = [\"certificate\"]\ncertificate.name = \"san_uri\"\n")
        .tls(&lines)
        .start();
    let address = tollgate.secure_address();
    TlsConnector::trusting(&authority.file(), Some(&erin)).connect(address, NAME).get("/erin");
    assert_eq!(tollgate.record_of("/erin")["user"], "spiffe://test/erin");
    let mut anonymous = authority.connector().connect(address, NAME);
    let fields = "X-User: erin\r\nX-SSL-Client-CN: erin\r\nX-Forwarded-Client-Cert: erin\r\n";
    anonymous.request("GET", "/anonymous", fields);
    assert!(tollgate.record_of("/anonymous").get("user").is_none());
    tollgate.client().request("GET", "/plain", fields);
    assert!(tollgate.record_of("/plain").get("user").is_none());
    let nameless = clients.issue("nameless", &["erin.test"]);
    TlsConnector::trusting(&authority.file(), Some(&nameless)).connect(address, NAME).get("/nameless");
    assert!(tollgate.record_of("/nameless").get("user").is_none(), "it has no name of the kind");
}

#[test]
fn the_end_of_a_whole_answer_is_said_and_that_of_a_cut_one_is_not() {
    let (authority, issued) = certified();
    let whole = Origin::answering_once(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
    );
    let cut = Origin::answering_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncut\r\n");
    // An HTTP/1.0 client knows the end of an answer by that of the connection alone.
    let request = "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n";
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let connector = TlsConnector::speaking(&authority.file(), None, versions);
        let tollgate = Setup::before(whole.address()).tls(&issued.lines()).start();
        let mut client = connector.connect(tollgate.secure_address(), NAME);
        client.send(request);
        let answer = client.response();
        assert_eq!((answer.text().as_str(), answer.body.cut), ("whole", None));
        let tollgate = Setup::before(cut.address()).streaming().tls(&issued.lines()).start();
        let mut client = connector.connect(tollgate.secure_address(), NAME);
        client.send(request);
        // A reset may overtake what was sent of it.
        if let Some(answer) = client.assert_cut() {
            assert!(matches!(answer.body.cut, Some(Ending::Reset | Ending::Torn)), "{answer:?}");
        }
    }
}

#[test]
fn a_connection_that_is_idle_for_too_long_is_ended_in_peace() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate =
        Setup::before(origin.address()).listen("keepalive_timeout = \"2s\"").tls(&issued.lines()).start();
    let mut client = authority.connector().connect(tollgate.secure_address(), NAME);
    assert_eq!(client.get("/").text(), "/");
    assert_eq!(client.end(), Ending::Closed);
}

#[test]
fn a_refused_request_is_answered_though_its_client_sends_on() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).tls(&issued.lines()).start();
    let mut client = authority.connector().connect(tollgate.secure_address(), NAME);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    let _ = client.try_send(vec![b'x'; 200_000]);
    client.response().assert_local(400, "bad_request");
    assert_eq!(client.end(), Ending::Closed);
}

#[test]
fn large_bodies_go_both_ways_whole() {
    let body: String = "0123456789abcdef".repeat(200_000);
    let answer = ok(&body);
    let origin = Origin::answering(answer);
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).tls(&issued.lines()).start();
    let mut client = authority.connector().connect(tollgate.secure_address(), NAME);
    client.send(crate::harness::client::post("/up", body.as_bytes()));
    assert!(client.response().text() == body);
    let record = tollgate.record_of("/up");
    assert_eq!(record["outcome"], "complete");
    assert!(origin.only_request().body.bytes == body.as_bytes());
}

#[test]
fn a_client_that_stops_reading_is_cut_and_its_answer_has_left_the_app() {
    let (authority, issued) = certified();
    let body = vec![b'x'; 8 << 20];
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let origin = Origin::answering(answer);
    let tollgate = Setup::before(origin.address())
        .listen("send_timeout = \"2s\"")
        .upstream("buffer_response = \"16MiB\"")
        .tls(&issued.lines())
        .start();
    let stream = TcpStream::connect(tollgate.secure_address()).unwrap();
    let mut client = authority.connector().over(stream, NAME).unwrap().client();
    client.wire().socket().narrow();
    client.send(get("/slow"));
    let record = tollgate.record_of("/slow");
    assert_eq!(record["outcome"], "request_timeout", "{record:#}");
    let (_, ending) = client.wire().rest();
    assert!(matches!(ending, Ending::Reset | Ending::Torn), "{ending:?}");
}

#[test]
fn a_drain_does_not_wait_for_handshakes_that_stall() {
    let origin = echoing();
    let (authority, issued) = certified();
    let lines = format!("{}handshake_timeout = \"300s\"\n", issued.lines());
    let mut tollgate = Setup::before(origin.address()).tls(&lines).start();
    let _stalled = TcpStream::connect(tollgate.secure_address()).unwrap();
    let mut client = authority.connector().connect(tollgate.secure_address(), NAME);
    assert_eq!(client.get("/").text(), "/");
    assert_eq!(tollgate.stop(), 0);
    assert_eq!(client.end(), Ending::Closed);
}

#[test]
fn openssl_and_curl_speak_with_it() {
    let origin = echoing();
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).tls(&issued.lines()).start();
    let (host, port) = tollgate.secure_address().rsplit_once(':').unwrap();
    let url = format!("https://{NAME}:{port}/by-curl");
    let answered = Command::new("curl")
        .args(["--silent", "--show-error", "--http1.1", "--noproxy", "*", "--cacert"])
        .arg(authority.file())
        .args(["--resolve", &format!("{NAME}:{port}:{host}"), &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout), "/by-curl", "{answered:?}");
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", tollgate.secure_address(), "-servername", NAME, flag])
            .args(["-quiet", "-verify_return_error", "-CAfile"])
            .arg(authority.file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let path = format!("/{version}");
        write!(stdin, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.ends_with(&path), "{output:?}");
        assert_eq!(tollgate.record_of(&path)["tls"], version);
    }
    for old in ["-tls1", "-tls1_1"] {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", tollgate.secure_address(), old, "-cipher", "ALL:@SECLEVEL=0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
    }
}

#[test]
fn sslscan_finds_nothing_weak() {
    let (_authority, issued) = certified();
    let tollgate = Setup::before("127.0.0.1:9").tls(&issued.lines()).start();
    let output = Command::new("sslscan")
        .args(["--no-colour", "--show-certificate", tollgate.secure_address()])
        .output()
        .expect("sslscan is there");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let state = text.lines().find_map(|found| found.strip_prefix(line)?.split_whitespace().next());
        assert_eq!(state, Some("disabled"), "{line} in\n{text}");
    }
    let accepted: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted"))
        .map(|line| line.split_whitespace().nth(4).unwrap())
        .collect();
    assert!(accepted.len() >= 6, "{text}");
    for suite in accepted {
        let is_1_3 = suite.starts_with("TLS_");
        let is_strong = suite.starts_with("ECDHE-") && (suite.contains("GCM") || suite.contains("CHACHA20"));
        assert!(is_1_3 || is_strong, "{suite} in\n{text}");
    }
    assert!(text.contains("Session renegotiation not supported"), "{text}");
    assert!(
        !text.contains(" vulnerable to heartbleed") || text.contains("not vulnerable to heartbleed"),
        "{text}"
    );
}

#[test]
fn check_reads_the_files_that_are_named_if_it_is_asked_to() {
    let (authority, issued) = certified();
    let other = authority.issue("other", &[NAME]);
    std::fs::copy(&other.private_key, &issued.private_key).unwrap();
    let scratch = Scratch::new();
    let file = scratch.file("tollgate.toml");
    let table = format!("[listen.tls]\naddress = \"127.0.0.1:8443\"\n{}", issued.lines());
    std::fs::write(&file, format!("{table}\n[upstream]\naddress = \"127.0.0.1:9\"\n")).unwrap();
    let check =
        |options: &[&str]| Command::new(binary()).arg("check").args(options).arg(&file).output().unwrap();
    assert_eq!(check(&[]).status.code(), Some(0));
    let found = check(&["--files"]);
    let said = String::from_utf8_lossy(&found.stderr);
    assert_eq!(found.status.code(), Some(78), "{said}");
    assert!(said.contains(issued.private_key.to_str().unwrap()), "{said}");
    issued.replace(&other);
    assert_eq!(check(&["--files"]).status.code(), Some(0));
}

#[test]
fn http2_is_agreed_on_by_alpn_and_carries_large_answers_whole() {
    const SIZE: usize = 3_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let origin = Origin::answering(head + &"x".repeat(SIZE));
    let (authority, issued) = certified();
    let tollgate = Setup::before(origin.address()).tls(&issued.lines()).start();
    let (_, port) = tollgate.secure_address().rsplit_once(':').unwrap();
    let curl = |version: &str| {
        let curl = Command::new("curl")
            .args(["--silent", "--show-error", version, "--noproxy", "*", "--cacert"])
            .arg(authority.file())
            .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1"), "--output", "/dev/null"])
            .args([
                "--write-out",
                "%{http_version} %{size_download}",
                &format!("https://{NAME}:{port}/large"),
            ])
            .output()
            .unwrap();
        assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
        String::from_utf8_lossy(&curl.stdout).into_owned()
    };
    assert_eq!(curl("--http2"), format!("2 {SIZE}"));
    assert_eq!(curl("--http1.1"), format!("1.1 {SIZE}"));
    let records = tollgate.wait_for_records(2);
    assert!(records.iter().all(|record| record["outcome"] == "complete" && record["tls"] == "TLSv1.3"));
}
