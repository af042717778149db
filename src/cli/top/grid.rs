//! The panels as rows of cells: the screen and the plain snapshot show the same ones.

use crate::admin::status::{
    AppStatus, Breaker, BufferStatus, CallerKind, Condition, Latency, LimitStatus, RouteStatus, Status,
    Talker,
};

use super::super::columns::Align::{self, Left, Right};
use super::super::columns::{shown, span};
use super::super::limits::{key_name, left, told_block, told_lift};
use super::numbers::{bytes, millis, rate};
use super::view::{By, Panel, View};

/// Keys that are shown of a limit.
const SHOWN_KEYS: usize = 3;
/// Cells of a bar.
const BAR: usize = 12;

/// How a row is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Head,
    Plain,
    Quiet,
    Warn,
    Bad,
}

/// A panel's rows; the first column gives way when there is no room.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) columns: &'static [Align],
    pub(super) rows: Vec<(Tone, Vec<String>)>,
    /// What stands there instead of rows.
    pub(super) empty: &'static str,
}

impl Grid {
    fn new(columns: &'static [Align], head: &[&str], empty: &'static str) -> Grid {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Grid { columns, rows: vec![(Tone::Head, head)], empty }
    }

    fn add(&mut self, tone: Tone, cells: Vec<String>) {
        self.rows.push((tone, cells));
    }
}

/// What a panel shows of a state.
pub(super) fn grid(panel: Panel, status: &Status, view: &View) -> Grid {
    match panel {
        Panel::Routes => routes(status, view),
        Panel::Limits => limits(status),
        Panel::Talkers => talkers(status, view.by),
        Panel::Refusals => refusals(status),
        Panel::Upstream => upstream(status, view),
    }
}

fn routes(status: &Status, view: &View) -> Grid {
    const COLUMNS: &[Align] = &[Left, Right, Right, Right, Right, Right, Right, Right, Right, Right];
    let head = ["route", "per s", "4xx", "5xx", "refused", "p50 ms", "p95", "p99", "app p50", "wait p99"];
    let mut grid = Grid::new(COLUMNS, &head, "no requests yet");
    for route in &status.routes {
        let count = |sample: &super::history::Sample| {
            sample.routes.get(&route.name).copied().unwrap_or_default() as f64
        };
        let tone = if route.errors > 0 { Tone::Bad } else { Tone::Plain };
        grid.add(tone, route_cells(route, rate(view.history.per_second(count))));
    }
    grid
}

fn route_cells(route: &RouteStatus, per_second: String) -> Vec<String> {
    let of = |latency: &Option<Latency>, part: fn(&Latency) -> f64| millis(latency.as_ref().map(part));
    vec![
        shown(&route.name),
        per_second,
        route.client_errors.to_string(),
        route.errors.to_string(),
        route.throttled.to_string(),
        of(&route.latency, |latency| latency.p50_ms),
        of(&route.latency, |latency| latency.p95_ms),
        of(&route.latency, |latency| latency.p99_ms),
        of(&route.upstream_latency, |latency| latency.p50_ms),
        of(&route.queue_time, |latency| latency.p99_ms),
    ]
}

fn limits(status: &Status) -> Grid {
    const COLUMNS: &[Align] = &[Left, Left, Right, Left, Right];
    let head = ["limit", "mode", "refused", "keys", "left"];
    let mut grid = Grid::new(COLUMNS, &head, "no limit is configured");
    for limit in &status.limits {
        let LimitStatus { name, mode, keys, refused, shadow_refused, .. } = limit;
        let in_shadow =
            if *shadow_refused > 0 { format!("{shadow_refused} in shadow") } else { String::new() };
        let tone = if mode == "enforce" { Tone::Plain } else { Tone::Quiet };
        grid.add(tone, vec![shown(name), mode.clone(), refused.to_string(), keys.to_string(), in_shadow]);
        for key in limit.fullest.iter().take(SHOWN_KEYS) {
            let spent = key.most.saturating_sub(key.remaining);
            let tone = match key.remaining {
                0 => Tone::Bad,
                _ if spent.saturating_mul(4) >= key.most.saturating_mul(3) => Tone::Warn,
                _ => Tone::Quiet,
            };
            let name = format!("  {}", key_name(key));
            grid.add(tone, vec![name, String::new(), String::new(), bar(spent, key.most), left(key)]);
        }
    }
    grid
}

