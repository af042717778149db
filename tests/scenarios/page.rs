//! The live page in the real Chromium: it shows the numbers of `/status`, and its buttons do what they say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ok;
use crate::harness::browser::Browser;
use crate::harness::{Origin, PATIENCE, Peer, Setup, Tollgate};

/// A name that would run a script, were it ever markup.
const HOSTILE: &str = "<img src=x onerror=document.title='taken'>";

const TABLES: &str = r#"
[identity]
header.name = "X-User"

[limits.four]
key = "caller"
rate = "4/hour"

[limits.watched]
key = "user"
per = "service"
rate = "2/hour"
mode = "shadow"

[[routes]]
name = "limited"
match = "/limited/*"
limits = ["four", "watched"]

[[routes]]
name = "rest"
match = "/*"
"#;

fn app(mut peer: Peer) {
    while let Some(request) = peer.request() {
        peer.send(match request.target.as_str() {
            "/broken" => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
            target => ok(target),
        });
    }
}

/// A tollgate with an admin listener, and the listener's address.
fn watched(origin: &Origin, admin: &str) -> (Tollgate, String) {
    let setup = Setup::before(origin.address()).listen("trusted_proxies = [\"127.0.0.1\"]");
    let tollgate = setup.table(TABLES).admin(admin).start();
    let address = tollgate.operator().address().to_owned();
    (tollgate, address)
}

/// A request of a user, over a connection of its own.
fn status_for(tollgate: &Tollgate, target: &str, user: &str) -> u16 {
    let mut client = tollgate.client().allow(&[
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ]);
    client.request("GET", target, &format!("Connection: close\r\nX-User: {user}\r\n")).status()
}

/// All numbers of the page that are of interest, by the names `/status` has for them.
const NUMBERS: &str = r#"
const value = (box, field) => {
    const text = box.querySelector(`[data-field="${field}"]`).getAttribute('value');
    return text === '' ? null : Number(text);
};
const many = (selector, name, fields) => Object.fromEntries([...document.querySelectorAll(selector)].map(box =>
    [box.dataset[name], Object.fromEntries(fields.map(field => [field, value(box, field)]))]));
const top = fields => Object.fromEntries(fields.map(field => [field, value(document, field)]));
return {
    top: top(['traffic.requests', 'traffic.errors', 'traffic.throttled', 'traffic.client_errors', 'traffic.in_flight',
        'traffic.shadow_throttled', 'traffic.connections', 'upstream.connects', 'upstream.reuses', 'buckets.held']),
    routes: many('[data-route]', 'route', ['requests', 'client_errors', 'errors', 'throttled', 'p50_ms', 'p99_ms']),
    limits: many('[data-limit]', 'limit', ['refused', 'shadow_refused', 'keys']),
    apps: many('#apps [data-app]', 'app', ['waiting']),
    talkers: many('#talkers [data-caller]', 'caller', ['count']),
    refusals: [...document.querySelectorAll('#refusals tbody tr')].map(row => row.lastElementChild.textContent),
    fullest: [...document.querySelectorAll('[data-limit=four] [data-key]')].map(row => row.dataset.key),
};
"#;

/// The same numbers, as `/status` has them.
fn expected(status: &Value) -> Value {
    let by = |list: &str, name: &str, take: &dyn Fn(&Value) -> Value| -> Value {
        let list = status.pointer(list).unwrap().as_array().unwrap();
        list.iter().map(|item| (item[name].as_str().unwrap().to_owned(), take(item))).collect()
    };
    let (traffic, upstream) = (&status["traffic"], &status["upstream"]);
    let texts = |list: &Value, name: &str| -> Value {
        list.as_array().unwrap().iter().map(|item| item[name].clone()).collect()
    };
    let four = status["limits"].as_array().unwrap().iter().find(|limit| limit["name"] == "four").unwrap();
    json!({
        "top": {
            "traffic.requests": traffic["requests"], "traffic.errors": traffic["errors"],
            "traffic.throttled": traffic["throttled"], "traffic.client_errors": traffic["client_errors"],
            "traffic.in_flight": traffic["in_flight"], "traffic.shadow_throttled": traffic["shadow_throttled"],
            "traffic.connections": traffic["connections"], "upstream.connects": upstream["connects"],
            "upstream.reuses": upstream["reuses"], "buckets.held": status["buckets"]["held"],
        },
        "routes": by("/routes", "name", &|route| json!({
            "requests": route["requests"], "client_errors": route["client_errors"], "errors": route["errors"],
            "throttled": route["throttled"], "p50_ms": route["latency"]["p50_ms"],
            "p99_ms": route["latency"]["p99_ms"],
        })),
        "limits": by("/limits", "name", &|limit| json!({
            "refused": limit["refused"], "shadow_refused": limit["shadow_refused"], "keys": limit["keys"],
        })),
        "apps": by("/apps", "name", &|app| json!({ "waiting": app["waiting"] })),
        "talkers": by("/talkers/requests", "caller", &|talker| json!({ "count": talker["count"] })),
        "refusals": texts(&status["refusals"], "request_id"),
        "fullest": texts(&four["fullest"], "key"),
    })
}

