//! Limits as clients and operators see them: who pays what, what a refusal says, what an answer tells.

use std::time::{Duration, Instant};

use super::{echoing, ok};
use crate::harness::{Client, Origin, Setup, Tollgate};

const FIELDS: [&str; 8] = [
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
    "www-authenticate",
    "x-tokens",
];

/// A limit `three`, three an hour and address, on every path below `/limited`.
const THREE_AN_HOUR: &str = r#"
[limits.three]
key = "ip"
rate = "3/hour"

[[routes]]
name = "limited"
match = "/limited/*"
limits = ["three"]

[[routes]]
name = "rest"
match = "/*"
"#;

fn limited(origin: &Origin, tables: &str) -> Tollgate {
    Setup::before(origin.address()).table(tables).start()
}

fn client(tollgate: &Tollgate) -> Client {
    tollgate.client().allow(&FIELDS)
}

fn statuses(client: &mut Client, target: &str, fields: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| client.request("GET", target, fields).status()).collect()
}

#[test]
fn a_caller_gets_its_burst_and_then_429_until_it_has_waited() {
    let origin = echoing();
    let tollgate = limited(&origin, THREE_AN_HOUR);
    let mut client = client(&tollgate);
    assert_eq!(statuses(&mut client, "/limited/a", "", 3), [200, 200, 200]);
    let refused = client.get("/limited/a");
    refused.assert_local(429, "rate_limited");
    let body = refused.json();
    let wait = body["retry_after"].as_u64().unwrap();
    // A token comes every 1,200 seconds; the first was spent a moment ago.
    assert!((1190..=1200).contains(&wait), "{body}");
    assert_eq!(refused.header("retry-after"), Some(wait.to_string()));
    assert_eq!(refused.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(body["limit"], "three");
    assert_eq!(body["message"], format!("Rate limit exceeded. Try again in {wait} seconds."));
    assert_eq!(client.get("/free").status(), 200, "other routes are not limited");
    assert_eq!(origin.received().len(), 4, "the app never saw the refused one");
}

#[test]
fn answers_tell_what_is_left() {
    let origin = echoing();
    let tollgate = limited(&origin, THREE_AN_HOUR);
    let mut client = client(&tollgate);
    for (left, reset) in [("2", 1200), ("1", 2400), ("0", 3600)] {
        let answer = client.get("/limited/a");
        assert_eq!(answer.header("ratelimit-policy").as_deref(), Some("\"three\";q=3;w=3600"));
        let told = answer.header("ratelimit").unwrap();
        let (item, seconds) = told.split_once(";t=").unwrap();
        assert_eq!(item, format!("\"three\";r={left}"));
        let seconds: i64 = seconds.parse().unwrap();
        assert!((reset - 10..=reset).contains(&seconds), "{told}");
        assert_eq!(answer.header("x-ratelimit-limit").as_deref(), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining").as_deref(), Some(left));
        assert_eq!(answer.header("x-ratelimit-reset"), Some(seconds.to_string()));
    }
    let free = client.get("/free");
    assert_eq!(free.header("ratelimit"), None, "nothing is told where nothing is limited");
}

#[test]
fn fields_can_be_chosen() {
    let origin = echoing();
    let legacy =
        limited(&origin, &format!("[limiting]\nheaders = [\"legacy\"]\nreset = \"epoch\"\n{THREE_AN_HOUR}"));
    let answer = client(&legacy).get("/limited/a");
    assert_eq!(answer.header("ratelimit"), None);
    let reset: u64 = answer.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!(reset > 1_700_000_000, "seconds since 1970: {reset}");
    let none = limited(&origin, &format!("[limiting]\nheaders = []\n{THREE_AN_HOUR}"));
    let answer = client(&none).get("/limited/a");
    assert_eq!((answer.header("ratelimit-policy"), answer.header("x-ratelimit-limit")), (None, None));
}

#[test]
fn what_the_app_says_of_its_own_limits_is_kept_or_made_stricter() {
    let app = |remaining: &str| {
        Origin::answering(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRateLimit: \"app\";r=1\r\nX-RateLimit-Limit: 9\r\n\
             X-RateLimit-Remaining: {remaining}\r\nX-RateLimit-Reset: 7\r\n\r\n"
        ))
    };
    let stricter = app("1");
    let tollgate = limited(&stricter, THREE_AN_HOUR);
    let answer = client(&tollgate).get("/limited/a");
    let told = answer.head.headers.all("ratelimit");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "\"app\";r=1");
    assert_eq!(answer.header("x-ratelimit-limit").as_deref(), Some("9"));
    let looser = app("5");
    let tollgate = limited(&looser, THREE_AN_HOUR);
    let answer = client(&tollgate).get("/limited/a");
    assert_eq!(answer.header("x-ratelimit-limit").as_deref(), Some("3"));
    assert_eq!(answer.header("x-ratelimit-remaining").as_deref(), Some("2"));
}