fn bar(part: u64, whole: u64) -> String {
    let nearest = (u128::from(part) * BAR as u128 + u128::from(whole) / 2) / u128::from(whole.max(1));
    let cells = match usize::try_from(nearest).unwrap_or(BAR) {
        _ if part == 0 => 0,
        _ if part >= whole => BAR,
        cells => cells.clamp(1, BAR - 1),
    };
    format!("{}{}", "█".repeat(cells), "░".repeat(BAR - cells))
}

/// The talkers in an order, and its name.
fn ordered(status: &Status, by: By) -> (&[Talker], &'static str) {
    match by {
        By::Requests => (&status.talkers.requests, "requests"),
        By::Refusals => (&status.talkers.refusals, "refusals"),
        By::Bytes => (&status.talkers.bytes, "bytes"),
        By::Cost => (&status.talkers.cost, "cost"),
    }
}

fn talkers(status: &Status, by: By) -> Grid {
    const COLUMNS: &[Align] = &[Left, Left, Right, Left];
    let (talkers, name) = ordered(status, by);
    let mut grid = Grid::new(COLUMNS, &["caller", "is a", name, ""], "nobody yet");
    let most = talkers.iter().map(|talker| talker.count).max().unwrap_or(0);
    for talker in talkers {
        let count = if by == By::Bytes { bytes(talker.count as f64) } else { talker.count.to_string() };
        let cells = vec![shown(&talker.caller), kind(talker.kind).to_owned(), count, bar(talker.count, most)];
        grid.add(Tone::Plain, cells);
    }
    grid
}

fn kind(kind: CallerKind) -> &'static str {
    match kind {
        CallerKind::User => "user",
        CallerKind::Address => "address",
    }
}

fn refusals(status: &Status) -> Grid {
    const COLUMNS: &[Align] = &[Left, Left, Left, Right, Right];
    let head = ["caller", "limit", "route", "ago", "told to wait"];
    let mut grid = Grid::new(COLUMNS, &head, "nothing was refused");
    for refusal in &status.refusals {
        let ago = span(status.now_ms.saturating_sub(refusal.time_ms) / 1_000);
        let wait = span(refusal.retry_after_seconds);
        let cells = vec![shown(&refusal.caller), shown(&refusal.limit), shown(&refusal.route), ago, wait];
        grid.add(Tone::Plain, cells);
    }
    grid
}

