//! `tollgate init`: what it finds of real Gunicorns, and that what it writes serves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::tollgate::binary;
use crate::harness::{Binding, Gunicorn, Scratch, Tollgate, WorkerClass};

const FILES: [&str; 3] = ["tollgate.toml", "tollgate.nginx.conf", "tollgate.service.d/gunicorn.conf"];

fn tollgate(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).env_remove("CLICOLOR_FORCE").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs init into `dir`; what it said on standard output.
fn init(dir: &Path, arguments: &[&str]) -> String {
    let output = tollgate(&[&["init", dir.to_str().unwrap()], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn checks_without_a_word(file: &Path) {
    let output = tollgate(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// Init looks at a real Gunicorn, and tollgate serves it with what was written.
fn what_is_written_serves(class: WorkerClass, binding: Binding, max_in_flight: &str) {
    let app = Gunicorn::start_with(class, binding, &["--workers", "2", "--keep-alive", "7"]);
    let scratch = Scratch::new();
    let dir = scratch.file("written");
    let told = init(&dir, &["--pid", &app.id().to_string()]);
    assert!(told.contains(&format!("found    Gunicorn {} at {}", app.id(), app.address())), "{told}");
    let config = dir.join("tollgate.toml");
    let written = read(&dir, "tollgate.toml");
    assert!(written.contains(&format!("\naddress = \"{}\"\n", app.address())), "{written}");
    assert!(written.contains(&format!("\n{max_in_flight}\n")), "{written}");
    checks_without_a_word(&config);
    // Ports that no other test has.
    let ports = scratch.file("ports.toml");
    fs::write(&ports, "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n").unwrap();
    let tollgate = Tollgate::with_files(vec![config, ports], scratch);
    let answer = tollgate.client().get("/json");
    assert_eq!((answer.status(), &answer.json()["message"]), (200, &"hello from Flask".into()));
}

#[test]
fn sync_workers_are_found_and_served() {
    what_is_written_serves(WorkerClass::Sync, Binding::Tcp, "max_in_flight = 2");
    what_is_written_serves(WorkerClass::Sync, Binding::Unix, "max_in_flight = 2");
}

#[test]
fn threads_are_found_and_served() {
    what_is_written_serves(WorkerClass::Gthread, Binding::Tcp, "max_in_flight = 8");
    what_is_written_serves(WorkerClass::Gthread, Binding::Unix, "max_in_flight = 8");
}

#[test]
fn greenlets_are_found_and_served_without_a_cap() {
    what_is_written_serves(WorkerClass::Gevent, Binding::Tcp, "# max_in_flight = 8");
    what_is_written_serves(WorkerClass::Gevent, Binding::Unix, "# max_in_flight = 8");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_written_beside_it() {
    let scratch = Scratch::new();
    let empty = scratch.file("no-processes");
    fs::create_dir(&empty).unwrap();
    let dir = scratch.file("written");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(FILES[1]), "mine").unwrap();
    let arguments = ["init", dir.to_str().unwrap(), "--proc", empty.to_str().unwrap()];
    let output = tollgate(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("tollgate.nginx.conf` is there already, so nothing was written"), "{told}");
    assert_eq!(read(&dir, FILES[1]), "mine");
    assert!(!dir.join(FILES[0]).exists() && !dir.join(FILES[2]).exists());
    fs::remove_file(dir.join(FILES[1])).unwrap();
    assert_eq!(tollgate(&arguments).status.code(), Some(0));
    assert_eq!(tollgate(&arguments).status.code(), Some(1), "a second time");
}

#[test]
fn without_a_gunicorn_a_starter_is_written() {
    let scratch = Scratch::new();
    let empty = scratch.file("no-processes");
    fs::create_dir(&empty).unwrap();
    let told = init(&scratch.file("written"), &["--proc", empty.to_str().unwrap()]);
    assert!(told.contains("no running Gunicorn"), "{told}");
    assert!(told.contains("assumed  Gunicorn listens at 127.0.0.1:8000"), "{told}");
    let config = scratch.file("written").join("tollgate.toml");
    assert!(fs::read_to_string(&config).unwrap().contains("address = \"127.0.0.1:8000\""));
    checks_without_a_word(&config);
}

/// A process as `/proc` shows it.
fn process(proc: &Path, pid: u32, parent: u32, arguments: &[&str], environment: &str) -> PathBuf {
    let home = proc.join(pid.to_string());
    fs::create_dir_all(home.join("fd")).unwrap();
    fs::create_dir_all(home.join("cwd")).unwrap();
    fs::write(home.join("stat"), format!("{pid} (a ) b) S {parent} 1 1 0 -1 0 0")).unwrap();
    fs::write(home.join("cmdline"), arguments.join("\0") + "\0").unwrap();
    fs::write(home.join("environ"), environment).unwrap();
    fs::write(home.join("cgroup"), "0::/system.slice/shop.service\n").unwrap();
    home
}

#[test]
fn of_several_gunicorns_one_is_taken_and_the_others_are_told() {
    let scratch = Scratch::new();
    let proc = scratch.file("proc");
    let first = process(
        &proc,
        100,
        1,
        &["/venv/bin/python", "/venv/bin/gunicorn", "-c", "shop.py", "--threads", "4", "shop:app"],
        "SECRET=hunter2\0GUNICORN_CMD_ARGS=--keep-alive 9 --timeout '50'\0",
    );
    fs::write(
        first.join("cwd/shop.py"),
        "bind = ['127.0.0.1:7001']\nworkers = cpu_count()\nraise SystemExit(1)\n",
    )
    .unwrap();
    for worker in [101, 102, 103] {
        process(&proc, worker, 100, &["/venv/bin/python", "/venv/bin/gunicorn", "-w", "9"], "");
    }
    process(&proc, 200, 1, &["python3", "-m", "gunicorn", "-b", "127.0.0.1:7002", "a:b"], "");
    process(&proc, 300, 1, &["vim", "gunicorn"], "");
    let proc = proc.to_str().unwrap();
    let dir = scratch.file("first");
    let told = init(&dir, &["--proc", proc]);
    assert!(told.contains("found    Gunicorn 100, started by shop.service\n"), "{told}");
    assert!(told.contains("`tollgate init --pid 200` is for it"), "{told}");
    assert!(
        told.contains(
            "3 workers × 4 threads of the class sync (workers: seen in /proc, threads: its command line)"
        ),
        "{told}"
    );
    let written = read(&dir, FILES[0]);
    for line in ["address = \"127.0.0.1:7001\"", "max_in_flight = 12", "response_timeout = \"50s\""] {
        assert!(written.contains(&format!("\n{line}\n")), "{line}: {written}");
    }
    assert!(read(&dir, FILES[2]).contains("\nAfter=shop.service\n"));
    let all: String = FILES.iter().map(|name| read(&dir, name)).collect();
    assert!(!all.contains("hunter2") && !told.contains("hunter2"));
    let second = scratch.file("second");
    init(&second, &["--proc", proc, "--pid", "200"]);
    assert!(read(&second, FILES[0]).contains("127.0.0.1:7002"));
    let output = tollgate(&["init", "--proc", proc, "--pid", "300"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no Gunicorn has the process id 300\nhelp: found: 100, 200"));
}

#[test]
fn nginx_takes_the_snippet() {
    let scratch = Scratch::new();
    let empty = scratch.file("no-processes");
    fs::create_dir(&empty).unwrap();
    let dir = scratch.file("written");
    init(&dir, &["--proc", empty.to_str().unwrap()]);
    let whole = scratch.file("nginx.conf");
    let text_of_whole = format!(
        "pid {0}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{ access_log off; include {1}; }}\n",
        scratch.path().display(),
        dir.join(FILES[1]).display()
    );
    fs::write(&whole, text_of_whole).unwrap();
    let output = Command::new("nginx").args(["-t", "-e", "stderr", "-c"]).arg(&whole).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
