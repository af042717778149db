//! What is told of every wrong configuration: each `.toml` here has its report in a `.txt` beside it.
//!
//! A directory in `layers` is one configuration of several files, in the order of their names.
//!
//! `TOLLGATE_BLESS=1 cargo test` writes the reports anew; read the difference before it is kept. A
//! first line `# options: …` stands for options of the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tollgate::config::{self, Layer, Overrides};

/// Where keys files are, beside the configurations.
const KEYS: &str = "keys";
/// Where configurations of several files are.
const LAYERS: &str = "layers";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages")
}

fn cases() -> BTreeSet<PathBuf> {
    let files = |directory: PathBuf| fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let paths = files(directory()).chain(files(directory().join(KEYS)));
    let of_one_file = paths.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    of_one_file.chain(files(directory().join(LAYERS)).filter(|path| path.is_dir())).collect()
}

fn variable(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8000".to_owned()),
        "WORD" => Some("word".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn overrides(text: &str) -> Overrides {
    let first = text.lines().next().unwrap_or_default();
    let mut words = first.strip_prefix("# options: ").unwrap_or_default().split(' ');
    let mut overrides = Overrides::default();
    while let Some(option) = words.next().filter(|word| !word.is_empty()) {
        let value = words.next().expect("an option has a value").to_owned();
        match option {
            "--listen" => overrides.listen.push(value),
            "--upstream" => overrides.upstream = Some(value),
            _ => panic!("unknown option {option}"),
        }
    }
    overrides
}

/// What is told of all files of a directory as one configuration.
fn report_of_layers(path: &Path) -> String {
    let files: BTreeSet<PathBuf> = fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let read: Vec<_> = files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect();
    let layers: Vec<Layer<'_>> = read.iter().map(|(file, bytes)| Layer { file, bytes }).collect();
    match config::load_layers(&layers, &variable, &Overrides::default()) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(report) => report.render(false),
    }
}

fn report(path: &Path) -> String {
    if path.is_dir() {
        return report_of_layers(path);
    }
    let bytes = fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let report = match std::str::from_utf8(&bytes) {
        Err(_) => config::not_utf8(&bytes, name).unwrap(),
        Ok(text) if path.parent().is_some_and(|directory| directory.ends_with(KEYS)) => {
            match config::keys::load(text, name, 1_800_000_000) {
                Ok(loaded) => loaded.warnings,
                Err(report) => report,
            }
        }
        Ok(text) => match config::load(text, name, &variable, &overrides(text)) {
            Ok(loaded) => loaded.warnings,
            Err(report) => report,
        },
    };
    report.render(false)
}

#[test]
fn every_wrong_configuration_is_told_as_written_down() {
    let bless = std::env::var_os("TOLLGATE_BLESS").is_some();
    let mut changed = Vec::new();
    for case in cases() {
        let told = report(&case);
        assert!(!told.is_empty(), "{} has no problem", case.display());
        let golden = case.with_extension("txt");
        if bless {
            fs::write(&golden, &told).unwrap();
        } else if fs::read_to_string(&golden).ok().as_deref() != Some(&told) {
            changed.push(format!("{}:\n{told}", golden.display()));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn no_report_is_left_without_its_configuration() {
    for directory in [directory(), directory().join(KEYS), directory().join(LAYERS)] {
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|end| end == "txt") {
                let is_there = path.with_extension("toml").exists() || path.with_extension("").is_dir();
                assert!(is_there, "{}", path.display());
            }
        }
    }
}

#[test]
fn color_changes_nothing_but_color() {
    let text = "[log]\nlevel = 1\n";
    let report = config::load(text, "f", &variable, &Overrides::default()).unwrap_err();
    let mut plain = String::new();
    let colored = report.render(true);
    for (index, part) in colored.split('\u{1b}').enumerate() {
        plain.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_ne!(colored, plain);
    assert_eq!(plain, report.render(false));
}