#[test]
fn a_refusal_can_be_a_problem_document() {
    let origin = echoing();
    let tollgate = limited(&origin, &format!("[errors]\nformat = \"problem\"\n{THREE_AN_HOUR}"));
    let mut client = client(&tollgate);
    statuses(&mut client, "/limited/a", "", 3);
    let refused = client.get("/limited/a");
    assert_eq!(refused.header("content-type").as_deref(), Some("application/problem+json"));
    let body = refused.json();
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["violated-policies"], serde_json::json!(["three"]));
    assert_eq!(body["status"], 429);
}

#[test]
fn the_body_of_a_refused_request_is_not_read() {
    let origin = echoing();
    let tollgate = limited(&origin, THREE_AN_HOUR);
    let mut first = client(&tollgate);
    statuses(&mut first, "/limited/a", "", 3);
    let mut client = client(&tollgate);
    client.send("POST /limited/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.response_to("POST").assert_local(429, "rate_limited");
    assert_eq!(origin.received().len(), 3);
}

#[test]
fn callers_are_told_apart_by_address_behind_trusted_proxies_only() {
    let origin = echoing();
    let tollgate = limited(&origin, THREE_AN_HOUR);
    let mut client = client(&tollgate);
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    assert_eq!(statuses(&mut client, "/limited/a", &from("203.0.113.1"), 4), [200, 200, 200, 429]);
    assert_eq!(statuses(&mut client, "/limited/a", &from("203.0.113.2"), 1), [200]);
    // What the client writes to the left of what the proxy saw is its own claim.
    assert_eq!(statuses(&mut client, "/limited/a", &from("203.0.113.3, 203.0.113.1"), 1), [429]);
    // One IPv6 subscriber has a whole /64.
    assert_eq!(statuses(&mut client, "/limited/a", &from("2001:db8::1"), 3), [200, 200, 200]);
    assert_eq!(statuses(&mut client, "/limited/a", &from("2001:db8::ffff:2"), 1), [429]);
    assert_eq!(statuses(&mut client, "/limited/a", &from("2001:db8:0:1::1"), 1), [200]);
}

#[test]
fn every_limit_of_a_route_is_debited_or_none() {
    let origin = echoing();
    let tables = r#"
[limits.address]
key = "ip"
per = "service"
rate = "5/hour"

[limits.tenant]
key = "header:X-Tenant"
rate = "2/hour"

[[routes]]
name = "a"
match = "/a"
limits = ["tenant", "address"]

[[routes]]
name = "b"
match = "/b"
limits = ["address"]
"#;
    let tollgate = limited(&origin, tables);
    let mut client = client(&tollgate);
    let tenant = "X-Tenant: 7\r\n";
    assert_eq!(statuses(&mut client, "/a", tenant, 2), [200, 200]);
    let refused = client.request("GET", "/a", tenant);
    assert_eq!((refused.status(), refused.json()["limit"].as_str().unwrap()), (429, "tenant"));
    assert_eq!(statuses(&mut client, "/a", tenant, 5), [429; 5], "refusals cost nothing");
    // The address had 5, two of them were spent.
    assert_eq!(statuses(&mut client, "/b", "", 4), [200, 200, 200, 429]);
    let refused = client.request("GET", "/a", tenant);
    assert_eq!(refused.json()["limit"], "tenant", "the one that frees last is named");
    assert_eq!(statuses(&mut client, "/a", "X-Tenant: 8\r\n", 1), [429], "the address pays first");
}

#[test]
fn a_route_has_buckets_of_its_own_unless_the_limit_is_for_the_service() {
    let origin = echoing();
    let tables = r#"
[limits.each]
rate = "1/hour"

[limits.all]
per = "service"
rate = "1/hour"

[[routes]]
name = "a"
match = "/a"
limits = "each"

[[routes]]
name = "b"
match = "/b"
limits = "each"

[[routes]]
name = "c"
match = "/c"
limits = "all"

[[routes]]
name = "d"
match = "/d"
limits = "all"
"#;
    let tollgate = limited(&origin, tables);
    let mut client = client(&tollgate);
    let mut status = |target: &str| client.get(target).status();
    assert_eq!([status("/a"), status("/b"), status("/a")], [200, 200, 429]);
    assert_eq!([status("/c"), status("/d")], [200, 429]);
}

#[test]
fn shadow_decides_and_records_and_never_refuses() {
    let origin = echoing();
    let tollgate = limited(&origin, &THREE_AN_HOUR.replace("rate", "mode = \"shadow\"\nrate"));
    let mut client = client(&tollgate);
    assert_eq!(statuses(&mut client, "/limited/a", "", 5), [200; 5]);
    let records = tollgate.wait_for_records(5);
    let shadowed: Vec<_> = records.iter().map(|record| record["shadow_limit"].as_str()).collect();
    assert_eq!(shadowed, [None, None, None, Some("three"), Some("three")]);
    assert_eq!(client.get("/limited/a").header("ratelimit"), None, "nothing is told of it");
}

#[test]
fn the_kill_switch_takes_every_limit_out() {
    let origin = echoing();
    for mode in ["shadow", "off"] {
        let tollgate = limited(&origin, &format!("[limiting]\nmode = \"{mode}\"\n{THREE_AN_HOUR}"));
        assert_eq!(statuses(&mut client(&tollgate), "/limited/a", "", 5), [200; 5], "{mode}");
    }
}

#[test]
fn exempt_addresses_and_paths_are_never_limited() {
    let origin = echoing();
    let exempt = "[limiting]\nexempt = { ips = [\"10.0.0.0/8\"], paths = [\"/limited/health\"] }\n";
    let tollgate = limited(&origin, &format!("{exempt}{THREE_AN_HOUR}"));
    let mut client = client(&tollgate);
    assert_eq!(statuses(&mut client, "/limited/a", "X-Forwarded-For: 10.1.2.3\r\n", 5), [200; 5]);
    assert_eq!(statuses(&mut client, "/limited/health", "", 5), [200; 5]);
    assert_eq!(statuses(&mut client, "/limited/a", "User-Agent: ELB-HealthChecker/2.0\r\n", 4)[3], 429);
}

#[test]
fn a_cost_the_app_tells_is_settled_and_hidden() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Tokens: 700\r\n\r\nhi");
    let tables = r#"
[limits.tokens]
rate = "1000/hour"
cost = { response_header = "X-Tokens" }

[[routes]]
name = "all"
match = "/*"
limits = "tokens"
"#;
    let tollgate = limited(&origin, tables);
    let mut client = client(&tollgate);
    let first = client.get("/");
    assert_eq!(first.header("x-tokens"), None, "the field is for tollgate alone");
    assert_eq!(client.get("/").status(), 200, "300 are left, which is more than is reserved");
    // 1,400 were spent of 1,000: 401 must come back first, at one in 3.6 seconds.
    let refused = client.get("/");
    assert_eq!(refused.status(), 429);
    let wait = refused.json()["retry_after"].as_u64().unwrap();
    assert!((1435..=1444).contains(&wait), "{wait}");
    let shown = limited(&origin, &tables.replace("\"X-Tokens\" }", "\"X-Tokens\", strip = false }"));
    assert_eq!(self::client(&shown).get("/").header("x-tokens").as_deref(), Some("700"));
}