fn upstream(status: &Status, view: &View) -> Grid {
    let mut grid = Grid { columns: &[Left, Left], rows: Vec::new(), empty: "" };
    let mut add = |tone: Tone, name: &str, text: String| grid.rows.push((tone, vec![name.to_owned(), text]));
    let upstream = &status.upstream;
    let (tone, up) = match upstream.up {
        None => (Tone::Quiet, "not tried yet"),
        Some(true) => (Tone::Plain, "up"),
        Some(false) => (Tone::Bad, "down"),
    };
    add(tone, "upstream", format!("{}, {up}", shown(&upstream.address)));
    add(Tone::Plain, "connect", format!("{} ms", millis(upstream.connect_ms)));
    let made = format!(
        "{} idle, {} made, {} failed, {} reused, {} requests sent again",
        upstream.idle, upstream.connects, upstream.connect_failures, upstream.reuses, upstream.repeats
    );
    add(Tone::Plain, "connections", made);
    for (tone, name, text) in slots(status) {
        add(tone, name, text);
    }
    let reloads = &status.reloads;
    let last = match reloads.last_ms {
        None => String::new(),
        Some(last_ms) => format!(", the last {} ago", span(status.now_ms.saturating_sub(last_ms) / 1_000)),
    };
    add(Tone::Plain, "reloads", format!("{} done, {} refused{last}", reloads.done, reloads.failed));
    for problem in &reloads.problems {
        add(Tone::Bad, "", shown(problem));
    }
    for sink in &status.sinks {
        let tone = if sink.dropped > 0 { Tone::Bad } else { Tone::Plain };
        add(tone, "sink", format!("{}, {} lines dropped", shown(&sink.name), sink.dropped));
    }
    let buckets = &status.buckets;
    let held = format!("{} of {} held, {} evicted", buckets.held, buckets.most, buckets.evicted);
    add(Tone::Plain, "limit states", held);
    let process = &status.process;
    let cores = view.history.per_second(|sample| sample.cpu_seconds);
    let share = cores.map_or_else(|| "-".to_owned(), |cores| format!("{:.1}%", cores * 100.0));
    let figures = format!(
        "{} resident, {share} of a core, {} of {} files, {} threads",
        bytes(process.resident_bytes as f64),
        process.open_files,
        process.max_open_files,
        process.threads
    );
    add(Tone::Plain, "process", figures);
    for lift in &status.lifts {
        add(Tone::Warn, "by hand", told_lift(lift, status.now_ms));
    }
    for block in &status.blocks {
        add(Tone::Warn, "by hand", told_block(block, status.now_ms));
    }
    grid
}

/// The app's slots, who waits for one, and what is kept for slow clients.
fn slots(status: &Status) -> Vec<(Tone, &'static str, String)> {
    let mut rows = Vec::new();
    for app in &status.apps {
        let tone = match app.state {
            Condition::Down => Tone::Bad,
            Condition::Suspect => Tone::Warn,
            _ if app.waiting > 0 => Tone::Warn,
            Condition::Up | Condition::Unknown => Tone::Plain,
        };
        rows.push((tone, if app.name == "canary" { "canary" } else { "app" }, told_app(app)));
    }
    let queue = &status.queue;
    let refused = queue.full + queue.timed_out + queue.shed;
    if queue.queued + refused > 0 {
        let text = format!(
            "{} waited, refused: {} full, {} timed out, {} shed",
            queue.queued, queue.full, queue.timed_out, queue.shed
        );
        rows.push((if refused > 0 { Tone::Warn } else { Tone::Plain }, "queue", text));
    }
    let BufferStatus { used_bytes, max_bytes, spilled_bytes, max_spilled_bytes } = status.buffers;
    if max_bytes > 0 {
        let of = |part: u64, whole: u64| format!("{} of {}", bytes(part as f64), bytes(whole as f64));
        let mut text = of(used_bytes, max_bytes);
        if max_spilled_bytes > 0 {
            text = format!("{text}, in files {}", of(spilled_bytes, max_spilled_bytes));
        }
        rows.push((Tone::Plain, "buffers", text));
    }
    for breaker in status.breakers.iter().filter(|breaker| breaker.state != Breaker::Closed) {
        let state = if breaker.state == Breaker::Open { "open" } else { "half open" };
        rows.push((Tone::Bad, "breaker", format!("{}, {state}", shown(&breaker.route))));
    }
    rows
}

fn told_app(app: &AppStatus) -> String {
    let mut text = format!("{}, {}", shown(&app.address), app.state.as_str());
    if let Some((in_flight, most)) = app.in_flight.zip(app.max_in_flight) {
        let auto = if app.auto { " (auto)" } else { "" };
        text = format!("{text}, {in_flight} of {most}{auto} in flight");
    }
    format!("{text}, {} of {} waiting", app.waiting, app.queue_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_only_at_nothing_and_full_only_at_all() {
        let filled = |part, whole| bar(part, whole).matches('█').count();
        assert_eq!([0, 1, 500, 999].map(|part| filled(part, 1_000)), [0, 1, 6, 11]);
        assert_eq!(
            [filled(1_000, 1_000), filled(0, 0), filled(u64::MAX, u64::MAX), filled(9, 3)],
            [12, 0, 12, 12]
        );
    }
}
