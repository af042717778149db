//! The documents, against the source: links lead somewhere, commands exist, and what an operator may meet is
//! explained.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use http::header::{HeaderName, HeaderValue};
use tollgate::config::{self, Overrides};
use tollgate::message::local_reply::{BadRequest, LocalReply, RetryAfter};
use tollgate::telemetry::access_line::AccessLine;
use tollgate::telemetry::emf::catalog;
use tollgate::telemetry::prometheus::{self, Format};
use tollgate::telemetry::record::{Outcome, Record};
use tollgate::telemetry::totals::Totals;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and every Markdown file below docs/.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let mut pending = vec![root().join("docs")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 8, "only {} documents", found.len());
    found
}

/// The lines outside of fenced code, and those inside.
fn prose_and_code(text: &str) -> (String, String) {
    let (mut prose, mut code) = (String::new(), String::new());
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let part = if fenced { &mut code } else { &mut prose };
        part.push_str(line);
        part.push('\n');
    }
    (prose, code)
}

/// What stands between single backticks.
fn code_spans(prose: &str) -> impl Iterator<Item = &str> {
    prose.split('`').skip(1).step_by(2)
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("\n```{language}\n");
    text.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The cells of the table rows that begin with `start`.
fn rows<'a>(text: &'a str, start: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The anchor of a heading, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_to_files() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let (prose, _) = prose_and_code(&read(&document));
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            seen += 1;
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let exists = match fragment {
                "" => target.exists(),
                fragment => {
                    target.is_file()
                        && prose_and_code(&read(&target))
                            .0
                            .lines()
                            .any(|line| line.starts_with('#') && anchor(line) == fragment)
                }
            };
            if !exists {
                problems.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} links");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn targets_of_make_exist() {
    let rules = read(&root().join("Makefile")) + &read(&root().join("benches/bench.mk"));
    let targets: BTreeSet<&str> = rules
        .lines()
        .filter(|line| !line.starts_with(['\t', ' ', '.', '#']) && !line.contains("="))
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    let mut named = BTreeSet::new();
    for document in documents() {
        let (prose, code) = prose_and_code(&read(&document));
        for command in code_spans(&prose).chain(code.lines()) {
            let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
            if words.next() == Some("make") {
                named.extend(words.next().map(str::to_owned));
            }
        }
    }
    for target in ["demo", "test", "build", "bench"] {
        assert!(named.contains(target), "`make {target}` is nowhere");
    }
    for target in named {
        assert!(targets.contains(target.as_str()), "`make {target}` does not exist, only {targets:?}");
    }
}

#[test]
fn examples_of_the_readme_are_correct() {
    let readme = read(&root().join("README.md"));
    let examples = blocks(&readme, "toml");
    assert!(!examples.is_empty());
    for example in examples {
        let loaded = config::load(example, "README.md", &|_| None, &Overrides::default());
        let loaded = loaded.unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    }
}

/// Every way a request can be malformed. A new one does not compile here until it is in the list.
fn malformed() -> Vec<BadRequest> {
    use BadRequest as B;
    let all = [
        B::RequestLine,
        B::Version,
        B::Target,
        B::Path,
        B::Host,
        B::HostMismatch,
        B::BareLineEnd,
        B::FoldedLine,
        B::Field,
        B::ContentLength,
        B::TransferEncoding,
        B::LengthAndEncoding,
        B::Chunk,
    ];
    for bad in all {
        match bad {
            B::RequestLine | B::Version | B::Target | B::Path | B::Host | B::HostMismatch => {}
            B::BareLineEnd | B::FoldedLine | B::Field | B::ContentLength => {}
            B::TransferEncoding | B::LengthAndEncoding | B::Chunk => {}
        }
    }
    all.to_vec()
}