#[test]
fn a_cost_the_app_tells_wrongly_is_what_was_reserved() {
    for wrong in ["", "-5", "1e3", "12 tokens", "99999999999999999999"] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Tokens: {wrong}\r\n\r\n");
        let origin = Origin::answering(answer);
        let tables = "[limits.tokens]\nrate = \"10/hour\"\ncost = { response_header = \"X-Tokens\", reserve = 5 }\n\
                      [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"tokens\"\n";
        let tollgate = limited(&origin, tables);
        assert_eq!(statuses(&mut client(&tollgate), "/", "", 3), [200, 200, 429], "{wrong:?}");
    }
}

#[test]
fn places_in_flight_are_held_until_the_body_ends() {
    let origin = Origin::start(|mut peer| {
        let mut first = true;
        while peer.request().is_some() {
            if first {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
                peer.wire().read_more().ok();
                return;
            }
            first = false;
            peer.send(ok("x"));
        }
    });
    let tables =
        "[limits.few]\nin_flight = 2\n\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"few\"\n";
    let tollgate = limited(&origin, tables);
    let mut holders: Vec<Client> = (0..2).map(|_| client(&tollgate)).collect();
    for holder in &mut holders {
        holder.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(holder.head().status, 200, "the head is here, the body is not");
    }
    let refused = client(&tollgate).get("/");
    assert_eq!((refused.status(), refused.json()["limit"].as_str().unwrap()), (429, "few"));
    assert_eq!(refused.header("ratelimit-policy").as_deref(), Some("\"few\";q=2;qu=\"concurrent-requests\""));
    // One leaves, and its place is free.
    holders.pop().unwrap().reset();
    tollgate.wait_for_record(|record| record["outcome"] == "downstream_left");
    let mut next = client(&tollgate);
    next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(next.head().status, 200);
}

