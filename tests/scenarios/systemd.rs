//! What systemd is told, what it passes, and the unit files.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{echoing, ok};
use crate::harness::origin::refused_address;
use crate::harness::process::{Process, command, run};
use crate::harness::scratch::Scratch;
use crate::harness::{Manager, Origin, Setup};

fn managed(setup: Setup) -> (Setup, Manager) {
    let manager = Manager::at(setup.file("notify.sock"));
    let path = manager.path().display().to_string();
    (setup.env("NOTIFY_SOCKET", &path), manager)
}

fn monotonic_usec(told: &[String]) -> u64 {
    told[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap()
}

#[test]
fn start_reloads_and_end_are_told_in_their_order() {
    let origin = echoing();
    let (setup, manager) = managed(Setup::before(origin.address()));
    let mut tollgate = setup.start();
    let serving = format!("STATUS=serving with 1 worker on {}", tollgate.address());
    assert_eq!(manager.next(), ["READY=1", &serving]);
    assert_eq!(tollgate.client().get("/").status(), 200, "ready, and does not serve");

    let good = tollgate.config_text();
    tollgate.hang_up();
    let first = manager.next();
    assert_eq!(first[0], "RELOADING=1", "{first:?}");
    assert_eq!(manager.next(), ["READY=1", &serving]);

    tollgate.reload(&format!("{good}[log]\nlevel = \"loud\"\ncolour = 1\n"));
    let second = manager.next();
    assert_eq!(second[0], "RELOADING=1", "{second:?}");
    assert!(monotonic_usec(&first) < monotonic_usec(&second), "{first:?}, {second:?}");
    let told = manager.next();
    assert_eq!(told[0], "READY=1", "a reload that is refused leaves a process that serves");
    assert!(told[1].starts_with("STATUS=configuration rejected") && told[1].contains("`level`"), "{told:?}");

    tollgate.reload(&good);
    assert_eq!(manager.next()[0], "RELOADING=1");
    assert_eq!(manager.next(), ["READY=1", &serving]);

    assert_eq!(tollgate.stop(), 0);
    let told = manager.next();
    assert_eq!(told[0], "STOPPING=1");
    let micros: u64 = told[1].strip_prefix("EXTEND_TIMEOUT_USEC=").unwrap().parse().unwrap();
    assert!(micros > 30_000_000, "less than the drain may take: {told:?}");
    assert!(told[2].starts_with("STATUS=draining"), "{told:?}");
    assert_eq!(manager.next(), ["STATUS=drained"]);
}

#[test]
fn a_reload_that_operators_ask_for_is_told_as_well() {
    let origin = echoing();
    let (setup, manager) = managed(Setup::before(origin.address()).admin(""));
    let tollgate = setup.start();
    manager.wait_for("READY=1");
    let (code, out, error) =
        run(crate::harness::tollgate::binary(), &["reload", "--admin", tollgate.operator().address()]);
    assert_eq!((code, out.as_str(), error.as_str()), (0, "reloaded, nothing has changed\n", ""));
    assert_eq!(manager.next()[0], "RELOADING=1");
    assert_eq!(manager.next()[0], "READY=1");
}

#[test]
fn what_cannot_start_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (setup, manager) = managed(Setup::before(&refused_address()).address(format!("\"{address}\"")));
    let mut tollgate = setup.spawn();
    assert_eq!(tollgate.process.wait(), 1);
    assert_eq!(manager.next_within(Duration::from_millis(1)), None);
}

/// Stops one thread and nothing else, as long as it runs itself.
const STOP_THREAD: &str = "
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT = 0x4206, 0x4207
thread = int(sys.argv[1])
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit('ptrace: ' + os.strerror(ctypes.get_errno()))
os.waitpid(thread, 0x40000000)
print('stopped', flush=True)
time.sleep(3600)
";

fn thread_of(process: u32, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|task| task.unwrap().path());
    let is_it = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = tasks.into_iter().find(is_it).unwrap_or_else(|| panic!("no thread `{name}`"));
    found.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_watchdog_is_told_only_while_every_worker_moves() {
    let origin = echoing();
    let (setup, manager) = managed(Setup::before(origin.address()).workers(2));
    let tollgate = setup.env("WATCHDOG_USEC", "400000").start();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    let mut stop = command(Path::new("python3"));
    stop.args(["-c", STOP_THREAD, &thread_of(tollgate.process.id(), "worker-1")]);
    let stop = Process::start("stop-thread", stop);
    let stopped = stop.stdout.wait(|lines| lines.contains(&"stopped".to_owned()).then_some(()));
    assert!(stopped.is_some(), "a thread cannot be stopped, which takes the right to trace: {}", stop.said());
    tollgate.wait_for_event("workers do not move, the watchdog is not told");
    manager.forget();
    assert_eq!(manager.next_within(Duration::from_secs(1)), None, "told although a worker does not move");
    drop(stop);
    manager.wait_for("WATCHDOG=1");
    tollgate.wait_for_event("all workers move again");
}

