use crate::config::{Layer, Loaded, Overrides, Report, load_layers, print};

const APP: &str = "[upstream]\naddress = \"app:80\"\n";

fn layered(texts: &[(&str, &str)]) -> Result<Loaded, Report> {
    let layers: Vec<Layer<'_>> =
        texts.iter().map(|(file, text)| Layer { file, bytes: text.as_bytes() }).collect();
    let env = |name: &str| (name == "PORT").then(|| "8000".to_owned());
    load_layers(&layers, &env, &Overrides::default())
}

fn loaded(base: &str, over: &str) -> Loaded {
    let base = format!("{APP}{base}");
    layered(&[("base", &base), ("over", over)]).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// What is told of two files, each problem in a line.
fn told(base: &str, over: &str) -> Vec<String> {
    let base = format!("{APP}{base}");
    match layered(&[("base", &base), ("over", over)]) {
        Ok(loaded) => loaded.warnings.lines(),
        Err(report) => report.lines(),
    }
}

/// The line of a key as `check --print` writes it.
fn printed<'t>(text: &'t str, key: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(&format!("{key} = ")))
        .unwrap_or_else(|| panic!("{key}: {text}"))
}

#[test]
fn a_later_file_wins_key_by_key() {
    let base = "[listen]\nmax_headers = 50\nmax_uri = \"1KiB\"\n[log]\nheaders = [\"X-A\", \"X-B\"]\n";
    let over = "[listen]\nmax_headers = 60\n[log]\nheaders = [\"X-C\"]\n";
    let model = loaded(base, over).model;
    assert_eq!((model.listen.max_headers, model.listen.max_uri), (60, 1024));
    assert_eq!(model.log.headers, ["x-c"], "a list is replaced");
    let turned = layered(&[("over", over), ("base", &format!("{APP}{base}"))]).unwrap().model;
    assert_eq!(turned.listen.max_headers, 50, "the order of the files counts");
}

#[test]
fn a_table_within_a_table_is_merged_however_it_is_written() {
    let base = "retry = { attempts = 3 }\nmax_in_flight = 8\nqueue = { size = 9, timeout = \"4s\" }\n";
    let over = "upstream.queue.size = 7\n[upstream.retry]\nattempts = 2\n";
    let model = loaded(base, over).model;
    assert_eq!(model.upstream.retry_attempts, 2);
    let queue = model.upstream.queue;
    assert_eq!((queue.size, queue.timeout.as_secs()), (7, 4));
}

#[test]
fn limits_tiers_and_routes_are_merged_by_their_names() {
    let base = "[limits.a]\nrate = \"1/second\"\nburst = 5\ntiers.pro = { rate = \"9/second\" }\n\
                [[routes]]\nname = \"one\"\nmatch = \"/one\"\ntimeout = \"1s\"\n\
                [[routes]]\nname = \"two\"\nmatch = \"/two\"\n";
    let over = "[limits.a]\nrate = \"2/second\"\n[limits.b]\nrate = \"3/second\"\n\
                [[routes]]\nname = \"three\"\nmatch = \"/three\"\n\
                [[routes]]\nname = \"one\"\ntimeout = \"7s\"\nlimits = [\"a\", \"b\"]\n";
    let whole = loaded(base, over);
    let names: Vec<&str> = whole.model.routes.routes().iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert_eq!(whole.model.routes.routes()[0].timeout.unwrap().as_secs(), 7);
    assert_eq!(whole.model.limits.by_route[0].len(), 2);
    let text = print(&whole);
    assert!(printed(&text, "rate").contains("2/second") && printed(&text, "burst").contains('5'), "{text}");
}

#[test]
fn rules_of_alerts_are_merged_by_their_names() {
    let base = "[alerts.slack]\nwebhook = \"https://example.com/a\"\n\
                [[alerts.rules]]\nname = \"errors\"\nwhen = \"error_rate > 5%\"\ncooldown = \"2m\"\n";
    let over = "[[alerts.rules]]\nname = \"errors\"\nwhen = \"error_rate > 1%\"\n\
                [[alerts.rules]]\nname = \"down\"\nwhen = \"upstream_down\"\n";
    let rules = loaded(base, over).model.alerts.rules;
    assert_eq!(rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(), ["errors", "down"]);
    assert_eq!(rules[0].cooldown.as_secs(), 120);
}

#[test]
fn every_value_says_which_file_and_line_it_is_from() {
    let text = print(&loaded(
        "response_timeout = \"9s\"\n",
        "[listen]\nmax_uri = \"1KiB\"\naddress = \"127.0.0.1:${PORT}\"\n",
    ));
    let ends = [
        ("response_timeout", "# base:3"),
        ("max_uri", "# over:2"),
        ("address", "# over:3, from ${PORT}"),
        ("max_body", "# default"),
    ];
    for (key, end) in ends {
        assert!(printed(&text, key).ends_with(end), "{text}");
    }
    let again = layered(&[("printed", &text)]).unwrap();
    assert_eq!(again.model.listen.max_uri, 1024);
}

