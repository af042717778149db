//! Alerts of a running tollgate, from the configuration to the webhook.

use serde_json::Value;

use super::ok;
use crate::harness::origin::Received;
use crate::harness::{Origin, Peer, Setup, Tollgate};

const SECRET_PATH: &str = "/hooks/s3cr3t";

/// `500` for `/fail`, else `200`.
fn app() -> Origin {
    Origin::start(|mut peer: Peer| {
        while let Some(request) = peer.request() {
            peer.send(match request.target.as_str() {
                "/fail" => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
                _ => ok("fine"),
            });
        }
    })
}

/// One rule: half of at least ten requests fail.
fn table(webhook: &Origin) -> String {
    format!(
        "[alerts.webhook]\nurl = \"http://{}{SECRET_PATH}\"\n\
         [[alerts.rules]]\nname = \"errors\"\nwhen = \"error_rate > 50%\"\nover = \"10s\"\nmin_requests = 10\n",
        webhook.address()
    )
}

fn started(app: &Origin, webhook: &Origin) -> Tollgate {
    Setup::before(app.address()).table(&table(webhook)).start()
}

fn fail_ten_times(tollgate: &Tollgate) {
    let mut client = tollgate.client();
    for _ in 0..10 {
        assert_eq!(client.get("/fail").status(), 500);
    }
}

fn json(request: &Received) -> Value {
    serde_json::from_slice(&request.body.bytes).unwrap()
}

#[test]
fn an_app_that_fails_is_told_once_and_so_is_its_recovery() {
    let (app, webhook) = (app(), Origin::answering(ok("")));
    let mut tollgate = started(&app, &webhook);
    fail_ten_times(&tollgate);
    let fired = json(&webhook.wait_for_requests(1)[0]);
    assert_eq!((&fired["state"], &fired["value"]), (&Value::from("firing"), &Value::from(1.0)));
    assert_eq!(tollgate.wait_for_event("alert firing")["level"], "WARN");
    let resolved = json(&webhook.wait_for_requests(2)[1]);
    assert_eq!((&resolved["state"], &resolved["id"]), (&Value::from("resolved"), &fired["id"]));
    assert_eq!(tollgate.wait_for_event("alert resolved")["level"], "INFO");
    assert_eq!(tollgate.stop(), 0);
    assert_eq!(webhook.received().len(), 2);
    assert!(!tollgate.process.said().contains("s3cr3t"), "{}", tollgate.process.said());
}

#[test]
fn a_reload_keeps_what_fires_and_tells_its_end_at_the_new_address() {
    let (app, first, second) = (app(), Origin::answering(ok("")), Origin::answering(ok("")));
    let tollgate = started(&app, &first);
    fail_ten_times(&tollgate);
    let fired = json(&first.wait_for_requests(1)[0]);
    let text = tollgate.config_text().replace(first.address(), second.address());
    tollgate.reload(&text);
    tollgate.wait_for_event("reloaded");
    let resolved = json(&second.wait_for_requests(1)[0]);
    assert_eq!((&resolved["state"], &resolved["id"]), (&Value::from("resolved"), &fired["id"]));
    assert_eq!(first.received().len(), 1);
}

#[test]
fn a_rule_that_a_reload_takes_away_is_resolved() {
    let (app, webhook) = (app(), Origin::answering(ok("")));
    let tollgate = started(&app, &webhook);
    fail_ten_times(&tollgate);
    webhook.wait_for_requests(1);
    let text = tollgate.config_text();
    tollgate.reload(&text[..text.find("[alerts.webhook]").unwrap()]);
    assert_eq!(json(&webhook.wait_for_requests(2)[1])["state"], "resolved");
}

#[test]
fn a_webhook_that_hangs_delays_neither_answers_nor_the_end() {
    let app = app();
    let webhook = Origin::start(|mut peer: Peer| {
        if peer.request().is_some() {
            peer.wait_for_end();
        }
    });
    let mut tollgate = started(&app, &webhook);
    fail_ten_times(&tollgate);
    webhook.wait_for_requests(1);
    assert_eq!(tollgate.client().get("/").text(), "fine");
    assert_eq!(tollgate.stop(), 0);
    assert!(!tollgate.process.said().contains("s3cr3t"), "{}", tollgate.process.said());
}
