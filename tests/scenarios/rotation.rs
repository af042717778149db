//! The real logrotate, with the file of `deploy/logrotate/`, under traffic.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::process::run;
use crate::harness::{Origin, PATIENCE, Setup};

use super::ok;

/// An empty file would not be rotated.
fn wait_until_written(file: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(file).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "nothing is written to {}", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn logrotate_loses_no_record() {
    let origin = Origin::answering(ok("fine"));
    let setup = Setup::before(origin.address());
    let logs = setup.file("log");
    fs::create_dir(&logs).unwrap();
    let access = logs.join("access.log");
    let mut tollgate = setup.table(&format!("[log]\naccess = \"{}\"", access.display())).start();

    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/logrotate/tollgate");
    let text = fs::read_to_string(deployed).unwrap();
    for part in ["/var/log/tollgate/*.log", "su tollgate tollgate"] {
        assert!(text.contains(part), "no `{part}`");
    }
    // There is no such user here, and only root could become it.
    let text = text
        .replace("/var/log/tollgate/", &format!("{}/", logs.display()))
        .replace("su tollgate tollgate", "");
    let rules = logs.join("rules");
    fs::write(&rules, text).unwrap();
    let logrotate = |force: &[&str]| {
        let state = logs.join("state");
        let mut arguments = force.to_vec();
        arguments.extend(["--state", state.to_str().unwrap(), rules.to_str().unwrap()]);
        let search = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let program =
            std::env::split_paths(&search).map(|path| path.join("logrotate")).find(|path| path.exists());
        let (code, out, err) = run(&program.expect("logrotate is missing: run `make programs`"), &arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
    };

    let mut client = tollgate.client();
    for number in 0..300 {
        assert_eq!(client.get(&format!("/{number}")).status(), 200);
        if number % 100 == 50 {
            wait_until_written(&access);
            logrotate(&["--force"]);
        }
    }
    drop(client);
    assert_eq!(tollgate.stop(), 0);
    let mut paths = Vec::new();
    let mut kept = 0;
    for file in fs::read_dir(&logs).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if !name.starts_with("access.log") {
            continue;
        }
        kept += 1;
        let text = match name.ends_with(".gz") {
            true => run(Path::new("zcat"), &[file.path()]).1,
            false => fs::read_to_string(file.path()).unwrap(),
        };
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            paths.push(record["path"].as_str().unwrap()[1..].parse::<u32>().unwrap());
        }
    }
    paths.sort_unstable();
    assert_eq!(paths, (0..300).collect::<Vec<u32>>());
    assert_eq!(kept, 4, "three times rotated, and the file that is written to");
}
