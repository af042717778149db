//! Starting: what is wrong is said in one line with what to do, and the exit code tells the kind.

use std::net::TcpListener;

use super::echoing;
use crate::harness::origin::refused_address;
use crate::harness::process::{Process, command, run};
use crate::harness::scratch::Scratch;
use crate::harness::tollgate::binary;
use crate::harness::{Client, Setup, Tollgate};

/// Starts it in vain: the exit code, and the one line.
fn refused(setup: Setup) -> (i32, String) {
    let mut tollgate = setup.spawn();
    let code = tollgate.process.wait();
    tollgate.process.wait_for_output();
    assert!(tollgate.process.stdout.all().is_empty(), "{:?}", tollgate.process.stdout.all());
    let said = tollgate.process.stderr.all();
    let problems: Vec<_> = said.iter().filter(|line| !line.contains("\"level\":\"INFO\"")).collect();
    assert_eq!(problems.len(), 1, "not one line: {said:#?}");
    (code, problems[0].clone())
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = refused(Setup::before(&refused_address()).address(format!("\"{address}\"")));
    assert_eq!(code, 1);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn an_address_another_tollgate_serves_is_in_use() {
    let origin = echoing();
    let first = Tollgate::before(origin.address());
    let address = first.address().to_owned();
    let (code, said) = refused(Setup::before(origin.address()).address(format!("\"{address}\"")));
    assert_eq!(code, 1);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    assert_eq!(first.client().get("/still").text(), "/still");
}

#[test]
fn a_unix_socket_another_tollgate_serves_is_in_use() {
    let origin = echoing();
    let scratch = Scratch::new();
    let path = scratch.file("tollgate.sock");
    let address = format!("\"unix:{}\"", path.display());
    let first = Setup::before(origin.address()).address(address.clone()).start();
    let (code, said) = refused(Setup::before(origin.address()).address(address));
    assert_eq!(code, 1);
    assert!(said.contains(&*path.to_string_lossy()) && said.contains("in use"), "{said}");
    assert_eq!(first.client().get("/still").text(), "/still");
}

#[test]
fn an_upstream_name_that_does_not_resolve_is_named() {
    let (code, said) = refused(Setup::before("no-such-host.invalid:8000"));
    assert_eq!(code, 1);
    assert!(said.contains("no-such-host.invalid"), "{said}");
}

#[test]
fn a_place_without_permission_is_named() {
    let setup = Setup::before(&refused_address()).address("\"unix:/proc/tollgate.sock\"");
    let (code, said) = refused(setup);
    assert_eq!(code, 1);
    assert!(said.contains("/proc/tollgate.sock"), "{said}");
}

#[test]
fn a_record_file_that_cannot_be_opened_is_named() {
    let setup = Setup::before(&refused_address()).table("[log]\naccess = \"/proc/no/such/file\"");
    let (code, said) = refused(setup);
    assert_eq!(code, 1);
    assert!(said.contains("/proc/no/such/file"), "{said}");
}

#[test]
fn a_wrong_configuration_is_exit_code_78_with_all_problems() {
    let setup = Setup::before("127.0.0.1:8000").listen("header_timeout = 10\nmax_body = \"0B\"");
    let mut tollgate = setup.table("[lgo]\nlevel = \"info\"").spawn();
    assert_eq!(tollgate.process.wait(), 78);
    tollgate.process.wait_for_output();
    let said = tollgate.process.said();
    for part in ["header_timeout", "max_body", "lgo", "3 problems", "tollgate.toml:3"] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
}

#[test]
fn a_configuration_file_that_is_missing_is_named() {
    let (code, _, said) = run(binary(), &["run", "--config", "/no/such/tollgate.toml"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("/no/such/tollgate.toml"), "{said}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&["run", "--no-such-option"][..], &["no-such-command"], &["run", "--workers", "0"]] {
        let (code, _, said) = run(binary(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(!said.is_empty());
    }
}

#[test]
fn it_runs_without_a_configuration_file() {
    let origin = echoing();
    let scratch = Scratch::new();
    let mut command = command(binary());
    command.args(["run", "--listen", "127.0.0.1:0", "--upstream", origin.address(), "--workers", "1"]);
    command.current_dir(scratch.path());
    let process = Process::start("tollgate", command);
    let address = process.stderr.wait(|lines| {
        lines.iter().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["message"] == "listening").then(|| event["address"].as_str().unwrap().to_owned())
        })
    });
    let address = address.expect("an address");
    assert_eq!(Client::connect(&address).get("/bare").text(), "/bare");
}

#[test]
fn the_command_line_overrides_the_file() {
    let origin = echoing();
    let scratch = Scratch::new();
    let file = scratch.file("tollgate.toml");
    std::fs::write(&file, "[listen]\naddress = \"127.0.0.1:1\"\n[upstream]\naddress = \"127.0.0.1:1\"\n")
        .unwrap();
    let mut command = command(binary());
    command.args(["run", "--config"]).arg(&file);
    command.args(["--listen", "127.0.0.1:0", "--upstream", origin.address()]);
    let process = Process::start("tollgate", command);
    let ready =
        process.stderr.wait(|lines| lines.iter().any(|line| line.contains("\"ready\"")).then_some(()));
    assert!(ready.is_some(), "{}", process.said());
    assert!(!process.said().contains("127.0.0.1:1\""), "{}", process.said());
}

#[test]
fn events_are_json_lines_when_standard_error_is_no_terminal() {
    let origin = echoing();
    let mut tollgate = Tollgate::before(origin.address());
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    let messages: Vec<_> = tollgate.events().into_iter().map(|event| event["message"].clone()).collect();
    for wanted in ["listening", "ready", "draining", "drained"] {
        assert!(messages.iter().any(|message| message == wanted), "no `{wanted}` in {messages:?}");
    }
    for event in tollgate.events() {
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "{event}");
    }
}

