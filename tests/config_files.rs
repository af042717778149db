//! The files in `config/` and the manual, against the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tollgate::config::{self, Layer, Loaded, Overrides};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(text: &str) -> Loaded {
    config::load(text, "file", &|_| None, &Overrides::default())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// What is the same everywhere, and what goes over it.
const BASE: &str = "config/base.toml";
const OVER_BASE: [&str; 3] = ["config/development.toml", "config/staging.toml", "config/production.toml"];

fn layered(files: &[&str]) -> Loaded {
    let texts: Vec<String> = files.iter().map(|file| read(file)).collect();
    let layers = files.iter().zip(&texts).map(|(file, text)| Layer { file, bytes: text.as_bytes() });
    config::load_layers(&layers.collect::<Vec<_>>(), &|_| None, &Overrides::default())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

#[test]
fn every_file_is_correct_and_wise() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for file in fs::read_dir(directory).unwrap() {
        let name = format!("config/{}", file.unwrap().file_name().to_string_lossy());
        if !name.ends_with(".toml") {
            continue;
        }
        let loaded = match OVER_BASE.contains(&name.as_str()) {
            true => layered(&[BASE, &name]),
            false => load(&read(&name)),
        };
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
        seen += 1;
    }
    assert!(seen >= 6, "only {seen} files");
}

#[test]
fn every_environment_has_the_routes_of_the_base_and_something_of_its_own() {
    let base = config::print_plain(&load(&read(BASE)).model);
    for file in OVER_BASE {
        let loaded = layered(&[BASE, file]);
        assert_eq!(loaded.model.routes.routes().len(), 5, "{file}");
        assert_ne!(config::print_plain(&loaded.model), base, "{file}");
    }
}

#[test]
fn the_full_file_holds_the_defaults() {
    let defaults = load("[upstream]\naddress = \"127.0.0.1:8000\"\n");
    let written = load(&read("config/tollgate.toml"));
    assert_eq!(format!("{:?}", written.model.listen), format!("{:?}", defaults.model.listen));
    let values = |loaded: &Loaded| {
        let printed = config::print(loaded);
        let lines = printed.lines().map(|line| line.split("  #").next().unwrap_or(line).trim_end());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values(&written), values(&defaults));
}

/// The part of `text` from a line that begins with `start` to the next that begins with one of `ends`.
fn section<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let at = text.find(&format!("\n{start}")).unwrap_or_else(|| panic!("no `{start}`"));
    let rest = &text[at + 1 + start.len()..];
    &rest[..rest.find(&format!("\n{end}")).unwrap_or(rest.len())]
}

/// Tables within others that are written under headers of their own.
const NESTED: [&str; 10] = [
    "upstream.health",
    "upstream.canary",
    "metrics.from_response",
    "listen.tls.certificates",
    "listen.tls",
    "upstream.tls",
    "cloudwatch.alarms",
    "alerts.slack",
    "alerts.webhook",
    "alerts.rules",
];

/// A key's table and its name in it, from its dotted path; `*` is the name of a table that the file chooses.
fn table_and_key(path: &str) -> (&str, &str) {
    for table in NESTED {
        if let Some(key) = path.strip_prefix(table).and_then(|key| key.strip_prefix('.')) {
            return (&path[..table.len()], key);
        }
    }
    let (table, key) = path.split_once('.').unwrap();
    match key.strip_prefix("*.") {
        Some(key) => (&path[..table.len() + 2], key),
        None => (table, key),
    }
}

fn header(table: &str) -> String {
    match table {
        "routes" | "alerts.rules" | "listen.tls.certificates" => format!("[[{table}]]"),
        table => format!("[{}]", table.replace('*', "NAME")),
    }
}

/// The full file with its examples in place of their absence.
fn uncommented(text: &str) -> String {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
    };
    const TABLES: [&str; 8] =
        ["[listen.", "[[listen.", "[upstream.", "[limits.", "[emf]", "[admin]", "[alerts.", "[[alerts."];
    let is_table = |line: &str| TABLES.iter().any(|table| line.starts_with(table)) && line.ends_with(']');
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(example) if is_key(example) || is_table(example) => format!("{example}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(uncomment).collect()
}

