//! `[upstream.canary]`: a second version of the app, for some callers.

use std::net::IpAddr;

use super::super::model::shield::Canary;
use super::super::model::{Upstream, UpstreamAddress};
use super::super::reader::Reader;
use super::super::report::Place;
use super::super::table::Table;
use super::in_flight::{self, WrittenCap};

const WEIGHT: f64 = 5.0;

/// The table as it is written.
pub(super) struct WrittenCanary {
    address: Option<UpstreamAddress>,
    weight_of_10_000: u32,
    pub(super) cap: Option<WrittenCap>,
}

impl WrittenCanary {
    /// Where it listens, if that is known.
    pub(super) fn address(&self) -> Option<&UpstreamAddress> {
        self.address.as_ref()
    }

    /// With the caps of the app and of itself, unless an error was reported.
    pub(super) fn with(self, bounds: in_flight::AutoBounds, of_app: Option<WrittenCap>) -> Option<Canary> {
        let cap = self.cap.or(of_app);
        Some(Canary {
            address: self.address?,
            weight_of_10_000: self.weight_of_10_000,
            max_in_flight: cap.and_then(|cap| cap.with(bounds)),
        })
    }
}

/// Reads the table; `None` if there is none.
pub(super) fn read(mut table: Table<'_, '_>) -> Option<WrittenCanary> {
    let is_there = table.is_there();
    let written = table.string("address", "an address");
    let address = written.and_then(|text| super::parse(&mut table, "`address`", text));
    if is_there && !table.has("address") {
        let place = table.place().map_or(Place::File, Place::Bytes);
        let help = "say where the second version listens, `address = \"127.0.0.1:8001\"`";
        table.reader.error(place, "`address` of `[upstream.canary]` is missing", help);
    }
    let weight_of_10_000 = weight(&mut table);
    let cap = in_flight::read(&mut table);
    table.finish();
    is_there.then_some(WrittenCanary { address, weight_of_10_000, cap })
}

/// `weight = 5`, percent; down to a hundredth of one.
fn weight(table: &mut Table<'_, '_>) -> u32 {
    let percent = table.decimal("weight", WEIGHT, 100.0);
    let of_10_000 = (percent * 100.0).round();
    if let Some(span) = table.span("weight")
        && !table.reader.has_error_in(&span)
    {
        let (message, help) = if percent == 0.0 {
            (
                "`weight` must be above 0".to_owned(),
                "write for example `weight = 5`; without a canary remove the table",
            )
        } else if (percent * 100.0 - of_10_000).abs() > 1e-6 || of_10_000 < 1.0 {
            (
                format!("`weight` is counted in hundredths of a percent, found `{percent}`"),
                "write for example `weight = 0.01`, one caller of ten thousand",
            )
        } else {
            return of_10_000 as u32;
        };
        table.reader.error(Place::Bytes(span), message, help);
    }
    of_10_000 as u32
}

/// A canary that is the app itself would only look like one.
pub(super) fn refuse_same(reader: &mut Reader<'_>, upstream: &Upstream) {
    let Some(canary) = upstream.canary.as_ref().filter(|canary| is_same(&canary.address, &upstream.address))
    else {
        return;
    };
    let place = reader.span("upstream.canary.address").map_or(Place::File, Place::Bytes);
    let message = format!("the canary has the address of the app, `{}`", canary.address);
    reader.error(place, message, "start the second version on an address of its own, and write that");
}

fn is_same(one: &UpstreamAddress, other: &UpstreamAddress) -> bool {
    let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_local = |host: &str| host.eq_ignore_ascii_case("localhost");
    match (one, other) {
        (
            UpstreamAddress::Tcp { host: a, port, .. },
            UpstreamAddress::Tcp { host: b, port: other_port, .. },
        ) => {
            let same_host = a.eq_ignore_ascii_case(b)
                || (is_local(a) && is_loopback(b))
                || (is_loopback(a) && is_local(b));
            same_host && port == other_port
        }
        _ => one == other,
    }
}
