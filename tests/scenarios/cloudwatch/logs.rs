//! PutLogEvents: the sink `logs:GROUP`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate::cloudwatch::logs::LogsOutlet;
use tollgate::telemetry::emf::check::check;
use tollgate::telemetry::outlet::{Lost, Outlet};

use crate::harness::aws::{
    endpoint, environment, is_in_environment, refusing, run_in_environment, unix_seconds,
};
use crate::harness::{Moto, PATIENCE, Setup};
use crate::scenarios::echoing;

/// So many lines, a second apart from each other at most, of this many bytes and a few.
fn lines(count: u64, filling: usize) -> String {
    let now = (unix_seconds() - 60) * 1_000;
    let line = |number: u64| {
        let filling = "x".repeat(filling);
        format!(
            "{{\"_aws\":{{\"Timestamp\":{},\"n\":{number}}},\"f\":\"{filling}\"}}\n",
            now + number % 1_000
        )
    };
    (0..count).map(line).collect()
}

fn numbers(messages: &[String]) -> BTreeSet<u64> {
    let number = |message: &String| {
        let line: Value = serde_json::from_str(message).unwrap();
        line["_aws"]["n"].as_u64().unwrap()
    };
    messages.iter().map(number).collect()
}

fn put(outlet: &mut LogsOutlet, lines: &str) -> Result<(), Lost> {
    outlet.put(lines.as_bytes(), &|| false)
}

#[test]
fn each_line_of_a_running_tollgate_arrives_once() {
    let (moto, app) = (Moto::start(), echoing());
    let setup =
        Setup::before(app.address()).table("[emf]\nsink = \"logs:tollgate/api:here\"\nservice = \"api\"\n");
    let setup = environment(moto.address()).iter().fold(setup, |setup, (name, value)| setup.env(name, value));
    let mut tollgate = setup.start();
    let mut client = tollgate.client();
    for _ in 0..300 {
        client.get("/");
    }
    drop(client);
    // The end of the process waits two seconds for a sink, which a busy machine may need for its first request alone.
    let deadline = Instant::now() + PATIENCE;
    while moto.messages("tollgate/api", "here").len() < 300 {
        assert!(Instant::now() < deadline, "lines are missing:\n{}", tollgate.process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(tollgate.stop(), 0, "{}", tollgate.process.said());
    let messages = moto.messages("tollgate/api", "here");
    assert_eq!(messages.len(), 300, "{}", tollgate.process.said());
    let ids: BTreeSet<&String> = messages.iter().collect();
    assert_eq!(ids.len(), 300, "a line arrived twice");
    for message in &messages {
        assert_eq!(check(message.as_bytes()), Ok(()), "{message}");
    }
}

#[test]
fn many_and_large_lines_arrive_in_batches_each_once() {
    if !is_in_environment() {
        let moto = Moto::start();
        let name = "scenarios::cloudwatch::logs::many_and_large_lines_arrive_in_batches_each_once";
        run_in_environment(name, moto.address());
        let many = moto.messages("many", "s");
        assert_eq!((many.len(), numbers(&many).len()), (10_500, 10_500));
        let large = moto.messages("large", "s");
        assert_eq!((large.len(), numbers(&large).len()), (60, 60));
        return;
    }
    put(&mut LogsOutlet::new("many", Some("s"), None), &lines(10_500, 0)).unwrap();
    // Three megabytes.
    put(&mut LogsOutlet::new("large", Some("s"), None), &lines(60, 50_000)).unwrap();
}

#[test]
fn lines_that_are_rejected_or_too_long_are_counted() {
    if !is_in_environment() {
        let moto = Moto::start();
        let name = "scenarios::cloudwatch::logs::lines_that_are_rejected_or_too_long_are_counted";
        run_in_environment(name, moto.address());
        assert_eq!(moto.messages("g", "s").len(), 3);
        return;
    }
    let old = (unix_seconds() - 15 * 86_400) * 1_000;
    let text =
        format!("{}{{\"_aws\":{{\"Timestamp\":{old},\"n\":0}}}}\n{}\n", lines(3, 1), "x".repeat(1_100_000));
    let lost = put(&mut LogsOutlet::new("g", Some("s"), None), &text).unwrap_err();
    assert_eq!(lost.lines, 2);
    assert!(lost.error.to_string().contains("14 days"), "{}", lost.error);
}

#[test]
fn a_missing_right_names_the_iam_action() {
    if !is_in_environment() {
        let name = "scenarios::cloudwatch::logs::a_missing_right_names_the_iam_action";
        run_in_environment(name, refusing().address());
        return;
    }
    let lost = put(&mut LogsOutlet::new("g", None, None), &lines(7, 1)).unwrap_err();
    assert_eq!(lost.lines, 7);
    let told = lost.error.to_string();
    assert!(
        told.contains("IAM action `logs:PutLogEvents`") && told.contains("allow `logs:PutLogEvents`"),
        "{told}"
    );
}

#[test]
fn a_group_that_cannot_be_made_names_the_right_to_make_it() {
    if !is_in_environment() {
        let endpoint = endpoint("", |operation| match operation {
            "CreateLogGroup" => Err("AccessDeniedException"),
            _ => Err("ResourceNotFoundException"),
        });
        let name = "scenarios::cloudwatch::logs::a_group_that_cannot_be_made_names_the_right_to_make_it";
        run_in_environment(name, endpoint.address());
        return;
    }
    let lost = put(&mut LogsOutlet::new("g", None, None), &lines(1, 1)).unwrap_err();
    assert!(lost.error.to_string().contains("`logs:CreateLogGroup`"), "{}", lost.error);
}

#[test]
fn what_was_left_when_time_ran_out_is_counted() {
    let mut outlet = LogsOutlet::new("g", None, Some("eu-west-1"));
    let lost = outlet.put(lines(5, 1).as_bytes(), &|| true).unwrap_err();
    assert_eq!(lost.lines, 5);
}

#[test]
fn rejections_of_the_service_are_counted_by_their_indices() {
    if !is_in_environment() {
        let endpoint = endpoint("", |operation| match operation {
            "PutLogEvents" => Ok(
                json!({"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 9}}),
            ),
            _ => Err("AccessDeniedException"),
        });
        let name = "scenarios::cloudwatch::logs::rejections_of_the_service_are_counted_by_their_indices";
        run_in_environment(name, endpoint.address());
        return;
    }
    let lost = put(&mut LogsOutlet::new("g", None, None), &lines(10, 1)).unwrap_err();
    assert_eq!(lost.lines, 3);
}
