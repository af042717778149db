//! The PROXY protocol: who may tell whose a connection is, and what follows from it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::echoing;
use crate::harness::client::get;
use crate::harness::socket::Socket;
use crate::harness::{Authority, Client, Ending, Origin, PATIENCE, Setup, Tollgate};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The second version, for a client with this address.
fn v2(client: [u8; 4]) -> Vec<u8> {
    [V2, &[0x21, 0x11, 0, 12], &client, &[127, 0, 0, 1, 0xc0, 0, 0x1f, 0x90]].concat()
}

/// The first version, for a client with this address.
fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 49152 8080\r\n").into_bytes()
}

/// What a load balancer's health check begins with.
fn local() -> Vec<u8> {
    [V2, &[0x20, 0, 0, 0]].concat()
}

fn headed(origin: &Origin) -> Setup {
    Setup::before(origin.address()).listen("proxy_protocol = true")
}

/// A connection that begins with these bytes.
fn beginning(tollgate: &Tollgate, bytes: &[u8]) -> Client {
    let mut client = tollgate.client();
    client.send(bytes);
    client
}

fn wait_for_sample(tollgate: &Tollgate, sample: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        // What operators ask has listeners of its own.
        let text = tollgate.operator().get("/metrics").text;
        if text.lines().any(|line| line == sample) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "no `{sample}` in\n{text}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn refused(reason: &str, count: usize) -> String {
    format!("tollgate_proxy_protocol_refusals_total{{reason=\"{reason}\"}} {count}")
}

