//! Lines by PutLogEvents: what stands behind the sink `logs:GROUP`.
//!
//! For a thread of its own: every call blocks until CloudWatch has answered. Invariant: each line of a buffer is
//! delivered, or counted as lost; nothing is kept for later.

use std::io;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo};

use super::batch::{Event, batches};
use super::client::{Aws, Trouble};
use crate::clock::Clock;
use crate::telemetry::outlet::{Lost, Outlet};

const NANOS_PER_MILLI: u64 = 1_000_000;
/// Bytes of a stream's name.
const MAX_STREAM: usize = 512;

/// A log stream to write to.
#[derive(Debug)]
pub struct LogsOutlet {
    group: String,
    stream: String,
    region: Option<String>,
    clock: Clock,
    /// Made with the first line.
    aws: Option<(Aws, Client)>,
}

impl LogsOutlet {
    /// For a group, and a stream or the one with the host's name. Nothing is asked of AWS yet.
    pub fn new(group: &str, stream: Option<&str>, region: Option<&str>) -> LogsOutlet {
        let stream = stream.map_or_else(host_name, str::to_owned);
        let region = region.map(str::to_owned);
        LogsOutlet { group: group.to_owned(), stream, region, clock: Clock::start(), aws: None }
    }

    /// The stream that is written to.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Delivers one batch; group and stream are made if they are not there.
    fn deliver(&mut self, batch: &[Event]) -> Result<PutLogEventsOutput, Trouble> {
        if self.aws.is_none() {
            let aws = Aws::new(self.region.as_deref())?;
            let client = aws.logs();
            self.aws = Some((aws, client));
        }
        let Some((aws, client)) = &self.aws else { return Err(Trouble::NoRegion) };
        match put_events(aws, client, &self.group, &self.stream, batch) {
            Err(Trouble::Missing(_)) => {
                make(aws, client, &self.group, &self.stream)?;
                put_events(aws, client, &self.group, &self.stream, batch)
            }
            done => done,
        }
    }
}

impl Outlet for LogsOutlet {
    /// Each line has the time it tells, or this one if it tells none. After a batch that did not get through the rest
    /// is not tried: it would wait for the same timeout.
    fn put(&mut self, lines: &[u8], give_up: &dyn Fn() -> bool) -> Result<(), Lost> {
        self.clock.reanchor();
        let unix_ms = self.clock.unix_nanos(self.clock.now()) / NANOS_PER_MILLI;
        let cut = batches(lines, i64::try_from(unix_ms).unwrap_or(i64::MAX));
        let mut lost = Losses::default();
        lost.add(cut.too_long, || "a line is longer than the megabyte of a log event".to_owned());
        let mut batches = cut.batches.into_iter();
        while let Some(batch) = batches.next() {
            let events = batch.len() as u64;
            let left = |batches: std::vec::IntoIter<Vec<Event>>| {
                batches.map(|batch| batch.len() as u64).sum::<u64>()
            };
            if give_up() {
                lost.add(events + left(batches), || {
                    "the process ends, and CloudWatch Logs is too slow".to_owned()
                });
                break;
            }
            match self.deliver(&batch) {
                Ok(answer) => {
                    let (rejected, reason) = rejected(answer.rejected_log_events_info(), events);
                    lost.add(rejected, || reason.to_owned());
                }
                Err(trouble) => {
                    lost.add(events + left(batches), || match trouble.help() {
                        help if help.is_empty() => trouble.to_string(),
                        help => format!("{trouble}; {help}"),
                    });
                    break;
                }
            }
        }
        lost.to_result()
    }
}

fn put_events(
    aws: &Aws,
    client: &Client,
    group: &str,
    stream: &str,
    batch: &[Event],
) -> Result<PutLogEventsOutput, Trouble> {
    let event = |event: &Event| {
        let built = InputLogEvent::builder().timestamp(event.unix_ms).message(&event.message).build();
        built.map_err(|error| Trouble::Host(error.to_string()))
    };
    let events = batch.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let request = client.put_log_events().log_group_name(group).log_stream_name(stream);
    aws.call("logs:PutLogEvents", request.set_log_events(Some(events)).send())
}