/// One of each kind of local reply. A new one does not compile here until it is in the list.
fn replies() -> Vec<LocalReply> {
    use LocalReply as L;
    let all = [
        L::BadRequest(BadRequest::Host),
        L::TlsRequired,
        L::MethodNotAllowed,
        L::RateLimited(RetryAfter { seconds: 1 }),
        L::QuotaExceeded(RetryAfter { seconds: 1 }),
        L::Unauthorized,
        L::Forbidden,
        L::NotFound,
        L::RequestTimeout,
        L::PayloadTooLarge,
        L::UriTooLong,
        L::ExpectationFailed,
        L::HeadersTooLarge,
        L::UpstreamUnavailable,
        L::BadUpstreamResponse,
        L::UpstreamTimeout,
        L::Overloaded(RetryAfter { seconds: 1 }),
        L::UpstreamDown(RetryAfter { seconds: 1 }),
        L::CircuitOpen(RetryAfter { seconds: 1 }),
    ];
    for reply in all {
        match reply {
            L::RateLimited(_) | L::QuotaExceeded(_) | L::Unauthorized => {}
            L::TlsRequired => {}
            L::BadRequest(_) | L::MethodNotAllowed | L::Forbidden | L::NotFound | L::RequestTimeout => {}
            L::PayloadTooLarge | L::UriTooLong | L::ExpectationFailed | L::HeadersTooLarge => {}
            L::UpstreamUnavailable | L::BadUpstreamResponse | L::UpstreamTimeout => {}
            L::Overloaded(_) | L::UpstreamDown(_) | L::CircuitOpen(_) => {}
        }
    }
    all.to_vec()
}

fn errors() -> String {
    read(&root().join("docs/errors.md"))
}

#[test]
fn every_code_is_explained() {
    let errors = errors();
    for reply in replies() {
        let row = reply.row();
        let start = format!("| {} | `{}` |", row.status.as_u16(), row.code);
        let told = rows(&errors, &start);
        assert_eq!(told.len(), 1, "rows that begin with `{start}`");
        let closes = if row.closes { "yes" } else { "no" };
        assert_eq!(told[0][3..5], [row.fault.as_str(), closes], "fault and closes of `{}`", row.code);
    }
    for bad in malformed() {
        let message = LocalReply::BadRequest(bad).row().message;
        assert_eq!(rows(&errors, &format!("| `{message}` |")).len(), 1, "rows of `{message}`");
    }
}

#[test]
fn every_outcome_is_explained() {
    use Outcome as O;
    let errors = errors();
    for outcome in [O::Complete, O::DownstreamLeft, O::UpstreamReset, O::CutOff, O::Panicked] {
        match outcome {
            // A new one does not compile here until it is in the list; codes have a test of their own.
            O::Complete | O::DownstreamLeft | O::UpstreamReset | O::CutOff | O::Panicked | O::Local(_) => {}
        }
        let told = rows(&errors, &format!("| `{}` |", outcome.as_str()));
        let fault = outcome.fault().map_or("none", |fault| fault.as_str());
        assert_eq!(told.len(), 1, "rows of `{}`", outcome.as_str());
        assert_eq!(told[0][1], fault, "fault of `{}`", outcome.as_str());
    }
}

