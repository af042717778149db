//! What a new configuration changes, key by key.
//!
//! Compared is what `print` writes, so that no key can be forgotten. Routes and rules are told by their names, not
//! their places, and secrets without their values.

use std::collections::BTreeMap;

use super::model::Model;
use super::model::admin::Secret;
use super::origin::Origins;
use super::print::print_model;

/// Keys that are read at start only, and why.
const AT_START: [(&str, &str); 24] = [
    ("listen.address", LISTENERS),
    ("listen.tls.address", LISTENERS),
    ("admin.address", LISTENERS),
    ("log.access", "the sink of records is opened at start"),
    ("log.format", "the form of events is chosen at start"),
    ("store.snapshot", "the snapshot is read at start"),
    ("store.interval", "the snapshot's thread is begun at start"),
    ("store.max_keys", "the table is made at start"),
    ("emf.sink", EMF),
    ("emf.namespace", EMF),
    ("emf.service", EMF),
    ("emf.environment", EMF),
    ("emf.per", EMF),
    ("emf.dimensions", EMF),
    ("emf.validate", EMF),
    ("emf.log_group", EMF),
    ("emf.log_stream", EMF),
    ("metrics.prometheus", SERIES),
    ("metrics.push", SERIES),
    ("metrics.push_every", SERIES),
    ("metrics.buckets", SERIES),
    ("metrics.max_routes", SERIES),
    ("metrics.max_models", SERIES),
    ("cloudwatch.region", "what speaks to AWS is begun at start"),
];

const LISTENERS: &str = "listeners are opened at start";
const EMF: &str = "the sink of EMF lines is opened at start";
const SERIES: &str = "what is measured is laid out at start";

/// What is told in place of a value that is not shown.
const HIDDEN: &str = "(not shown)";

/// A key whose value is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Dotted: `listen.max_body`, `routes.query.limits`.
    pub key: String,
    /// As the configuration in force has it; `None` if it has not.
    pub from: Option<String>,
    /// As the new one has it; `None` if it has not.
    pub to: Option<String>,
}

impl Change {
    /// Why it cannot be changed while the process runs, if it cannot.
    pub fn needs_restart(&self) -> Option<&'static str> {
        let found = AT_START.iter().find(|(key, _)| *key == self.key);
        found.map(|(_, reason)| *reason)
    }
}

/// What `new` changes of `old`, in the order of keys.
pub fn changes(old: &Model, new: &Model) -> Vec<Change> {
    let secrets = changed_secrets(old, new);
    let (old, new) = (values(old), values(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |key: &String| {
        let (from, to) = (old.get(key), new.get(key));
        (from != to).then(|| Change { key: key.clone(), from: from.cloned(), to: to.cloned() })
    };
    let mut changes: Vec<Change> = keys.into_iter().filter_map(change).chain(secrets).collect();
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    changes
}

/// Secrets that are others: they are not printed, so they are compared here.
fn changed_secrets<'m>(old: &'m Model, new: &'m Model) -> impl Iterator<Item = Change> + use<> {
    let secrets = |model: &'m Model| {
        let token = model.admin.as_ref().and_then(|admin| admin.token.as_ref());
        [token, model.alerts.slack.as_ref(), model.alerts.webhook.as_ref()]
    };
    let side = |secret: Option<&Secret>| secret.map(|_| HIDDEN.to_owned());
    let keys = ["admin.token", "alerts.slack.webhook", "alerts.webhook.url"];
    let changed = keys.into_iter().zip(secrets(old).into_iter().zip(secrets(new)));
    let changed: Vec<Change> = changed
        .filter(|(_, (from, to))| from != to)
        .map(|(key, (from, to))| Change { key: key.to_owned(), from: side(from), to: side(to) })
        .collect();
    changed.into_iter()
}

