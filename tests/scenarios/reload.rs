//! Reloads by SIGHUP: what is live, what is refused, what nobody notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

use rustix::process::Signal;
use serde_json::Value;

use super::{echoing, ok};
use crate::harness::load::{Habit, Load};
use crate::harness::{Client, Origin, Setup, Tollgate};

const LIMIT_FIELDS: [&str; 6] = [
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
];

fn messages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["message"].as_str().unwrap()).collect()
}

fn was_reloaded(events: &[Value]) -> bool {
    messages(events).contains(&"reloaded")
}

fn named(route: &str) -> String {
    format!("[[routes]]\nname = \"{route}\"\nmatch = \"/*\"\n")
}

fn limited(rate: &str) -> String {
    format!(
        "[limits.one]\nkey = \"ip\"\nrate = \"{rate}\"\n\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"one\"\n"
    )
}

fn statuses(client: &mut Client, count: usize) -> Vec<u16> {
    (0..count).map(|_| client.get("/").status()).collect()
}

#[test]
fn routes_change_also_on_an_open_connection() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&named("old")).start();
    let mut client = tollgate.client();
    client.get("/a");
    let events = tollgate.reload(&tollgate.config_text().replace("old", "new"));
    assert!(was_reloaded(&events), "{events:?}");
    assert!(events.iter().any(|event| event["key"] == "routes.new.match"), "{events:?}");
    client.get("/b");
    let records = tollgate.wait_for_records(2);
    assert_eq!((&records[0]["route"], &records[1]["route"]), (&"old".into(), &"new".into()));
}

#[test]
fn the_same_file_changes_nothing() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).start();
    let events = tollgate.hang_up();
    assert_eq!(messages(&events), ["reloaded"]);
    assert_eq!(events[0]["changed"], 0);
}

#[test]
fn every_file_is_read_again() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .table(&named("query"))
        .layer("[listen]\nmax_uri = \"1KiB\"\n")
        .layer("[[routes]]\nname = \"query\"\nmax_body = \"1KiB\"\n")
        .start();
    tollgate.rewrite_layer(0, "[listen]\nmax_uri = \"2KiB\"\n");
    let events = tollgate.reload(&tollgate.config_text().replace("/*", "/{all}"));
    assert!(was_reloaded(&events), "{events:?}");
    let keys: Vec<&str> = events.iter().filter_map(|event| event["key"].as_str()).collect();
    assert_eq!(keys, ["listen.max_uri", "routes.query.match"]);
    tollgate.rewrite_layer(1, "[listen]\nmax_uri = \"loud\"\n");
    let events = tollgate.hang_up();
    let told = messages(&events);
    assert!(told.iter().any(|message| message.contains("layer-1.toml:2:11")), "{told:?}");
    assert!(!was_reloaded(&events));
}

#[test]
fn a_wrong_file_changes_nothing_and_every_problem_is_told() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&named("old")).start();
    let good = tollgate.config_text();
    let wrong = good.replace("old", "new") + "[log]\nlevel = \"loud\"\ncolour = 1\n";
    let events = tollgate.reload(&wrong);
    let told = messages(&events);
    assert!(told.iter().any(|message| message.contains("`level`")), "{told:?}");
    assert!(told.iter().any(|message| message.contains("`colour`")), "{told:?}");
    let last = events.last().unwrap();
    assert_eq!((&last["level"], &last["failed_reloads"]), (&"ERROR".into(), &1.into()));
    tollgate.client().get("/");
    assert_eq!(tollgate.wait_for_records(1)[0]["route"], "old");
    assert_eq!(tollgate.reload("not toml [").last().unwrap()["failed_reloads"], 2);
    assert!(was_reloaded(&tollgate.reload(&good.replace("old", "new"))));
}

#[test]
fn what_needs_a_restart_is_refused_as_a_whole() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&named("old")).start();
    let changed = tollgate.config_text().replace("127.0.0.1:0", "127.0.0.1:1").replace("old", "new");
    let events = tollgate.reload(&changed);
    let told = messages(&events);
    assert!(told.iter().any(|message| message.contains("`listen.address`")), "{told:?}");
    assert!(!was_reloaded(&events));
    tollgate.client().get("/");
    assert_eq!(tollgate.wait_for_records(1)[0]["route"], "old");
}

