//! PutMetricData.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::aws::{endpoint, environment, refusing};
use crate::harness::{Moto, Origin, PATIENCE, Peer, Setup, Tollgate};

const TABLES: &str = r#"
    [metrics]
    push = "cloudwatch"
    push_every = "10s"
    [[routes]]
    name = "fine"
    match = "/fine"
    [[routes]]
    name = "broken"
    match = "/broken"
"#;

/// An app of which one path fails.
fn app() -> Origin {
    Origin::start(|mut peer: Peer| {
        while let Some(request) = peer.request() {
            let status = if request.target == "/broken" { "500 Oh" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

fn start(app: &Origin, endpoint: &str) -> Tollgate {
    let setup = Setup::before(app.address()).table(TABLES);
    environment(endpoint).iter().fold(setup, |setup, (name, value)| setup.env(name, value)).start()
}

#[test]
fn what_is_pushed_adds_up_to_the_requests() {
    let (moto, app) = (Moto::start(), app());
    let mut tollgate = start(&app, moto.address());
    let mut client = tollgate.client();
    let mut send = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            client.get(if number % 4 == 0 { "/broken" } else { "/fine" });
        }
    };
    send(0..60);
    // The first interval is over when its sums have arrived; then comes a second one.
    let deadline = Instant::now() + PATIENCE;
    while moto.sum("Tollgate", "RequestCount", &[("Service", "tollgate")], "Sum") < 60.0 {
        assert!(Instant::now() < deadline, "nothing was pushed:\n{}", tollgate.process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    send(60..120);
    assert_eq!(client.get("/missing/of/a/route").status(), 404);
    drop(client);
    assert_eq!(tollgate.stop(), 0, "{}", tollgate.process.said());

    let service = ("Service", "tollgate");
    let sum = |name: &str, dimensions: &[(&str, &str)]| moto.sum("Tollgate", name, dimensions, "Sum");
    assert_eq!(sum("RequestCount", &[service]), 121.0);
    assert_eq!(sum("ErrorCount", &[service]), 30.0);
    assert_eq!(sum("ClientErrorCount", &[service]), 1.0);
    assert_eq!(sum("ThrottledCount", &[service]), 0.0);
    assert_eq!(moto.sum("Tollgate", "Latency", &[service], "SampleCount"), 121.0);
    assert_eq!(moto.sum("Tollgate", "UpstreamLatency", &[service], "SampleCount"), 120.0);
    for (route, requests, errors) in [("fine", 90.0, 0.0), ("broken", 30.0, 30.0), ("(none)", 1.0, 0.0)] {
        assert_eq!(sum("RequestCount", &[service, ("Route", route)]), requests, "{route}");
        assert_eq!(sum("ErrorCount", &[service, ("Route", route)]), errors, "{route}");
    }
}

#[test]
fn what_a_reload_adds_is_pushed_too() {
    let moto = Moto::start();
    let app = Origin::start(|mut peer: Peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nServer-Timing: db;dur=7\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut tollgate = start(&app, moto.address());
    let added = "[metrics.from_response]\nserver_timing = [\"db\"]\n";
    tollgate.reload(&format!("{}\n{added}", tollgate.config_text()));
    tollgate.client().get("/fine");
    assert_eq!(tollgate.stop(), 0, "{}", tollgate.process.said());
    let service = ("Service", "tollgate");
    assert_eq!(moto.sum("Tollgate", "ServerTiming.db", &[service], "SampleCount"), 1.0);
}

#[test]
fn a_missing_right_is_told_and_the_end_is_not_held_up() {
    let (endpoint, app) = (refusing(), app());
    let mut tollgate = start(&app, endpoint.address());
    tollgate.client().get("/fine");
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    let said = tollgate.process.said();
    assert!(said.contains("IAM action `cloudwatch:PutMetricData`"), "{said}");
    assert!(said.contains("\"unsent\":"), "{said}");
}

#[test]
fn what_could_not_be_sent_goes_with_the_next_interval() {
    let (allowed, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let endpoint = {
        let (allowed, taken) = (Arc::clone(&allowed), Arc::clone(&taken));
        endpoint("", move |_| match allowed.load(Ordering::SeqCst) {
            true => {
                taken.fetch_add(1, Ordering::SeqCst);
                Ok(json!({}))
            }
            false => Err("AccessDeniedException"),
        })
    };
    let app = app();
    let mut tollgate = start(&app, endpoint.address());
    tollgate.client().get("/fine");
    tollgate.wait_for_event(
        "metrics could not be sent to CloudWatch; allow `cloudwatch:PutMetricData` in the policy of this role",
    );
    allowed.store(true, Ordering::SeqCst);
    tollgate.client().get("/fine");
    assert_eq!(tollgate.stop(), 0);
    tollgate.process.wait_for_output();
    // What waited, and what came since.
    assert_eq!(taken.load(Ordering::SeqCst), 2, "{}", tollgate.process.said());
    assert!(!tollgate.process.said().contains("unsent"), "{}", tollgate.process.said());
}
