//! Limits as the model has them.

use std::sync::Arc;

use crate::limit::meter::{Measure, Meter};
use crate::limit::rules::{Cost, KeyPart, Limit, Limits, Mode};

use super::super::{Loaded, Overrides, load};

fn loaded(text: &str) -> Loaded {
    let overrides = Overrides { upstream: Some("app:8000".to_owned()), ..Overrides::default() };
    let loaded = load(text, "tollgate.toml", &|_| None, &overrides);
    loaded.unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn limits(text: &str) -> Limits {
    loaded(text).model.limits
}

fn limit(text: &str) -> Arc<Limit> {
    let limits = limits(&format!("[limits.default]\n{text}"));
    Arc::clone(&limits.by_route[0][0].limit)
}

fn policies(meters: &[Meter]) -> Vec<&str> {
    meters.iter().map(|meter| meter.policy.to_str().unwrap()).collect()
}

fn dues(limits: &Limits, route: usize) -> Vec<(&str, u64)> {
    limits.by_route[route].iter().map(|due| (&*due.limit.name, due.cost)).collect()
}

#[test]
fn without_limits_no_request_pays() {
    let limits = limits("");
    assert!(limits.limits.is_empty());
    assert_eq!(limits.by_route.len(), 1);
    assert!(limits.by_route[0].is_empty());
}

#[test]
fn without_routes_the_limit_called_default_holds_for_everything() {
    let limits = limits("[limits.default]\nrate = \"5/day\"\n[limits.other]\nrate = \"6/day\"");
    assert_eq!(dues(&limits, 0), [("default", 1)]);
    assert_eq!(limits.limits.len(), 2);
}

#[test]
fn a_route_that_names_no_limit_has_none() {
    let text = "[limits.default]\nrate = \"5/day\"\n[[routes]]\nname = \"a\"\nmatch = \"/a\"\nlimits = \"default\"\n\
        [[routes]]\nname = \"b\"\nmatch = \"/b\"\n";
    let loaded = loaded(text);
    assert_eq!(loaded.model.routes.routes().len(), 2);
    assert_eq!(dues(&loaded.model.limits, 0), [("default", 1)]);
    assert_eq!(dues(&loaded.model.limits, 1), []);
}

#[test]
fn limits_by_address_go_first_and_the_others_as_written() {
    let limits = limits(
        "[limits.z]\nrate = \"50/day\"\n[limits.a]\nrate = \"50/day\"\nkey = [\"ip\", \"user\"]\n\
        [limits.all]\nrate = \"50/day\"\nkey = \"global\"\n[[routes]]\nname = \"a\"\nmatch = \"/a\"\n\
        limits = [\"z\", \"a\", \"auth\", \"all\"]\n",
    );
    assert_eq!(dues(&limits, 0), [("auth", 1), ("all", 1), ("z", 1), ("a", 1)]);
    let names: Vec<&str> = limits.limits.iter().map(|limit| &*limit.name).collect();
    assert_eq!(names, ["a", "all", "auth", "z"]);
}

#[test]
fn a_preset_is_there_when_a_route_names_it() {
    let route =
        "[[routes]]\nname = \"a\"\nmatch = \"/a\"\nlimits = [\"public\", \"auth\", \"staff\", \"admin\"]\n";
    let limits = limits(route);
    let of = |name: &str| limits.limits.iter().find(|limit| *limit.name == *name).unwrap();
    for (name, key, policy) in [
        ("public", KeyPart::Caller, "\"public\";q=100;w=60"),
        ("auth", KeyPart::Ip, "\"auth\";q=5;w=900"),
        ("staff", KeyPart::Caller, "\"staff\";q=30;w=60"),
        ("admin", KeyPart::Caller, "\"admin\";q=10;w=60"),
    ] {
        assert_eq!(of(name).key, [key]);
        assert_eq!(policies(&of(name).standard), [policy]);
    }
}

#[test]
fn a_table_changes_a_preset_key_by_key() {
    let limits = limits(
        "[limits.auth]\nburst = 2\nmode = \"shadow\"\n[[routes]]\nname = \"a\"\nmatch = \"/a\"\nlimits = \"auth\"\n",
    );
    let auth = &limits.by_route[0][0].limit;
    assert_eq!(auth.key, [KeyPart::Ip]);
    assert_eq!(auth.mode, Mode::Shadow);
    assert_eq!(policies(&auth.standard), ["\"auth\";q=5;w=900;tollgate-burst=2"]);
}

#[test]
fn each_measure_of_a_limit_is_a_meter_of_its_own_name() {
    let limit = limit("rate = \"10/second; 500/hour\"\nquota = \"1000/day\"\nin_flight = 3");
    let expected = [
        "\"default_1s\";q=10;w=1",
        "\"default_3600s\";q=500;w=3600",
        "\"default_day\";q=1000;w=86400",
        "\"default_in_flight\";q=3;qu=\"concurrent-requests\"",
    ];
    assert_eq!(policies(&limit.standard), expected);
}

#[test]
fn a_sliding_window_is_one_for_every_rate() {
    let limit = limit("rate = \"10/second; 500/hour\"\nalgorithm = \"sliding_window\"");
    assert!(limit.standard.iter().all(|meter| matches!(meter.measure, Measure::Sliding(_))));
    assert_eq!(limit.standard.len(), 2);
}

#[test]
fn a_tier_has_what_it_does_not_say_from_its_limit() {
    let limit = limit(
        "rate = \"100/minute\"\nburst = 20\nquota = \"1000/day\"\n\
        tiers.pro = { rate = \"600/minute\" }\ntiers.free = { burst = 5, quota = \"9/hour\", in_flight = 1 }",
    );
    let pro = ["\"default_60s\";q=600;w=60;tollgate-burst=20", "\"default_day\";q=1000;w=86400"];
    assert_eq!(policies(limit.meters(Some("pro"))), pro);
    let free = [
        "\"default_60s\";q=100;w=60;tollgate-burst=5",
        "\"default_hour\";q=9;w=3600",
        "\"default_in_flight\";q=1;qu=\"concurrent-requests\"",
    ];
    assert_eq!(policies(limit.meters(Some("free"))), free);
    assert_eq!(policies(limit.meters(Some("other"))), policies(&limit.standard));
}

#[test]
fn a_quota_is_in_its_zone() {
    let zone = |text: &str| match &limit(text).standard[0].measure {
        Measure::Quota(quota) => quota.calendar().zone_name().map(str::to_owned),
        _ => None,
    };
    assert_eq!(zone("quota = \"5/day\""), Some("UTC".to_owned()));
    assert_eq!(zone("quota = \"5/day\"\nzone = \"europe/BERLIN\""), Some("Europe/Berlin".to_owned()));
}

#[test]
fn the_cost_of_a_route_goes_before_that_of_a_limit_but_not_before_that_of_the_app() {
    let limits = limits(
        "[limits.a]\nrate = \"50/day\"\ncost = 4\n[limits.b]\nrate = \"50/day\"\n\
        cost = { response_header = \"X-Tokens\", reserve = 6, strip = false }\n\
        [[routes]]\nname = \"a\"\nmatch = \"/a\"\nlimits = [\"a\", \"b\"]\n\
        [[routes]]\nname = \"b\"\nmatch = \"/b\"\nlimits = [\"a\", \"b\"]\ncost = 9\n",
    );
    assert_eq!(dues(&limits, 0), [("a", 4), ("b", 6)]);
    assert_eq!(dues(&limits, 1), [("a", 9), ("b", 6)]);
    let header = http::HeaderName::from_static("x-tokens");
    assert_eq!(limits.limits[1].cost, Cost::Answer { header, reserve: 6, strip: false });
}

#[test]
fn the_hash_of_an_exempt_key_is_read_with_and_without_its_word() {
    let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let limits = limits(&format!("[limiting]\nexempt.keys = [\"{hex}\", \"sha256:{}\"]", hex.to_uppercase()));
    let keys = &limits.limiting.exempt.keys;
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0][..3], [0x9f, 0x86, 0xd0]);
}
