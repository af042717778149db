//! EMF lines: each is one that CloudWatch takes, none is lost without being counted, and nobody waits for them.

use std::net::UdpSocket;

use serde_json::Value;
use tollgate::telemetry::emf::check::check;

use crate::harness::agent::Agent;
use crate::harness::scratch::Scratch;
use crate::harness::{Origin, PATIENCE, Setup};

const ROUTES: &str =
    "[[routes]]\nname = \"query\"\nmatch = \"/query\"\n\n[[routes]]\nname = \"rest\"\nmatch = \"/rest/*\"\n";

/// With lines in the file `emf.log` of a directory that outlives the process.
fn to_file(origin: &Origin, more: &str) -> (Setup, Scratch) {
    let scratch = Scratch::new();
    let sink = format!("file:{}", scratch.file("emf.log").display());
    (setup(origin, &sink, more), scratch)
}

fn setup(origin: &Origin, sink: &str, more: &str) -> Setup {
    let emf = format!("[emf]\nsink = \"{sink}\"\nnamespace = \"Test\"\nservice = \"api\"\n{more}\n");
    Setup::before(origin.address()).table(&emf).table(ROUTES)
}

#[track_caller]
fn parse(line: &str) -> Value {
    assert_eq!(check(line.as_bytes()), Ok(()), "{line}");
    serde_json::from_str(line).unwrap()
}

fn sum(lines: &[Value], name: &str) -> u64 {
    lines.iter().filter_map(|line| line[name].as_u64()).sum()
}

fn lines_of_file(path: &std::path::Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(parse).collect()
}

#[test]
fn every_exchange_has_a_line_with_its_record() {
    let origin = Origin::ok();
    let (setup, scratch) = to_file(&origin, "");
    let tollgate = setup.start();
    let mut client = tollgate.client();
    let answer = client.get("/query");
    client.get("/nowhere");
    drop(client);
    let records = tollgate.final_records();
    let lines = lines_of_file(&scratch.file("emf.log"));
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["request_id"].as_str(), answer.header("x-request-id").as_deref());
    assert_eq!((&lines[0]["Route"], &lines[0]["Service"]), (&"query".into(), &"api".into()));
    for field in ["request_id", "time", "path", "status", "outcome", "bytes_out", "duration_ms"] {
        assert_eq!(lines[0][field], records[0][field], "{field}");
    }
    assert!(lines[0]["UpstreamLatency"].is_number());
    assert_eq!(lines[1]["Route"], "(none)");
    assert_eq!((sum(&lines, "RequestCount"), sum(&lines, "ClientErrorCount")), (2, 1));
}

#[test]
fn nothing_but_lines_goes_to_standard_output() {
    let origin = Origin::ok();
    let mut tollgate = setup(&origin, "stdout", "").table("[log]\naccess = \"stderr\"\n").start();
    tollgate.client().get("/query");
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    let lines: Vec<Value> = tollgate.process.stdout.all().iter().map(|line| parse(line)).collect();
    assert_eq!(sum(&lines, "RequestCount"), 1);
}

#[test]
fn lines_of_intervals_add_up_and_the_last_comes_with_the_end() {
    let origin = Origin::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let (setup, scratch) = to_file(&origin, "per = \"1s\"\nvalidate = true");
    let tollgate = setup.workers(2).start();
    let mut client = tollgate.client();
    for _ in 0..250 {
        client.get("/query");
    }
    client.get("/rest/a");
    drop(client);
    tollgate.final_records();
    let lines = lines_of_file(&scratch.file("emf.log"));
    assert_eq!((sum(&lines, "RequestCount"), sum(&lines, "ErrorCount")), (251, 251));
    let of_query: Vec<&Value> = lines.iter().filter(|line| line["Route"] == "query").collect();
    let latencies: usize = of_query.iter().filter_map(|line| line["Latency"].as_array()).map(Vec::len).sum();
    assert_eq!(latencies, 250, "every latency is there while there are few");
    assert!(of_query.len() >= 3, "an array has at most 100 values");
    assert!(of_query.iter().all(|line| line["interval_seconds"].is_u64()));
}

#[test]
fn what_the_app_tells_of_itself_is_measured_and_taken_out() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Cache: hit\r\nServer-Timing: analysis;dur=120.5, db;dur=3\r\n\
         X-LLM-Tokens: 42\r\nX-LLM-Model: m-1\r\nX-LLM-Operation: sum\r\n\r\n",
    );
    let told = "[metrics.from_response]\ncache_hit = { header = \"X-Cache\", equals = \"HIT\" }\n\
        analysis_latency = { server_timing = \"analysis\" }\nserver_timing = [\"db\"]\n\
        llm = { tokens = \"X-LLM-Tokens\", model = \"X-LLM-Model\", operation = \"X-LLM-Operation\" }\n";
    let (setup, scratch) = to_file(&origin, "");
    let tollgate = setup.table(told).start();
    // The client of the harness refuses fields that the app alone knows.
    let answer = tollgate.client().get("/query");
    assert_eq!(answer.header("x-cache"), None);
    tollgate.final_records();
    let line = lines_of_file(&scratch.file("emf.log")).remove(0);
    assert_eq!(line["AnalysisLatency"], 120.5);
    assert_eq!(line["ServerTiming.db"], 3.0);
    assert_eq!(
        (&line["CacheHit"], &line["CacheMiss"], &line["LlmTokens"]),
        (&1.into(), &0.into(), &42.into())
    );
}