#[test]
fn the_client_is_whom_the_header_names_in_both_versions() {
    let origin = echoing();
    let tollgate = headed(&origin).start();
    for (header, path, client) in [
        (v1("192.0.2.1"), "/one", "192.0.2.1"),
        (v2([192, 0, 2, 2]), "/two", "192.0.2.2"),
        (local(), "/local", "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "/unknown", "127.0.0.1"),
    ] {
        let mut connection = beginning(&tollgate, &header);
        assert_eq!(connection.get(path).text(), path);
        assert_eq!(connection.get("/again").text(), "/again", "a header comes once");
        assert_eq!(tollgate.record_of(path)["client_addr"], client);
        let sent = origin.received().into_iter().find(|request| request.target == path).unwrap();
        assert_eq!(sent.headers.get("x-forwarded-for").as_deref(), Some(client));
    }
}

#[test]
fn not_one_byte_behind_a_header_is_lost_however_it_comes() {
    let origin = echoing();
    let tollgate = headed(&origin).start();
    for header in [v1("192.0.2.1"), v2([192, 0, 2, 1])] {
        let whole = [&header[..], get("/whole").as_bytes()].concat();
        assert_eq!(beginning(&tollgate, &whole).response().text(), "/whole");
        let mut client = tollgate.client();
        for byte in &whole {
            client.send([*byte]);
        }
        assert_eq!(client.response().text(), "/whole");
        for cut in [1, 5, header.len() - 1, header.len(), header.len() + 1] {
            let mut client = beginning(&tollgate, &whole[..cut]);
            client.send(&whole[cut..]);
            assert_eq!(client.response().text(), "/whole");
        }
    }
    let long = {
        let tlv = [&[0xea, 0x0f, 0x00], &vec![b'x'; 0x0f00][..]].concat();
        let length = u16::try_from(12 + tlv.len()).unwrap().to_be_bytes();
        [V2, &[0x21, 0x11], &length, &[192, 0, 2, 3, 127, 0, 0, 1, 0, 1, 0, 2], &tlv].concat()
    };
    let mut client = beginning(&tollgate, &long);
    assert_eq!(client.get("/long").text(), "/long");
    assert_eq!(tollgate.record_of("/long")["client_addr"], "192.0.2.3");
}

#[test]
fn a_client_that_is_named_is_not_trusted_for_what_it_says_of_others() {
    let origin = echoing();
    let tollgate = headed(&origin).start();
    let mut client = beginning(&tollgate, &v2([192, 0, 2, 1]));
    client.request("GET", "/liar", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!(tollgate.record_of("/liar")["client_addr"], "192.0.2.1");
    let sent = origin.received().remove(0);
    assert_eq!(sent.headers.get("x-forwarded-for").as_deref(), Some("192.0.2.1"));
    assert_eq!(sent.headers.get("x-forwarded-proto").as_deref(), Some("http"));
    // A proxy that is behind the load balancer, and trusted itself.
    let mut proxy = beginning(&tollgate, &v2([127, 0, 0, 1]));
    proxy.request("GET", "/proxy", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(tollgate.record_of("/proxy")["client_addr"], "203.0.113.9");
}

#[test]
fn who_is_no_trusted_proxy_is_reset_and_so_is_who_sends_no_header() {
    let origin = echoing();
    let tollgate = headed(&origin).admin("").start();
    let stranger = Socket::connect_from([127, 0, 0, 2], tollgate.address()).unwrap();
    let mut stranger = Client::over(stranger);
    let _ = stranger.try_send([&v2([192, 0, 2, 1])[..], get("/stranger").as_bytes()].concat());
    assert!(matches!(stranger.end(), Ending::Reset | Ending::Closed));
    for bytes in [&b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x16\x03\x01", b"PROXY TCP4 x\r\n"] {
        assert_eq!(beginning(&tollgate, bytes).end(), Ending::Reset);
    }
    // As checks of load balancers do that know only connections.
    for _ in 0..3 {
        TcpStream::connect(tollgate.address()).unwrap().shutdown(Shutdown::Both).unwrap();
    }
    wait_for_sample(&tollgate, &refused("untrusted", 1));
    wait_for_sample(&tollgate, &refused("malformed", 3));
    wait_for_sample(&tollgate, &refused("peer_left", 3));
    let told = tollgate
        .events()
        .into_iter()
        .filter(|event| event["message"].as_str().unwrap_or_default().contains("PROXY protocol"));
    let told: Vec<_> = told.collect();
    assert_eq!((told.len(), &told[0]["reason"]), (1, &"untrusted".into()), "{told:#?}");
    assert!(origin.received().is_empty());
    assert_eq!(beginning(&tollgate, &local()).get("/").text(), "/", "others are served");
}

#[test]
fn a_header_that_does_not_come_in_time_is_not_waited_for() {
    let origin = echoing();
    let tollgate = headed(&origin).listen("header_timeout = \"1s\"").admin("").start();
    let mut waiting: Vec<Client> = [&b""[..], b"PROXY ", &V2[..7], &v2([192, 0, 2, 1])[..20]]
        .map(|bytes| beginning(&tollgate, bytes))
        .into();
    assert_eq!(beginning(&tollgate, &local()).get("/").text(), "/", "nobody waits for them");
    for client in &mut waiting {
        assert_eq!(client.end(), Ending::Reset);
    }
    wait_for_sample(&tollgate, &refused("timeout", 4));
}

#[test]
fn connections_are_counted_for_whom_the_header_names() {
    let origin = echoing();
    let tollgate = headed(&origin).listen("max_connections_per_ip = 2").start();
    let mut held: Vec<Client> = (0..2).map(|_| beginning(&tollgate, &v2([192, 0, 2, 1]))).collect();
    for client in &mut held {
        assert_eq!(client.get("/held").text(), "/held");
    }
    assert_eq!(beginning(&tollgate, &v2([192, 0, 2, 1])).end(), Ending::Reset);
    assert_eq!(beginning(&tollgate, &v2([192, 0, 2, 2])).get("/other").text(), "/other");
    // The load balancer's own are not counted.
    let mut checks: Vec<Client> = (0..5).map(|_| beginning(&tollgate, &local())).collect();
    for check in &mut checks {
        assert_eq!(check.get("/check").text(), "/check");
    }
}

#[test]
fn a_header_goes_before_tls() {
    let origin = echoing();
    let authority = Authority::new("Test Authority");
    let issued = authority.issue("server", &["api.test"]);
    let tollgate = headed(&origin).tls(&issued.lines()).start();
    for (number, pause_behind) in [false, true].into_iter().enumerate() {
        let mut stream = TcpStream::connect(tollgate.secure_address()).unwrap();
        let header = v2([192, 0, 2, 40 + u8::try_from(number).unwrap()]);
        if pause_behind {
            // The hello comes in the same segment as the end of the header, or in another.
            stream.write_all(&header[..9]).unwrap();
            stream.write_all(&header[9..]).unwrap();
        } else {
            stream.write_all(&header).unwrap();
        }
        let mut client = authority.connector().over(stream, "api.test").unwrap().client();
        let path = format!("/{number}");
        assert_eq!(client.get(&path).text(), path);
        let record = tollgate.record_of(&path);
        assert_eq!(
            (&record["client_addr"], &record["tls"]),
            (&format!("192.0.2.4{number}").into(), &"TLSv1.3".into())
        );
    }
    let mut bare = TcpStream::connect(tollgate.secure_address()).unwrap();
    bare.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    assert!(bare.read(&mut [0; 8]).is_err(), "a reset");
}

#[test]
fn a_unix_socket_begins_with_a_header_too() {
    let origin = echoing();
    let setup = headed(&origin);
    let path = setup.file("http.sock");
    let tollgate = setup.address(format!("\"unix:{}\"", path.display())).start();
    assert_eq!(beginning(&tollgate, &v1("192.0.2.1")).get("/unix").text(), "/unix");
    assert_eq!(tollgate.record_of("/unix")["client_addr"], "192.0.2.1");
}

#[test]
fn a_reload_begins_and_ends_it_for_new_connections() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).start();
    let mut open = tollgate.client();
    assert_eq!(open.get("/open").text(), "/open");
    let text = tollgate.config_text();
    let with = text.replace("[listen]\n", "[listen]\nproxy_protocol = true\n");
    assert_eq!(tollgate.reload(&with).last().unwrap()["message"], "reloaded");
    assert_eq!(open.get("/still").text(), "/still");
    assert_eq!(beginning(&tollgate, &v1("192.0.2.1")).get("/headed").text(), "/headed");
    assert_eq!(tollgate.record_of("/headed")["client_addr"], "192.0.2.1");
    assert_eq!(tollgate.reload(&text).last().unwrap()["message"], "reloaded");
    assert_eq!(tollgate.client().get("/bare").text(), "/bare");
}
