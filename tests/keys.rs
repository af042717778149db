//! `tollgate keys` as operators use it, and a tollgate that knows the keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::process::run;
use crate::harness::scratch::Scratch;
use crate::harness::tollgate::binary;
use crate::harness::{Origin, Setup};

fn keys(arguments: &[&str]) -> (i32, String, String) {
    let arguments: Vec<&str> = ["keys"].iter().chain(arguments).copied().collect();
    run(binary(), &arguments)
}

fn add(file: &Path, user: &str, more: &[&str]) -> String {
    let file = file.to_str().unwrap();
    let arguments: Vec<&str> = ["add", "--file", file, "--user", user].iter().chain(more).copied().collect();
    let (code, key, told) = keys(&arguments);
    assert_eq!(code, 0, "{told}");
    key.trim_end().to_owned()
}

fn list(file: &Path) -> String {
    let (code, text, told) = keys(&["list", "--file", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    text
}

#[test]
fn a_key_is_shown_once_and_stored_as_a_digest() {
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    let key = add(&file, "billing", &["--tier", "pro", "--note", "nightly", "--expires", "2099-01-31"]);
    assert!(key.starts_with("tg_") && key.len() == 46, "{key}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&key) && !list(&file).contains(&key));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = list(&file);
    for part in ["billing", "pro", "nightly", "2099-02-01T00:00:00Z"] {
        assert!(listed.contains(part), "{listed}");
    }
    assert_ne!(add(&file, "billing", &[]), key, "keys are random");
}

#[test]
fn a_revoked_key_is_gone_and_the_rest_stays() {
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    fs::write(&file, "# who may call\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    add(&file, "ann", &[]);
    let before = fs::read_to_string(&file).unwrap();
    add(&file, "ben", &[]);
    add(&file, "ben", &[]);
    let digits = |user: &str| {
        let listed = list(&file);
        let row = listed.lines().find(|line| line.contains(user)).unwrap().to_owned();
        row.split(' ').next().unwrap().to_owned()
    };
    let path = file.to_str().unwrap();
    assert_eq!(keys(&["revoke", "--file", path, &digits("ben")]).0, 0);
    assert_eq!(list(&file).matches("ben").count(), 1);
    assert_eq!(keys(&["revoke", "--file", path, "--user", "ben"]).0, 0);
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), before.trim_end());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640, "its mode stays");
    assert_eq!(keys(&["revoke", "--file", path, "--user", "ben"]).0, 2);
    assert_eq!(keys(&["revoke", "--file", path, "00000000"]).0, 2);
    assert_eq!(keys(&["revoke", "--file", path, "12"]).0, 2);
}

#[test]
fn a_list_for_programs_is_json_and_tells_no_more() {
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    add(&file, "a \"b\"\\\u{1b}", &["--tier", "pro", "--note", "n", "--expires", "2099-01-31"]);
    let (code, text, told) = keys(&["list", "--json", "--file", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    let row: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(row["key"].as_str().unwrap().len(), 12);
    assert_eq!(
        [&row["user"], &row["tier"], &row["note"], &row["expires"]],
        ["a \"b\"\\\u{1b}", "pro", "n", "2099-02-01T00:00:00Z"]
    );
    assert_eq!(row["expired"], false);
    assert_eq!(row.as_object().unwrap().len(), 6, "{row}");
}

#[test]
fn a_prefix_of_several_keys_revokes_none() {
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    let entry = |end: char| format!("[[keys]]\nsha256 = \"{}{end}\"\nuser = \"ann\"\n", "a".repeat(63));
    let text = entry('1') + &entry('2');
    fs::write(&file, &text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _, told) = keys(&["revoke", "--file", file.to_str().unwrap(), "aaaaaaaa"]);
    assert_eq!(code, 2);
    assert!(told.contains("several keys begin with `aaaaaaaa`"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_pipe_is_no_keys_file_and_is_not_waited_for() {
    let scratch = Scratch::new();
    let pipe = scratch.file("keys.pipe");
    let path = pipe.to_str().unwrap();
    assert_eq!(run(Path::new("mkfifo"), &["-m", "600", path]).0, 0);
    let (code, _, told) = keys(&["list", "--file", path]);
    assert_eq!(code, 78);
    assert!(told.contains("it is no regular file"), "{told}");
}

#[test]
fn keys_added_at_once_are_all_there() {
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    std::thread::scope(|scope| {
        for user in 0..8 {
            let file = &file;
            scope.spawn(move || add(file, &format!("user-{user}"), &[]));
        }
    });
    let listed = list(&file);
    assert!((0..8).all(|user| listed.contains(&format!("user-{user}"))), "{listed}");
}

#[test]
fn a_file_that_is_damaged_or_open_to_others_is_left_alone() {
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "[[keys]]\nsha256 = 5\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _, told) = keys(&["add", "--file", path, "--user", "ann"]);
    assert_eq!((code, fs::read_to_string(&file).unwrap().as_str()), (78, "[[keys]]\nsha256 = 5\n"), "{told}");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, told) = keys(&["list", "--file", path]);
    assert_eq!(code, 78);
    assert!(told.contains("0644"), "{told}");
    let long = "n".repeat(1025);
    let (code, _, told) = keys(&["add", "--file", path, "--user", "ann", "--note", &long]);
    assert_eq!(code, 2, "{told}");
    assert_eq!(keys(&["add", "--file", "/no/such/place/keys.toml", "--user", "ann"]).0, 1);
    assert_eq!(keys(&["add", "--file", path, "--user", "ann", "--expires", "2020-01-01"]).0, 2);
}

#[test]
fn known_keys_have_users_and_tiers_and_unknown_ones_are_refused() {
    let origin = Origin::ok();
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    let (plain, pro) = (add(&file, "ann", &[]), add(&file, "ben", &["--tier", "pro"]));
    let tables = format!(
        "[identity.api_key]\nkeys_file = \"{}\"\nunknown = \"reject\"\nquery = \"key\"\n[log]\nquery = true\n\
         [limits.calls]\nkey = \"user\"\nrate = \"2/hour\"\ntiers.pro = {{ rate = \"4/hour\" }}\n\
         [limits.tries]\nkey = \"ip\"\nrate = \"20/hour\"\n\
         [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = [\"calls\", \"tries\"]\n",
        file.display()
    );
    let tollgate = Setup::before(origin.address()).table(&tables).start();
    let mut client = tollgate.client().allow(&[
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
        "www-authenticate",
    ]);
    let mut asked = |key: &str| client.request("GET", "/", &format!("X-API-Key: {key}\r\n")).status();
    assert_eq!([asked(&plain), asked(&plain), asked(&plain)], [200, 200, 429]);
    assert_eq!([asked(&pro), asked(&pro), asked(&pro), asked(&pro), asked(&pro)], [200, 200, 200, 200, 429]);
    assert_eq!(asked("guessed"), 401);
    // Somebody who tries keys pays at the address: 6 passed, 1 tried.
    assert_eq!((0..14).map(|_| asked("guessed")).filter(|status| *status == 429).count(), 1);
    let record = tollgate.wait_for_record(|record| record["tier"] == "pro");
    assert_eq!(record["user"], "ben");
    let text = fs::read_to_string(&file).unwrap();
    client.request("GET", &format!("/?key={plain}&a=1"), "");
    let record = tollgate.wait_for_record(|record| record.get("query").is_some());
    assert_eq!(record["query"], "key=***&a=1");
    // Revoked, and read again.
    let (code, ..) = keys(&["revoke", "--file", file.to_str().unwrap(), "--user", "ann"]);
    assert_eq!(code, 0);
    tollgate.hang_up();
    assert_eq!(
        client
            .request("GET", "/", &format!("X-API-Key: {plain}\r\nX-Forwarded-For: 203.0.113.1\r\n"))
            .status(),
        401
    );
    // A file that became wrong: the keys there were stay.
    fs::write(&file, text.replace("user", "usr")).unwrap();
    let events = tollgate.hang_up();
    assert!(
        events.iter().any(|event| event["message"].as_str().unwrap().contains("keys file")),
        "{events:?}"
    );
    assert_eq!(
        client.request("GET", "/", &format!("X-API-Key: {pro}\r\nX-Forwarded-For: 203.0.113.2\r\n")).status(),
        429
    );
    for line in tollgate.process.stdout.all().iter().chain(tollgate.process.stderr.all().iter()) {
        assert!(!line.contains(&plain) && !line.contains(&pro), "a key was told: {line}");
    }
}

#[test]
fn a_tollgate_does_not_start_with_a_keys_file_others_can_read() {
    let origin = Origin::ok();
    let scratch = Scratch::new();
    let file = scratch.file("keys.toml");
    add(&file, "ann", &[]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let tables = format!("[identity.api_key]\nkeys_file = \"{}\"\n", file.display());
    let mut tollgate = Setup::before(origin.address()).table(&tables).spawn();
    assert_eq!(tollgate.process.wait(), 78);
    tollgate.process.wait_for_output();
    assert!(tollgate.process.said().contains("chmod 0640"), "{}", tollgate.process.said());
}

#[test]
fn explain_tells_route_caller_limits_and_answer() {
    let scratch = Scratch::new();
    let keys_file = scratch.file("keys.toml");
    let key = add(&keys_file, "ben", &["--tier", "pro"]);
    let config = scratch.file("tollgate.toml");
    let text = format!(
        "[upstream]\naddress = \"127.0.0.1:8000\"\n[identity.api_key]\nkeys_file = \"{}\"\n\
         [limits.calls]\nrate = \"2/hour\"\ntiers.pro = {{ rate = \"4/hour\" }}\n\
         [[routes]]\nname = \"query\"\nmatch = \"POST /api/v1/query\"\nlimits = [\"calls\"]\n",
        keys_file.display()
    );
    fs::write(&config, text).unwrap();
    let explain = |arguments: &[&str]| {
        let all = ["explain", "--config", config.to_str().unwrap()];
        let (code, text, told) = run(binary(), &all.iter().chain(arguments).copied().collect::<Vec<_>>());
        assert_eq!(code, 0, "{told}");
        text
    };
    let text = explain(&["POST /api/v1/query?x=1", "--ip", "203.0.113.9"]);
    for part in
        ["query", "203.0.113.9", "2/hour", "after 2 at once", "Retry-After: 1800", "ratelimit: \"calls\";r=1"]
    {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    let text = explain(&["POST /api/v1/query", "--header", &format!("X-API-Key: {key}")]);
    for part in ["`ben`, by its API key in the keys file, tier `pro`", "4/hour", "after 4 at once"] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(!text.contains(&key));
    assert!(explain(&["GET /api/v1/query"]).contains("404"));
    assert_eq!(run(binary(), &["explain", "--config", config.to_str().unwrap(), "not a request"]).0, 2);
}