fn bound(addresses: &str) -> (TcpListener, Setup, Origin) {
    let origin = echoing();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::before(origin.address()).address(addresses);
    (listener, setup, origin)
}

#[test]
fn a_passed_socket_is_served_by_all_workers_and_outlives_the_process() {
    let (listener, setup, _origin) = bound("\"systemd:http\"");
    let address = listener.local_addr().unwrap().to_string();
    let mut tollgate = setup.passing("http", &listener).workers(3).start();
    assert_eq!(tollgate.address(), address);
    let mut clients: Vec<_> = (0..20).map(|_| tollgate.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.get(&format!("/{number}")).text(), format!("/{number}"));
    }
    assert_eq!(tollgate.stop(), 0);
    std::net::TcpStream::connect(&address).expect("whoever comes now waits for the next process");
}

#[test]
fn who_waits_in_the_queue_of_a_passed_socket_is_served_by_the_next_process() {
    let (listener, setup, origin) = bound("\"systemd:http\"");
    let mut first = setup.passing("http", &listener).start();
    first.process.signal(Signal::STOP);
    let mut waiting: Vec<_> = (0..10).map(|_| first.client()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(crate::harness::client::get(&format!("/{number}")));
    }
    first.terminate();
    first.process.signal(Signal::CONT);
    assert_eq!(first.process.wait(), 0);
    let next = Setup::before(origin.address()).address("\"systemd:http\"").passing("http", &listener);
    let _next = next.start();
    for (number, client) in waiting.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn a_passed_unix_socket_keeps_its_name() {
    let origin = echoing();
    let scratch = Scratch::new();
    let path = scratch.file("http.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let setup = Setup::before(origin.address()).address("\"systemd:http\"").passing("http", &listener);
    let mut tollgate = setup.workers(2).start();
    assert_eq!(tollgate.addresses(), [format!("unix:{}", path.display())]);
    assert_eq!(tollgate.client().get("/unix").text(), "/unix");
    assert_eq!(tollgate.stop(), 0);
    assert!(path.exists(), "the socket is not ours to remove");
}

/// The one line of a start that fails.
fn refused(setup: Setup) -> String {
    let mut tollgate = setup.spawn();
    assert_eq!(tollgate.process.wait(), 1);
    tollgate.process.wait_for_output();
    let said = tollgate.process.stderr.all();
    let problems: Vec<_> = said.iter().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(problems.len(), 1, "not one line: {said:#?}");
    problems[0].clone()
}

#[test]
fn a_socket_that_was_not_passed_is_named() {
    let (listener, setup, _origin) = bound("\"systemd:http\"");
    let said = refused(setup);
    assert!(said.contains("`systemd:http`") && said.contains("no socket was passed"), "{said}");
    let (_, setup, _origin) = bound("\"systemd:http\"");
    let said = refused(setup.passing("web", &listener));
    assert!(said.contains("but `web`"), "{said}");
}

#[test]
fn a_passed_socket_that_does_not_listen_is_refused() {
    let (listener, setup, _origin) = bound("\"systemd:http\"");
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let said = refused(setup.passing("http", &client));
    assert!(said.contains("does not listen"), "{said}");
    let (_, setup, _origin) = bound("\"systemd:http\"");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let said = refused(setup.passing("http", &datagrams));
    assert!(said.contains("no stream socket"), "{said}");
}

#[test]
fn a_passed_socket_that_nobody_uses_is_told() {
    let (listener, setup, _origin) = bound("\"127.0.0.1:0\"");
    let tollgate = setup.passing("web", &listener).start();
    let told = tollgate.events().into_iter().find(|event| event["name"] == "web").expect("an event");
    assert_eq!(told["level"], "WARN");
}

#[test]
fn sockets_for_another_process_are_not_taken() {
    let (_, setup, _origin) = bound("\"systemd:http\"");
    let setup = setup.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "http");
    assert!(refused(setup).contains("no socket was passed"));
}

