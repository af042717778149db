//! What is measured.

use super::*;
use crate::config::model::metrics::FromResponse;
use crate::config::{Overrides, Report, load};

fn load_text(text: &str) -> Result<(Metrics, Report), Report> {
    let text = format!("[upstream]\naddress = \"app:80\"\n{text}");
    load(&text, "file", &|_| None, &Overrides::default())
        .map(|loaded| (loaded.model.metrics, loaded.warnings))
}

fn metrics(text: &str) -> Metrics {
    load_text(text).unwrap_or_else(|report| panic!("{}", report.render(false))).0
}

#[test]
fn without_a_table_it_is_the_default() {
    assert_eq!(metrics(""), Metrics::default());
    assert_eq!(metrics("[metrics.from_response]").from_response, FromResponse::default());
    assert!(metrics("").from_response.strip);
}

#[test]
fn pushes_have_an_interval() {
    assert_eq!(metrics("[metrics]\npush = \"cloudwatch\"").push, Some(Duration::from_secs(60)));
    let ten = metrics("[metrics]\npush = \"cloudwatch\"\npush_every = \"10s\"");
    assert_eq!(ten.push, Some(Duration::from_secs(10)));
    let (off, warnings) = load_text("[metrics]\npush_every = \"10s\"").unwrap();
    assert_eq!((off.push, warnings.warnings()), (None, 1));
    assert!(load_text("[metrics]\npush_every = \"9s\"").is_err());
}

#[test]
fn buckets_are_in_nanoseconds_and_ascend() {
    assert_eq!(metrics("[metrics]\nbuckets = [\"5ms\", \"2s\"]").buckets, [5_000_000, 2_000_000_000]);
    let many: Vec<String> = (1..=31).map(|number| format!("\"{number}s\"")).collect();
    assert!(load_text(&format!("[metrics]\nbuckets = [{}]", many[..30].join(","))).is_ok());
    for wrong in
        ["[]", "[\"2s\", \"1s\"]", "[\"1s\", \"1s\"]", "[1]", "\"1s\"", &format!("[{}]", many.join(","))]
    {
        assert!(load_text(&format!("[metrics]\nbuckets = {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn what_the_app_says_is_read() {
    let text = "[metrics.from_response]\ncache_hit = { header = \"X-Cache\", equals = \"HIT\" }\n\
                analysis_latency = { server_timing = \"analysis\" }\nserver_timing = [\"db\", \"render\"]\n\
                llm = { tokens = \"X-LLM-Tokens\", model = \"X-LLM-Model\" }\nstrip = false\n";
    let read = metrics(text).from_response;
    assert_eq!(
        read.cache_hit.map(|hit| (hit.header.to_string(), hit.equals)),
        Some(("x-cache".to_owned(), "HIT".into()))
    );
    assert_eq!(read.analysis_latency.as_deref(), Some("analysis"));
    assert_eq!(read.server_timing, ["db".into(), "render".into()]);
    let llm = read.llm.unwrap();
    assert_eq!(
        (llm.tokens.as_str(), llm.model.unwrap().as_str(), llm.operation),
        ("x-llm-tokens", "x-llm-model", None)
    );
    assert!(!read.strip);
}

#[test]
fn routes_beyond_the_cap_are_warned_of() {
    let routes = "[[routes]]\nname = \"a\"\nmatch = \"/a\"\n[[routes]]\nname = \"b\"\nmatch = \"/b\"\n";
    let warned = |cap| load_text(&format!("[metrics]\nmax_routes = {cap}\n{routes}")).unwrap().1.warnings();
    assert_eq!((warned(1), warned(2)), (1, 0));
}