#[test]
fn all_problems_of_all_files_are_told_each_in_its_own() {
    let base = "[listen]\nmax_headers = \"many\"\nnope = 1\n";
    let over = "# é\n[log]\nlevel = \"loud\"\n[nowhere]\na = 1\n";
    assert_eq!(
        told(base, over).iter().map(|line| line.split(" (").nth(1).unwrap_or(line)).collect::<Vec<_>>(),
        [
            "base:4:15)",
            "base:5:1); known keys are `address`, `tls`, `trusted_proxies`, `max_connections`, `header_timeout`, \
             `body_timeout`, `keepalive_timeout`, `send_timeout`, `min_body_rate`, `min_send_rate`, \
             `max_connections_per_ip`, `max_uri`, `max_headers`, `max_header_line`, `max_header_bytes`, `max_body`, \
             `drain_delay`, `drain_timeout`, `h2c`, `http2`, `proxy_protocol`",
            "over:3:9)",
            "over:4:2); known tables are `listen`, `upstream`, `request_id`, `identity`, `limits`, `limiting`, \
             `routes`, `store`, `log`, `errors`, `emf`, `metrics`, `cloudwatch`, `admin`, `alerts`",
        ]
    );
}

#[test]
fn an_unknown_key_is_told_in_every_file_and_a_replaced_value_is_not_looked_at() {
    let base = "[listen]\nmax_hedaers = 1\nmax_uri = \"nonsense\"\n[listne]\na = 1\n";
    let over = "[listen]\nmax_hedaers = 2\nmax_uri = \"1KiB\"\n[listne]\nb = 1\n";
    let places: Vec<String> = told(base, over)
        .iter()
        .map(|line| line.split_once(" (").unwrap().1.split(')').next().unwrap().to_owned())
        .collect();
    assert_eq!(places, ["base:4:1", "base:6:2", "over:2:1", "over:4:2"]);
}

#[test]
fn errors_of_the_grammar_are_told_of_every_file() {
    let lines = told("[log\n", "[listen]\nmax_uri = 1KiB\n[log\n");
    let places: Vec<bool> =
        ["base:3", "over:3"].iter().map(|place| lines.iter().any(|line| line.contains(place))).collect();
    assert_eq!(places, [true, true], "{lines:?}");
    let lines = told("", "[log]\nlevel = loud\nformat = \"nope\"\n");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("(over:2:9)") && lines[1].contains("(over:3:10)"), "{lines:?}");
}

#[test]
fn a_file_that_is_no_text_is_told_with_the_problems_of_the_others() {
    let base = Layer { file: "base", bytes: b"[log\n" };
    let over = Layer { file: "over", bytes: b"[admin]\ntoken = \"hunter2 caf\xe9\"\n" };
    let report = load_layers(&[base, over], &|_| None, &Overrides::default()).unwrap_err();
    let told = report.render(false);
    assert!(told.contains("base:1:") && told.contains("over:2:21"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn one_value_of_two_files_is_told_with_both_places() {
    let report = layered(&[
        ("base", "[listen]\naddress = \"127.0.0.1:9000\"\n"),
        ("over", "[upstream]\naddress = \"127.0.0.1:9000\"\n"),
    ])
    .unwrap_err()
    .render(false);
    assert!(report.contains("--> over:2:11") && report.contains("--> base:2:11"), "{report}");
    assert!(report.contains("1 problem in `base` + `over`, nothing was changed"), "{report}");
}

#[test]
fn a_name_that_stands_twice_in_one_file_is_an_error() {
    let route = "[[routes]]\nname = \"a\"\nmatch = \"/a\"\n";
    let lines = told(route, &format!("{route}{}", route.replace("/a", "/b")));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("`a` is there twice (over:5:8)"), "{lines:?}");
}

#[test]
fn what_is_missing_is_told_of_the_whole() {
    let report = layered(&[("base", "[log]\n"), ("over", "")]).unwrap_err();
    assert_eq!(report.lines().len(), 1);
    assert!(report.lines()[0].contains("(base + over)"), "{report:?}");
}

#[test]
fn no_secret_of_any_file_is_shown() {
    let secret = "hunter2-hunter2-hunter2";
    let cases = [
        (
            "admin = { token = \"$S\", nope = 1 }\n[upstream]\naddress = \"app:80\"",
            "[admin]\ntoken = \"0123456789abcdef\"",
        ),
        ("admin = \"$S\"\nnope = 1\n", "[admin]\n[nope]\ntoken = 1\n"),
        ("[upstream]\naddress = \"app:80\"\n", "admin = { tokn = \"$S\", nope = 1 }"),
        ("admin = { tokn = \"$S\", nope = 1 }", "[admin]\ntokn = \"x\""),
        (
            "alerts = { slack = { webhook = \"https://example.com/$S\" }, nope = 1 }",
            "[alerts.slack]\nwebhook = 5",
        ),
        ("alerts = { slak = \"$S\", nope = 1 }", "[alerts.slak]\nx = 5"),
        ("[admin]\ntoken = \"$S", "[admin]\ntoken = \"$S"),
        ("[log]\n", "[admin]\ntoken = $S"),
    ];
    for (base, over) in cases {
        let (base, over) = (base.replace("$S", secret), over.replace("$S", secret));
        let report = match layered(&[("base", &base), ("over", &over)]) {
            Ok(loaded) => loaded.warnings,
            Err(report) => report,
        };
        let told = format!("{}{}{report:?}", report.render(false), report.lines().concat());
        assert!(!report.is_empty(), "{base}\n{over}");
        assert!(!told.contains("hunter2"), "{base}\n{over}\n{told}");
    }
}
