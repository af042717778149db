//! The files in `config/` and the manual, against the code.

use std::fs;
use std::path::Path;

use tollgate::config::{self, Loaded, Overrides};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(text: &str) -> Loaded {
    config::load(text, "file", &|_| None, &Overrides::default())
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
        let loaded = load(&read(&name));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} files");
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

fn header(table: &str) -> String {
    match table {
        "routes" => "[[routes]]".to_owned(),
        table => format!("[{table}]"),
    }
}

#[test]
fn every_key_is_in_the_full_file() {
    let text = read("config/tollgate.toml");
    for path in config::keys() {
        let (table, key) = path.split_once('.').unwrap();
        let section = section(&text, &header(table), "[");
        let written = match key.split_once('.') {
            Some((outer, inner)) => section.contains(&format!("\n{outer} = {{ {inner} = ")),
            None => section.contains(&format!("\n{key} = ")) || section.contains(&format!("\n# {key} = ")),
        };
        assert!(written, "`{path}` is not in config/tollgate.toml");
    }
}

#[test]
fn every_key_is_in_the_manual() {
    let text = read("docs/configuration.md");
    for path in config::keys() {
        let (table, key) = path.split_once('.').unwrap();
        let section = section(&text, &format!("## `{}`", header(table)), "## ");
        assert!(section.contains(&format!("\n| `{key}` |")), "`{path}` is not in docs/configuration.md");
    }
}

#[test]
fn the_manual_names_no_key_that_is_not_there() {
    let text = read("docs/configuration.md");
    let keys = config::keys();
    for table in ["listen", "upstream", "request_id", "log", "errors", "routes"] {
        let section = section(&text, &format!("## `{}`", header(table)), "## ");
        let keys_only = section.split("\n### ").next().unwrap_or(section);
        for line in keys_only.lines() {
            let Some(key) = line.strip_prefix("| `").and_then(|line| line.split('`').next()) else {
                continue;
            };
            assert!(keys.contains(&format!("{table}.{key}")), "`{table}.{key}` is not a key");
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
        if let Err(report) = config::load(example, "example", &env, &overrides) {
            panic!("{}", report.render(false));
        }
    }
}