#[test]
fn every_field_of_a_record_is_explained() {
    let value = HeaderValue::from_static("a");
    let headers = [(HeaderName::from_static("accept-language"), value.clone())];
    let mut line = Vec::new();
    AccessLine::default().encode(
        &Record {
            unix_nanos: 1,
            request_id: "a",
            client_addr: None,
            user: Some(b"a"),
            tier: Some("a"),
            limit: Some("a"),
            shadow_limit: Some("a"),
            method: b"GET",
            path: b"/",
            query: Some(b"a"),
            route: Some("a"),
            status: 504,
            outcome: Outcome::Local(LocalReply::UpstreamTimeout),
            tls: Some("a"),
            bytes_in: 1,
            bytes_out: 1,
            duration_nanos: 1,
            connect_nanos: Some(1),
            response_head_nanos: Some(1),
            queue_nanos: Some(1),
            upstream: Some("a"),
            canary: true,
            user_agent: Some(&value),
            traceparent: Some(&value),
            amzn_trace_id: Some(&value),
            headers: &headers,
            cause: Some("a"),
        },
        &mut line,
    );
    let record: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let written: BTreeSet<String> = record.as_object().unwrap().keys().cloned().collect();
    let errors = errors();
    let section = errors.split("\n## Records\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let told: BTreeSet<String> =
        rows(section, "| `").iter().map(|cells| cells[0].trim_matches('`').to_owned()).collect();
    assert_eq!(written, told);
}

#[test]
fn every_promise_names_tests_that_exist() {
    let architecture = read(&root().join("docs/architecture.md"));
    let promises = architecture.split("\n## Promises\n").nth(1).unwrap();
    let mut seen = 0;
    for cells in rows(promises, "| ").iter().skip(1) {
        let mut source = None;
        for span in code_spans(cells[1]) {
            if span.ends_with(".rs") {
                source = Some(read(&root().join("tests").join(span)));
                continue;
            }
            let source = source.as_ref().unwrap_or_else(|| panic!("`{span}` has no file before it"));
            assert!(source.contains(&format!("fn {span}(")), "there is no test `{span}`");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} tests are named");
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let decision = read(&root().join("docs/decisions/0005-dependencies.md"));
    let table: String = decision.lines().filter(|line| line.starts_with("| `")).collect();
    let explained: BTreeSet<&str> = code_spans(&table).collect();
    for line in section.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(name.is_empty() || explained.contains(name), "`{name}` has no reason");
    }
}

#[test]
fn every_configuration_in_the_documents_can_be_used() {
    for name in ["limits.md", "migrating.md", "telemetry.md", "alerts.md", "shield.md", "operations.md"] {
        let text = read(&root().join("docs").join(name));
        let blocks: Vec<&str> = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or_default())
            .collect();
        assert!(!blocks.is_empty(), "{name} has examples");
        for block in blocks {
            let address = "[upstream]\naddress = \"127.0.0.1:8000\"\n";
            let address = if block.contains("[upstream]") { "" } else { address };
            let whole = format!("{address}{block}");
            let loaded = config::load(&whole, name, &|_| None, &Overrides::default());
            if let Err(report) = loaded {
                panic!("docs/{name}:\n{block}\n{}", report.render(false));
            }
        }
    }
}

fn telemetry() -> String {
    read(&root().join("docs/telemetry.md"))
}

#[test]
fn every_metric_of_prometheus_is_explained() {
    let exposition = prometheus::encode(&Totals::default(), &[], Format::Text);
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let written: BTreeSet<(&str, &str)> = types.filter_map(|line| line.split_once(' ')).collect();
    let text = telemetry();
    let section = text.split("\n## Prometheus\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let told = rows(section, "| `");
    let told: BTreeSet<(&str, &str)> =
        told.iter().map(|cells| (cells[0].trim_matches('`'), cells[1])).collect();
    assert_eq!(written, told);
}

#[test]
fn every_metric_of_emf_is_explained() {
    let all = "[metrics.from_response]\ncache_hit = { header = \"X-Cache\", equals = \"HIT\" }\n\
        analysis_latency = { server_timing = \"analysis\" }\nserver_timing = [\"NAME\"]\n\
        llm = { tokens = \"X-LLM-Tokens\" }\n[upstream]\naddress = \"127.0.0.1:8000\"\n\
        max_in_flight = 4\n";
    let loaded = config::load(all, "all", &|_| None, &Overrides::default()).unwrap();
    let metrics = catalog::metrics(&loaded.model);
    let text = telemetry();
    let section = text.split("\n## EMF\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut told = BTreeSet::new();
    for cells in rows(section, "| `") {
        told.extend(code_spans(cells[0]).map(|name| (name.to_owned(), cells[1].to_owned())));
    }
    let written = metrics.into_iter().map(|metric| (metric.name, metric.unit.as_str().to_owned()));
    assert_eq!(written.collect::<BTreeSet<_>>(), told);
}
