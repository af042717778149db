//! Routes: the most specific wins, matched on the path the app will see, which still gets the
//! original bytes.

use super::echoing;
use crate::harness::{Origin, Setup, Tollgate};

const ROUTES: &str = r#"
[[routes]]
name = "rest"
match = "/*"

[[routes]]
name = "item"
match = "GET /items/{id}"

[[routes]]
name = "special"
match = ["GET /items/special", "PUT /items/special"]

[[routes]]
name = "tree"
match = "/items/*"

[[routes]]
name = "query"
match = ["POST /api/v1/query", "POST /api/v1/enhanced"]

[[routes]]
name = "deep"
match = "/a/{b}/c/{d}"
"#;

fn routed(origin: &Origin) -> Tollgate {
    Setup::before(origin.address()).table(ROUTES).start()
}

#[test]
fn the_most_specific_route_wins_and_names_the_record() {
    let origin = echoing();
    let tollgate = routed(&origin);
    let mut client = tollgate.client();
    for (method, target, route) in [
        ("GET", "/items/7", "item"),
        ("POST", "/items/8", "tree"),
        ("GET", "/items/special", "special"),
        ("PUT", "/items/special", "special"),
        ("DELETE", "/items/special", "tree"),
        ("GET", "/items/7/parts", "tree"),
        ("POST", "/api/v1/query", "query"),
        ("POST", "/api/v1/enhanced", "query"),
        ("GET", "/api/v1/query", "rest"),
        ("GET", "/a/1/c/2", "deep"),
        ("GET", "/a/1/x/2", "rest"),
        ("GET", "/Items/7", "rest"),
        ("GET", "/", "rest"),
        ("GET", "/items/7?id=special", "item"),
    ] {
        let before = tollgate.records().len();
        assert_eq!(client.request(method, target, "").status(), 200);
        let record = &tollgate.wait_for_records(before + 1)[before];
        assert_eq!(record["route"], route, "{method} {target}");
        assert_eq!(record["path"], target.split('?').next().unwrap());
    }
}

#[test]
fn matching_sees_the_path_as_the_app_will_and_the_app_gets_the_original() {
    let origin = echoing();
    let tollgate = routed(&origin);
    let mut client = tollgate.client();
    for (target, route) in [
        ("/%69tems/7", "item"),
        ("/items/%73pecial", "special"),
        ("/x/../items/special", "special"),
        ("/x/%2e%2e/items/special", "special"),
        ("/./items/./special", "special"),
        ("/items/x/../special", "special"),
        ("/items/%7Especial", "item"),
        ("/items/a%20b", "item"),
    ] {
        let before = tollgate.records().len();
        let response = client.get(target);
        assert_eq!(response.text(), target, "the app got other bytes");
        assert_eq!(tollgate.wait_for_records(before + 1)[before]["route"], route, "{target}");
    }
}

#[test]
fn ambiguous_paths_are_refused() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    for target in [
        "/a%00b",
        "/a\\b",
        "/a%5cb",
        "/a%5Cb",
        "/a%2fb",
        "/a%2Fb",
        "/a%",
        "/a%2",
        "/a%zz",
        "/%u002e",
        "/..",
        "/a/../../b",
        "/%2e%2e/b",
    ] {
        let mut client = tollgate.client();
        let response = client.get(target);
        assert_eq!(response.status(), 400, "{target}: {response:#?}");
        response.assert_local(400, "bad_request");
    }
    assert_eq!(origin.received().len(), 0);
}

#[test]
fn a_request_without_a_route_is_not_found_and_keeps_its_connection() {
    let origin = echoing();
    let tollgate =
        Setup::before(origin.address()).table("[[routes]]\nname = \"api\"\nmatch = \"GET /api/*\"").start();
    let mut client = tollgate.client();
    for (method, target) in [("GET", "/other"), ("POST", "/api/x"), ("GET", "/apix")] {
        let response = client.request(method, target, "");
        response.assert_local(404, "not_found");
        assert!(!response.head.closes());
    }
    assert_eq!(client.get("/api/x").text(), "/api/x");
    let record = tollgate.record_of("/other");
    assert_eq!((&record["status"], &record["fault"]), (&404.into(), &"downstream".into()));
    assert!(record["route"].is_null(), "{record}");
}

#[test]
fn without_routes_everything_belongs_to_one() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.get("/one");
    client.request("DELETE", "/two/three", "");
    let records = tollgate.wait_for_records(2);
    assert_eq!(records[0]["route"], records[1]["route"]);
    assert!(records[0]["route"].is_string());
}

#[test]
fn a_route_has_its_own_limits() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .listen("max_body = \"10B\"")
        .table("[[routes]]\nname = \"upload\"\nmatch = \"POST /upload\"\nmax_body = \"100B\"")
        .table("[[routes]]\nname = \"rest\"\nmatch = \"/*\"")
        .start();
    let body = [b'x'; 50];
    let mut client = tollgate.client();
    client.send(crate::harness::client::post("/upload", &body));
    assert_eq!(client.response().status(), 200);
    client.send(crate::harness::client::post("/other", &body));
    client.response().assert_local(413, "payload_too_large");
}

#[test]
fn a_body_refused_by_a_route_is_recorded_under_its_name() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"small\"\nmatch = \"/*\"\nmax_body = \"10B\"")
        .start();
    let mut client = tollgate.client();
    client.send(crate::harness::client::post("/large", &[b'x'; 50]));
    client.response().assert_local(413, "payload_too_large");
    assert_eq!(tollgate.record_of("/large")["route"], "small");
}
