//! Alerts on their way: what a webhook and Slack get, and what happens if they do not answer as they should.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate::alerts::evaluation::Signs;
use tollgate::alerts::{Alerts, Ask};
use tollgate::clock::Clock;
use tollgate::config::model::admin::{self, AlertMeasure, AlertRule, Condition, Secret, Side};
use tollgate::telemetry::totals::Totals;

use super::ok;
use crate::harness::journal::Journal;
use crate::harness::log;
use crate::harness::origin::{Received, refused_address};
use crate::harness::socket::Socket;
use crate::harness::wire::{Wire, parse_head};
use crate::harness::{Origin, Peer};

/// The path of Slack's webhooks is a secret.
const SECRET_PATH: &str = "/services/T0SECRET/B0SECRET/s3cr3t";

/// Waits for a line of the log about a rule.
fn logged(rule: &str, message: &str) -> Value {
    log::wait_for(&format!("`{message}` of `{rule}`"), |event| {
        event["rule"] == rule && event["message"] == message
    })
}

/// What is measured, in the test's hands.
#[derive(Clone, Default)]
struct Measured {
    totals: Arc<Mutex<Totals>>,
    down: Arc<AtomicBool>,
    /// An entry a look.
    looks: Journal<()>,
}

impl Measured {
    /// Counts requests, and so many 5xx among them.
    fn count(&self, requests: u64, errors: u64) {
        let mut totals = self.totals.lock().unwrap();
        let route = totals.routes.entry(Arc::from("query")).or_default();
        route.requests[0][1] += requests - errors;
        route.requests[0][4] += errors;
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Waits until the rules were looked at so many times more.
    fn wait_for_looks(&self, more: usize) {
        let before = self.looks.all().len();
        let seen = self.looks.wait(|looks| (looks.len() >= before + more).then_some(()));
        assert!(seen.is_some(), "nobody looks at the rules");
    }

    fn start(&self, alerts: &admin::Alerts) -> Alerts {
        log::lines();
        let measured = self.clone();
        let look = move |_: Ask| {
            let totals = measured.totals.lock().unwrap().clone();
            measured.looks.push(());
            (totals, Signs { upstream_up: Some(!measured.down.load(Ordering::SeqCst)), quota_used: None })
        };
        let (service, host) = ("api".to_owned(), "web-1".to_owned());
        Alerts::start(alerts, service, host, Box::new(look), Clock::start()).unwrap()
    }
}

fn rule(name: &str, measure: AlertMeasure) -> AlertRule {
    AlertRule {
        name: name.to_owned(),
        when: Condition { measure, side: Side::Above, threshold: 0.05 },
        route: None,
        over: Duration::from_secs(2),
        hold: Duration::ZERO,
        cooldown: Duration::from_secs(600),
        min_requests: 10,
    }
}

fn url(address: &str) -> Option<Secret> {
    Some(Secret::new(&format!("http://{address}{SECRET_PATH}")))
}

/// A rule that the test turns on and off, told to this webhook.
fn down_rule(name: &str, webhook: &str) -> admin::Alerts {
    let rules = vec![rule(name, AlertMeasure::UpstreamDown)];
    admin::Alerts { slack: None, webhook: url(webhook), rules }
}

fn json(request: &Received) -> Value {
    serde_json::from_slice(&request.body.bytes).unwrap()
}

fn states(requests: &[Received]) -> Vec<String> {
    requests.iter().map(|request| json(request)["state"].as_str().unwrap().to_owned()).collect()
}

/// Answers with one of these after the other, the last again and again; keeps when each request came.
fn answering(answers: &[&str]) -> (Origin, Journal<Instant>) {
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let times = Journal::default();
    let (seen, next) = (times.clone(), Mutex::new(0));
    let origin = Origin::start(move |mut peer| {
        while peer.request().is_some() {
            seen.push(Instant::now());
            let mut next = next.lock().unwrap();
            peer.send(&answers[(*next).min(answers.len() - 1)]);
            *next += 1;
        }
    });
    (origin, times)
}

fn assert_secret_is_kept() {
    for line in log::lines().all() {
        assert!(!line.contains("SECRET") && !line.contains("s3cr3t"), "the address is in the log: {line}");
    }
}

#[test]
fn an_alert_fires_once_and_is_resolved_once_wherever_it_is_told() {
    let (webhook, slack) = (Origin::answering(ok("")), Origin::answering(ok("ok")));
    let measured = Measured::default();
    let alerts = measured.start(&admin::Alerts {
        slack: url(slack.address()),
        webhook: url(webhook.address()),
        rules: vec![rule("both", AlertMeasure::ErrorRate)],
    });
    measured.wait_for_looks(1);
    measured.count(20, 5);
    let told = webhook.wait_for_requests(2);
    slack.wait_for_requests(2);
    measured.wait_for_looks(2);
    drop(alerts);
    assert_eq!(states(&webhook.received()), ["firing", "resolved"]);
    assert_eq!(slack.received().len(), 2);

    let fired = json(&told[0]);
    assert_eq!(told[0].method, "POST");
    assert_eq!(told[0].target, SECRET_PATH);
    assert_eq!(told[0].headers.get("content-type").as_deref(), Some("application/json"));
    assert_eq!((&fired["rule"], &fired["value"]), (&Value::from("both"), &Value::from(0.25)));
    assert_eq!((&fired["service"], &fired["host"]), (&Value::from("api"), &Value::from("web-1")));
    assert_eq!(fired["id"], json(&told[1])["id"]);
    let sentence = fired["message"].as_str().unwrap();
    assert!(sentence.contains("25% of requests were answered with 5xx in the last 2s"), "{sentence}");
    let text = json(&slack.received()[0])["blocks"][0]["text"]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with(sentence), "{text}");