#[test]
fn without_a_subcommand_there_is_help() {
    let (_, out, said) = run(binary(), &[] as &[&str]);
    let text = out + &said;
    for part in ["run", "check", "completions"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "color in a pipe");
}

#[test]
fn a_socket_that_cannot_be_asked_whether_it_is_in_use_is_left_alone() {
    let scratch = crate::harness::scratch::Scratch::new();
    let path = scratch.file("datagrams.sock");
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let (code, said) =
        refused(Setup::before(&refused_address()).address(format!("\"unix:{}\"", path.display())));
    assert_eq!(code, 1);
    assert!(said.contains("datagrams.sock"), "{said}");
    assert!(path.exists(), "somebody else's socket was removed");
}

#[test]
fn a_unix_socket_is_open_to_owner_and_group_only() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::before(&refused_address());
    let path = setup.file("tollgate.sock");
    let _tollgate = setup.address(format!("\"unix:{}\"", path.display())).start();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
}

#[test]
fn the_limit_on_open_files_is_raised_and_one_that_is_too_low_is_told() {
    let origin = echoing();
    let start = |max_connections: usize| {
        let setup = Setup::before(origin.address()).listen(&format!("max_connections = {max_connections}"));
        setup.under(&["prlimit", "--nofile=100:600"]).start()
    };
    let told = |tollgate: &Tollgate| {
        let events = tollgate.events().into_iter();
        events
            .filter(|event| event["needed"].is_u64())
            .map(|event| event["needed"].clone())
            .collect::<Vec<_>>()
    };
    let fits = start(150);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", fits.process.id())).unwrap();
    let files: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["600", "600"]);
    assert!(told(&fits).is_empty());
    let events = fits.reload(&fits.config_text().replace("max_connections = 150", "max_connections = 500"));
    assert!(events.iter().any(|event| event["needed"] == 1256), "{events:#?}");
    assert_eq!(told(&start(500)), [1256]);
}