/// Makes group and stream; another host may have been faster.
fn make(aws: &Aws, client: &Client, group: &str, stream: &str) -> Result<(), Trouble> {
    let make_stream = || {
        let request = client.create_log_stream().log_group_name(group).log_stream_name(stream);
        aws.call("logs:CreateLogStream", request.send()).map(drop)
    };
    let made = match make_stream() {
        // The group is asked for only if it is missing: the right to make one is a rare one.
        Err(Trouble::Missing(_)) => {
            let request = client.create_log_group().log_group_name(group);
            let made = aws.call("logs:CreateLogGroup", request.send()).map(drop);
            made.or_else(unless_it_exists).and_then(|()| make_stream())
        }
        made => made,
    };
    made.or_else(unless_it_exists)
}

fn unless_it_exists(trouble: Trouble) -> Result<(), Trouble> {
    match trouble {
        Trouble::Exists => Ok(()),
        other => Err(other),
    }
}

/// How many events of a batch were not taken, and why. Indices are those of the batch.
fn rejected(info: Option<&RejectedLogEventsInfo>, events: u64) -> (u64, &'static str) {
    let Some(info) = info else { return (0, "") };
    let index = |index: Option<i32>| index.and_then(|index| u64::try_from(index).ok());
    // Events before an end index are too old; its name says that it is exclusive.
    let old = index(info.too_old_log_event_end_index());
    let expired = index(info.expired_log_event_end_index());
    let new = index(info.too_new_log_event_start_index()).map(|start| events.saturating_sub(start));
    let before = old.max(expired).unwrap_or(0).min(events);
    let count = (before + new.unwrap_or(0)).min(events).max(1);
    let reason = match (new, old, expired) {
        (Some(_), _, _) => {
            "CloudWatch Logs rejects events of more than two hours ahead; look at the host's clock"
        }
        (None, None, Some(_)) => "CloudWatch Logs rejects events older than the retention of the group",
        _ => "CloudWatch Logs rejects events of more than 14 days ago; look at the host's clock",
    };
    (count, reason)
}

/// Lines that did not arrive, and the last reason.
#[derive(Debug, Default)]
struct Losses {
    lines: u64,
    reason: String,
}

impl Losses {
    fn add(&mut self, lines: u64, reason: impl FnOnce() -> String) {
        if lines > 0 {
            self.lines += lines;
            self.reason = reason();
        }
    }

    fn to_result(&self) -> Result<(), Lost> {
        match self.lines {
            0 => Ok(()),
            lines => Err(Lost { lines, error: io::Error::other(self.reason.clone()) }),
        }
    }
}

/// The host's name without what a stream's name may not have.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let name: String = name.chars().filter(|c| !c.is_control() && !matches!(c, ':' | '*')).collect();
    match name.is_empty() {
        true => "tollgate".to_owned(),
        false => name.chars().take(MAX_STREAM).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_events_are_counted_from_the_indices() {
        let info = |old: Option<i32>, expired: Option<i32>, new: Option<i32>| {
            let built = RejectedLogEventsInfo::builder();
            let built = built.set_too_old_log_event_end_index(old).set_expired_log_event_end_index(expired);
            built.set_too_new_log_event_start_index(new).build()
        };
        assert_eq!(rejected(None, 10), (0, ""));
        assert_eq!(rejected(Some(&info(Some(3), None, None)), 10).0, 3);
        assert_eq!(rejected(Some(&info(Some(3), Some(5), None)), 10).0, 5, "the same events, counted once");
        assert_eq!(rejected(Some(&info(Some(3), None, Some(8))), 10).0, 5);
        assert_eq!(rejected(Some(&info(Some(99), None, Some(-1))), 10).0, 10);
        assert!(rejected(Some(&info(None, None, Some(0))), 10).1.contains("ahead"));
    }

    #[test]
    fn the_stream_has_the_host_s_name_unless_another_is_given() {
        assert_eq!(LogsOutlet::new("g", Some("s"), None).stream(), "s");
        let stream = LogsOutlet::new("g", None, None).stream().to_owned();
        assert!(!stream.is_empty() && !stream.contains(':'));
    }
}
