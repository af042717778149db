//! The report: for each scenario a table, ratios to nginx, and the spread over the rounds.

use std::fmt::Write as _;
use std::time::Duration;

use crate::load::Sample;
use crate::measure::syscalls::Counted;
use crate::plan::{Name, Scenario, TRACED_REQUESTS};
use crate::rounds::Outcome;

/// What the others are compared with.
const BASE: Name = Name::Nginx;

/// A scenario's table.
pub(crate) fn table(scenario: Scenario, outcome: &Outcome) -> String {
    let mut text = format!("\n{}: {}\n", scenario.name, scenario.title);
    match outcome {
        Outcome::Rounds(rounds) => {
            throughput(&mut text, rounds);
            if rounds.iter().any(|(_, samples)| has_latencies(samples)) {
                latency(&mut text, rounds);
            }
            if let Some(goal) = scenario.goal {
                against_goal(&mut text, rounds, goal);
            }
        }
        Outcome::Memory(memory) => {
            for (name, bytes) in memory {
                line(&mut text, &format!("  {:9} {:7.2} KiB", name.text(), bytes / 1024.0));
            }
        }
        Outcome::SystemCalls(calls) => {
            for (name, counted) in calls {
                line(&mut text, &format!("  {:9} {}", name.text(), calls_a_request(counted)));
            }
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}

/// CPU and requests a second, each with its ratio.
fn throughput(text: &mut String, rounds: &[(Name, Vec<Sample>)]) {
    line(text, "            CPU us/req   to nginx (spread)      req/s   to nginx (spread)    proxy core");
    for (name, samples) in rounds {
        let cpu_ratio = ratio(rounds, samples, cpu_micros).filter(|_| *name != Name::Direct);
        let cpu = match name {
            Name::Direct => "-".to_owned(),
            _ => format!("{:.2}", median(samples, cpu_micros)),
        };
        let busy = match name {
            Name::Direct => "-".to_owned(),
            _ => format!("{:.0}%", 100.0 * median(samples, core_share)),
        };
        line(
            text,
            &format!(
                "  {:9} {cpu:>10}   {:18} {:9.0}   {:18} {busy:>10}",
                name.text(),
                shown(cpu_ratio),
                median(samples, rate),
                shown(ratio(rounds, samples, rate)),
            ),
        );
    }
}

/// Percentiles over the requests of each round: their medians over the rounds.
fn latency(text: &mut String, rounds: &[(Name, Vec<Sample>)]) {
    line(text, "            p50 us   to nginx (spread)     p99 us   p99.9 us   (min-max p99.9)");
    for (name, samples) in rounds {
        let p999 = |sample: &Sample| percentile(sample, 0.999);
        let (low, high) = bounds(samples.iter().map(p999));
        line(
            text,
            &format!(
                "  {:9} {:8.0}   {:18} {:8.0}   {:8.0}   ({low:.0}-{high:.0})",
                name.text(),
                median(samples, p50),
                shown(ratio(rounds, samples, p50)),
                median(samples, |sample| percentile(sample, 0.99)),
                median(samples, p999),
            ),
        );
    }
}

fn against_goal(text: &mut String, rounds: &[(Name, Vec<Sample>)], goal: f64) {
    let Some((_, samples)) = rounds.iter().find(|(name, _)| *name == Name::Tollgate) else {
        return;
    };
    let (what, reached) = if has_latencies(samples) {
        ("p50", ratio(rounds, samples, p50))
    } else {
        ("CPU a request", ratio(rounds, samples, cpu_micros))
    };
    let Some(reached) = reached else {
        return;
    };
    let verdict = if reached.of_medians <= goal { "reached" } else { "missed" };
    line(text, &format!("  goal: {what} at most {goal:.2} of nginx's: {verdict}, {:.2}", reached.of_medians));
}

fn calls_a_request(counted: &[Counted]) -> String {
    let a_request = |calls: u64| calls as f64 / TRACED_REQUESTS as f64;
    let sum = |data: bool| -> f64 {
        let of_kind = counted.iter().filter(|row| row.is_data() == data);
        a_request(of_kind.map(|row| row.calls).sum())
    };
    let list = |data: bool| -> String {
        let of_kind = counted.iter().filter(|row| row.is_data() == data);
        let items: Vec<String> = of_kind
            .filter(|row| a_request(row.calls) >= 0.001)
            .map(|row| match row.errors {
                0 => format!("{} {:.3}", row.name, a_request(row.calls)),
                errors => {
                    format!("{} {:.3} ({:.3} failed)", row.name, a_request(row.calls), a_request(errors))
                }
            })
            .collect();
        items.join(", ")
    };
    format!("{:.2} data ({}) and {:.2} other ({})", sum(true), list(true), sum(false), list(false))
}

/// A ratio to nginx: of the medians, and the extremes over the rounds.
struct Ratio {
    of_medians: f64,
    least: f64,
    most: f64,
}

fn ratio(
    rounds: &[(Name, Vec<Sample>)],
    samples: &[Sample],
    figure: impl Fn(&Sample) -> f64,
) -> Option<Ratio> {
    let (_, base) = rounds.iter().find(|(name, _)| *name == BASE)?;
    let each = samples.iter().zip(base).map(|(sample, base)| figure(sample) / figure(base));
    let (least, most) = bounds(each);
    Some(Ratio { of_medians: median(samples, &figure) / median(base, &figure), least, most })
}

fn shown(ratio: Option<Ratio>) -> String {
    match ratio {
        Some(ratio) => format!("{:.2} ({:.2}-{:.2})", ratio.of_medians, ratio.least, ratio.most),
        None => "-".to_owned(),
    }
}

fn cpu_micros(sample: &Sample) -> f64 {
    sample.proxy_cpu.micros_per(sample.requests)
}

fn core_share(sample: &Sample) -> f64 {
    sample.proxy_cpu.share_of(sample.elapsed)
}

fn rate(sample: &Sample) -> f64 {
    sample.requests as f64 / sample.elapsed.as_secs_f64()
}

fn p50(sample: &Sample) -> f64 {
    percentile(sample, 0.5)
}

/// In microseconds, by the nearest rank.
fn percentile(sample: &Sample, share: f64) -> f64 {
    let count = sample.latencies.len();
    let rank = ((share * count as f64).ceil() as usize).clamp(1, count.max(1));
    sample.latencies.get(rank - 1).map_or(f64::NAN, |latency: &Duration| latency.as_secs_f64() * 1e6)
}

fn has_latencies(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| !sample.latencies.is_empty())
}

fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => (figures[count / 2 - 1] + figures[count / 2]) / 2.0,
    }
}

fn bounds(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    figures
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| (low.min(figure), high.max(figure)))
}
