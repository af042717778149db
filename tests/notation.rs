//! The notation of rates, against the Python package `limits` whose grammar it is.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tollgate::limit::notation;

/// Reads JSON strings, answers each with its list of counts and seconds, or null.
const ORACLE: &str = r"
import json, sys
from limits import parse_many
for line in sys.stdin:
    try:
        rates = [[rate.amount, rate.get_expiry()] for rate in parse_many(json.loads(line))]
    except ValueError:
        rates = None
    print(json.dumps(rates))
";

type Rates = Vec<(u64, u64)>;

/// What `limits` makes of each text.
fn oracle(texts: &[String]) -> Vec<Option<Rates>> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let mut child = Command::new(python)
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{error}; `make target/venv/installed` makes the environment"));
    let mut input = child.stdin.take().unwrap();
    let lines: String =
        texts.iter().map(|text| format!("{}\n", serde_json::to_string(text).unwrap())).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "the oracle failed");
    let answers = String::from_utf8(output.stdout).unwrap();
    let rates = |line: &str| {
        let rates: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        rates.as_array().map(|rates| rates.iter().map(|rate| (number(&rate[0]), number(&rate[1]))).collect())
    };
    let answers: Vec<Option<Rates>> = answers.lines().map(rates).collect();
    assert_eq!(answers.len(), texts.len());
    answers
}

fn ours(text: &str) -> Option<Rates> {
    let rates = notation::parse(text).ok()?;
    Some(rates.iter().map(|rate| (rate.count(), rate.period_seconds())).collect())
}

/// One part of a text that is seldom repeated: a generator of its own, so that a failure comes again.
struct Draw(u64);

impl Draw {
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words[(self.0 >> 33) as usize % words.len()]
    }

    fn amount(&mut self) -> String {
        let parts = [
            self.of(&["", "", " ", "\t "]),
            self.of(&["1", "5", "007", "120", "100000"]),
            self.of(&["/", "/", " / ", "per", " per ", " PER\t", " Per"]),
            self.of(&["", "", "", " ", "2", "15 ", "  3  ", "09"]),
            self.of(&[
                "second", "Seconds", "minute", "MINUTES", "hour", "hours", "day", "dayS", "month", "years",
            ]),
            self.of(&["", "", " ", "\n"]),
        ];
        parts.concat()
    }

    /// Something that is nearly an amount.
    fn nonsense(&mut self) -> String {
        let parts = [
            self.of(&["", "10", "10 ", "-1", "1.5", "x", "1 0", "١"]),
            self.of(&["/", "per", "//", "per per", " ", "", "r/", "\\", "/per", ":"]),
            self.of(&["", "2", "2 2 ", "-3", "1.5", "x"]),
            self.of(&[
                "s",
                "sec",
                "min",
                "m",
                "minutess",
                "minut",
                "h",
                "hr",
                "week",
                "fortnight",
                "",
                "second",
                "minute!",
            ]),
            self.of(&["", "", ";", ",,", " 5", "é"]),
        ];
        parts.concat()
    }

    fn text(&mut self) -> String {
        let mut text = match self.of(&["good", "good", "bad"]) {
            "good" => self.amount(),
            _ => self.nonsense(),
        };
        for _ in 0..self.of(&["", "", "a", "ab"]).len() {
            text.push_str(self.of(&[",", ";", "|", ":;", ";;"]));
            text.push_str(&self.amount());
        }
        text
    }
}

/// What `limits` accepts and tollgate does not, on purpose.
fn is_stricter_here(text: &str, theirs: &Rates) -> bool {
    let mut periods: Vec<u64> = theirs.iter().map(|(_, period)| *period).collect();
    periods.sort_unstable();
    let repeats = periods.windows(2).any(|pair| pair[0] == pair[1]);
    // Their grammar takes a colon before a separator, by a slip: `(:?` for `(?:`.
    repeats || text.contains(':')
}

#[test]
fn a_rate_means_what_it_means_to_the_package_limits() {
    let mut draw = Draw(20_260_101);
    let texts: Vec<String> = (0..800).map(|_| draw.text()).collect();
    let (mut accepted, mut refused, mut stricter) = (0, 0, 0);
    for (text, theirs) in texts.iter().zip(oracle(&texts)) {
        let ours = ours(text);
        match &theirs {
            Some(rates) if is_stricter_here(text, rates) => {
                assert_eq!(ours, None, "{text:?} is {rates:?} to them");
                stricter += 1;
            }
            _ => {
                assert_eq!(ours, theirs, "{text:?}");
                accepted += usize::from(theirs.is_some());
                refused += usize::from(theirs.is_none());
            }
        }
    }
    assert!(accepted > 200 && refused > 100 && stricter > 20, "{accepted} {refused} {stricter}");
}

#[test]
fn differences_to_the_package_limits_are_those_that_are_meant() {
    let texts = ["0/minute", "5/0 minutes", "1/minute; 2/60 seconds", "1/day:;2/hour", "1/500 years"];
    let texts: Vec<String> = texts.map(str::to_owned).into();
    let theirs = oracle(&texts);
    assert_eq!(theirs[0], Some(vec![(0, 60)]), "they admit nothing at all");
    assert_eq!(theirs[1], Some(vec![(5, 60)]), "they read no multiple");
    assert_eq!(theirs[2], Some(vec![(1, 60), (2, 60)]), "they hold both, and the lower one is enough");
    assert_eq!(theirs[3], Some(vec![(1, 86_400), (2, 3_600)]));
    assert!(theirs[4].is_some());
    for text in &texts {
        assert_eq!(ours(text), None, "{text}");
    }
}