#[test]
fn every_key_is_in_the_full_file() {
    let text = uncommented(&read("config/tollgate.toml"));
    for path in config::keys() {
        let (table, key) = table_and_key(&path);
        let (start, end) = match table.strip_suffix(".*") {
            // All tables of this kind together.
            Some(kind) => (format!("[{kind}."), format!("[{kind}ing]")),
            None => (header(table), "[".to_owned()),
        };
        let section = section(&text, &start, &end);
        let written = section.lines().any(|line| match key.rsplit_once('.') {
            _ if line.starts_with(&format!("{} = ", key.replace("queue.tiers.*", "queue.tiers.pro"))) => true,
            Some((outer, inner)) => {
                let (name, value) = line.split_once(" = { ").unwrap_or_default();
                let inside = format!(", {value}").contains(&format!(", {inner} = "));
                inside
                    && (name == outer
                        || name.strip_suffix("pro").is_some_and(|tiers| outer == format!("{tiers}*")))
            }
            None => false,
        });
        assert!(written, "`{path}` is not in config/tollgate.toml");
    }
}

#[test]
fn the_examples_of_the_full_file_are_correct_and_wise() {
    let text = uncommented(&read("config/tollgate.toml"))
        .replace("limits = []", "limits = [\"default\", \"llm_tokens\"]")
        .replace("address = \"127.0.0.1:8000\"", "address = \"https://app:8443\"")
        .replace("push = \"off\"", "push = \"cloudwatch\"")
        .replace("max_in_flight = 0", "max_in_flight = \"auto\"");
    let loaded = load(&text);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    assert_eq!(loaded.model.limits.by_route[0].len(), 2);
    assert_eq!(loaded.model.limits.limits[0].standard.len(), 3);
    assert!(loaded.model.upstream.canary.is_some() && loaded.model.upstream.buffers.spill.is_some());
    assert_eq!(loaded.model.listen.tls.as_ref().unwrap().certificates.len(), 2);
    assert!(loaded.model.upstream.tls.client.is_some());
    assert!(loaded.model.emf.is_some() && loaded.model.admin.is_some());
    assert_eq!(loaded.model.alerts.rules.len(), 1);
    assert!(loaded.model.metrics.from_response.llm.is_some());
}

#[test]
fn every_key_is_in_the_manual() {
    let text = read("docs/configuration.md");
    for path in config::keys() {
        let (table, key) = table_and_key(&path);
        let section = section(&text, &format!("## `{}`", header(table)), "## ");
        let key = key.replace('*', "NAME");
        assert!(section.contains(&format!("\n| `{key}` |")), "`{path}` is not in docs/configuration.md");
    }
}

#[test]
fn the_manual_names_no_key_that_is_not_there() {
    let text = read("docs/configuration.md");
    let keys = config::keys();
    let tables: BTreeSet<&str> = keys.iter().map(|path| table_and_key(path).0).collect();
    for table in tables {
        let section = section(&text, &format!("## `{}`", header(table)), "## ");
        let keys_only = section.split("\n### ").next().unwrap_or(section);
        for line in keys_only.lines() {
            let Some(key) = line.strip_prefix("| `").and_then(|line| line.split('`').next()) else {
                continue;
            };
            let path = format!("{table}.{}", key.replace("NAME", "*"));
            assert!(keys.contains(&path), "`{path}` is not a key");
        }
    }
}

#[test]
fn examples_of_the_manual_are_correct() {
    let text = read("docs/configuration.md");
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(!examples.is_empty());
    let overrides = Overrides { upstream: Some("127.0.0.1:8000".to_owned()), ..Overrides::default() };
    for example in examples {
        let env = |name: &str| (name == "APP_SOCKET").then(|| "/run/app.sock".to_owned());
        if example.starts_with("[[keys]]") {
            config::keys::load(example, "example", 0)
                .unwrap_or_else(|report| panic!("{}", report.render(false)));
            continue;
        }
        if let Err(report) = config::load(example, "example", &env, &overrides) {
            panic!("{}", report.render(false));
        }
    }
}