#[test]
fn the_app_moves_and_requests_follow_while_running_ones_finish() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let old = Origin::start(move |mut peer| {
        while let Some(received) = peer.request() {
            if received.target == "/slow" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nol");
                wait.lock().unwrap().recv().unwrap();
                peer.send("d!");
            } else {
                peer.send(ok("old"));
            }
        }
    });
    let new = Origin::answering(ok("new"));
    let tollgate = Setup::before(old.address()).start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/").text(), "old", "and a connection is pooled");
    let mut slow = tollgate.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = slow.head();
    let events = tollgate.reload(&tollgate.config_text().replace(old.address(), new.address()));
    assert!(was_reloaded(&events), "{events:?}");
    assert_eq!(client.get("/").text(), "new");
    go.send(()).unwrap();
    assert_eq!(slow.body(&head, "GET").bytes, b"old!");
    let record = tollgate.wait_for_record(|record| record["path"] == "/slow");
    assert_eq!(record["upstream"], old.address());
    assert_eq!(slow.get("/").text(), "new", "nothing went back into the new pool");
}

#[test]
fn limits_of_size_and_trust_change_on_open_connections() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("trusted_proxies = []").start();
    let mut client = tollgate.client();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 5\r\n\r\nhello";
    client.send(post);
    assert_eq!(client.response_to("POST").status(), 200);
    let text = tollgate.config_text();
    let changed =
        text.replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]\nmax_body = \"4B\"");
    assert!(was_reloaded(&tollgate.reload(&changed)));
    client.send(post);
    client.response_to("POST").assert_local(413, "payload_too_large");
    let records = tollgate.wait_for_records(2);
    assert_eq!(
        (&records[0]["client_addr"], &records[1]["client_addr"]),
        (&"127.0.0.1".into(), &"203.0.113.9".into())
    );
}

#[test]
fn the_level_of_events_changes() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&named("old")).start();
    let quiet = tollgate.config_text().replace("old", "new") + "[log]\nlevel = \"error\"\n";
    tollgate.rewrite(&quiet);
    tollgate.process.signal(Signal::HUP);
    // The reload itself says nothing any more: what it changes shows when it is done.
    let mut client = tollgate.client();
    let mut asked = 0;
    loop {
        client.get("/");
        asked += 1;
        if tollgate.wait_for_records(asked)[asked - 1]["route"] == "new" {
            break;
        }
    }
    let events = tollgate.reload("not toml [");
    assert!(events.iter().all(|event| event["level"] == "ERROR"), "{events:?}");
}

#[test]
fn limits_with_the_same_numbers_remember_what_was_spent() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&limited("3/hour")).start();
    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
    assert_eq!(statuses(&mut client, 2), [200, 200]);
    assert!(was_reloaded(&tollgate.reload(&(tollgate.config_text() + "# nothing\n"))));
    assert_eq!(statuses(&mut client, 2), [200, 429]);
}

#[test]
fn limits_with_other_numbers_keep_what_was_spent() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&limited("3/hour")).start();
    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
    assert_eq!(statuses(&mut client, 4), [200, 200, 200, 429]);
    let text = tollgate.config_text();
    let events = tollgate.reload(&text.replace("3/hour", "5/hour"));
    let limit = events.iter().find(|event| event["limit"] == "one").unwrap();
    assert_eq!((&limit["known_keys"], &limit["keys_over"]), (&1.into(), &0.into()), "{limit}");
    assert_eq!(statuses(&mut client, 3), [200, 200, 429], "3 of 5 were spent");
    let events = tollgate.reload(&text.replace("3/hour", "100/hour"));
    assert!(was_reloaded(&events));
    assert_eq!(client.get("/").header("x-ratelimit-remaining").as_deref(), Some("94"), "5 and this one");
}

#[test]
fn a_limit_that_counts_by_something_else_begins_anew() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&limited("1/hour")).start();
    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
    assert_eq!(statuses(&mut client, 2), [200, 429]);
    let events = tollgate.reload(&tollgate.config_text().replace("\"ip\"", "\"global\""));
    assert!(messages(&events).iter().any(|message| message.contains("begin anew")), "{events:?}");
    assert_eq!(statuses(&mut client, 2), [200, 429]);
    let without = tollgate.config_text().replace("limits = \"one\"\n", "");
    assert!(was_reloaded(&tollgate.reload(&without)));
    assert_eq!(statuses(&mut client, 2), [200, 200]);
}

#[test]
fn the_guard_refuses_to_put_too_many_over_their_limit() {
    let origin = echoing();
    let guard = "[limiting]\nreload_guard = \"10%\"\n";
    let tollgate = Setup::before(origin.address()).table(&format!("{guard}{}", limited("10/hour"))).start();
    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
    assert_eq!(statuses(&mut client, 5), [200; 5]);
    let text = tollgate.config_text();
    let events = tollgate.reload(&text.replace("10/hour", "5/hour"));
    let told = messages(&events);
    assert!(told.iter().any(|message| message.contains("1 of 1 known keys")), "{told:?}");
    assert_eq!(client.get("/").header("x-ratelimit-limit").as_deref(), Some("10"));
    assert!(was_reloaded(&tollgate.reload(&text.replace("10/hour", "8/hour"))));
}

