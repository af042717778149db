//! The configuration of the CloudWatch agent: does it take what this configuration sends?

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use super::{AGENT_CONFIG, Step};
use crate::config::model::Model;
use crate::config::model::emf::{EmfSink, HostPort};

/// Where the agent listens if it is not told.
const DEFAULT_PORT: u16 = 25_888;
/// Nobody writes more by hand.
const MAX_BYTES: u64 = 1 << 20;

/// The step, and the log group the agent puts lines into, where its configuration says so.
pub(super) fn step(model: &Model, path: Option<&Path>) -> (Step, Option<String>) {
    let skipped = |why: &str| (Step::skipped("agent", why), None);
    let Some(emf) = model.emf.as_ref().filter(|emf| emf.extraction) else {
        return skipped("no agent is needed: metrics are pushed");
    };
    match (&emf.sink, path) {
        (EmfSink::Logs { .. }, _) => {
            return skipped("no agent is needed: lines go to CloudWatch Logs by its API");
        }
        (EmfSink::Stdout, None) => return skipped("which program ships standard output is not known here"),
        (EmfSink::Tcp(address) | EmfSink::Udp(address), None) if !is_local(&address.host) => {
            return skipped("the agent is on another host; give its configuration by `--agent-config`");
        }
        _ => {}
    }
    let path = path.unwrap_or(Path::new(AGENT_CONFIG));
    match read(path) {
        Ok(config) => judge(&config, &emf.sink),
        Err(reason) => (
            Step::failed(
                "agent",
                format!("the agent's configuration `{}` cannot be read: {reason}", path.display()),
                "install the CloudWatch agent and configure it (docs/cloudwatch.md), or give the path by \
                 `--agent-config`",
            ),
            None,
        ),
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_BYTES {
        return Err("it is larger than 1MiB".to_owned());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("it is no JSON: {error}"))
}

/// Whether a configuration takes what comes from a sink, and the log group it names for it.
fn judge(config: &Value, sink: &EmfSink) -> (Step, Option<String>) {
    match sink {
        EmfSink::Tcp(address) => (socket(config, "tcp", address), None),
        EmfSink::Udp(address) => (socket(config, "udp", address), None),
        EmfSink::File(path) => file(config, path),
        EmfSink::Stdout | EmfSink::Logs { .. } => {
            (Step::skipped("agent", "the agent reads files and sockets, this sink is neither"), None)
        }
    }
}

fn socket(config: &Value, scheme: &str, sink: &HostPort) -> Step {
    let Some(section) = config.pointer("/logs/metrics_collected/emf") else {
        let help = format!(
            "add `\"logs\": {{\"metrics_collected\": {{\"emf\": {{\"service_address\": \"{scheme}://{sink}\"}}}}}}` \
             to the agent's configuration"
        );
        return Step::failed(
            "agent",
            "the agent's configuration has no section `logs.metrics_collected.emf`",
            help,
        );
    };
    let help =
        format!("set `service_address` to `{scheme}://{sink}`, or `sink` to what the agent listens at");
    match section.get("service_address") {
        None if sink.port == DEFAULT_PORT => Step::ok(
            "agent",
            "the agent takes EMF at port 25888, at every address of this host; set `service_address` to keep others out",
        ),
        None => Step::failed("agent", format!("the agent listens at port 25888, `sink` is `{sink}`"), help),
        Some(address) => {
            let address = address.as_str().unwrap_or_default();
            match matches(address, scheme, sink) {
                true => Step::ok("agent", format!("the agent takes EMF at `{address}`")),
                false => Step::failed(
                    "agent",
                    format!("the agent listens at `{address}`, `sink` is `{scheme}://{sink}`"),
                    help,
                ),
            }
        }
    }
}

/// `tcp://127.0.0.1:25888`: exactly three parts between colons are understood by the agent.
fn matches(address: &str, scheme: &str, sink: &HostPort) -> bool {
    let parts: Vec<&str> = address.split(':').collect();
    let [found, host, port] = parts[..] else { return false };
    let host = host.strip_prefix("//").unwrap_or_default();
    let any = host == "0.0.0.0" || host.is_empty();
    found == scheme
        && port.parse() == Ok(sink.port)
        && (any || host == sink.host || is_local(host) && is_local(&sink.host))
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn file(config: &Value, path: &Path) -> (Step, Option<String>) {
    let list = config.pointer("/logs/logs_collected/files/collect_list").and_then(Value::as_array);
    let takes = |entry: &&Value| entry["file_path"].as_str().is_some_and(|pattern| covers(pattern, path));
    let Some(entry) = list.into_iter().flatten().find(takes) else {
        let found = format!(
            "no `file_path` in `logs.logs_collected.files.collect_list` of the agent's configuration is `{}`",
            path.display()
        );
        let help = "add an entry with this path, a `log_group_name` and a stream that no other file shares";
        return (Step::failed("agent", found, help), None);
    };
    let group = entry["log_group_name"].as_str().map(str::to_owned);
    if entry["log_group_class"].as_str().is_some_and(|class| !class.eq_ignore_ascii_case("STANDARD")) {
        let found = format!("the agent makes the log group with the class `{}`", entry["log_group_class"]);
        let help = "metrics are made of groups of the class STANDARD alone; name another group: a class cannot be changed";
        return (Step::failed("agent", found, help), group);
    }
    (Step::ok("agent", format!("the agent reads `{}`", path.display())), group)
}

/// Whether a path fits a pattern in which `*` stands for what is between slashes, `**` for anything.
fn covers(pattern: &str, path: &Path) -> bool {
    fn fits(pattern: &[u8], path: &[u8]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            ([b'*', b'*', rest @ ..], _) => (0..=path.len()).any(|at| fits(rest, &path[at..])),
            ([b'*', rest @ ..], _) => {
                let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
                (0..=end).any(|at| fits(rest, &path[at..]))
            }
            ([one, rest @ ..], [first, more @ ..]) if one == first => fits(rest, more),
            _ => false,
        }
    }
    // A pattern of many stars would take long to refuse; nobody needs so many.
    match pattern.bytes().filter(|byte| *byte == b'*').count() {
        0..=4 => fits(pattern.as_bytes(), path.as_os_str().as_encoded_bytes()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::super::State;
    use super::*;

    fn state(config: &Value, sink: &EmfSink) -> State {
        judge(config, sink).0.state
    }

    fn tcp(host: &str, port: u16) -> EmfSink {
        EmfSink::Tcp(HostPort { host: host.to_owned(), port })
    }

    fn listening(address: &str) -> Value {
        json!({"logs": {"metrics_collected": {"emf": {"service_address": address}}}})
    }

    #[test]
    fn an_agent_without_the_section_takes_nothing() {
        assert_eq!(state(&json!({"logs": {"logs_collected": {}}}), &tcp("127.0.0.1", 25_888)), State::Failed);
    }

    #[test]
    fn the_address_must_be_the_one_of_the_sink() {
        for (address, host, port, wanted) in [
            ("tcp://127.0.0.1:25888", "127.0.0.1", 25_888, State::Ok),
            ("tcp://127.0.0.1:25888", "localhost", 25_888, State::Ok),
            ("tcp://0.0.0.0:25888", "10.0.0.7", 25_888, State::Ok),
            ("tcp://:25888", "10.0.0.7", 25_888, State::Ok),
            ("tcp://127.0.0.1:25888", "10.0.0.7", 25_888, State::Failed),
            ("tcp://127.0.0.1:25888", "127.0.0.1", 25_889, State::Failed),
            ("udp://127.0.0.1:25888", "127.0.0.1", 25_888, State::Failed),
            ("127.0.0.1:25888", "127.0.0.1", 25_888, State::Failed),
        ] {
            assert_eq!(state(&listening(address), &tcp(host, port)), wanted, "{address} {host}:{port}");
        }
        let silent = json!({"logs": {"metrics_collected": {"emf": {}}}});
        assert_eq!(state(&silent, &tcp("127.0.0.1", 25_888)), State::Ok);
        assert_eq!(state(&silent, &tcp("127.0.0.1", 9_000)), State::Failed);
    }

    #[test]
    fn a_file_must_be_in_the_list_and_names_its_group() {
        let sink = EmfSink::File(PathBuf::from("/var/log/tollgate/emf.log"));
        let reading = |path: &str, class: &str| {
            let entry = json!({"file_path": path, "log_group_name": "g", "log_group_class": class});
            json!({"logs": {"logs_collected": {"files": {"collect_list": [entry]}}}})
        };
        for (path, class, wanted) in [
            ("/var/log/tollgate/emf.log", "STANDARD", State::Ok),
            ("/var/log/tollgate/*.log", "STANDARD", State::Ok),
            ("/var/**.log", "STANDARD", State::Ok),
            ("/var/*.log", "STANDARD", State::Failed),
            ("/var/log/tollgate/access.log", "STANDARD", State::Failed),
            ("/var/log/tollgate/emf.log", "INFREQUENT_ACCESS", State::Failed),
        ] {
            let (step, group) = judge(&reading(path, class), &sink);
            assert_eq!(step.state, wanted, "{path} {class}");
            assert_eq!(group.is_some(), wanted == State::Ok || class != "STANDARD");
        }
    }
}