#[test]
fn a_field_that_measures_can_tell_a_cost_as_well() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-LLM-Tokens: 42\r\n\r\n");
    let told = "[metrics.from_response]\nllm = { tokens = \"X-LLM-Tokens\" }\n
        [limits.default]\nkey = \"global\"\nrate = \"100/hour\"\ncost = { response_header = \"X-LLM-Tokens\" }\n";
    let tollgate = Setup::before(origin.address()).table(told).admin("").start();
    let allowed =
        ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let mut client = tollgate.client().allow(&allowed);
    client.get("/");
    assert_eq!(client.get("/").header("x-ratelimit-remaining").as_deref(), Some("57"));
    tollgate.wait_for_records(2);
    let metrics = tollgate.operator().get("/metrics").text;
    assert!(metrics.contains("llm_tokens_total{model=\"\",operation=\"\"} 84"), "{metrics}");
}

#[test]
fn fields_stay_when_they_are_told_to() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Cache: MISS\r\n\r\n");
    let told =
        "[metrics.from_response]\nstrip = false\ncache_hit = { header = \"X-Cache\", equals = \"HIT\" }\n";
    let tollgate = Setup::before(origin.address()).table(told).start();
    let answer = tollgate.client().allow(&["x-cache"]).get("/");
    assert_eq!(answer.header("x-cache").as_deref(), Some("MISS"));
}

#[test]
fn an_agent_that_starts_late_and_restarts_gets_every_line_once() {
    let origin = Origin::ok();
    let address = Agent::reserve();
    let tollgate = setup(&origin, &format!("tcp://{address}"), "").start();
    let mut client = tollgate.client();
    client.get("/rest/0");
    tollgate.wait_for_event("the CloudWatch agent does not take EMF lines, they wait");
    let agent = Agent::start_at(address);
    wait_for_path(&agent, "/rest/0");
    let agent = agent.restart();
    for number in 1..=50 {
        client.get(&format!("/rest/{number}"));
    }
    wait_for_path(&agent, "/rest/50");
    drop(client);
    tollgate.final_records();
    let paths: Vec<Value> = agent.lines().all().iter().map(|line| parse(line)["path"].clone()).collect();
    let expected: Vec<Value> = (0..=50).map(|number| format!("/rest/{number}").into()).collect();
    assert_eq!(paths, expected);
}

#[track_caller]
fn wait_for_path(agent: &Agent, path: &str) {
    let has = |line: &String| serde_json::from_str::<Value>(line).unwrap()["path"] == path;
    let found = agent.lines().wait(|lines| lines.iter().any(has).then_some(()));
    assert!(found.is_some(), "no line for {path} among {}", agent.lines().all().len());
}

#[test]
fn an_agent_that_stalls_holds_up_no_request_drops_are_counted_and_the_stream_goes_on() {
    let origin = Origin::ok();
    let agent = Agent::start();
    let tollgate =
        setup(&origin, &agent.sink(), "").table("[log]\naccess = \"off\"\nheaders = [\"x-long\"]\n").start();
    let mut client = tollgate.client();
    client.get("/query");
    wait_for_path(&agent, "/query");
    agent.stall(true);
    // Far more than the sockets and the queue hold: 9 buffers of 256 KiB, and what the kernel takes.
    let long = "x".repeat(3_000);
    let mut sent = 1u64;
    while !tollgate.events().iter().any(|event| event["message"] == "EMF lines were dropped") {
        for _ in 0..500 {
            let answer = client.request(
                "GET",
                &format!("/query?{long}"),
                &format!("X-Long: {long}\r\nUser-Agent: {long}\r\n"),
            );
            assert_eq!(answer.status(), 200);
            sent += 1;
        }
        assert!(sent < 2_000_000, "nothing was dropped after {sent} requests");
    }
    agent.stall(false);
    client.get("/rest/after");
    wait_for_path(&agent, "/rest/after");
    sent += 1;
    drop(client);
    let mut tollgate = tollgate;
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    let dropped = tollgate
        .events()
        .iter()
        .rfind(|event| event["message"] == "EMF lines were dropped")
        .unwrap()["total"]
        .as_u64()
        .unwrap();
    let arrived =
        agent.lines().wait(|lines| (lines.len() as u64 + dropped >= sent).then_some(lines.len() as u64));
    // What the kernel had taken of a connection that was given up is in neither figure.
    assert!(
        arrived.is_some_and(|arrived| arrived + dropped <= sent + 64),
        "{arrived:?} + {dropped} of {sent}"
    );
}

#[test]
fn lines_are_datagrams_over_udp() {
    let origin = Origin::ok();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let sink = format!("udp://{}", socket.local_addr().unwrap());
    let tollgate = setup(&origin, &sink, "").start();
    let mut client = tollgate.client();
    client.get("/query");
    client.get("/rest/b");
    let mut routes = Vec::new();
    for _ in 0..2 {
        let mut datagram = [0; 65_536];
        let length = socket.recv(&mut datagram).unwrap();
        let line = std::str::from_utf8(&datagram[..length]).unwrap();
        routes.push(parse(line)["Route"].clone());
    }
    assert_eq!(routes, ["query", "rest"]);
}

#[test]
fn an_agent_that_is_not_there_does_not_hold_up_the_end() {
    let origin = Origin::ok();
    let mut tollgate = setup(&origin, &format!("tcp://{}", Agent::reserve()), "").start();
    tollgate.client().get("/query");
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    let dropped = tollgate.wait_for_event("EMF lines were dropped");
    assert_eq!(dropped["total"], 1);
}