    assert_eq!(logged("both", "alert firing")["alert"], sentence);
    assert_eq!(logged("both", "alert firing")["level"], "WARN");
    assert_eq!(logged("both", "alert resolved")["level"], "INFO");
    assert_secret_is_kept();
}

#[test]
fn without_an_address_alerts_are_in_the_log() {
    let measured = Measured::default();
    let rules = vec![rule("logged", AlertMeasure::UpstreamDown)];
    let _alerts = measured.start(&admin::Alerts { slack: None, webhook: None, rules });
    measured.set_down(true);
    logged("logged", "alert firing");
    measured.set_down(false);
    logged("logged", "alert resolved");
}

#[test]
fn nobody_looks_without_rules() {
    let measured = Measured::default();
    let alerts = measured.start(&admin::Alerts::default());
    assert!(measured.looks.all().is_empty());
    alerts.replace(&down_rule("later", &refused_address()));
    measured.wait_for_looks(1);
}

#[test]
fn slack_is_not_asked_again_before_it_says_so() {
    let limited = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
    let (slack, times) = answering(&[limited, &ok("ok")]);
    let measured = Measured::default();
    let rules = vec![rule("limited", AlertMeasure::UpstreamDown)];
    let _alerts = measured.start(&admin::Alerts { slack: url(slack.address()), webhook: None, rules });
    measured.set_down(true);
    let told = slack.wait_for_requests(2);
    assert_eq!(told[0].body.bytes, told[1].body.bytes);
    let waited = times.wait(|times| Some(times.get(1)?.duration_since(times[0]))).unwrap();
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
}

#[test]
fn slack_gets_at_most_one_message_a_second() {
    let (slack, times) = answering(&[&ok("ok")]);
    let measured = Measured::default();
    measured.set_down(true);
    let rules = (0..3).map(|at| rule(&format!("paced-{at}"), AlertMeasure::UpstreamDown)).collect();
    let _alerts = measured.start(&admin::Alerts { slack: url(slack.address()), webhook: None, rules });
    slack.wait_for_requests(3);
    // From answer to request there is a second; from request to request a little more.
    let times = times.wait(|times| (times.len() == 3).then(|| times.to_vec())).unwrap();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{times:?}");
}

#[test]
fn an_error_of_the_other_side_is_tried_again() {
    let broken = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let (webhook, _) = answering(&[broken, broken, &ok("")]);
    let measured = Measured::default();
    measured.set_down(true);
    let alerts = measured.start(&down_rule("broken", webhook.address()));
    webhook.wait_for_requests(3);
    measured.set_down(false);
    webhook.wait_for_requests(4);
    drop(alerts);
    assert_eq!(states(&webhook.received()), ["firing", "firing", "firing", "resolved"]);
}

#[test]
fn a_refusal_is_told_and_not_tried_again() {
    let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service";
    let (webhook, _) = answering(&[gone, &ok("")]);
    let measured = Measured::default();
    measured.set_down(true);
    let alerts = measured.start(&down_rule("refused", webhook.address()));
    assert_eq!(logged("refused", "an alert was not sent")["error"], "404 no_service");
    measured.set_down(false);
    webhook.wait_for_requests(2);
    drop(alerts);
    assert_eq!(states(&webhook.received()), ["firing", "resolved"]);
}

#[test]
fn an_address_that_comes_back_gets_what_waited() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let measured = Measured::default();
    measured.set_down(true);
    let _alerts = measured.start(&down_rule("away", &address.to_string()));
    log::wait_for("a refused connection", |event| event["error"] == "the connection was refused");
    socket.listen(16).unwrap();
    let (stream, _) = std::net::TcpListener::from(socket).accept().unwrap();
    let head = Wire::new(Socket::Tcp(stream)).head().unwrap();
    assert_eq!(parse_head(&head).0, format!("POST {SECRET_PATH} HTTP/1.1"));
    assert_secret_is_kept();
}

