//! `[upstream]`: raw values to [`Upstream`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::parse_upstream;
use super::listen::warn;
use super::model::shield::{Buffers, HealthCheck, Queue};
use super::model::{Upstream, UpstreamAddress};
use super::origin::Origin;
use super::reader::Text;
use super::report::{Place, shown};
use super::table::Table;

/// Gunicorn closes a connection that was idle this long.
const GUNICORN_KEEPALIVE: Duration = Duration::from_secs(2);

/// Reads the table; `None` when there is no usable address, which is then reported.
pub(crate) fn read(mut table: Table<'_, '_>, option: Option<&str>) -> Option<Upstream> {
    let address = address(&mut table, option);
    let connect_timeout = table.duration("connect_timeout", Duration::from_secs(1));
    let response_timeout = table.duration("response_timeout", Duration::from_secs(30));
    let idle_timeout = table.duration("idle_timeout", Duration::from_millis(1500));
    if idle_timeout >= GUNICORN_KEEPALIVE {
        let message = "`idle_timeout` is not below the 2 seconds Gunicorn keeps idle connections";
        let help = "a request then meets a connection that is closing; stay at `\"1500ms\"`, or raise Gunicorn's `keepalive` above this";
        warn(table.reader, "upstream.idle_timeout", message.to_owned(), help.to_owned());
    }
    let mut retry = table.table("retry", "upstream.retry", "{ attempts = 1 }");
    let attempts = retry.count("attempts", 1, 0..=5);
    retry.finish();
    table.finish();
    Some(Upstream {
        address: address?,
        connect_timeout,
        response_timeout,
        idle_timeout,
        retry_attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        max_in_flight: None,
        queue: Queue { size: 256, timeout: Duration::from_secs(5), fair: true, tiers: BTreeMap::new() },
        buffers: Buffers { request: 64 << 10, response: 1 << 20, total: 256 << 20, spill: None },
        health: HealthCheck {
            path: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_after: 1,
            unhealthy_after: 3,
            expect: vec![(200, 399)],
        },
        canary: None,
    })
}

fn address(table: &mut Table<'_, '_>, option: Option<&str>) -> Option<UpstreamAddress> {
    let written = table.string("address", "an address");
    let from_file = written.and_then(|text| parse(table, "`address`", text));
    match option {
        None => {
            if from_file.is_none() && table.reader.span("upstream.address").is_none() {
                missing(table);
            }
            from_file
        }
        Some(text) => {
            let option = "--upstream";
            table.reader.origins.set("upstream.address".to_owned(), Origin::CommandLine { option });
            parse(table, "`--upstream`", Text::from_command_line(text))
        }
    }
}

fn missing(table: &mut Table<'_, '_>) {
    table.reader.error(
        Place::File,
        "`address` of `[upstream]` is missing",
        "say where the app listens: `address = \"127.0.0.1:8000\"` below `[upstream]`, or `--upstream 127.0.0.1:8000`",
    );
}

fn parse(table: &mut Table<'_, '_>, name: &str, text: Text) -> Option<UpstreamAddress> {
    parse_upstream(&text.text)
        .map_err(|error| {
            let message = format!("{name} {}, found `{}`", error.fault, shown(&text.text));
            table.reader.error(text.place, message, error.help);
        })
        .ok()
}
