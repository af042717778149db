//! The crates of Cargo.lock against `deny.toml`: licenses, sources, duplicates, and what must not be there. `make deny` asks
//! cargo-deny the same, with advisories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// A crate that is built.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    license: String,
    source: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo.args(arguments).arg("--locked").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates that are built for Linux, those of tests among them. `cargo metadata` knows their licenses, and lists some
/// that no feature asks for; `cargo tree` knows which are built.
fn crates() -> BTreeSet<Crate> {
    let tree = cargo(&["tree", "--target", PLATFORM, "--prefix", "none", "--format", "{p}"]);
    let built: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            Some((name, rest.split(' ').next().unwrap_or_default()))
        })
        .collect();
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--filter-platform", PLATFORM]))
            .unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| Crate {
        name: text(package, "name"),
        version: text(package, "version"),
        license: text(package, "license"),
        source: text(package, "source"),
    });
    let crates: BTreeSet<Crate> =
        packages.filter(|found| built.contains(&(found.name.as_str(), found.version.as_str()))).collect();
    assert_eq!(crates.len(), built.len());
    assert!(crates.len() > 200, "only {} crates", crates.len());
    crates
}

/// Lists of `deny.toml`.
struct Deny {
    licenses: BTreeSet<String>,
    sources: Vec<String>,
    /// Name and the beginning of the version.
    skipped: BTreeSet<(String, String)>,
    /// Name, and the version from which on it may be there.
    denied: Vec<(String, Option<String>)>,
}

fn deny() -> Deny {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let table = DeTable::parse(&text).unwrap().into_inner();
    let list = |section: &str, key: &str| -> Vec<String> {
        let value = &table[section].get_ref().as_table().unwrap()[key];
        let items = value.get_ref().as_array().unwrap().iter();
        let name = |item: &DeValue<'_>| match item {
            DeValue::Table(entry) => {
                assert!(entry.contains_key("reason"), "{entry:?} has no reason");
                entry["crate"].get_ref().as_str().unwrap().to_owned()
            }
            item => item.as_str().unwrap().to_owned(),
        };
        items.map(|item| name(item.get_ref())).collect()
    };
    let pair = |entry: &String, mark: &str| {
        entry.split_once(mark).map(|(name, version)| (name.to_owned(), version.to_owned()))
    };
    Deny {
        licenses: list("licenses", "allow").into_iter().collect(),
        sources: list("sources", "allow-registry"),
        skipped: list("bans", "skip").iter().map(|entry| pair(entry, "@").unwrap()).collect(),
        denied: list("bans", "deny")
            .iter()
            .map(|entry| match pair(entry, ":<") {
                Some((name, least)) => (name, Some(least)),
                None => (entry.clone(), None),
            })
            .collect(),
    }
}

/// Whether one can choose licenses of an SPDX expression so that all are allowed; `/` is the old way to write OR.
fn may_be_used(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed)
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn any_of(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    let mut usable = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        usable |= all_of(words, allowed);
    }
    usable
}

fn all_of(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    let mut usable = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        usable &= one(words, allowed);
    }
    usable
}

fn one(words: Words<'_, '_>, allowed: &BTreeSet<String>) -> bool {
    match words.next() {
        Some("(") => {
            let usable = any_of(words, allowed);
            assert_eq!(words.next(), Some(")"));
            usable
        }
        Some(license) => {
            // An exception only permits more.
            if words.next_if_eq(&"WITH").is_some() {
                words.next();
            }
            allowed.contains(license)
        }
        None => false,
    }
}

fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    release.split('.').map(|number| number.parse().unwrap()).collect()
}

#[test]
fn every_crate_has_a_license_that_may_be_used() {
    let deny = deny();
    let crates = crates();
    let refused: Vec<_> =
        crates.iter().filter(|found| !may_be_used(&found.license, &deny.licenses)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for license in &deny.licenses {
        let fewer = deny.licenses.iter().filter(|other| *other != license).cloned().collect();
        assert!(
            crates.iter().any(|found| !may_be_used(&found.license, &fewer)) || license == "Apache-2.0",
            "no crate needs `{license}`"
        );
    }
}

#[test]
fn licenses_are_read_as_spdx_has_them() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for usable in
        ["MIT", "GPL-3.0 OR MIT", "MIT AND ISC", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "MIT WITH Any"]
    {
        assert!(may_be_used(usable, &allowed), "{usable}");
    }
    for refused in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "", "GPL-3.0 WITH MIT"] {
        assert!(!may_be_used(refused, &allowed), "{refused}");
    }
}

#[test]
fn every_crate_comes_from_the_registry() {
    let sources: Vec<String> = deny().sources.iter().map(|url| format!("registry+{url}")).collect();
    let elsewhere: Vec<_> = crates()
        .into_iter()
        .filter(|found| !sources.contains(&found.source) && found.name != "tollgate")
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn a_crate_is_there_twice_only_for_a_reason() {
    let skipped = deny().skipped;
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for found in crates() {
        versions.entry(found.name).or_default().insert(found.version);
    }
    let is = |version: &str, beginning: &str| {
        version.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    for (name, beginning) in &skipped {
        let found =
            versions.get(name).is_some_and(|all| all.len() > 1 && all.iter().any(|one| is(one, beginning)));
        assert!(found, "`{name}@{beginning}` is not there a second time: take it out of deny.toml");
    }
    for (name, all) in &versions {
        let counted = all.iter().filter(|version| {
            !skipped.iter().any(|(skipped, beginning)| skipped == name && is(version, beginning))
        });
        assert!(counted.count() < 2, "`{name}` is there as {all:?}");
    }
}

#[test]
fn what_must_not_be_there_is_not() {
    let deny = deny();
    for found in crates() {
        for (name, least) in &deny.denied {
            let old_enough = least.as_ref().is_some_and(|least| numbers(&found.version) >= numbers(least));
            assert!(found.name != *name || old_enough, "{found:?} is denied");
        }
    }
}
