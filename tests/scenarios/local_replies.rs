//! tollgate's own answers: their shapes, and what they never give away.

use super::echoing;
use crate::harness::origin::refused_address;
use crate::harness::{Setup, Tollgate};

#[test]
fn a_local_reply_is_json_and_carries_the_request_id() {
    let tollgate = Tollgate::before(&refused_address());
    let response = tollgate.client().get("/");
    response.assert_local(503, "upstream_unavailable");
    let id = response.header("x-request-id").unwrap();
    assert_eq!(tollgate.record_of("/")["request_id"], id);
}

#[test]
fn problem_details_on_request() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .table("[errors]\nformat = \"problem\"")
        .table("[[routes]]\nname = \"api\"\nmatch = \"/api/*\"")
        .start();
    let response = tollgate.client().get("/other");
    assert_eq!(response.status(), 404);
    assert_eq!(response.header("content-type").as_deref(), Some("application/problem+json"));
    let body = response.json();
    assert_eq!(body["status"], 404);
    assert_eq!(body["code"], "not_found");
    assert!(body["title"].is_string() && body["type"].is_string(), "{body}");
    assert_eq!(body["request_id"].as_str(), response.header("x-request-id").as_deref());
}

#[test]
fn a_local_reply_to_head_has_the_fields_and_no_body() {
    let tollgate = Tollgate::before(&refused_address());
    let mut client = tollgate.client();
    let response = client.request("HEAD", "/", "");
    assert_eq!((response.status(), response.body.bytes.len()), (503, 0));
    assert_eq!(client.get("/").status(), 503);
}

#[test]
fn a_local_reply_says_nothing_of_the_inside() {
    let address = refused_address();
    let tollgate = Tollgate::before(&address);
    let text = tollgate.client().get("/").text();
    for secret in [address.as_str(), "refused", "os error"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_local_reply_does_not_repeat_what_the_client_sent() {
    let origin = echoing();
    let tollgate =
        Setup::before(origin.address()).table("[[routes]]\nname = \"api\"\nmatch = \"/api/*\"").start();
    let text = tollgate.client().get("/<script>alert(1)</script>").text();
    assert!(!text.contains("script"), "{text}");
}
