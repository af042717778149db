//! What was spent outlives the process.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use super::echoing;
use crate::harness::scratch::Scratch;
use crate::harness::{Client, Origin, PATIENCE, Setup, Tollgate};

const LIMIT_FIELDS: [&str; 6] = [
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
];

/// Three an hour and address, kept in this file.
fn kept(origin: &Origin, file: &Path, rate: &str) -> Tollgate {
    let tables = format!(
        "[store]\nsnapshot = \"{}\"\ninterval = \"1s\"\n\n[limits.three]\nkey = \"ip\"\nrate = \"{rate}\"\n\n\
         [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"three\"\n",
        file.display()
    );
    Setup::before(origin.address()).table(&tables).start()
}

fn statuses(tollgate: &Tollgate, count: usize) -> Vec<u16> {
    let mut client: Client = tollgate.client().allow(&LIMIT_FIELDS);
    (0..count).map(|_| client.get("/").status()).collect()
}

#[test]
fn a_restart_forgets_nothing() {
    let origin = echoing();
    let scratch = Scratch::new();
    let file = scratch.file("limits.snapshot");
    let mut tollgate = kept(&origin, &file, "3/hour");
    assert_eq!(statuses(&tollgate, 2), [200, 200]);
    assert_eq!(tollgate.stop(), 0);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a secret");
    let mut again = kept(&origin, &file, "3/hour");
    assert_eq!(again.wait_for_event("restored what was spent")["keys"], 1);
    assert_eq!(statuses(&again, 2), [200, 429]);
    assert_eq!(again.stop(), 0);
    // Numbers edited while nobody was there.
    let edited = kept(&origin, &file, "5/hour");
    assert_eq!(statuses(&edited, 3), [200, 200, 429]);
}

#[test]
fn a_kill_loses_at_most_an_interval() {
    let origin = echoing();
    let scratch = Scratch::new();
    let file = scratch.file("limits.snapshot");
    let mut tollgate = kept(&origin, &file, "3/hour");
    assert_eq!(statuses(&tollgate, 3), [200, 200, 200]);
    let written = |file: &Path| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let deadline = Instant::now() + PATIENCE;
    // The first one that comes may have been begun before the requests.
    for _ in 0..2 {
        let before = written(&file);
        while written(&file) == before {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    tollgate.process.signal(Signal::KILL);
    tollgate.process.wait_for_output();
    assert_eq!(statuses(&kept(&origin, &file, "3/hour"), 1), [429]);
}

#[test]
fn a_damaged_file_is_set_aside_and_the_process_serves() {
    let origin = echoing();
    let scratch = Scratch::new();
    let file = scratch.file("limits.snapshot");
    std::fs::write(&file, "what is this").unwrap();
    let tollgate = kept(&origin, &file, "3/hour");
    let events = tollgate.events();
    let told = events.iter().find(|event| event["damage"].is_string()).unwrap();
    assert_eq!(told["level"], "WARN");
    assert_eq!(std::fs::read(scratch.file("limits.snapshot.damaged")).unwrap(), b"what is this");
    assert_eq!(statuses(&tollgate, 4), [200, 200, 200, 429]);
}

#[test]
fn a_file_that_cannot_be_written_is_told_and_the_process_serves() {
    let origin = echoing();
    let scratch = Scratch::new();
    let tollgate = kept(&origin, &scratch.file("no/such/directory/limits.snapshot"), "3/hour");
    let deadline = Instant::now() + PATIENCE;
    let is_told = |tollgate: &Tollgate| {
        let text = |event: &serde_json::Value| event["message"].as_str().unwrap_or_default().to_owned();
        tollgate.events().iter().any(|event| text(event).starts_with("the snapshot cannot be written"))
    };
    while !is_told(&tollgate) {
        assert!(Instant::now() < deadline, "nothing is told:\n{}", tollgate.process.said());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(statuses(&tollgate, 1), [200]);
}