#[test]
fn the_page_shows_the_numbers_of_the_status_and_names_as_text() {
    let origin = Origin::start(app);
    let (tollgate, address) = watched(&origin, "");
    for user in ["ann", "ann", "ann", "ann", "ann", "ann", "bob", HOSTILE, HOSTILE] {
        status_for(&tollgate, "/limited/a", user);
    }
    for target in ["/", "/broken", "/broken", "/"] {
        status_for(&tollgate, target, "carol");
    }
    tollgate.wait_for_records(13);

    let browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    browser.wait_for("document.body.dataset.state === 'live'");
    // Figures come once a second, latencies leave after a minute: both are read until they agree.
    let deadline = Instant::now() + PATIENCE;
    let shown = loop {
        let (shown, wanted) = (browser.run(NUMBERS), expected(&tollgate.operator().status()));
        if shown == wanted {
            break shown;
        }
        assert!(Instant::now() < deadline, "the page shows\n{shown:#}\nand not\n{wanted:#}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let top = |field: &str| shown["top"][field].clone();
    assert_eq!((top("traffic.requests"), top("traffic.errors")), (json!(13), json!(2)));
    assert_eq!((top("traffic.throttled"), top("traffic.shadow_throttled")), (json!(2), json!(2)));
    assert_eq!(shown["limits"]["four"]["refused"], 2);
    assert_eq!(shown["talkers"][HOSTILE]["count"], 2);
    assert!(!shown["refusals"].as_array().unwrap().is_empty());
    assert!(shown["routes"]["limited"]["p50_ms"].as_f64().is_some_and(|p50| p50 > 0.0), "{shown:#}");
    assert_eq!(browser.run("return document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.run("return document.title"), "tollgate");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn nothing_is_wider_than_a_narrow_screen() {
    let origin = Origin::start(app);
    let (tollgate, address) = watched(&origin, "");
    let long = "w".repeat(200);
    for user in [long.as_str(), &long, &long, &long, &long, HOSTILE, "ann"] {
        status_for(&tollgate, "/limited/a", user);
    }
    let browser = Browser::start();
    browser.emulate(360, true);
    browser.open(&format!("http://{address}/"));
    browser.wait_for("document.querySelectorAll('#refusals tbody tr').length === 1");
    browser.click("#talkers li:first-child .acts button:last-child");
    browser.click("#configuration summary");
    browser.wait_for("document.querySelector('#configuration pre').textContent.includes('[limits.four]')");
    for (width, dark) in [(360, true), (360, false), (700, false), (1200, true)] {
        browser.emulate(width, dark);
        let wide = browser.run("return document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} of {width} pixels");
        let back = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(back == "rgb(17, 21, 26)", dark, "{back}");
    }
    // What cannot be told by text is told by a label.
    let unnamed = "return [...document.querySelectorAll('button, select, input')].filter(one => \
        !one.textContent.trim() && !one.ariaLabel && !one.labels?.length).length";
    assert_eq!(browser.run(unnamed), 0);
}

#[test]
fn a_talker_is_blocked_and_a_limit_lifted_by_buttons() {
    let origin = Origin::start(app);
    let (tollgate, address) = watched(&origin, "");
    for _ in 0..5 {
        status_for(&tollgate, "/limited/a", HOSTILE);
    }
    assert_eq!(status_for(&tollgate, "/limited/a", HOSTILE), 429);
    let browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    let row = "#talkers [data-kind=user]";

    browser.click(&format!("{row} .acts button:first-child"));
    browser.click(&format!("{row} .ask .act"));
    browser.wait_for("document.querySelector('[data-held=lift]')");
    assert_eq!(status_for(&tollgate, "/limited/a", HOSTILE), 200, "the limit is lifted");
    browser.click("[data-held=lift] button");
    browser.wait_for("!document.querySelector('[data-held=lift]')");
    assert_eq!(status_for(&tollgate, "/limited/a", HOSTILE), 429, "the lift has ended");

    browser.click(&format!("{row} .acts button:last-child"));
    browser.click(&format!("{row} .ask .act"));
    browser.wait_for("document.querySelector('[data-held=block]')");
    assert_eq!(status_for(&tollgate, "/", HOSTILE), 403, "the caller is blocked");
    assert_eq!(status_for(&tollgate, "/", "ann"), 200, "others are not");
    let blocks = tollgate.operator().status()["blocks"].clone();
    assert_eq!(blocks[0]["caller"], HOSTILE);
    browser.click("[data-held=block] button");
    browser.wait_for("!document.querySelector('[data-held=block]')");
    assert_eq!(status_for(&tollgate, "/", HOSTILE), 200, "the block has ended");

    browser.click("[data-limit=four] .row .end button:first-child");
    browser.click("[data-limit=four] .ask .act");
    browser.wait_for("document.querySelector('#notice').innerText.includes('four is reset')");
    assert_eq!(status_for(&tollgate, "/limited/a", HOSTILE), 200, "what was spent is forgotten");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_page_asks_for_the_token_and_says_when_it_is_disconnected() {
    let origin = Origin::start(app);
    let (mut tollgate, address) = watched(&origin, "token = \"correct-horse-battery\"");
    let browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    browser.wait_for("document.body.dataset.state === 'token'");
    assert_eq!(browser.run("return document.activeElement.id"), "token");
    browser.type_into("#token", "wrong-horse-battery");
    browser.click("#login button");
    browser.wait_for("document.querySelector('#login-says').innerText.includes('not the right one')");
    assert_eq!(
        browser.run("return document.querySelector('[data-field=\"traffic.requests\"]').textContent"),
        ""
    );
    browser.type_into("#token", "correct-horse-battery");
    browser.click("#login button");
    browser.wait_for("document.body.dataset.state === 'live'");
    browser.wait_for("document.querySelector('#login').hidden");
    assert_eq!(
        browser.run("return location.href + document.cookie + localStorage.length"),
        format!("http://{address}/0")
    );

    browser.click("#pause");
    browser.wait_for("document.querySelector('#connection').textContent === 'Paused'");
    browser.click("#pause");
    browser.wait_for("document.body.dataset.state === 'live'");

    assert_eq!(tollgate.stop(), 0);
    browser.wait_for("document.querySelector('#connection').textContent === 'Disconnected'");
    browser.wait_for("/data is \\d+ s old.*next try in/.test(document.querySelector('#age').textContent)");
}
