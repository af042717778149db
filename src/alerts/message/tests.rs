//! What people and programs read.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::alerts::rule::Moment;
use crate::clock::Tick;
use crate::config::model::admin::Condition;

fn alert(measure: AlertMeasure, threshold: f64, value: f64) -> Alert {
    let moment = |second: u64| Moment {
        tick: Tick(second * 1_000_000_000),
        unix_ms: (1_764_036_000 + second) * 1_000,
    };
    Alert {
        rule: AlertRule {
            name: "errors".to_owned(),
            when: Condition { measure, side: Side::Above, threshold },
            route: None,
            over: Duration::from_secs(300),
            hold: Duration::from_secs(60),
            cooldown: Duration::from_secs(3_600),
            min_requests: 20,
        },
        kind: Kind::Fired { times: 0 },
        reading: Reading::Value { value, of: Some(Arc::from("daily")) },
        since: moment(10),
        at: moment(70),
    }
}

fn teller() -> Teller {
    Teller { service: "api".to_owned(), host: "web-1".to_owned() }
}

fn told(alert: &Alert) -> String {
    sentence(alert, &teller())
}

#[test]
fn a_sentence_tells_what_was_measured_and_where() {
    let fired = alert(AlertMeasure::ErrorRate, 0.05, 0.1237);
    assert_eq!(
        told(&fired),
        "`errors` is firing: 12.37% of requests were answered with 5xx in the last 5m (alert above 5%); since \
         2025-11-25T02:00:10Z; api on web-1"
    );
    let mut on_route = fired.clone();
    on_route.rule.route = Some("query".to_owned());
    on_route.kind = Kind::StillFiring;
    assert_eq!(
        told(&on_route),
        "`errors` is still firing on route `query`: 12.37% of requests were answered with 5xx in the last 5m (alert \
         above 5%); since 2025-11-25T02:00:10Z, for 1m; api on web-1"
    );
    let resolved = Alert { kind: Kind::Resolved(Ending::Over), ..fired.clone() };
    assert!(told(&resolved).starts_with("`errors` is resolved: 12.37% of"), "{}", told(&resolved));
    assert!(told(&resolved).ends_with("; after 1m; api on web-1"), "{}", told(&resolved));
    let few = Alert { reading: Reading::TooFew { requests: 3 }, ..resolved };
    assert!(told(&few).contains(": 3 requests in the last 5m are too few to tell"), "{}", told(&few));
    let again = Alert { kind: Kind::Fired { times: 3 }, ..fired };
    assert!(told(&again).contains("; it was so 3 times since it was last told; "), "{}", told(&again));
}

#[test]
fn each_measure_has_its_unit() {
    let cases = [
        (
            AlertMeasure::ThrottledRate,
            0.2,
            0.5,
            "50% of requests were refused by limits in the last 5m (alert above 20%)",
        ),
        (
            AlertMeasure::P50,
            0.05,
            0.0625,
            "50% of requests took at most 62.5ms in the last 5m (alert above 50ms)",
        ),
        (
            AlertMeasure::P95,
            1.0,
            1.2345,
            "95% of requests took at most 1.234s in the last 5m (alert above 1s)",
        ),
        (
            AlertMeasure::P99,
            2.5,
            120.0,
            "99% of requests took at most 120s in the last 5m (alert above 2.5s)",
        ),
        (
            AlertMeasure::RequestRate,
            100.0,
            1234.56,
            "1235 requests a second in the last 5m (alert above 100)",
        ),
        (AlertMeasure::UpstreamDown, 0.5, 1.0, "the app is down; since"),
        (AlertMeasure::UpstreamDown, 0.5, 0.0, "the app is up; since"),
        (AlertMeasure::SinkDrops, 0.0, 120.0, "120 lines were dropped in the last 5m (alert above 0)"),
        (
            AlertMeasure::QuotaUsed,
            0.9,
            0.934,
            "one caller has used 93.4% of its quota of limit `daily` (alert above 90%)",
        ),
    ];
    for (measure, threshold, value, expected) in cases {
        let told = told(&alert(measure, threshold, value));
        assert!(told.contains(expected), "{told}");
    }
    let mut below = alert(AlertMeasure::RequestRate, 0.5, 0.0);
    below.rule.when.side = Side::Below;
    assert!(told(&below).contains(": 0 requests a second in the last 5m (alert below 0.5)"));
}