fn values(model: &Model) -> BTreeMap<String, String> {
    let text = print_model(model, &Origins::default());
    let mut values = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').trim_start_matches('[').to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if key.starts_with('#') {
            continue;
        }
        let value = value.rsplit_once("  # ").map_or(value, |(value, _)| value).trim_end();
        if matches!(table.as_str(), "routes" | "alerts.rules") && key == "name" {
            table = format!("{table}.{}", value.trim_matches('"'));
            continue;
        }
        values.insert(format!("{table}.{key}"), value.to_owned());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};

    fn model(text: &str) -> Model {
        let text = format!("[upstream]\naddress = \"app:8000\"\n{text}");
        load(&text, "file", &|_| None, &Overrides::default()).unwrap().model
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        let told = |change: &Change| {
            let side = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
            format!("{} {} > {}", change.key, side(&change.from), side(&change.to))
        };
        changes(&model(old), &model(new)).iter().map(told).collect()
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let text =
            "[limits.a]\nrate = \"5/minute\"\n[[routes]]\nname = \"a\"\nmatch = \"/*\"\nlimits = \"a\"\n";
        assert_eq!(told(text, text), Vec::<String>::new());
        assert_eq!(told("", "[listen]\nmax_headers = 90\n"), Vec::<String>::new(), "a default written out");
    }

    #[test]
    fn changed_keys_are_told_with_both_values() {
        assert_eq!(
            told("", "[listen]\nmax_headers = 80\nheader_timeout = \"1s\"\n"),
            ["listen.header_timeout \"10s\" > \"1s\"", "listen.max_headers 90 > 80"]
        );
    }

    #[test]
    fn routes_are_told_by_their_names() {
        let a = "[[routes]]\nname = \"a\"\nmatch = \"/a\"\n";
        let b = "[[routes]]\nname = \"b\"\nmatch = \"/b\"\n";
        assert_eq!(told(&format!("{a}{b}"), &format!("{b}{a}")), Vec::<String>::new());
        let longer = a.replace("/a\"", "/a/*\"");
        assert_eq!(told(&format!("{a}{b}"), &format!("{longer}{b}")), ["routes.a.match \"/a\" > \"/a/*\""]);
        assert!(told(a, &format!("{a}{b}")).iter().any(|change| change.starts_with("routes.b.match - >")));
    }

    #[test]
    fn what_is_read_at_start_only_says_why() {
        let changed =
            changes(&model(""), &model("[listen]\naddress = \"127.0.0.1:1\"\nmax_uri = \"1KiB\"\n"));
        let reasons: Vec<bool> = changed.iter().map(|change| change.needs_restart().is_some()).collect();
        assert_eq!(reasons, [true, false]);
        let changed =
            changes(&model(""), &model("[cloudwatch]\nregion = \"eu-west-1\"\nmetric_budget = 7\n"));
        let reasons: Vec<_> = changed.iter().map(|change| (&*change.key, change.needs_restart())).collect();
        assert_eq!(reasons[0], ("cloudwatch.metric_budget", None));
        assert!(matches!(reasons[1], ("cloudwatch.region", Some(_))), "{reasons:?}");
    }

    #[test]
    fn rules_are_told_by_their_names() {
        let rule = |name: &str, share: &str| {
            format!("[[alerts.rules]]\nname = \"{name}\"\nwhen = \"error_rate > {share}\"\n")
        };
        let (old, new) = (rule("a", "1%") + &rule("b", "2%"), rule("b", "2%") + &rule("a", "3%"));
        assert_eq!(told(&old, &new), ["alerts.rules.a.when \"error_rate > 0.01\" > \"error_rate > 0.03\""]);
    }

    #[test]
    fn a_changed_secret_is_told_without_its_value() {
        let admin = |token: &str| format!("[admin]\ntoken = \"{token}\"\n");
        let slack = |path: &str| format!("[alerts.slack]\nwebhook = \"https://example.com/{path}\"\n");
        let old = admin("0123456789abcdef") + &slack("a");
        assert_eq!(told(&old, &old), Vec::<String>::new());
        let changed = told(&old, &(admin("fedcba9876543210") + &slack("b")));
        let hidden = "(not shown) > (not shown)";
        assert_eq!(changed, [format!("admin.token {hidden}"), format!("alerts.slack.webhook {hidden}")]);
        let gone = told(&old, "[admin]\n");
        assert_eq!(gone, ["admin.token (not shown) > -", "alerts.slack.webhook (not shown) > -"]);
    }

    #[test]
    fn admin_and_emf_are_turned_on_and_off_at_start_only() {
        for (table, key) in [("[admin]", "admin.address"), ("[log]\naccess = \"off\"\n[emf]", "emf.sink")] {
            for (old, new) in [("[log]\naccess = \"off\"\n", table), (table, "[log]\naccess = \"off\"\n")] {
                let changed = changes(&model(old), &model(new));
                let found = changed.iter().find(|change| change.key == key);
                assert!(found.is_some_and(|change| change.needs_restart().is_some()), "{changed:?}");
            }
        }
    }

    #[test]
    fn every_key_that_is_read_at_start_only_exists() {
        for (key, reason) in AT_START {
            assert!(crate::config::keys().contains(key), "{key}");
            assert!(!reason.is_empty(), "{key}");
        }
    }
}