#[test]
fn an_endpoint_that_hangs_delays_neither_the_rules_nor_others_nor_the_end() {
    let left = Arc::new(AtomicBool::new(false));
    let has_left = Arc::clone(&left);
    let webhook = Origin::start(move |mut peer: Peer| {
        if peer.request().is_some() {
            peer.wait_for_end();
            has_left.store(true, Ordering::SeqCst);
        }
    });
    let slack = Origin::answering(ok("ok"));
    let measured = Measured::default();
    measured.set_down(true);
    let rules = vec![rule("hanging", AlertMeasure::UpstreamDown)];
    let alerts = measured.start(&admin::Alerts {
        slack: url(slack.address()),
        webhook: url(webhook.address()),
        rules,
    });
    webhook.wait_for_requests(1);
    measured.wait_for_looks(2);
    measured.set_down(false);
    slack.wait_for_requests(2);
    drop(alerts);
    assert!(!left.load(Ordering::SeqCst), "the end waited for an answer that did not come");
    assert_eq!(webhook.received().len(), 1);
}

#[test]
fn what_waits_at_the_end_is_sent() {
    let (slack, _) = answering(&[&ok("ok")]);
    let measured = Measured::default();
    measured.set_down(true);
    let rules = (0..2).map(|at| rule(&format!("last-{at}"), AlertMeasure::UpstreamDown)).collect();
    let alerts = measured.start(&admin::Alerts { slack: url(slack.address()), webhook: None, rules });
    slack.wait_for_requests(1);
    drop(alerts);
    assert_eq!(slack.received().len(), 2);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Origin::answering(ok(""));
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}{SECRET_PATH}\r\nContent-Length: 0\r\n\r\n",
        elsewhere.address()
    );
    let (webhook, _) = answering(&[&redirect]);
    let measured = Measured::default();
    measured.set_down(true);
    let alerts = measured.start(&down_rule("redirected", webhook.address()));
    let told = logged("redirected", "an alert was not sent");
    assert_eq!(told["error"], "307, a redirect, which is not followed");
    drop(alerts);
    assert_eq!((webhook.received().len(), elsewhere.received().len()), (1, 0));
    assert_secret_is_kept();
}

#[test]
fn an_address_is_in_no_line_whatever_goes_wrong() {
    let echo = format!("Cannot POST {SECRET_PATH}");
    let echo = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{echo}", echo.len());
    let origins = [echo.as_str(), "HTTP/1.1 nonsense\r\n\r\n", ""].map(Origin::answering_once);
    // Speaks first, and no TLS.
    let bare = Origin::start(|mut peer| {
        peer.send("220 hello\r\n").wait_for_end();
    });
    let addresses = origins.iter().map(|origin| format!("http://{}{SECRET_PATH}", origin.address()));
    let addresses = addresses.chain([format!("https://{}{SECRET_PATH}", bare.address())]);
    let strange =
        ["http://s3cr3t.invalid/", "ftp://127.0.0.1/s3cr3t", "http://[::s3cr3t/", "s3cr3t", "http://"];
    let start = |(at, url): (usize, String)| {
        let measured = Measured::default();
        measured.set_down(true);
        let name = format!("secret-{at}");
        let rules = vec![rule(&name, AlertMeasure::UpstreamDown)];
        let configured = admin::Alerts { slack: Some(Secret::new(&url)), webhook: None, rules };
        assert!(!format!("{configured:?}").contains("s3cr3t"));
        (name, measured.start(&configured))
    };
    let all: Vec<_> = addresses.chain(strange.map(str::to_owned)).enumerate().map(start).collect();
    for (name, alerts) in all {
        logged(&name, "alert firing");
        assert!(!format!("{alerts:?}").contains("s3cr3t"));
        // The end gives up what cannot be sent, and says so.
        drop(alerts);
        logged(&name, "an alert was not sent");
    }
    log::wait_for("TLS", |event| {
        event["error"].as_str().is_some_and(|error| error.starts_with("TLS failed"))
    });
    assert_secret_is_kept();
}

#[test]
fn a_reload_keeps_firings_and_redirects_what_comes_next() {
    let (first, second) = (Origin::answering(ok("")), Origin::answering(ok("")));
    let measured = Measured::default();
    measured.set_down(true);
    let alerts = measured.start(&down_rule("kept", first.address()));
    let fired = json(&first.wait_for_requests(1)[0]);
    alerts.replace(&down_rule("kept", second.address()));
    measured.wait_for_looks(2);
    measured.set_down(false);
    let resolved = json(&second.wait_for_requests(1)[0]);
    assert_eq!((&resolved["state"], &resolved["id"]), (&Value::from("resolved"), &fired["id"]));
    measured.set_down(true);
    alerts.replace(&down_rule("another", second.address()));
    second.wait_for_requests(2);
    // A rule that is taken away while it fires is resolved.
    alerts.replace(&admin::Alerts::default());
    let told = second.wait_for_requests(3);
    assert_eq!(states(&told), ["resolved", "firing", "resolved"]);
    assert_eq!(first.received().len(), 1);
}