#[test]
fn operators_ask_at_a_passed_socket_but_not_from_elsewhere_without_a_token() {
    let origin = Origin::answering(ok("app"));
    let admin = "[admin]\naddress = \"systemd:admin\"\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::before(origin.address()).table(admin).passing("admin", &listener);
    let tollgate = setup.start();
    assert_eq!(tollgate.operator().get("/healthz").status, 200);
    let (code, _, error) = run(
        crate::harness::tollgate::binary(),
        &["limits", "--config", &tollgate.config().display().to_string()],
    );
    assert!(code == 78 && error.contains("only systemd knows"), "{code}: {error}");
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let said = refused(Setup::before(origin.address()).table(admin).passing("admin", &open));
    assert!(said.contains("`token`") && said.contains("0.0.0.0"), "{said}");
}

#[test]
fn a_credential_stands_for_a_variable() {
    let origin = echoing();
    let setup = Setup::before(origin.address()).admin("token = \"${ADMIN_TOKEN}\"");
    let credentials = setup.file("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("ADMIN_TOKEN"), "0123456789abcdef\n").unwrap();
    let tollgate = setup.env("CREDENTIALS_DIRECTORY", &credentials.display().to_string()).start();
    let operator = tollgate.operator();
    assert_eq!(operator.get("/status").status, 401);
    assert_eq!(operator.with_token("0123456789abcdef").get("/status").status, 200);
}

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// The units as they are installed, on a host whose systemd may be older than `notify-reload`.
fn installed(scratch: &Scratch, before_253: bool) -> PathBuf {
    let service = scratch.file("tollgate.service");
    let text = fs::read_to_string(unit("tollgate.service")).unwrap();
    // What is verified is the unit, not whether the program is installed here.
    let program = crate::harness::tollgate::binary().display().to_string();
    let text = text.replace("/usr/bin/tollgate", &program).replace("Documentation=man:tollgate(1)\n", "");
    fs::write(&service, text).unwrap();
    fs::copy(unit("tollgate.socket"), scratch.file("tollgate.socket")).unwrap();
    if before_253 {
        let drop_ins = scratch.file("tollgate.service.d");
        fs::create_dir_all(&drop_ins).unwrap();
        let text = fs::read_to_string(unit("tollgate-before-253.conf")).unwrap();
        fs::write(drop_ins.join("before-253.conf"), text.replace("/usr/bin/tollgate", &program)).unwrap();
    }
    service
}

fn analyze(arguments: &[&str]) -> (i32, String) {
    let (code, out, error) = run(Path::new("systemd-analyze"), arguments);
    (code, out + &error)
}

#[test]
fn the_units_are_what_systemd_takes() {
    for before_253 in [true, false] {
        let scratch = Scratch::new();
        let service = installed(&scratch, before_253).display().to_string();
        let socket = scratch.file("tollgate.socket").display().to_string();
        let (_, told) = analyze(&["verify", &service, &socket]);
        // A systemd that does not know `notify-reload` ignores the line, and the drop-in has the last word.
        let problems: Vec<&str> =
            told.lines().filter(|line| !line.contains("service type, ignoring: notify-reload")).collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

#[test]
fn the_service_is_exposed_to_little() {
    let scratch = Scratch::new();
    let service = installed(&scratch, true).display().to_string();
    let (code, told) = analyze(&["security", "--offline=true", "--threshold=15", &service]);
    assert_eq!(code, 0, "above 1.5:\n{told}");
}

#[test]
fn the_group_of_the_apps_socket_is_one_systemd_makes() {
    let file = unit("tollgate.sysusers.conf").display().to_string();
    let (code, out, error) = run(Path::new("systemd-sysusers"), &["--dry-run", &file]);
    assert_eq!(code, 0, "{out}{error}");
    let service = fs::read_to_string(unit("tollgate.service")).unwrap();
    assert!(service.contains("\nSupplementaryGroups=tollgate-app\n"));
    assert!(fs::read_to_string(unit("tollgate.sysusers.conf")).unwrap().contains("\ng tollgate-app -\n"));
}

#[test]
fn the_service_waits_longer_than_a_drain_takes_and_has_descriptors_for_its_connections() {
    let text = fs::read_to_string(unit("tollgate.service")).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("no `{key}`")).to_owned()
    };
    let listen = {
        let text = "[upstream]\naddress = \"app:80\"\n";
        let overrides = tollgate::config::Overrides::default();
        tollgate::config::load(text, "file", &|_| None, &overrides).unwrap().model.listen
    };
    let seconds: u64 = value("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    assert!(Duration::from_secs(seconds) > listen.drain_delay + listen.drain_timeout);
    assert!(value("LimitNOFILE").parse::<usize>().unwrap() > 2 * listen.max_connections);
    assert_eq!(value("RestartPreventExitStatus"), "78");
}
