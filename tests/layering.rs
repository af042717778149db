//! The layers of the source: who may import whom, and which modules are pure.
//!
//! The table is the one of docs/architecture.md. A module that is not in it fails, so that a new one
//! finds its place on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate's root, and the modules below it that it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("alarms", &["clock"]),
    ("socket", &[]),
    ("limit", &["clock", "message"]),
    ("message", &["clock"]),
    ("identity", &["message"]),
    ("config", &["limit", "identity", "message"]),
    ("telemetry", &["message", "clock", "config"]),
    ("tls", LOW),
    ("store", LOW),
    ("upstream", &["tls", "config", "limit", "message", "telemetry", "clock", "alarms", "socket"]),
    (
        "proxy",
        &[
            "tls",
            "store",
            "upstream",
            "clock",
            "alarms",
            "socket",
            "limit",
            "identity",
            "config",
            "message",
            "telemetry",
        ],
    ),
    ("admin", HIGH),
    ("alerts", HIGH),
    ("cloudwatch", HIGH),
    ("daemon", ALL),
    ("gunicorn", &[]),
    ("doctor", &["clock", "config", "daemon", "gunicorn", "identity", "tls"]),
    ("cli", EVERYTHING),
];

const LOW: &[&str] = &["config", "limit", "message", "telemetry", "clock", "alarms", "socket"];
const HIGH: &[&str] = &[
    "proxy",
    "tls",
    "store",
    "upstream",
    "clock",
    "alarms",
    "socket",
    "limit",
    "identity",
    "config",
    "message",
    "telemetry",
];
const EVERYTHING: &[&str] = &[
    "doctor",
    "gunicorn",
    "daemon",
    "admin",
    "alerts",
    "cloudwatch",
    "proxy",
    "tls",
    "store",
    "upstream",
    "clock",
    "alarms",
    "socket",
    "limit",
    "identity",
    "config",
    "message",
    "telemetry",
];
const ALL: &[&str] = &[
    "admin",
    "alerts",
    "cloudwatch",
    "proxy",
    "tls",
    "store",
    "upstream",
    "clock",
    "alarms",
    "socket",
    "limit",
    "identity",
    "config",
    "message",
    "telemetry",
];

/// Modules, or files of one, that compute and do nothing else: values are arguments.
const PURE: &[&str] = &[
    "limit",
    "message",
    "identity",
    "config",
    "alerts/answer",
    "alerts/evaluation",
    "alerts/message",
    "alerts/outbox",
    "alerts/reach",
    "alerts/rule",
    "alerts/window",
    "telemetry/record",
    "telemetry/histogram",
    "telemetry/prometheus",
    "telemetry/series",
    "telemetry/measurements",
    "telemetry/talkers",
    "telemetry/emf",
    "telemetry/totals",
    "telemetry/access_line",
    "gunicorn/arguments",
    "gunicorn/literals",
    "gunicorn/settings",
    "gunicorn/sockets",
    "store/encoding",
    "store/wire",
];

/// What a pure module must not name.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "rustls",
    "socket2",
    "std::fs",
    "std::env",
    "std::os",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "SystemTime",
    "Instant",
    "RandomState",
    "tracing",
];

/// Only the clock may read time.
const TIME: &[&str] = &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"];

struct Source {
    path: PathBuf,
    module: String,
    /// The text without comments, strings and the tests at its end.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_path_buf();
                // Unit tests may know more than what they test.
                if relative.file_stem().is_some_and(|stem| stem == "tests") {
                    continue;
                }
                let module = relative.with_extension("").to_string_lossy().into_owned();
                let module = module.strip_suffix("/mod").unwrap_or(&module).to_owned();
                let code = code_of(&fs::read_to_string(&path).unwrap());
                found.push(Source { path: relative, module, code });
            }
        }
    }
    assert!(found.len() > 3, "no sources in {}", root.display());
    found
}

