//! `deploy/docker/`, as far as it can be tried without an engine: what the build needs is copied, the commands are ours,
//! and the image that `assemble` makes is complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate::config::{self, Overrides};
use toml::de::DeTable;

use crate::harness::process::{command, run};
use crate::harness::scratch::Scratch;
use crate::harness::tollgate::binary;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Instructions with their arguments, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("deploy/docker/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split =
        |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()));
    lines.map(|line| split(line).unwrap_or_else(|| panic!("no instruction: {line}"))).collect()
}

fn all<'a>(instructions: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    instructions.iter().filter(|(found, _)| found == name).map(|(_, rest)| rest.as_str()).collect()
}

/// What is copied from the repository.
fn copied(instructions: &[(String, String)]) -> BTreeSet<String> {
    let from_here = all(instructions, "COPY").into_iter().filter(|rest| !rest.starts_with("--from"));
    from_here
        .flat_map(|rest| {
            let mut words: Vec<&str> = rest.split_whitespace().collect();
            words.pop();
            words.into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn what_is_copied_is_there_and_nothing_else_goes_to_the_engine() {
    let copied = copied(&instructions());
    for source in &copied {
        assert!(root(source).exists(), "there is no {source}");
    }
    let ignored = read(".dockerignore");
    let lines: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*");
    let kept: BTreeSet<String> =
        lines[1..].iter().map(|line| line.strip_prefix('!').unwrap().to_owned()).collect();
    assert_eq!(kept, copied);
}

#[test]
fn what_is_copied_is_all_that_cargo_and_rustc_read() {
    let context = Scratch::new();
    for source in copied(&instructions()).iter().filter(|source| !source.starts_with("deploy/")) {
        let done = Command::new("cp").arg("-r").arg(root(source)).arg(context.path()).status().unwrap();
        assert!(done.success());
    }
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let manifest = context.file("Cargo.toml");
    let arguments = ["metadata", "--no-deps", "--locked", "--format-version", "1", "--manifest-path"];
    let (code, said, complaint) = run(&cargo, &[&arguments[..], &[manifest.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{complaint}");
    let metadata: serde_json::Value = serde_json::from_str(&said).unwrap();
    let targets = metadata["packages"][0]["targets"].as_array().unwrap();
    let is_ours = |target: &&serde_json::Value| target["kind"][0] == "bin" && target["name"] == "tollgate";
    let main = targets.iter().find(is_ours).expect("the program is a target")["src_path"].as_str().unwrap();
    assert!(Path::new(main).exists());

    // Files that the source takes in are below src/, too.
    let mut pending = vec![root("src")];
    let mut seen = 0;
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for part in text.split("include_str!(\"").chain(text.split("include_bytes!(\"")).skip(1) {
                let Some((name, _)) = part.split_once("\")") else { continue };
                let included = path.parent().unwrap().join(name);
                if included.exists() {
                    seen += 1;
                    let included = included.canonicalize().unwrap();
                    assert!(included.starts_with(root("src")), "{} takes in {included:?}", path.display());
                }
            }
        }
    }
    assert!(seen > 0, "the live page is taken in");
    assert!(!root("build.rs").exists());
}

#[test]
fn the_image_is_built_by_a_compiler_that_is_new_enough_and_runs_as_nobody() {
    let instructions = instructions();
    let from = all(&instructions, "FROM");
    let [build, last] = from[..] else { panic!("{from:?}") };
    let version = build.split("rust:").nth(1).and_then(|tag| tag.split('-').next()).unwrap();
    let text = read("Cargo.toml");
    let manifest = DeTable::parse(&text).unwrap().into_inner();
    let needed = &manifest["package"].get_ref().as_table().unwrap()["rust-version"];
    assert_eq!(version, needed.get_ref().as_str().unwrap(), "no tag that moves");
    assert_eq!(last, "scratch");
    assert!(all(&instructions, "RUN")[0].starts_with("cargo build --release --locked"));
    assert_eq!(all(&instructions, "USER"), ["65532:65532"]);
    let entry: Vec<String> = serde_json::from_str(all(&instructions, "ENTRYPOINT")[0]).unwrap();
    let arguments: Vec<String> = serde_json::from_str(all(&instructions, "CMD")[0]).unwrap();
    assert_eq!(entry, ["/usr/bin/tollgate"]);
    // The file of its command is the one that is put there.
    assert_eq!(arguments, ["run", "--config", "/etc/tollgate/tollgate.toml"]);
    assert!(all(&instructions, "RUN")[1].ends_with("/image/etc/tollgate/tollgate.toml"));
}

#[test]
fn the_image_holds_every_library_that_the_program_loads() {
    let scratch = Scratch::new();
    let image = scratch.file("image");
    let assemble = root("deploy/docker/assemble");
    let (code, _, said) = run(&assemble, &[binary(), &image]);
    assert_eq!(code, 0, "{said}");

    let (_, needed, _) = run(Path::new("ldd"), &[binary()]);
    let needed: Vec<&str> = needed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .collect();
    assert!(needed.len() > 2, "{needed:?}");
    let loader = needed.iter().find(|path| path.contains("/ld-linux")).unwrap();
    let below = |path: &str| image.join(path.trim_start_matches('/'));
    let mut directories: Vec<PathBuf> =
        needed.iter().map(|path| below(path).parent().unwrap().to_owned()).collect();
    directories.dedup();
    let search = std::env::join_paths(&directories).unwrap();
    // The image's own loader, with the image's libraries and no others: as in a container.
    let program = below("/usr/bin/tollgate");
    let load = |arguments: &[&str]| {
        let mut command = command(&below(loader));
        command.arg("--inhibit-cache").arg("--library-path").arg(&search).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let loaded = load(&["--list", program.to_str().unwrap()]);
    for line in loaded.lines().filter(|line| line.contains("=> /")) {
        assert!(line.contains(image.to_str().unwrap()), "from elsewhere: {line}");
    }
    let config = root("deploy/docker/tollgate.toml");
    load(&[program.to_str().unwrap(), "check", config.to_str().unwrap()]);
    for file in ["etc/ssl/certs/ca-certificates.crt", "etc/passwd", "etc/group", "etc/nsswitch.conf", "tmp"] {
        assert!(image.join(file).exists(), "no {file}");
    }
}

#[test]
fn the_configuration_of_the_image_is_correct_and_wise() {
    let text = read("deploy/docker/tollgate.toml");
    let load = |env: &dyn Fn(&str) -> Option<String>| {
        let loaded = config::load(&text, "docker", env, &Overrides::default());
        let loaded = loaded.unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
        loaded.model
    };
    load(&|_| None);
    let told = |name: &str| {
        let values = [("APP_ADDRESS", "app:8000"), ("TRUSTED_PROXIES", "10.0.0.0/16"), ("SERVICE", "shop")];
        values.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
    };
    assert_eq!(load(&told).emf.unwrap().service, "shop");
}
