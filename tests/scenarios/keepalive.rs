//! Downstream connections: several requests on one, one after another and all at once.

use super::echoing;
use crate::harness::client::{get, post};
use crate::harness::{Client, Ending, Setup, Tollgate};

#[test]
fn a_connection_carries_one_request_after_another() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    for number in 0..20 {
        let response = client.get(&format!("/{number}"));
        assert_eq!(response.text(), format!("/{number}"));
        assert!(!response.head.closes());
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let requests: String = (0..50).map(|number| get(&format!("/{number}"))).collect();
    client.send(requests);
    for number in 0..50 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn a_pipelined_request_may_follow_a_body() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(
        "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         GET /three HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for target in ["/one", "/two", "/three"] {
        assert_eq!(client.response().text(), target);
    }
    let bodies = origin.received().into_iter().map(|request| request.body.bytes);
    assert_eq!(bodies.collect::<Vec<_>>(), [&b"abc"[..], b"abc", b""]);
}

#[test]
fn a_request_may_come_one_byte_at_a_time() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let request = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for byte in request {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "/slow");
    assert_eq!(origin.only_request().body.bytes, b"abc");
}

#[test]
fn a_client_that_asks_for_it_gets_its_connection_closed() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let response = client.request("GET", "/", "Connection: close\r\n");
    assert_eq!(response.text(), "/");
    assert!(response.head.closes());
    assert_eq!(client.end(), Ending::Closed);
    assert!(!origin.only_request().headers.has("connection"));
}

#[test]
fn a_client_of_http_1_0_gets_one_answer_and_the_close() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET /old HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "/old");
    assert_eq!(client.end(), Ending::Closed);
    assert_eq!(origin.only_request().version, "HTTP/1.1");
}

#[test]
fn every_kind_of_address_is_served_at_once() {
    let origin = echoing();
    let setup = Setup::before(origin.address());
    let socket = format!("unix:{}", setup.file("tollgate.sock").display());
    let addresses = format!("[\"127.0.0.1:0\", \"[::1]:0\", \"{socket}\"]");
    let tollgate = setup.address(addresses).workers(2).start();
    assert_eq!(tollgate.addresses().len(), 3, "{:?}", tollgate.addresses());
    for address in tollgate.addresses() {
        assert_eq!(Client::connect(address).get("/here").text(), "/here", "{address}");
    }
    assert!(tollgate.addresses().contains(&socket));
    assert!(tollgate.addresses().iter().any(|address| address.starts_with("[::1]:")));
}

#[test]
fn several_workers_serve_many_connections() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).workers(3).start();
    let mut clients: Vec<Client> = (0..60).map(|_| tollgate.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(get(&format!("/{number}")));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    tollgate.wait_for_records(60);
}

#[test]
fn an_idle_connection_is_still_served_after_its_buffers_were_given_back() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/before").text(), "/before");
    // A connection gives its buffers back after a second; nothing tells when it has.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(client.get("/after").text(), "/after");
    client
        .send_pieces(&[b"GET /piece HT", b"TP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert_eq!(client.response().text(), "/piece");
    assert_eq!(client.response().text(), "/next");
}

#[test]
fn an_empty_line_behind_a_body_does_not_end_the_connection() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("keepalive_timeout = \"4s\"").start();
    let mut client = tollgate.client();
    client.send([&post("/first", b"abc")[..], b"\r\n"].concat());
    assert_eq!(client.response().text(), "/first");
    // Longer than it takes to be parked: whatever came of the line has come.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(!client.wire().socket().peeked(), "the connection was ended");
    assert_eq!(client.get("/second").text(), "/second");
}