/// Drops comments, the contents of strings, and everything from the unit tests on.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut code = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("//") {
            continue;
        }
        let mut parts = line.split('"');
        code.push_str(parts.next().unwrap_or_default().split("//").next().unwrap_or_default());
        for (at, part) in parts.enumerate() {
            code.push('"');
            if at % 2 == 1 {
                code.push_str(part.split("//").next().unwrap_or_default());
            }
        }
        code.push('\n');
    }
    code
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `word` stands in `code` as a word or path of its own.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].bytes().next_back();
        let after = code[at + word.len()..].bytes().next();
        !before.is_some_and(is_word_byte) && !after.is_some_and(is_word_byte)
    })
}

/// The root modules that `crate::…` paths in `code` lead to, grouped imports included.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut at_start = true;
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(std::mem::take(&mut word));
                        at_start = true;
                    }
                    ':' => at_start = false,
                    _ if depth == 0 && at_start && !character.is_whitespace() => word.push(character),
                    _ => {}
                }
            }
            found.insert(word);
        } else {
            let end = rest.bytes().position(|byte| !is_word_byte(byte)).unwrap_or(rest.len());
            found.insert(rest[..end].to_owned());
        }
    }
    found.remove("");
    found
}

fn root_of(module: &str) -> &str {
    module.split('/').next().unwrap_or(module)
}

#[test]
fn modules_import_only_from_layers_below() {
    let mut problems = Vec::new();
    for source in sources() {
        let root = root_of(&source.module);
        if matches!(root, "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == root) else {
            problems.push(format!("{}: `{root}` has no place in the table", source.path.display()));
            continue;
        };
        for import in imports(&source.code) {
            let is_module = LAYERS.iter().any(|(module, _)| *module == import);
            if is_module && import != root && !allowed.contains(&import.as_str()) {
                problems.push(format!("{}: imports `{import}`", source.path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn lower_layers_take_only_the_resolved_model_of_the_configuration() {
    for source in sources() {
        if matches!(root_of(&source.module), "telemetry" | "tls" | "store" | "upstream" | "proxy") {
            for (at, _) in source.code.match_indices("crate::config::") {
                let rest = &source.code[at + "crate::config::".len()..];
                assert!(rest.starts_with("model"), "{} reads raw configuration", source.path.display());
            }
        }
    }
}

#[test]
fn pure_modules_name_nothing_impure() {
    let mut problems = Vec::new();
    for source in sources() {
        let is_pure =
            PURE.iter().any(|pure| source.module == *pure || source.module.starts_with(&format!("{pure}/")));
        if !is_pure {
            continue;
        }
        for word in IMPURE {
            if names(&source.code, word) {
                problems.push(format!("{}: names `{word}`", source.path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn only_the_clock_reads_time() {
    let mut problems = Vec::new();
    for source in sources() {
        if source.module == "clock" {
            continue;
        }
        for word in TIME {
            if names(&source.code, word) {
                problems.push(format!("{}: names `{word}`", source.path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_layers_have_no_circle() {
    for (module, below) in LAYERS {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut pending: Vec<&str> = below.to_vec();
        while let Some(next) = pending.pop() {
            if reached.insert(next) {
                let (_, further) = LAYERS.iter().find(|(name, _)| *name == next).unwrap();
                pending.extend(*further);
            }
        }
        assert!(!reached.contains(module), "`{module}` may import itself through others");
    }
}

#[test]
fn the_checks_see_what_they_look_for() {
    let code = code_of(
        "//! crate::proxy in prose\nuse crate::config::model::Model; // crate::daemon\n\
         use crate::{\n    clock::Tick,\n    message::{routes, path},\n};\nlet a = \"crate::cli\";\n\
         fn f() { crate::upstream::go(tokio::spawn) }\n#[cfg(test)]\nmod tests { use crate::admin; }",
    );
    let found: Vec<_> = imports(&code).into_iter().collect();
    assert_eq!(found, ["clock", "config", "message", "upstream"]);
    assert!(names(&code, "tokio") && !names(&code, "toki") && !names(&code, "cli"));
}
