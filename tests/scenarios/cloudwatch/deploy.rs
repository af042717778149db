//! The files in `deploy/` and `docs/cloudwatch.md`, against the code and against cfn-lint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tollgate::config::model::Model;
use tollgate::config::model::emf::EmfSink;
use tollgate::config::{Layer, Overrides, load, load_layers};

use super::tollgate;

const CONFIG: [&str; 2] = ["config/base.toml", "config/production.toml"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn production() -> Model {
    let texts = CONFIG.map(read);
    let layers: Vec<Layer<'_>> =
        CONFIG.iter().zip(&texts).map(|(file, text)| Layer { file, bytes: text.as_bytes() }).collect();
    load_layers(&layers, &|_| None, &Overrides::default()).unwrap().model
}

fn template() -> String {
    let [base, production] = CONFIG.map(|file| root(file).to_str().unwrap().to_owned());
    let arguments =
        ["plan", "--format", "cloudformation", "--config", base.as_str(), "--config", production.as_str()];
    let (code, text, said) = tollgate("127.0.0.1:9", &arguments);
    assert_eq!(code, 0, "{said}");
    text
}

#[test]
fn the_template_is_what_the_configuration_makes() {
    let made = template();
    assert_eq!(made, template(), "the same each time");
    let file = "deploy/cloudwatch.cfn.json";
    if std::env::var_os("TOLLGATE_REGENERATE").is_some() {
        fs::write(root(file), &made).unwrap();
    }
    assert!(read(file) == made, "{file} has drifted: run this test with TOLLGATE_REGENERATE=1");
}

#[test]
fn cfn_lint_finds_nothing_in_the_template() {
    let program = root("target/venv/bin/cfn-lint");
    assert!(program.exists(), "{} is missing: run `make test`", program.display());
    let output = Command::new(program).arg(root("deploy/cloudwatch.cfn.json")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What the agent's configuration must be to take EMF over a socket: facts of the agent's translator.
fn assert_takes_emf(agent: &Value, from: &str) {
    let section =
        agent.pointer("/logs/metrics_collected/emf").unwrap_or_else(|| panic!("{from} has no `emf`"));
    let address = section["service_address"].as_str().unwrap();
    let parts: Vec<&str> = address.split(':').collect();
    assert_eq!(parts.len(), 3, "{from}: `{address}`");
    assert!(matches!(parts[0], "tcp" | "udp") && parts[1] == "//127.0.0.1", "{from}: `{address}`");
}

#[test]
fn the_agent_s_configuration_takes_what_production_sends() {
    let agent: Value = serde_json::from_str(&read("deploy/cloudwatch-agent.json")).unwrap();
    assert_takes_emf(&agent, "deploy/cloudwatch-agent.json");
    let model = production();
    let sink = model.emf.unwrap().sink;
    assert!(matches!(sink, EmfSink::Tcp(_)));
    let address = agent.pointer("/logs/metrics_collected/emf/service_address").unwrap();
    assert_eq!(address, &sink.to_string());
    let files = agent.pointer("/logs/logs_collected/files/collect_list").unwrap().as_array().unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file["file_path"].as_str().unwrap()).collect();
    let tollgate::config::model::AccessSink::File(records) = model.log.access else { panic!("no file") };
    assert_eq!(
        paths,
        [records.to_str().unwrap()],
        "records go to a group of their own, no EMF line among them"
    );
}

#[test]
fn the_snippets_of_the_manual_have_the_shape_the_agent_demands() {
    let text = read("docs/cloudwatch.md");
    let blocks: Vec<Value> = text
        .split("\n```json\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .map(|block| serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}:\n{block}")))
        .collect();
    let (mut sockets, mut files, mut policies) = (0, 0, 0);
    for block in &blocks {
        if block.pointer("/logs/metrics_collected").is_some() {
            assert_takes_emf(block, "docs/cloudwatch.md");
            sockets += 1;
        }
        for entry in block
            .pointer("/logs/logs_collected/files/collect_list")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            for key in ["file_path", "log_group_name", "log_stream_name"] {
                assert!(entry[key].is_string(), "{entry}");
            }
            assert!(entry["retention_in_days"].is_u64(), "{entry}");
            files += 1;
        }
        if let Some(statements) = block["Statement"].as_array() {
            assert_eq!(block["Version"], "2012-10-17");
            for action in statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap()) {
                let action = action.as_str().unwrap();
                assert!(!action.contains('*'), "least rights: `{action}`");
            }
            policies += 1;
        }
    }
    assert!(sockets >= 1 && files >= 1 && policies >= 4, "{sockets} {files} {policies}");
}

#[test]
fn every_configuration_of_the_manual_can_be_used() {
    let text = read("docs/cloudwatch.md");
    let blocks: Vec<&str> =
        text.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(blocks.len() >= 4);
    for block in blocks {
        let whole = format!("[upstream]\naddress = \"127.0.0.1:8000\"\n{block}\n");
        let loaded = load(&whole, "docs/cloudwatch.md", &|_| None, &Overrides::default());
        let loaded = loaded.unwrap_or_else(|report| panic!("{block}\n{}", report.render(false)));
        assert!(loaded.warnings.is_empty(), "{block}\n{}", loaded.warnings.render(false));
    }
}

/// Every right that the source asks for is in a policy.
#[test]
fn the_manual_names_the_rights_that_are_used() {
    let mut used = std::collections::BTreeSet::new();
    let mut pending = vec![root("src/cloudwatch")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            for part in code.split('"').skip(1).step_by(2) {
                let operation = part.strip_prefix("cloudwatch:").or_else(|| part.strip_prefix("logs:"));
                if operation.is_some_and(|name| {
                    name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric)
                }) {
                    used.insert(part.to_owned());
                }
            }
        }
    }
    assert!(used.len() >= 12, "{used:?}");
    let text = read("docs/cloudwatch.md");
    for action in used {
        assert!(text.contains(&format!("\"{action}\"")), "`{action}` is in no policy of docs/cloudwatch.md");
    }
}
