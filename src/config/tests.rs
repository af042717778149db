//! The loader as a whole.

use proptest::prelude::*;

use super::*;

fn load_text(text: &str) -> Result<Loaded, Report> {
    load(text, "tollgate.toml", &|_| None, &Overrides::default())
}

#[test]
fn an_app_alone_is_a_configuration() {
    let overrides = Overrides {
        upstream: Some("127.0.0.1:8000".to_owned()),
        ..Overrides::default()
    };
    let loaded = load("", "tollgate.toml", &|_| None, &overrides).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.model.routes.routes().len(), 1);
    assert_eq!(loaded.origins.get("listen.max_uri"), Origin::Default);
    let option = "--upstream";
    assert_eq!(
        loaded.origins.get("upstream.address"),
        Origin::CommandLine { option }
    );
}

#[test]
fn every_problem_is_told_in_file_order() {
    let text = "[listen]\nmax_body = 3\nnope = 1\n[log]\nlevel = \"loud\"\n";
    let report = load_text(text).unwrap_err();
    let shown = report.render(false);
    let places: Vec<_> = ["max_body", "nope", "loud", "upstream"]
        .map(|word| shown.find(word))
        .into();
    assert!(places.is_sorted() && places[0].is_some(), "{shown}");
    assert_eq!(report.errors(), 4);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[\r\n\t])*") {
        let _ = load_text(&text).map_err(|report| report.render(true));
    }

    #[test]
    fn no_file_of_known_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r\n", "\"", "'", "\"\"\"", "#", "${", "}", "$",
        "listen", "address", "routes", "match", "name", "upstream", "retry", "attempts", "log", "headers",
        "\"/*\"", "\"127.0.0.1:1\"", "10s", "\"10s\"", "1", "-1", "1.5", "true", "1979-05-27", "é",
    ]), 0..40)) {
        let _ = load_text(&words.concat()).map_err(|report| report.render(false));
    }
}
