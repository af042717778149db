//! What becomes a package: the files that Cargo.toml names, the scripts, the starter configuration. `make package` builds
//! one and installs it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate::config::{self, Overrides};
use toml::de::{DeTable, DeValue};

use crate::harness::process::run;
use crate::harness::scratch::Scratch;
use crate::harness::tollgate::binary;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Source, place and mode of each file of the .deb.
fn assets() -> Vec<[String; 3]> {
    let text = read("Cargo.toml");
    let manifest = DeTable::parse(&text).unwrap().into_inner();
    let deb = &manifest["package"].get_ref().as_table().unwrap()["metadata"];
    let deb = &deb.get_ref().as_table().unwrap()["deb"];
    let assets = &deb.get_ref().as_table().unwrap()["assets"];
    let parts = |asset: &DeValue<'_>| {
        let parts = asset.as_array().unwrap().iter().map(|part| part.get_ref().as_str().unwrap().to_owned());
        <[String; 3]>::try_from(parts.collect::<Vec<_>>()).unwrap()
    };
    assets.get_ref().as_array().unwrap().iter().map(|asset| parts(asset.get_ref())).collect()
}

/// Every shell script that is under version control, by its first line.
fn scripts() -> BTreeSet<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = String::from_utf8(output.stdout).unwrap();
    let files = files.split_terminator('\0').map(|file| root().join(file));
    let is_script = |file: &PathBuf| {
        let start = fs::read(file).unwrap_or_default();
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        first.starts_with(b"#!") && (first.ends_with(b"sh") || first.ends_with(b"bash"))
    };
    files.filter(is_script).collect()
}

#[test]
fn shellcheck_finds_nothing_in_any_script() {
    let scripts = scripts();
    assert!(scripts.len() > 8, "{scripts:?}");
    // That a function is only called by a trap is not seen.
    let mut arguments = vec![PathBuf::from("--exclude=SC2317")];
    arguments.extend(scripts);
    let (code, said, complaint) = run(Path::new("shellcheck"), &arguments);
    assert_eq!(code, 0, "{said}{complaint}");
}

#[test]
fn every_file_of_the_package_is_there_or_made() {
    let script = read("deploy/package/build");
    for [source, place, mode] in assets() {
        assert!(!place.starts_with('/') && matches!(mode.as_str(), "644" | "755" | "640"), "{place} {mode}");
        if let Some(made) = source.strip_prefix("target/package/files/") {
            assert!(script.contains(&format!("$files/{made}")), "deploy/package/build does not make {made}");
        } else if source != "target/release/tollgate" {
            let (directory, name) = source.rsplit_once('/').unwrap_or((".", &source));
            let suffix = name.strip_prefix('*');
            let files = fs::read_dir(root().join(directory)).unwrap();
            let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let found = names.any(|file| suffix.map_or(file == name, |suffix| file.ends_with(suffix)));
            assert!(found, "there is no {source}");
        }
    }
}

/// So nobody is served by an address that was only guessed.
#[test]
fn the_starter_lacks_the_address_of_the_app_and_nothing_else() {
    let starter = root().join("deploy/package/tollgate.toml");
    let (code, _, said) = run(binary(), &["check", starter.to_str().unwrap()]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("1 problem") && said.contains("[upstream]"), "{said}");
    let text = read("deploy/package/tollgate.toml").replace("#address = \"unix:", "address = \"unix:");
    for text in [text.clone(), text.replace("\n#", "\n")] {
        // What looks like a key behind the mark is one; the rest is told.
        let keys = text.lines().filter(|line| !line.starts_with(' '));
        let text: String = keys.map(|line| format!("{line}\n")).collect();
        let loaded = config::load(&text, "starter", &|_| None, &Overrides::default());
        let loaded = loaded.unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    }
}

/// The directories that the service may write to are those the starter names.
#[test]
fn the_starter_writes_where_the_service_may() {
    let unit = read("systemd/tollgate.service");
    let starter = read("deploy/package/tollgate.toml");
    for (directive, directory) in [
        ("LogsDirectory=tollgate", "/var/log/tollgate/"),
        ("StateDirectory=tollgate", "/var/lib/tollgate/"),
        ("RuntimeDirectory=tollgate", "unix:/run/tollgate/"),
    ] {
        assert!(unit.lines().any(|line| line == directive), "no {directive}");
        assert!(starter.contains(&format!("\"{directory}")), "nothing below {directory}");
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    let scratch = Scratch::new();
    for (shell, checker) in [("bash", Some("bash")), ("zsh", None), ("fish", None)] {
        let (code, script, said) = run(binary(), &["completions", shell]);
        assert!(code == 0 && script.contains("tollgate"), "{shell}: {said}");
        if let Some(checker) = checker {
            let file = scratch.file(shell);
            fs::write(&file, script).unwrap();
            let (code, _, said) = run(Path::new(checker), &["-n", file.to_str().unwrap()]);
            assert_eq!(code, 0, "{said}");
        }
    }
}
