//! The record: exactly one line an exchange, one valid JSON object whatever bytes came, and a sink
//! that stalls holds up nobody.

use std::io::Read;
use std::process::Command;

use serde_json::Value;

use super::{echoing, ok};
use crate::harness::client::{get, post};
use crate::harness::origin::refused_address;
use crate::harness::{Origin, PATIENCE, Setup, Tollgate};

#[test]
fn a_record_tells_the_whole_exchange() {
    let origin = Origin::answering("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello");
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"items\"\nmatch = \"POST /items/{id}\"")
        .start();
    let mut client = tollgate.client();
    let request = "POST /items/7?token=secret HTTP/1.1\r\nHost: a\r\nUser-Agent: test/1\r\n\
        Content-Length: 3\r\n\r\nabc";
    client.send(request);
    let response = client.response();
    let record = tollgate.wait_for_records(1).remove(0);
    for (key, value) in [
        ("request_id", Value::from(response.header("x-request-id").unwrap())),
        ("client_addr", "127.0.0.1".into()),
        ("method", "POST".into()),
        ("path", "/items/7".into()),
        ("route", "items".into()),
        ("status", 201.into()),
        ("fault", Value::Null),
        ("outcome", "complete".into()),
        ("bytes_in", request.len().into()),
        ("upstream", origin.address().into()),
        ("user_agent", "test/1".into()),
        ("traceparent", Value::Null),
        ("amzn_trace_id", Value::Null),
    ] {
        assert_eq!(record[key], value, "{key} in {record:#}");
    }
    for key in ["duration_ms", "connect_ms", "response_head_ms"] {
        assert!(record[key].as_f64().is_some_and(|figure| figure >= 0.0), "{key} in {record:#}");
    }
    let head = record["bytes_out"].as_u64().unwrap() - 5;
    assert!((50..1000).contains(&head), "{record:#}");
    let time = record["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert!(!record.to_string().contains("secret"), "the query string was logged");
}

#[test]
fn bytes_out_are_the_bytes_of_the_wire() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.send(request);
    let (answer, _) = client.wire().rest();
    let record = tollgate.record_of("/");
    assert_eq!(record["bytes_in"], request.len());
    assert_eq!(record["bytes_out"], answer.len());
}

#[test]
fn every_exchange_has_exactly_one_record() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            match request.target.as_str() {
                "/cut" => {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                    return;
                }
                "/garbage" => {
                    peer.send("garbage\r\n\r\n");
                    return;
                }
                "/leave" => {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                    peer.wait_for_end();
                    return;
                }
                "/never" | "/never?early" => {
                    peer.wait_for_end();
                    return;
                }
                target => {
                    peer.send(ok(target));
                }
            }
        }
    });
    let tollgate = Setup::before(origin.address())
        .upstream("response_timeout = \"500ms\"")
        .listen("max_body = \"1KiB\"")
        .start();
    assert_eq!(tollgate.client().get("/complete").status(), 200);
    let mut cut = tollgate.client();
    cut.send(get("/cut"));
    cut.assert_cut();
    assert_eq!(tollgate.client().get("/garbage").status(), 502);
    assert_eq!(tollgate.client().get("/never").status(), 504);
    let mut leaver = tollgate.client();
    leaver.send(get("/leave"));
    leaver.wire().until(b"half").unwrap();
    leaver.reset();
    let mut early = tollgate.client();
    early.send(get("/never?early"));
    let received = origin.wait_for_requests(6);
    assert_eq!(received[5].target, "/never?early", "{received:#?}");
    early.reset();
    let mut big = tollgate.client();
    big.send(post("/big", &[b'x'; 2000]));
    assert_eq!(big.response().status(), 413);
    let mut bad = tollgate.client();
    bad.send("GET /bad HTTP/1.1\r\n\r\n");
    assert_eq!(bad.response().status(), 400);
    drop(tollgate.client());

    tollgate.wait_for_records(8);
    let records = tollgate.final_records();
    let mut told: Vec<_> = records
        .iter()
        .map(|record| {
            let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
            (text("outcome"), text("fault"))
        })
        .collect();
    told.sort();
    let expected = [
        ("bad_request", "downstream"),
        ("bad_upstream_response", "upstream"),
        ("complete", "-"),
        ("downstream_left", "downstream"),
        ("downstream_left", "downstream"),
        ("payload_too_large", "downstream"),
        ("upstream_reset", "upstream"),
        ("upstream_timeout", "upstream"),
    ];
    let told: Vec<_> = told.iter().map(|(outcome, fault)| (&outcome[..], &fault[..])).collect();
    assert_eq!(told, expected, "{records:#?}");
    let mut ids: Vec<_> = records.iter().map(|record| record["request_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), records.len(), "a request id twice");
}

#[test]
fn a_client_that_leaves_has_its_record_every_time() {
    let origin = Origin::start(|mut peer| {
        let Some(request) = peer.request() else { return };
        if request.target.starts_with("/begun") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        peer.wait_for_end();
    });
    let tollgate = Tollgate::before(origin.address());
    for number in 0..100 {
        let mut client = tollgate.client();
        if number % 2 == 0 {
            client.send(get(&format!("/begun/{number}")));
            client.wire().until(b"half").unwrap();
        } else {
            client.send(get(&format!("/waiting/{number}")));
            origin.wait_for_requests(number + 1);
        }
        if number % 4 < 2 { client.reset() } else { drop(client) }
    }
    let records = tollgate.final_records();
    let recorded: Vec<_> = records.iter().filter_map(|record| record["path"].as_str()).collect();
    for number in 0..100 {
        let kind = if number % 2 == 0 { "begun" } else { "waiting" };
        let path = format!("/{kind}/{number}");
        let count = recorded.iter().filter(|held| **held == path).count();
        assert_eq!(count, 1, "records of {path}");
    }
    assert!(records.iter().all(|record| record["outcome"] == "downstream_left"), "{records:#?}");
}

#[test]
fn a_client_that_leaves_while_its_answer_comes_has_one_record() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    for number in 0..300 {
        let mut client = tollgate.client();
        client.send(get(&format!("/{number}")));
        origin.wait_for_requests(number + 1);
        client.reset();
    }
    let records = tollgate.final_records();
    let missing: Vec<_> = origin
        .received()
        .into_iter()
        .map(|request| request.target)
        .filter(|target| records.iter().filter(|record| record["path"] == **target).count() != 1)
        .collect();
    assert!(missing.is_empty(), "asked of the app, and without exactly one record: {missing:?}");
    let told = |record: &Value| matches!(record["outcome"].as_str(), Some("complete" | "downstream_left"));
    assert!(records.iter().all(told), "{records:#?}");
}

