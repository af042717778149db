//! `tollgate doctor`: what it says of real Gunicorns, of apps that are not there, and of files and limits that do not fit.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::ok;
use crate::harness::tollgate::binary;
use crate::harness::{Binding, Gunicorn, Origin, Scratch, Setup, WorkerClass};

/// A doctor's findings, and its exit code.
struct Told {
    code: i32,
    findings: Vec<Value>,
}

impl Told {
    fn of(output: &Output) -> Told {
        let text = String::from_utf8_lossy(&output.stdout);
        let findings = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        Told { code: output.status.code().unwrap(), findings }
    }

    /// The states of a check, each with its text and help.
    fn check(&self, name: &str) -> Vec<(&str, String)> {
        let ours = self.findings.iter().filter(|finding| finding["check"] == name);
        let found: Vec<(&str, String)> = ours
            .map(|finding| {
                (finding["state"].as_str().unwrap(), format!("{} -> {}", finding["found"], finding["help"]))
            })
            .collect();
        assert!(!found.is_empty(), "no check `{name}` in {:#?}", self.findings);
        found
    }

    /// The one thing a check found, which must be in this state.
    fn one(&self, name: &str, state: &str) -> String {
        let found = self.check(name);
        assert_eq!((found.len(), found[0].0), (1, state), "{found:?}");
        found[0].1.clone()
    }
}

/// A doctor whose host has no program that could be asked.
fn command(scratch: &Scratch, config: &str) -> Command {
    let file = scratch.file("tollgate.toml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(binary());
    command.args(["doctor", "--json", "--config"]).arg(file);
    command.env("PATH", scratch.path()).stdin(Stdio::null());
    command
}

fn doctor(config: &str) -> Told {
    let scratch = Scratch::new();
    Told::of(&command(&scratch, config).output().unwrap())
}

fn before(address: &str, more: &str) -> String {
    format!("[upstream]\naddress = \"{address}\"\n{more}")
}

/// Whatever this host allows is enough for them.
const FEW: &str = "[listen]\nmax_connections = 100\n";

#[test]
fn a_gunicorn_that_fits_is_told_so() {
    for (class, cap, binding) in [
        (WorkerClass::Sync, "max_in_flight = 2\n", Binding::Unix),
        (WorkerClass::Gthread, "max_in_flight = 4\n", Binding::Tcp),
        (WorkerClass::Gevent, "", Binding::Unix),
    ] {
        let app = Gunicorn::start(class, binding);
        let told = doctor(&before(app.address(), &format!("{cap}{FEW}")));
        assert_eq!(told.code, 0, "{:#?}", told.findings);
        assert!(told.one("app", "ok").contains("calls itself gunicorn"), "{:#?}", told.findings);
        let gunicorn = told.one("gunicorn", "ok");
        assert!(gunicorn.contains(&format!("process {}", app.id())), "{gunicorn}");
        for check in ["configuration", "idle", "heads", "keep-alive", "sinks", "files", "listen"] {
            told.one(check, "ok");
        }
        told.one("service", "not_seen");
        told.one("running", "not_seen");
    }
}

#[test]
fn a_gunicorn_that_does_not_fit_is_told_with_what_to_do() {
    let arguments = [
        "--keep-alive",
        "1",
        "--workers",
        "3",
        "--limit-request-line",
        "500",
        "--limit-request-fields",
        "20",
    ];
    let app = Gunicorn::start_with(WorkerClass::Gthread, Binding::Tcp, &arguments);
    let told = doctor(&before(app.address(), "max_in_flight = 50\n"));
    assert_eq!(told.code, 1);
    let gunicorn = told.one("gunicorn", "warning");
    assert!(
        gunicorn.contains("12 requests at once") && gunicorn.contains("set `max_in_flight = 12`"),
        "{gunicorn}"
    );
    assert!(told.one("idle", "problem").contains("Gunicorn keeps connections for 1 s"));
    let heads = told.check("heads");
    assert_eq!(
        heads.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
        ["warning", "warning"],
        "{heads:?}"
    );
    assert!(heads[0].1.contains("raise `--limit-request-line`"), "{heads:?}");
    let without = doctor(&before(app.address(), &format!("idle_timeout = \"500ms\"\n{FEW}")));
    assert_eq!(without.code, 0, "{:#?}", without.findings);
    assert!(without.one("gunicorn", "warning").contains("there is no `max_in_flight`"));
    without.one("idle", "ok");
}

#[test]
fn an_app_that_is_not_there_or_something_else_is_a_problem() {
    let told = doctor(&before("127.0.0.1:9", ""));
    assert_eq!(told.code, 1);
    assert!(told.one("app", "problem").contains("start Gunicorn"));
    told.one("gunicorn", "not_seen");
    let missing = doctor(&before("unix:/nowhere/app.sock", ""));
    assert!(missing.one("app", "problem").contains("unix:/nowhere/app.sock"));
    let nonsense = Origin::answering_once("SSH-2.0-OpenSSH_9.2\r\n");
    assert!(doctor(&before(nonsense.address(), "")).one("app", "problem").contains("no HTTP"));
    let broken = Origin::answering("HTTP/1.1 503 No\r\nServer: other\r\nContent-Length: 0\r\n\r\n");
    assert!(doctor(&before(broken.address(), "")).check("app")[0].1.contains("503"));
}

#[test]
fn a_wrong_configuration_is_told_and_nothing_else_is_looked_at() {
    let told = doctor("[upstream]\naddres = \"app:80\"\n[log]\nlevel = \"loud\"\n");
    assert_eq!(told.code, 1);
    assert_eq!(told.findings.len(), told.check("configuration").len());
    assert!(told.findings.len() >= 2, "{:#?}", told.findings);
    let scratch = Scratch::new();
    let output = Command::new(binary())
        .args(["doctor", "--config", "/nowhere/tollgate.toml", "--config"])
        .arg(scratch.file("nor-this"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("configuration  problem      cannot read `/nowhere/tollgate.toml`"), "{text}");
    assert!(text.contains("nor-this") && text.ends_with("\n2 problems, 0 warnings\n"), "{text}");
}

#[test]
fn too_few_descriptors_are_a_problem() {
    let origin = Origin::answering(ok("hi"));
    let scratch = Scratch::new();
    let config = before(origin.address(), "max_in_flight = 10\n[listen]\nmax_connections = 500\n");
    let file = scratch.file("tollgate.toml");
    fs::write(&file, config).unwrap();
    let limited = |most: &str| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg(binary());
        Told::of(
            &command
                .args(["doctor", "--json", "--unit", "none.service", "--config"])
                .arg(&file)
                .output()
                .unwrap(),
        )
    };
    let told = limited("300");
    assert_eq!(told.code, 1);
    let found = told.one("descriptors", "problem");
    assert!(found.contains("is 300") && found.contains("LimitNOFILE=766"), "{found}");
    limited("760").one("descriptors", "warning");
    limited("766").one("descriptors", "ok");
}

#[test]
fn files_that_cannot_be_used_are_problems() {
    let origin = Origin::answering(ok("hi"));
    let scratch = Scratch::new();
    let path = |name: &str| scratch.file(name).display().to_string();
    let keys = scratch.file("keys.toml");
    fs::write(&keys, "").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(scratch.file("open")).unwrap();
    fs::set_permissions(scratch.file("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let config = |keys: &str, log: &str, snapshot: &str| {
        before(
            origin.address(),
            &format!(
                "[log]\naccess = \"{log}\"\n[store]\nsnapshot = \"{snapshot}\"\n[identity]\nsources = [\"api_key\"]\n\
                 api_key.keys_file = \"{keys}\"\n[emf]\nsink = \"tcp://127.0.0.1:9\"\n"
            ),
        )
    };
    let told = doctor(&config(&path("keys.toml"), &path("gone/access.log"), &path("open/limits.snapshot")));
    assert_eq!(told.code, 1);
    let sinks = told.check("sinks");
    assert_eq!(
        sinks.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
        ["problem", "problem"],
        "{sinks:?}"
    );
    assert!(sinks[0].1.contains("gone") && sinks[1].1.contains("start the CloudWatch agent"), "{sinks:?}");
    let files = told.check("files");
    assert_eq!(
        files.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
        ["warning", "problem"],
        "{files:?}"
    );
    assert!(files[0].1.contains("everybody can write") && files[1].1.contains("chmod 0640"), "{files:?}");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o640)).unwrap();
    let told = doctor(&config(&path("keys.toml"), &path("access.log"), &path("limits.snapshot")));
    assert_eq!(told.check("files").iter().map(|(state, _)| *state).collect::<Vec<_>>(), ["ok", "ok"]);
    assert_eq!(told.check("sinks")[0].0, "ok");
}

