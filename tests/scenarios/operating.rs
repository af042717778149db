//! The command line that speaks to a running tollgate: `limits`, `block`, `explain --live`, `top`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::echoing;
use crate::harness::process::run;
use crate::harness::terminal::{GIVEN_BACK, TAKEN, Terminal};
use crate::harness::tollgate::binary;
use crate::harness::{Origin, Setup, Tollgate};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const LIMITED: &str = r#"
[identity]
header.name = "X-User"

[limits.few]
key = "caller"
rate = "3/hour"

[limits."a.b"]
key = "ip"
rate = "100/hour"
mode = "shadow"

[[routes]]
name = "all"
match = "/*"
limits = ["few", "a.b"]
"#;

/// A tollgate whose admin listener is a Unix socket, and its configuration file.
fn by_socket(origin: &Origin) -> (Tollgate, String) {
    let setup = Setup::before(origin.address()).listen("trusted_proxies = [\"127.0.0.1\"]").table(LIMITED);
    let config = setup.file("tollgate.toml").display().to_string();
    let socket = setup.file("admin.sock").display().to_string();
    (setup.table(&format!("[admin]\naddress = \"unix:{socket}\"")).start(), config)
}

fn status_for(tollgate: &Tollgate, user: &str) -> u16 {
    let mut client = tollgate.client().allow(&[
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ]);
    client.request("GET", "/", &format!("Connection: close\r\nX-User: {user}\r\n")).status()
}