#[test]
fn whatever_bytes_come_a_line_is_one_json_object() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let agents: [&[u8]; 6] = [
        b"quote\" back\\slash",
        b"\xff\xfe\x80 not UTF-8",
        "line\u{2028}separator\u{0085}".as_bytes(),
        b"tab\there",
        b"{\"status\":200}",
        &[b'x'; 7000],
    ];
    for (number, agent) in agents.into_iter().enumerate() {
        let mut client = tollgate.client();
        let head = format!("GET /agent/{number} HTTP/1.1\r\nHost: a\r\nUser-Agent: ");
        client.send([head.as_bytes(), agent, b"\r\n\r\n"].concat());
        assert_eq!(client.response().status(), 200);
        let record = tollgate.record_of(&format!("/agent/{number}"));
        let told = record["user_agent"].as_str().unwrap();
        assert!(told.len() < 1100, "{} bytes of user agent", told.len());
        assert!(!told.chars().any(|character| character == '\n'), "{told:?}");
    }
    for path in ["/quote\"", "/<b>", "/{}", "/a%0d%0ab", "/%ff", "/\u{e9}"] {
        let mut client = tollgate.client();
        client.send(get(path));
        client.wire().head().unwrap();
    }
    let long = format!("/{}", "a".repeat(3900));
    assert_eq!(tollgate.client().get(&long).status(), 200);
    let records = tollgate.wait_for_records(agents.len() + 7);
    let path = records.iter().filter_map(|record| record["path"].as_str()).map(str::len).max();
    assert!(path.unwrap() < 2100, "a path of {path:?} bytes");
    // No line without its record: `records` panics on a line that is not one object.
    assert_eq!(tollgate.final_records().len(), agents.len() + 7);
}

#[test]
fn query_and_fields_are_recorded_when_named() {
    let origin = echoing();
    let tollgate =
        Setup::before(origin.address()).table("[log]\nquery = true\nheaders = [\"Accept-Language\"]").start();
    let fields = "Accept-Language: de\r\nAuthorization: Bearer hidden\r\n";
    tollgate.client().request("GET", "/a?b=c", fields);
    let record = tollgate.record_of("/a");
    assert_eq!(record["query"], "b=c", "{record:#}");
    assert!(record.to_string().contains("\"de\""), "{record:#}");
    assert!(!record.to_string().contains("hidden"), "{record:#}");
}

#[test]
fn a_local_reply_for_want_of_an_app_tells_the_cause_to_the_record_alone() {
    let tollgate = Tollgate::before(&refused_address());
    let response = tollgate.client().get("/");
    assert!(!response.text().contains("refused"));
    let record = tollgate.record_of("/");
    assert_eq!((&record["status"], &record["outcome"]), (&503.into(), &"upstream_unavailable".into()));
}