#[test]
fn a_storm_of_reloads_under_load_loses_no_request_and_no_descriptor() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table(&limited("1000000/second")).workers(2).start();
    let text = tollgate.config_text();
    let files = tollgate.process.open_files();
    let stop = AtomicBool::new(false);
    let served: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
                    let mut served = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(client.get("/").status(), 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for round in 0..60 {
            let rate = format!("{}/second", 1_000_000 - round);
            assert!(was_reloaded(&tollgate.reload(&text.replace("1000000/second", &rate))));
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(served > 0);
    assert_eq!(tollgate.wait_for_records(served).len(), served);
    // Four clients, and at most as many connections to the app for each worker.
    assert!(tollgate.process.open_files() <= files + 12, "descriptors leak");
}

/// Memory that is not given back shows in steps; below these it is the allocator's.
const GROWTH_KIB: u64 = 4 * 1024;

#[test]
fn a_thousand_reloads_under_load_leave_no_descriptor_no_memory_and_no_bucket_behind() {
    let origin = echoing();
    let quota = 10_000_000;
    let tables = format!(
        "[limits.one]\nkey = \"ip\"\nquota = \"{quota}/month\"\n\n[limiting]\nheaders = \"legacy\"\n\n\
         [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"one\"\n"
    );
    let setup = Setup::before(origin.address()).listen("max_headers = 80").admin("").table(&tables);
    let tollgate = setup.workers(2).start();
    let texts =
        [tollgate.config_text(), tollgate.config_text().replace("max_headers = 80", "max_headers = 81")];
    let operator = tollgate.operator();
    let reload = |round: usize| {
        tollgate.rewrite(&texts[round % 2]);
        let told = operator.post("/reload", "{}");
        assert_eq!(told.status, 200, "{told:?}");
    };
    let load = Load::default();
    std::thread::scope(|scope| {
        let _stop = load.stop_when_left();
        for habit in [Habit::Keep("GET"), Habit::Keep("POST"), Habit::New] {
            load.client(scope, tollgate.address(), habit);
        }
        (0..100).for_each(reload);
        let (files, memory) = (tollgate.process.open_files(), tollgate.process.memory_kib("VmRSS"));
        (100..1000).for_each(reload);
        load.wait_for_more(10);
        let (files_then, memory_then) = (tollgate.process.open_files(), tollgate.process.memory_kib("VmRSS"));
        load.stop();
        // Those of connections that come and go at this moment.
        assert!(files_then <= files + 8, "{files} descriptors, then {files_then}");
        assert!(memory_then <= memory + GROWTH_KIB, "{memory} KiB, then {memory_then}");
        eprintln!("{files} descriptors, then {files_then}; {memory} KiB, then {memory_then}");
    });
    let (served, repeated) = (load.served.load(Ordering::Relaxed), load.repeated.load(Ordering::Relaxed));
    assert_eq!(repeated, 0, "no connection ends for a reload");
    let mut client = tollgate.client().allow(&LIMIT_FIELDS);
    let left: usize = client.get("/").header("x-ratelimit-remaining").unwrap().parse().unwrap();
    assert_eq!(quota - left, served + 1, "what was spent, against what was served");
}

#[test]
fn without_a_file_there_is_nothing_to_read_again() {
    let origin = echoing();
    let mut command = crate::harness::process::command(crate::harness::tollgate::binary());
    command.args(["run", "--listen", "127.0.0.1:0", "--workers", "1", "--upstream", origin.address()]);
    let process = crate::harness::process::Process::start("tollgate", command);
    let ready =
        |text: &str| process.stderr.wait(|lines| lines.iter().any(|line| line.contains(text)).then_some(()));
    assert!(ready("ready").is_some());
    process.signal(Signal::HUP);
    assert!(ready("there is no configuration file to read again").is_some());
}

#[test]
fn a_reload_while_draining_is_ignored_and_said() {
    let origin = Origin::start(|mut peer| {
        peer.request();
        let _ = peer.wait_for_end();
    });
    let mut tollgate: Tollgate = Setup::before(origin.address()).start();
    let mut client = tollgate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    tollgate.terminate();
    tollgate.wait_for_event("draining");
    let events = tollgate.hang_up();
    assert!(messages(&events)[0].contains("about to end"), "{events:?}");
    client.reset();
    assert_eq!(tollgate.process.wait(), 0);
}