#[test]
fn numbers_are_short() {
    let cases = [
        (0.0, "0"),
        (5.0, "5"),
        (5.004, "5.004"),
        (0.0625, "0.0625"),
        (1.0 / 3e6, "0.000000333"),
        (1e-30, "0"),
        (99.999, "100"),
        (1e9, "1000000000"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
    let durations =
        [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3_600, "1h"), (3_660, "1h 1m"), (90_000, "25h")];
    for (seconds, text) in durations {
        assert_eq!(about(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn a_webhook_gets_every_field() {
    let mut fired = alert(AlertMeasure::ErrorRate, 0.05, 0.125);
    fired.rule.route = Some("query".to_owned());
    let id = id(&fired, &teller());
    let body = webhook(&fired, &teller(), "a sentence", &id);
    assert_eq!(
        body,
        format!(
            r#"{{"rule":"errors","state":"firing","value":0.125,"threshold":0.05,"over_seconds":300.0,"route":"query","service":"api","host":"web-1","since_ms":1764036010000,"message":"a sentence","id":"{id}"}}"#
        )
    );
    let end = Alert { kind: Kind::Resolved(Ending::Over), reading: Reading::TooFew { requests: 0 }, ..fired };
    let body: Value = serde_json::from_str(&webhook(&end, &teller(), "", &id)).unwrap();
    assert_eq!((&body["state"], &body["value"]), (&Value::from("resolved"), &Value::Null));
}

#[test]
fn a_firing_and_its_end_have_one_id_and_others_have_others() {
    let fired = alert(AlertMeasure::ErrorRate, 0.05, 0.125);
    let own = id(&fired, &teller());
    assert!(own.len() == 32 && own.bytes().all(|b| b.is_ascii_hexdigit()), "{own}");
    assert_eq!(
        id(&Alert { kind: Kind::Resolved(Ending::Over), at: fired.since, ..fired.clone() }, &teller()),
        own
    );
    let mut other = fired.clone();
    other.since.unix_ms += 1;
    assert_ne!(id(&other, &teller()), own);
    other = fired.clone();
    other.rule.name.push('2');
    assert_ne!(id(&other, &teller()), own);
    // Parts do not run into one another.
    let moved = Teller { service: "apiweb-1".to_owned(), host: String::new() };
    assert_ne!(id(&fired, &moved), own);
}

#[test]
fn slack_gets_text_and_nothing_else() {
    let mut fired = alert(AlertMeasure::ErrorRate, 0.05, 0.125);
    fired.rule.name = "<!channel> & <https://evil.example|x>".to_owned();
    let body: Value = serde_json::from_str(&slack(&fired, &told(&fired))).unwrap();
    for text in [&body["text"], &body["blocks"][0]["text"]["text"]] {
        let text = text.as_str().unwrap();
        assert!(text.contains("&lt;!channel&gt; &amp; &lt;https://evil.example|x&gt;"), "{text}");
        assert!(!text.contains(['<', '>']), "{text}");
    }
    assert_eq!(body["blocks"][0]["type"], "section");
    assert_eq!(body["blocks"][0]["text"]["type"], "mrkdwn");
}

proptest! {
    #[test]
    fn any_name_is_one_line_and_short_enough(name in "\\PC*|[\\n\\r\\x00&<>é💥]{0,40}|[&<>é💥]{2900,3100}", host in any::<String>()) {
        let mut fired = alert(AlertMeasure::ErrorRate, 0.05, 0.125);
        fired.rule.name = name;
        let teller = Teller { service: "api".to_owned(), host };
        let text = sentence(&fired, &teller);
        prop_assert!(!text.chars().any(char::is_control));
        let body: Value = serde_json::from_str(&slack(&fired, &text)).unwrap();
        for text in [&body["text"], &body["blocks"][0]["text"]["text"]] {
            let text = text.as_str().unwrap();
            prop_assert!(text.chars().count() <= 3_000);
            for part in text.split('&').skip(1) {
                prop_assert!(["amp;", "lt;", "gt;"].iter().any(|escape| part.starts_with(escape)), "{part}");
            }
        }
        serde_json::from_str::<Value>(&webhook(&fired, &teller, &text, "0")).unwrap();
    }
}