/// What a command writes that must succeed.
#[track_caller]
fn told(arguments: &[impl AsRef<OsStr>]) -> String {
    let (code, out, error) = run(binary(), arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    out
}

/// What a command complains about that must fail with this code.
#[track_caller]
fn refused(code: i32, arguments: &[impl AsRef<OsStr>]) -> String {
    let (found, out, error) = run(binary(), arguments);
    assert_eq!((found, out.as_str()), (code, ""), "{error}");
    error
}

#[test]
fn limits_are_listed_reset_and_lifted() {
    let origin = echoing();
    let (tollgate, config) = by_socket(&origin);
    let use_up = || while status_for(&tollgate, "ann") != 429 {};
    use_up();
    let table = told(&["limits", "--config", &config]);
    let line = table.lines().find(|line| line.starts_with("few ")).unwrap();
    assert_eq!(line.split_whitespace().take(4).collect::<Vec<_>>(), ["few", "enforce", "caller", "route"]);
    assert!(line.ends_with("ann at all, 0 of 3 left"), "{table}");
    let one = told(&["limits", "few", "--config", &config]);
    assert!(one.contains("refused  1, 0 in shadow") && !one.contains("a.b"), "{one}");
    let lines = told(&["limits", "--json", "--config", &config]);
    let limits: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((limits.len(), &limits[1]["fullest"][0]["remaining"]), (2, &0.into()), "{lines}");
    assert!(refused(2, &["limits", "fwe", "--config", &config]).contains("there are `a.b`, `few`"));

    let few = |change: &str, more: &[&str]| {
        told(&[&["limits", change, "few", "--user", "ann", "--config", &config], more].concat())
    };
    few("lift", &["--for", "10m"]);
    assert_eq!(status_for(&tollgate, "ann"), 200);
    assert!(told(&["limits", "--config", &config]).contains("lifted   few for user `ann`, 10 min left"));
    few("unlift", &[]);
    assert_eq!(status_for(&tollgate, "ann"), 429);
    assert_eq!(few("reset", &[]), "limit `few` is reset for user `ann`, 1 state was forgotten\n");
    let misspelled = told(&["limits", "reset", "few", "--user", "anm", "--config", &config]);
    assert_eq!(misspelled, "limit `few` is reset for user `anm`, nothing had been spent\n");
    assert_eq!(status_for(&tollgate, "ann"), 200);
    use_up();
    told(&["limits", "lift", "few", "--for", "1h", "--config", &config]);
    assert_eq!(status_for(&tollgate, "ann"), 200, "lifted for everybody");
    assert!(refused(1, &["limits", "reset", "nope/x", "--config", &config]).contains("error: "));
}

#[test]
fn a_caller_is_blocked_until_it_is_unblocked() {
    let origin = echoing();
    let (tollgate, config) = by_socket(&origin);
    told(&["block", "--user", "mallory", "--for", "10m", "--config", &config]);
    assert_eq!((status_for(&tollgate, "mallory"), status_for(&tollgate, "ann")), (403, 200));
    let explained = told(&["explain", "--live", "GET /", "--user", "mallory", "--config", &config]);
    assert!(explained.contains("blocked  by hand") && explained.contains("403 forbidden"), "{explained}");
    told(&["unblock", "--user", "mallory", "--config", &config]);
    assert_eq!(status_for(&tollgate, "mallory"), 200);
    assert!(refused(1, &["unblock", "--user", "mallory", "--config", &config]).contains("error: "));
    assert!(refused(2, &["block", "--for", "10m", "--config", &config]).contains("--user"));
    assert!(refused(2, &["block", "--user", "a", "--for", "10", "--config", &config]).contains("unit"));
}

#[test]
fn a_request_is_explained_by_the_levels_of_the_moment() {
    let origin = echoing();
    let (tollgate, config) = by_socket(&origin);
    let explained = || told(&["explain", "--live", "/", "-H", "X-User: ann", "--config", &config]);
    assert_eq!(status_for(&tollgate, "ann"), 200);
    let first = explained();
    assert!(first.contains("user     `ann`") && first.contains("costs 1, 2 of 3 left"), "{first}");
    assert!(first.ends_with("answer   the app's\n"), "{first}");
    while status_for(&tollgate, "ann") != 429 {}
    let last = explained();
    assert!(last.contains("0 of 3 left: too little"), "{last}");
    assert!(last.contains("answer   429 rate_limited, limit `few`\n           Retry-After: "), "{last}");
    // Without a running one it is told for one that has just started, as ever.
    let offline = told(&["explain", "/", "-H", "X-User: ann", "--config", &config]);
    assert!(offline.contains("after 3 at once"), "{offline}");
}

#[test]
fn a_token_comes_from_a_file_a_variable_or_the_configuration_and_is_never_shown() {
    let origin = echoing();
    let setup = Setup::before(origin.address()).admin(&format!("token = \"{TOKEN}\""));
    let (right, wrong) = (setup.file("right"), setup.file("wrong"));
    fs::write(&right, format!("{TOKEN}\n")).unwrap();
    fs::write(&wrong, "fedcba9876543210fedcba9876543210").unwrap();
    let tollgate = setup.start();
    let operator = tollgate.operator();
    let admin = operator.address();
    let by_file = |file: &std::path::Path| {
        let file = file.display().to_string();
        ["limits", "--admin", admin, "--token-file", &file].map(str::to_owned)
    };
    assert_eq!(told(&by_file(&right)), "no limit is configured\n");
    for (error, says) in [
        (refused(1, &["limits", "--admin", admin]), "wants a token"),
        (refused(1, &by_file(&wrong)), "does not know this token"),
    ] {
        assert!(error.contains(says) && error.contains("TOLLGATE_ADMIN_TOKEN"), "{error}");
        assert!(!error.contains("fedcba"), "{error}");
    }
    let mut terminal =
        Terminal::start(binary(), &["limits", "--admin", admin], &[("TOLLGATE_ADMIN_TOKEN", TOKEN)]);
    assert_eq!(terminal.wait(), Some(0));
    terminal.wait_for("no limit is configured");
}

#[test]
fn whoever_is_not_there_or_somebody_else_is_told_as_such() {
    let origin = echoing();
    let (tollgate, _) = by_socket(&origin);
    for command in ["limits", "top"] {
        let nobody = refused(1, &[command, "--admin", "127.0.0.1:1"]);
        assert!(
            nobody.contains("nothing listens at `127.0.0.1:1`") && nobody.contains("[admin]"),
            "{nobody}"
        );
        let other = refused(1, &[command, "--admin", tollgate.address()]);
        assert!(other.contains("is not tollgate's admin listener"), "{other}");
    }
    assert!(refused(2, &["limits", "--admin", "localhost"]).contains("is not an address"));
    let plain = Setup::before(origin.address()).start();
    let config = plain.config_path().display().to_string();
    assert!(refused(78, &["limits", "--config", &config]).contains("has no `[admin]`"));
}

#[test]
fn top_tells_one_state_where_there_is_no_terminal() {
    let origin = echoing();
    let (tollgate, config) = by_socket(&origin);
    while status_for(&tollgate, "ann") != 429 {}
    let text = told(&["top", "--config", &config]);
    assert!(text.contains("requests 4 ("), "{text}");
    for line in ["Routes\n", "\nall ", "ann at all", "0 of 3 left", "ann     user", "\nupstream "] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn top_takes_the_screen_and_gives_it_back() {
    let origin = echoing();
    let (tollgate, config) = by_socket(&origin);
    while status_for(&tollgate, "ann") != 429 {}
    let arguments = ["top", "--config", config.as_str()];

    let mut terminal = Terminal::start(binary(), &arguments, &[]);
    assert!(terminal.is_ordinary());
    terminal.wait_for_after(TAKEN, "serving");
    assert!(!terminal.is_ordinary());
    // Panels: by the keys, and all at once in a large window.
    terminal.press("\t");
    terminal.wait_for_after(TAKEN, "0 of 3 left");
    terminal.press("\u{1b}[C");
    terminal.wait_for_after(TAKEN, "ann     user");
    terminal.press("p");
    terminal.wait_for_after(TAKEN, "paused");
    terminal.resize(180, 50);
    terminal.wait_for_after("paused", "┌");
    assert!(terminal.written().contains("\u{1b}[38;5;"), "in color");
    terminal.press("q");
    assert_eq!(terminal.wait(), Some(0));
    terminal.wait_for_after(TAKEN, GIVEN_BACK);
    assert!(terminal.is_ordinary());

    let mut terminal = Terminal::start(binary(), &arguments, &[("NO_COLOR", "1")]);
    terminal.wait_for_after(TAKEN, "serving");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.wait(), Some(0));
    terminal.wait_for_after(TAKEN, GIVEN_BACK);
    assert!(terminal.is_ordinary());
    assert!(!terminal.written().contains("\u{1b}[38;5;"), "without color: {:?}", terminal.written());
}

#[test]
fn top_says_when_tollgate_is_gone_and_goes_on_when_it_is_back() {
    let origin = echoing();
    let (mut tollgate, config) = by_socket(&origin);
    let mut terminal = Terminal::start(binary(), &["top", "--config", &config], &[]);
    terminal.wait_for_after(TAKEN, "live");
    assert_eq!(tollgate.stop(), 0);
    terminal.wait_for_after(TAKEN, "disconnected");
    let mut again = Terminal::start(binary(), &["run", "--config", &config, "--workers", "1"], &[]);
    terminal.wait_for_after("disconnected", "live");
    terminal.press("q");
    assert_eq!(terminal.wait(), Some(0));
    again.signal(Signal::TERM);
    assert_eq!(again.wait(), Some(0));
}

#[test]
fn a_reload_is_asked_for_and_its_outcome_awaited() {
    let origin = echoing();
    let (tollgate, config) = by_socket(&origin);
    let good = tollgate.config_text();
    assert_eq!(told(&["reload", "--config", &config]), "reloaded, nothing has changed\n");
    tollgate.rewrite(&good.replace("3/hour", "4/hour"));
    let changed = told(&["reload", "--config", &config]);
    assert!(changed.contains("`limits.few.rate` was \"3/hour\", is \"4/hour\"\n"), "{changed}");
    assert!(changed.ends_with("reloaded, 1 key has changed\n"), "{changed}");

    // What needs a restart is seen by the running one alone; what is wrong in itself, already here.
    tollgate.rewrite(&(good.clone() + "[store]\nmax_keys = 5000\n"));
    let needs_restart = refused(78, &["reload", "--config", &config]);
    assert!(
        needs_restart.contains("`store.max_keys` cannot become 5000 without a restart"),
        "{needs_restart}"
    );
    tollgate.rewrite(&(good.clone() + "[log]\nlevel = \"loud\"\n"));
    assert!(refused(78, &["reload", "--config", &config]).contains("`level`"));
    let admin = format!("unix:{}", Path::new(&config).with_file_name("admin.sock").display());
    let wrong = refused(78, &["reload", "--admin", &admin]);
    assert!(wrong.contains("`level`") && wrong.contains("in force is unchanged"), "{wrong}");
    assert!(refused(1, &["reload", "--admin", "127.0.0.1:1"]).contains("nothing listens"));
}
