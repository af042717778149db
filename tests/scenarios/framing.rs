//! Strict framing: a request reaches the app as exactly one request, or not at all.

use super::echoing;
use crate::harness::Tollgate;
use crate::harness::client::get;

/// Each is refused with 400 and the close, and nothing of it reaches the app.
const REFUSED: &[(&str, &[u8])] = &[
    // Two framings, in both orders.
    ("length, then coding", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("coding, then length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("coding and a length of zero", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
    // Codings.
    ("coding on HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("another coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("identity with a length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"),
    ("stacked codings", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice in one line", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice in two lines", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two codings in two lines", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked first", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("an empty list member", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    ("an empty coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    ("a coding with a parameter", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("a quoted coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a vertical tab before the coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a no-break space before the coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    ("a coding that only begins alike", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"),
    // Lengths.
    ("differing lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
    ("the same length twice", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("differing lengths in a list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 3\r\n\r\nokk"),
    ("an empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nok"),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nok"),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nok"),
    ("a fraction", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2.0\r\n\r\nok"),
    ("digits with a separator", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n0123456789"),
    ("a length in two parts", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\n0123456789"),
    ("a length beyond all integers", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nok"),
    ("a trailing comma", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2,\r\n\r\nok"),
    // Lines.
    ("bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    ("bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare CR behind the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    ("bare CR in a field", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rTransfer-Encoding: chunked\r\n\r\n"),
    ("bare CR behind a field", b"GET / HTTP/1.1\r\nHost: a\rX-A: b\r\n\r\n"),
    ("two CR before LF", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    ("a folded field", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
    ("a field folded by a tab", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n\r\n"),
    ("a fold before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n"),
    ("a tab before the colon", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 2\r\n\r\nok"),
    ("a space before the coding's colon", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a field without a colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("a field without a name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("a space in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n"),
    ("a byte above ASCII in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX-\xc3\xa9: b\r\n\r\n"),
    ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX-\0: b\r\n\r\n"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
    ("a control character in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\x01c\r\n\r\n"),
    // Host.
    ("no Host", b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("the same Host twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a Host with user information", b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    ("a Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a Host with a bad port", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
    ("a Host with letters as port", b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n"),
    ("a Host list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("an unclosed bracket in Host", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    ("bytes above ASCII in Host", b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n"),
    ("absolute form with another Host", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
    ("absolute form with another port", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form without Host", b"GET http://a/ HTTP/1.1\r\n\r\n"),
    // The request line.
    ("garbage", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"),
    ("no version", b"GET /\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a tab as separator", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("a method that is no token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target without a slash", b"GET path HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("an asterisk for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("authority form for GET", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a control character in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
];

#[test]
fn an_ambiguous_or_malformed_request_is_refused_and_nothing_of_it_reaches_the_app() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut failures = Vec::new();
    for (name, request) in REFUSED {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut client = tollgate.client();
            client.send(request);
            let response = client.response();
            response.assert_local(400, "bad_request");
            assert!(response.head.closes(), "the answer does not announce the close");
            client.end();
        }));
        if outcome.is_err() {
            failures.push(*name);
        }
    }
    assert!(failures.is_empty(), "not refused as they should be: {failures:#?}");
    let seen: Vec<_> = origin.received().into_iter().map(|request| request.target).collect();
    assert!(seen.is_empty(), "reached the app: {seen:?}");
    assert_eq!(tollgate.client().get("/good").text(), "/good");
}

#[test]
fn a_good_request_before_a_bad_one_is_answered_first() {
    for (name, request) in REFUSED {
        let origin = echoing();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send([get("/good").as_bytes(), request].concat());
        assert_eq!(client.response().text(), "/good", "{name}");
        client.response().assert_local(400, "bad_request");
        client.end();
        assert_eq!(origin.only_request().target, "/good", "{name}");
    }
}

#[test]
fn unusual_but_valid_requests_pass_with_one_meaning() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    for (request, target, host, body) in [
        ("GET / HTTP/1.1\r\nHOST:a\r\n\r\n", "/", "a", ""),
        ("GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", "/", "a", ""),
        ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "/", "[::1]:8080", ""),
        ("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x?y", "a", ""),
        ("GET http://A:80/ HTTP/1.1\r\nHost: A:80\r\n\r\n", "/", "A:80", ""),
        ("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n", "/?q", "a", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nok", "/", "a", "ok"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "/",
            "a",
            "ok",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0\r\n\r\n",
            "/",
            "a",
            "ok",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-High: \u{e9}\r\n\r\n", "/", "a", ""),
    ] {
        let before = origin.received().len();
        let mut client = tollgate.client();
        client.send(request);
        assert_eq!(client.response().text(), target, "{request:?}");
        let received = origin.wait_for_requests(before + 1).pop().unwrap();
        assert_eq!(received.headers.get("host").as_deref(), Some(host), "{request:?}");
        assert_eq!(received.body.bytes, body.as_bytes(), "{request:?}");
    }
}

#[test]
fn a_malformed_chunk_ends_the_exchange_and_reaches_the_app_as_no_whole_request() {
    for chunk in [
        &b"zz\r\n"[..],
        b"-1\r\n",
        b"0x2\r\nok\r\n",
        b"2\r\nokok\r\n",
        b"2\nok\n",
        b"fffffffffffffffff\r\n",
        b"2 2\r\nok\r\n",
        b"\r\n",
        b"2\r\nokX\r\n",
        b"1_0\r\n",
    ] {
        let shown = String::from_utf8_lossy(chunk).into_owned();
        let origin = echoing();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        client.send(chunk).finish_sending();
        let (answer, _) = client.wire().rest();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{shown:?} was answered with {answer:?}"
        );
        let whole = origin.received().into_iter().filter(|request| request.body.cut.is_none());
        assert_eq!(whole.count(), 0, "{shown:?} reached the app as a whole request");
        assert_eq!(tollgate.record_of("/bad")["fault"], "downstream", "{shown:?}");
    }
}

#[test]
fn a_client_that_leaves_in_its_body_never_completes_the_request() {
    for head in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let origin = echoing();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(format!("POST /half HTTP/1.1\r\nHost: a\r\n{head}"));
        drop(client);
        let record = tollgate.record_of("/half");
        assert_eq!(record["fault"], "downstream");
        let whole = origin.received().into_iter().filter(|request| request.body.cut.is_none());
        assert_eq!(whole.count(), 0);
    }
}

#[test]
fn trailers_that_are_no_fields_are_a_bad_request() {
    let many = "T: 1\r\n".repeat(150);
    for trailers in ["no colon\r\n", "Space : before\r\n", "T: a\0b\r\n", " folded\r\n", &many] {
        let origin = super::echoing();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n");
        client.send(format!("{trailers}\r\n"));
        client.response().assert_local(400, "bad_request");
        assert_eq!(tollgate.record_of("/bad")["outcome"], "bad_request", "{trailers:?}");
    }
}
