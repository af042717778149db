//! The loader as a whole.

use proptest::prelude::*;

use super::*;

fn load_text(text: &str) -> Result<Loaded, Report> {
    load(text, "tollgate.toml", &|_| None, &Overrides::default())
}

#[test]
fn an_app_alone_is_a_configuration() {
    let overrides = Overrides { upstream: Some("127.0.0.1:8000".to_owned()), ..Overrides::default() };
    let loaded = load("", "tollgate.toml", &|_| None, &overrides).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.model.routes.routes().len(), 1);
    assert_eq!(loaded.origins.get("listen.max_uri"), Origin::Default);
    let option = "--upstream";
    assert_eq!(loaded.origins.get("upstream.address"), Origin::CommandLine { option });
}

#[test]
fn every_problem_is_told_in_file_order() {
    let text = "[listen]\nmax_body = 3\nnope = 1\n[log]\nlevel = \"loud\"\n";
    let report = load_text(text).unwrap_err();
    let shown = report.render(false);
    let places: Vec<_> = ["max_body", "nope", "loud", "upstream"].map(|word| shown.find(word)).into();
    assert!(places.is_sorted() && places[0].is_some(), "{shown}");
    assert_eq!(report.errors(), 4);
}

/// Every key away from its default, with text that needs escapes.
const EVERYTHING: &str = r#"
[listen]
address = ["[::]:80", "unix:/run/a\"$$b.sock"]
trusted_proxies = "10.0.0.0/8"
max_connections = 1
header_timeout = "1ms"
body_timeout = "2s"
keepalive_timeout = "3h"
max_uri = "1KiB"
max_headers = 2
max_header_line = "5B"
max_header_bytes = "6KiB"
max_body = "7TiB"
drain_timeout = "8m"
[upstream]
address = "[::1]:8000"
connect_timeout = "9s"
response_timeout = "10s"
idle_timeout = "11ms"
retry = { attempts = 0 }
[request_id]
header = "X-Trace"
inbound = "never"
format = "uuid4"
[log]
format = "text"
level = "debug"
access = "/var/log/a.log"
query = true
headers = ["Accept", "x-tenant"]
[errors]
format = "problem"
[[routes]]
name = "a"
match = ["GET,POST /a/{b}/*", "/c"]
timeout = "12s"
max_body = "13B"
[[routes]]
name = "b"
match = "/*"
"#;

#[test]
fn a_printed_configuration_loads_to_the_same_model() {
    for text in [EVERYTHING, "[upstream]\naddress = \"app:8000\""] {
        let loaded = load_text(text).unwrap();
        let printed = print(&loaded);
        let again = load_text(&printed).unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert_eq!(format!("{:?}", again.model), format!("{:?}", loaded.model), "{printed}");
    }
}

#[test]
fn every_key_is_printed_with_its_origin() {
    let loaded = load_text(EVERYTHING).unwrap();
    let printed = print(&loaded);
    for path in keys() {
        let (table, key) = path.split_once('.').unwrap();
        let header = match table {
            "routes" => "[[routes]]".to_owned(),
            _ => format!("[{table}]"),
        };
        let section = printed.split_once(&header).unwrap().1;
        let line = section.lines().find(|line| line.starts_with(&format!("{key} = ")));
        assert!(line.is_some_and(|line| line.contains("# line ")), "{path}: {line:?}");
    }
}

#[test]
fn the_variables_of_a_value_are_its_origin() {
    let text = "upstream.address = \"${HOST}:${PORT:-80}\"\nlisten.max_connections = \"${N}\"";
    let env = |name: &str| match name {
        "HOST" => Some("app".to_owned()),
        "N" => Some("7".to_owned()),
        _ => None,
    };
    let loaded = load(text, "f", &env, &Overrides::default()).unwrap();
    assert_eq!(loaded.model.listen.max_connections, 7);
    let printed = print(&loaded);
    let line = printed.lines().find(|line| line.starts_with("address = \"app:80\""));
    assert!(line.is_some_and(|line| line.ends_with("# line 1, from ${HOST} ${PORT}")), "{printed}");
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