/// A program in the place of one of the host's.
fn program(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_systemd_says_of_the_service_and_the_clock_is_told() {
    let origin = Origin::answering(ok("hi"));
    let scratch = Scratch::new();
    let systemctl = |load: &str, file: &str, kind: &str, descriptors: &str| {
        let said = format!(
            "Type={kind}\\nLoadState={load}\\nActiveState=active\\nUnitFileState={file}\\nLimitNOFILE={descriptors}\\n"
        );
        program(scratch.path(), "systemctl", &format!("[ \"$4\" = own.service ] && printf '{said}'"));
    };
    program(scratch.path(), "timedatectl", "echo no");
    let look = || {
        let mut command = command(&scratch, &before(origin.address(), "max_in_flight = 10\n"));
        Told::of(&command.args(["--unit", "own.service"]).output().unwrap())
    };
    systemctl("loaded", "enabled", "notify-reload", "1048576");
    let told = look();
    assert!(told.one("service", "ok").contains("own.service is installed, enabled"));
    assert!(told.one("descriptors", "ok").contains("LimitNOFILE of own.service"));
    assert!(told.one("clock", "warning").contains("not set by NTP"));
    systemctl("loaded", "disabled", "simple", "1024");
    let told = look();
    assert_eq!(told.check("service").len(), 2, "{:#?}", told.findings);
    told.one("descriptors", "problem");
    systemctl("not-found", "", "", "524288");
    assert!(look().one("service", "warning").contains("not installed"));
}

#[test]
fn a_running_tollgate_is_asked_whether_it_is_ready() {
    let origin = Origin::answering(ok("hi"));
    let tollgate = Setup::before(origin.address()).admin("").start();
    let admin = tollgate.admin_address().to_owned();
    assert_eq!(tollgate.client().get("/").status(), 200);
    let config = before(origin.address(), &format!("[admin]\naddress = \"{admin}\"\n"));
    let told = doctor(&config);
    assert!(told.one("running", "ok").contains("is ready"), "{:#?}", told.findings);
    let elsewhere = Origin::answering("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let config = before(origin.address(), &format!("[admin]\naddress = \"{}\"\n", elsewhere.address()));
    assert!(doctor(&config).one("running", "problem").contains("no tollgate"));
}