#[test]
fn a_quota_is_named_as_such() {
    let origin = echoing();
    let tables = "[limits.monthly]\nquota = \"2/month\"\n\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"monthly\"\n";
    let tollgate = limited(&origin, tables);
    let mut client = client(&tollgate);
    assert_eq!(statuses(&mut client, "/", "", 2), [200, 200]);
    let refused = client.get("/");
    refused.assert_local(429, "quota_exceeded");
    assert!(refused.json()["retry_after"].as_u64().unwrap() <= 31 * 86_400);
}

#[test]
fn records_say_who_met_which_limit() {
    let origin = echoing();
    let tollgate = limited(&origin, THREE_AN_HOUR);
    statuses(&mut client(&tollgate), "/limited/a", "", 4);
    let record = tollgate.wait_for_record(|record| record["status"] == 429);
    assert_eq!(record["limit"], "three");
    assert_eq!(record["outcome"], "rate_limited");
    assert_eq!(record["fault"], "downstream");
    assert_eq!(record.get("upstream"), None);
}

#[test]
fn jitter_adds_and_never_subtracts() {
    let origin = echoing();
    let tollgate = limited(&origin, &format!("[limiting]\njitter = \"50%\"\n{THREE_AN_HOUR}"));
    let mut client = client(&tollgate);
    statuses(&mut client, "/limited/a", "", 3);
    let waits: Vec<u64> =
        (0..20).map(|_| client.get("/limited/a").header("retry-after").unwrap().parse().unwrap()).collect();
    assert!(waits.iter().all(|wait| (1190..=1800).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > 1210), "no jitter: {waits:?}");
}

#[test]
fn workers_and_connections_share_one_bucket() {
    let origin = echoing();
    let tables = "[limits.all]\nkey = \"global\"\nrate = \"100/hour\"\n\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"all\"\n";
    let tollgate = Setup::before(origin.address()).table(tables).workers(4).start();
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = client(&tollgate);
                    statuses(&mut client, "/", "", 20).iter().filter(|status| **status == 200).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 100);
}

/// Over sockets, with workers and connections at once: what a bucket lets through is what it should.
#[test]
fn a_bucket_lets_through_what_it_should_under_load() {
    const RATE: f64 = 400.0;
    const BURST: f64 = 800.0;
    let origin = echoing();
    let tables = "[limits.all]\nkey = \"global\"\nrate = \"400/second\"\nburst = 800\n\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"all\"\n";
    let tollgate = Setup::before(origin.address()).table(tables).workers(4).start();
    let begun = Instant::now();
    let ends: Vec<(usize, Duration)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = client(&tollgate);
                    let mut admitted = 0;
                    while begun.elapsed() < Duration::from_secs(3) {
                        admitted += usize::from(client.get("/").status() == 200);
                    }
                    (admitted, begun.elapsed())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let admitted: usize = ends.iter().map(|(admitted, _)| admitted).sum();
    let last = ends.iter().map(|(_, end)| *end).max().unwrap().as_secs_f64();
    // Somebody asked all the time until the first of them stopped asking.
    let first = ends.iter().map(|(_, end)| *end).min().unwrap().as_secs_f64();
    assert!(admitted as f64 <= BURST + RATE * last, "{admitted} in {last} s");
    assert!(admitted as f64 >= 0.98 * (BURST + RATE * first), "{admitted} in {first} s");
}
