//! `[upstream]`: raw values to [`Upstream`].
//!
//! `in_flight` and `queue` read how many requests the app gets and who waits, `buffers` what is kept of bodies,
//! `health` how it is found out whether it is well, `canary` the second version of it.

mod buffers;
mod canary;
mod health;
mod in_flight;
mod queue;

use std::path::PathBuf;
use std::time::Duration;

use crate::message::handling::Spill;
use crate::message::routes::RouteTable;

use super::address::parse_upstream;
use super::listen::warn;
use super::model::{Listen, Upstream, UpstreamAddress};
use super::origin::Origin;
use super::reader::{Reader, Text};
use super::report::{Place, shown};
use super::table::Table;
use super::tls;

pub(crate) use buffers::spill;
use in_flight::WrittenCap;
pub(crate) use queue::PRIORITIES;

/// Gunicorn closes a connection that was idle this long.
const GUNICORN_KEEPALIVE: Duration = Duration::from_secs(2);

/// The table as it was read; what is wrong with it together with other tables is found by [`Draft::settle`].
pub(crate) struct Draft {
    upstream: Upstream,
    /// Whether there is a usable address; else a report says so, and a place holder stands there.
    has_address: bool,
}

impl Draft {
    /// Where the app listens, if that is known.
    pub(crate) fn address(&self) -> Option<&UpstreamAddress> {
        self.has_address.then_some(&self.upstream.address)
    }

    /// What goes to a file on routes that say nothing.
    pub(crate) fn spill_by_default(&self) -> Spill {
        self.upstream.buffers.spill_by_default
    }

    /// The whole, once the routes are known; `None` if there is no usable address.
    pub(crate) fn settle(
        mut self,
        reader: &mut Reader<'_>,
        listen: &Listen,
        routes: &RouteTable,
    ) -> Option<Upstream> {
        buffers::settle(reader, &mut self.upstream.buffers, listen, routes);
        if self.has_address {
            canary::refuse_same(reader, &self.upstream);
        }
        self.has_address.then_some(self.upstream)
    }
}

/// Reads the table.
pub(crate) fn read(mut table: Table<'_, '_>, option: Option<&str>) -> Draft {
    let address = address(&mut table, option);
    let connect_timeout = table.duration("connect_timeout", Duration::from_secs(1));
    let response_timeout = table.duration("response_timeout", Duration::from_secs(30));
    let idle_timeout = idle_timeout(&mut table);
    let mut retry = table.table("retry", "upstream.retry", "{ attempts = 1 }");
    let attempts = retry.count("attempts", 1, 0..=5);
    retry.finish();
    let cap = in_flight::read(&mut table);
    let example = "{ size = 256, timeout = \"5s\" }";
    let has_cap = table.has("max_in_flight");
    let queue = queue::read(table.table("queue", "upstream.queue", example), has_cap);
    let buffers = buffers::read(&mut table);
    let health = health::read(table.table("health", "upstream.health", "{ path = \"/health\" }"));
    let example = "{ address = \"127.0.0.1:8001\" }";
    let canary = canary::read(table.table("canary", "upstream.canary", example));
    let is_auto = [cap, canary.as_ref().and_then(|canary| canary.cap)].contains(&Some(WrittenCap::Auto));
    let example = "{ floor = 2, ceiling = 256 }";
    let bounds = in_flight::read_auto(table.table("auto_limit", "upstream.auto_limit", example), is_auto);
    let apps = address.iter().chain(canary.iter().filter_map(canary::WrittenCanary::address));
    let apps: Vec<&UpstreamAddress> = apps.collect();
    let tls = tls::read_upstream(
        table.table("tls", "upstream.tls", "{ ca = \"/etc/tollgate/app-ca.pem\" }"),
        &apps,
    );
    table.finish();
    let has_address = address.is_some();
    let upstream = Upstream {
        address: address.unwrap_or_else(|| UpstreamAddress::Unix(PathBuf::new())),
        connect_timeout,
        response_timeout,
        idle_timeout,
        retry_attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        max_in_flight: cap.and_then(|cap| cap.with(bounds)),
        queue,
        buffers,
        health,
        canary: canary.and_then(|canary| canary.with(bounds, cap)),
        tls,
    };
    Draft { upstream, has_address }
}

fn idle_timeout(table: &mut Table<'_, '_>) -> Duration {
    let idle_timeout = table.duration("idle_timeout", Duration::from_millis(1500));
    if idle_timeout >= GUNICORN_KEEPALIVE {
        let message = "`idle_timeout` is not below the 2 seconds Gunicorn keeps idle connections";
        let help = "a request then meets a connection that is closing; stay at `\"1500ms\"`, or raise Gunicorn's `keepalive` above this";
        warn(table.reader, "upstream.idle_timeout", message.to_owned(), help.to_owned());
    }
    idle_timeout
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