#[test]
fn records_can_be_turned_off() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table("[log]\naccess = \"off\"").start();
    assert_eq!(tollgate.client().get("/").status(), 200);
    assert!(tollgate.final_records().is_empty());
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_for_line(path: &std::path::Path, wanted: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !lines(path).iter().any(|record| record["path"] == wanted) {
        assert!(std::time::Instant::now() < deadline, "no record of {wanted} in {}", path.display());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_file_is_appended_to_and_reopened_after_a_rename() {
    let origin = echoing();
    let setup = Setup::before(origin.address());
    let (file, rotated) = (setup.file("access.log"), setup.file("access.log.1"));
    std::fs::write(&file, "{\"path\":\"/earlier\"}\n").unwrap();
    let mut tollgate = setup.table(&format!("[log]\naccess = \"{}\"", file.display())).workers(2).start();
    tollgate.client().get("/before");
    wait_for_line(&file, "/before");
    assert_eq!(lines(&file)[0]["path"], "/earlier", "the file was overwritten");
    std::fs::rename(&file, &rotated).unwrap();
    // What comes until the rename is noticed may go to either file, but to one.
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut number = 0;
    while lines(&file).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the file was not reopened");
        tollgate.client().get(&format!("/{number}"));
        number += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    tollgate.client().get("/after");
    wait_for_line(&file, "/after");
    assert_eq!(tollgate.stop(), 0);
    assert!(tollgate.records().is_empty(), "records on standard output, too");
    let total = lines(&file).len() + lines(&rotated).len();
    assert_eq!(total, number + 3, "a record lost or written twice over the rotation");
}

#[test]
fn a_sink_that_stalls_drops_records_and_holds_up_no_request() {
    let origin = echoing();
    let setup = Setup::before(origin.address());
    let pipe = setup.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open for both, so that opening does not block; nobody reads.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let mut tollgate = setup.table(&format!("[log]\naccess = \"{}\"", pipe.display())).start();
    let mut client = tollgate.client();
    let agent = format!("User-Agent: {}\r\n", "x".repeat(250));
    let sent = 20_000;
    for _ in 0..sent {
        client.send(format!("GET /stalled HTTP/1.1\r\nHost: a\r\n{agent}\r\n"));
        let head = client.wire().head().unwrap();
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        client.wire().exactly("/stalled".len()).unwrap();
    }
    assert!(tollgate.peak_memory_kib() < 64 * 1024, "{} KiB", tollgate.peak_memory_kib());
    // Told while the writer hangs, and what it never took at the end.
    tollgate.wait_for_event("records were dropped");
    drop(client);
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    let events = tollgate.events();
    let last = events.iter().rfind(|event| event["message"] == "records were dropped").unwrap();
    // What was kept is whole lines.
    let mut kept = vec![0; 1 << 16];
    let count = (&reader).read(&mut kept).unwrap();
    let text = String::from_utf8(kept[..count].to_vec()).unwrap();
    for line in text.lines().take(text.lines().count() - 1) {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("not a record: {line}"));
    }
    let (dropped, written) = (last["total"].as_u64().unwrap(), text.lines().count() as u64);
    assert!((sent..=sent + written).contains(&(dropped + written)), "{dropped} dropped, {written} written");
}

#[test]
fn a_request_that_waits_behind_another_counts_for_itself() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let long = format!("GET /second HTTP/1.1\r\nHost: a\r\nX-Filler: {}\r\n\r\n", "x".repeat(3000));
    client.send([get("/first"), long.clone()].concat());
    assert_eq!((client.response().text(), client.response().text()), ("/first".into(), "/second".into()));
    assert_eq!(tollgate.record_of("/first")["bytes_in"], get("/first").len());
    assert_eq!(tollgate.record_of("/second")["bytes_in"], long.len());
}

#[test]
fn the_query_of_a_refused_head_stays_out_of_the_record() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET /refused?token=secret HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n\r\n");
    client.response().assert_local(400, "bad_request");
    let record = tollgate.wait_for_record(|record| record["status"] == 400);
    assert_eq!(record["path"], "/refused");
    assert!(!record.to_string().contains("secret"), "{record}");
}

#[test]
fn records_dropped_until_the_end_are_counted_at_the_end() {
    let origin = echoing();
    let mut tollgate = Setup::before(origin.address()).table("[log]\naccess = \"/dev/full\"").start();
    tollgate.client().get("/one");
    tollgate.client().get("/two");
    assert_eq!(tollgate.stop(), 0);
    assert_eq!(tollgate.wait_for_event("records were dropped")["total"], 2);
}

#[test]
fn a_head_that_only_the_parser_refuses_has_its_path_in_the_record() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET /unparsable HTTP/1.1\r\nHost: a\r\nB d: x\r\n\r\n");
    client.response().assert_local(400, "bad_request");
    assert_eq!(tollgate.record_of("/unparsable")["method"], "GET");
}
