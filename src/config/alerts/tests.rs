//! What operators are told unasked.

use super::*;
use crate::config::{Overrides, Report, load};

const RULE: &str = "[[alerts.rules]]\nname = \"errors\"\nwhen = \"error_rate > 5%\"\n";

fn load_text(text: &str) -> Result<(Alerts, Report), Report> {
    let text = format!("[upstream]\naddress = \"app:80\"\n{text}");
    let env = |name: &str| (name == "HOOK").then(|| "https://example.com/hook".to_owned());
    load(&text, "file", &env, &Overrides::default()).map(|loaded| (loaded.model.alerts, loaded.warnings))
}

fn alerts(text: &str) -> Alerts {
    load_text(text).unwrap_or_else(|report| panic!("{}", report.render(false))).0
}

#[test]
fn without_a_table_nobody_is_told() {
    assert_eq!(alerts(""), Alerts::default());
}

#[test]
fn a_rule_has_defaults() {
    let rule = alerts(RULE).rules.remove(0);
    assert_eq!((rule.name.as_str(), rule.route), ("errors", None));
    assert_eq!((rule.over, rule.hold, rule.cooldown), (5 * MINUTE, Duration::ZERO, 30 * MINUTE));
    assert_eq!(rule.min_requests, 20);
}

#[test]
fn receivers_are_secrets_and_may_be_unset() {
    let both =
        "[alerts.slack]\nwebhook = \"${HOOK}\"\n[alerts.webhook]\nurl = \"http://10.0.0.1:8080/a?b=c\"\n";
    let read = alerts(both);
    assert_eq!(read.slack, Some(Secret::new("https://example.com/hook")));
    assert_eq!(read.webhook, Some(Secret::new("http://10.0.0.1:8080/a?b=c")));
    assert!(!format!("{read:?}").contains("10.0.0.1"));
    assert_eq!(alerts("[alerts.slack]\nwebhook = \"${UNSET:-}\"\n").slack, None);
    for wrong in
        ["http://example.com/", "https://", "https:///a", "https://a b", "example.com", "https://exä.com/"]
    {
        assert!(load_text(&format!("[alerts.slack]\nwebhook = \"{wrong}\"\n")).is_err(), "{wrong}");
    }
}

#[test]
fn rules_without_a_receiver_are_warned_of() {
    assert_eq!(load_text(RULE).unwrap().1.warnings(), 1);
    let told = format!("{RULE}[alerts.webhook]\nurl = \"${{HOOK}}\"\n");
    assert_eq!(load_text(&told).unwrap().1.warnings(), 0);
}

#[test]
fn a_rule_may_hold_at_once_or_for_a_while() {
    let hold =
        |text: &str| load_text(&format!("{RULE}for = \"{text}\"\n")).map(|(alerts, _)| alerts.rules[0].hold);
    assert_eq!(hold("0s").unwrap(), Duration::ZERO);
    assert_eq!(hold("1h").unwrap(), HOUR);
    assert!(hold("61m").is_err() && hold("0").is_err() && hold("-1s").is_err());
}

#[test]
fn a_rule_looks_at_a_route_that_is_there() {
    let with = |when: &str, route: &str| {
        load_text(&format!("[[alerts.rules]]\nname = \"a\"\nwhen = \"{when}\"\nroute = \"{route}\"\n"))
            .is_ok()
    };
    assert!(with("p99 > 2s", "all") && !with("p99 > 2s", "al"));
    for when in ["upstream_down", "sink_drops > 1", "quota_used > 50%"] {
        assert!(!with(when, "all"), "{when}");
    }
}
