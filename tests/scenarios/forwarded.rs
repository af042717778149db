//! The client's address and the forwarded fields: believed from trusted proxies, set once.

use super::echoing;
use crate::harness::client::get;
use crate::harness::{Client, Origin, Setup, Tollgate};

fn behind(origin: &Origin, trusted: &str) -> Tollgate {
    Setup::before(origin.address()).listen(&format!("trusted_proxies = {trusted}")).start()
}

#[test]
fn the_client_is_found_from_the_right_past_trusted_hops() {
    let origin = echoing();
    let tollgate = behind(&origin, r#"["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"]"#);
    let mut client = tollgate.client();
    for (number, (lines, expected)) in [
        (&["198.51.100.7"][..], "198.51.100.7"),
        (&["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (&["203.0.113.9, 198.51.100.7, 10.1.2.3"], "198.51.100.7"),
        (&["198.51.100.7,10.1.2.3,10.9.9.9"], "198.51.100.7"),
        (&["198.51.100.7", "10.1.2.3"], "198.51.100.7"),
        (&["203.0.113.9", "198.51.100.7, 10.0.0.1"], "198.51.100.7"),
        (&["198.51.100.7:4711"], "198.51.100.7"),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["[2001:db8::7]"], "2001:db8::7"),
        (&["[2001:db8::7]:4711"], "2001:db8::7"),
        (&["198.51.100.7, 2001:db8:1::5"], "198.51.100.7"),
        (&["  198.51.100.7 \t,\t10.0.0.1 "], "198.51.100.7"),
        (&["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (&[], "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let fields: String = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
        let path = format!("/{number}");
        assert_eq!(client.request("GET", &path, &fields).status(), 200);
        assert_eq!(tollgate.record_of(&path)["client_addr"], expected, "{lines:?}");
        let received = origin.received().pop().unwrap();
        let forwarded = received.headers.get("x-forwarded-for");
        assert_eq!(forwarded.as_deref(), Some(expected), "{lines:?}");
    }
}

#[test]
fn an_entry_that_is_no_address_ends_the_search() {
    let origin = echoing();
    let tollgate = behind(&origin, r#"["127.0.0.1", "10.0.0.0/8"]"#);
    let mut client = tollgate.client();
    for (number, line) in
        ["198.51.100.7, unknown, 10.0.0.1", "198.51.100.7, , 10.0.0.1", "198.51.100.7, _secret, 10.0.0.1"]
            .into_iter()
            .enumerate()
    {
        let path = format!("/{number}");
        client.request("GET", &path, &format!("X-Forwarded-For: {line}\r\n"));
        let address = tollgate.record_of(&path)["client_addr"].clone();
        assert_ne!(address, "198.51.100.7", "an entry beyond `{line}`'s gap was believed");
    }
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    let origin = echoing();
    let tollgate = behind(&origin, r#"["10.0.0.0/8"]"#);
    let fields = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 10.0.0.1\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 443\r\n";
    tollgate.client().request("GET", "/", fields);
    assert_eq!(tollgate.record_of("/")["client_addr"], "127.0.0.1");
    let headers = origin.only_request().headers;
    assert_eq!(headers.get("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(headers.get("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(headers.get("x-forwarded-host").as_deref(), Some("app.test"));
    assert_eq!(headers.get("x-forwarded-port").as_deref(), Some("80"));
}

#[test]
fn exactly_one_of_each_forwarded_field_is_set() {
    let origin = echoing();
    for trusted in ["[]", r#"["127.0.0.1"]"#] {
        let tollgate = behind(&origin, trusted);
        let before = origin.received().len();
        let fields = "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\
            X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
            X-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Port: 2\r\n";
        tollgate.client().request("GET", "/", fields);
        let headers = origin.received()[before].headers.clone();
        for name in ["for", "proto", "host", "port"] {
            let values = headers.all(&format!("x-forwarded-{name}"));
            assert_eq!(values.len(), 1, "X-Forwarded-{name}: {values:?}, trusting {trusted}");
            assert!(!values[0].contains(','), "X-Forwarded-{name}: {values:?}");
        }
    }
}

#[test]
fn what_a_client_could_fool_gunicorn_with_is_dropped() {
    let origin = echoing();
    for trusted in ["[]", r#"["127.0.0.1"]"#] {
        let tollgate = behind(&origin, trusted);
        let before = origin.received().len();
        let fields = "X-Forwarded-Protocol: ssl\r\nX-Forwarded-Ssl: on\r\nSCRIPT_NAME: /a\r\n\
            Script-Name: /a\r\nPATH_INFO: /b\r\nPath-Info: /b\r\nREMOTE_USER: root\r\n\
            Remote-User: root\r\nX_Forwarded_For: 1.2.3.4\r\nContent_Length: 9\r\nA_B: c\r\n\
            X-Kept: yes\r\n";
        tollgate.client().request("GET", "/", fields);
        let headers = origin.received()[before].headers.clone();
        let names: Vec<_> = headers.0.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.iter().all(|name| !name.contains('_')), "{names:?}");
        for name in ["x-forwarded-protocol", "x-forwarded-ssl"] {
            assert!(!headers.has(name), "{name} reached the app, trusting {trusted}");
        }
        assert_eq!(headers.get("x-kept").as_deref(), Some("yes"));
    }
}

#[test]
fn the_scheme_a_trusted_proxy_saw_is_passed_on() {
    let origin = echoing();
    let tollgate = behind(&origin, r#"["127.0.0.1"]"#);
    let mut client = tollgate.client();
    for (fields, expected) in [
        ("X-Forwarded-Proto: https\r\n", "https"),
        ("X-Forwarded-Proto: http\r\n", "http"),
        ("X-Forwarded-Proto: HTTPS\r\n", "https"),
        ("X-Forwarded-Proto: gopher\r\n", "http"),
        ("", "http"),
    ] {
        client.request("GET", "/", fields);
        let headers = origin.received().pop().unwrap().headers;
        assert_eq!(headers.get("x-forwarded-proto").as_deref(), Some(expected), "{fields:?}");
    }
}

#[test]
fn the_peer_of_a_unix_socket_is_trusted() {
    let origin = echoing();
    let setup = Setup::before(origin.address());
    let socket = setup.file("tollgate.sock");
    let tollgate = setup.address(format!("\"unix:{}\"", socket.display())).start();
    let mut client = Client::connect(tollgate.address());
    client.request("GET", "/", "X-Forwarded-For: 198.51.100.7\r\n");
    assert_eq!(tollgate.record_of("/")["client_addr"], "198.51.100.7");
    assert_eq!(client.get("/plain").status(), 200);
    assert_eq!(tollgate.record_of("/plain")["client_addr"], "unix");
}

#[test]
fn the_app_is_told_of_the_hop_and_the_host_the_client_asked_for() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/"));
    client.response();
    let headers = origin.only_request().headers;
    assert_eq!(headers.get("host").as_deref(), Some("app.test"));
    let via = headers.get("via").expect("Via");
    assert!(via.starts_with("1.1 "), "{via}");
    client.request("GET", "/", "Via: 1.0 fred\r\n");
    let via = origin.received()[1].headers.all("via").join(", ");
    assert!(via.starts_with("1.0 fred, 1.1 "), "{via}");
}

#[test]
fn the_port_is_the_one_the_client_asked_for() {
    let origin = echoing();
    let tollgate = behind(&origin, "[\"127.0.0.1\"]");
    for (host, fields, port) in [
        ("app.test", "", "80"),
        ("app.test:8443", "", "8443"),
        ("app.test", "X-Forwarded-Proto: https\r\n", "443"),
        ("app.test", "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n", "8443"),
        ("app.test", "X-Forwarded-Host: other.test:81\r\n", "81"),
        ("app.test", "X-Forwarded-Port: none\r\n", "80"),
    ] {
        let mut client = tollgate.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        assert_eq!(client.response().status(), 200);
        let headers = origin.received().pop().unwrap().headers;
        assert_eq!(headers.get("x-forwarded-port").as_deref(), Some(port), "{host}, {fields:?}");
        assert_eq!(headers.get("host").as_deref(), Some(host));
    }
}
