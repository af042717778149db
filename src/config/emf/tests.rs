//! Lines for CloudWatch, and the environment of the AWS libraries.

use std::path::PathBuf;

use super::*;
use crate::config::model::emf::HostPort;
use crate::config::{Loaded, Origin, Overrides, Report, load, print};

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Report> {
    let text = format!("[upstream]\naddress = \"app:80\"\n[log]\naccess = \"stderr\"\n{text}");
    let env = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    load(&text, "file", &env, &Overrides::default())
}

fn emf_with(text: &str, variables: &[(&str, &str)]) -> Emf {
    let loaded = load_with(text, variables).unwrap_or_else(|report| panic!("{}", report.render(false)));
    loaded.model.emf.unwrap()
}

fn sink(text: &str) -> EmfSink {
    emf_with(&format!("[emf]\nsink = \"{text}\""), &[]).sink
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    load_with(text, variables).expect_err(text).render(false)
}

#[test]
fn a_table_alone_is_the_default() {
    let emf = emf_with("[emf]", &[]);
    let sets = [vec![Dimension::Service], vec![Dimension::Service, Dimension::Route]];
    let names = (emf.namespace.as_str(), emf.service.as_str(), emf.environment.as_str());
    assert_eq!(names, ("Tollgate", "tollgate", "production"));
    assert_eq!((emf.sink, emf.per, emf.dimensions), (EmfSink::Stdout, EmfPer::Request, sets.to_vec()));
    assert_eq!((emf.validate, emf.extraction, emf.log_group, emf.log_stream), (false, true, None, None));
    assert_eq!(load_with("", &[]).unwrap().model.emf, None);
}

#[test]
fn sinks_are_read_and_written_back() {
    let address = |host: &str, port| HostPort { host: host.to_owned(), port };
    let logs = |group: &str, stream: Option<&str>| EmfSink::Logs {
        group: group.to_owned(),
        stream: stream.map(str::to_owned),
    };
    for (text, expected) in [
        ("stdout", EmfSink::Stdout),
        ("file:/var/log/emf.log", EmfSink::File(PathBuf::from("/var/log/emf.log"))),
        ("tcp://127.0.0.1:25888", EmfSink::Tcp(address("127.0.0.1", 25_888))),
        ("udp://agent:1", EmfSink::Udp(address("agent", 1))),
        ("tcp://[::1]:25888", EmfSink::Tcp(address("::1", 25_888))),
        ("logs:/a/b", logs("/a/b", None)),
        ("logs:/a/b:host [1]", logs("/a/b", Some("host [1]"))),
    ] {
        assert_eq!(sink(text), expected);
        assert_eq!(expected.to_string(), text);
    }
}

#[test]
fn the_environment_is_asked_where_the_file_is_silent() {
    let variables = [
        ("AWS_EMF_NAMESPACE", "Shop"),
        ("AWS_EMF_SERVICE_NAME", "api"),
        ("AWS_EMF_LOG_GROUP_NAME", "/shop/emf"),
        ("AWS_EMF_LOG_STREAM_NAME", "one"),
        ("AWS_EMF_AGENT_ENDPOINT", "udp://127.0.0.1:25888"),
        ("AWS_EMF_DISABLE_METRIC_EXTRACTION", "TRUE"),
    ];
    let emf = emf_with("[emf]", &variables);
    assert_eq!((emf.namespace.as_str(), emf.service.as_str()), ("Shop", "api"));
    assert_eq!((emf.log_group.as_deref(), emf.log_stream.as_deref()), (Some("/shop/emf"), Some("one")));
    assert!(matches!(emf.sink, EmfSink::Udp(_)) && !emf.extraction);
    let emf = emf_with("[emf]\nnamespace = \"Mine\"\nsink = \"stdout\"", &variables);
    assert_eq!((emf.namespace.as_str(), emf.service.as_str()), ("Mine", "api"));
    assert_eq!((emf.sink, emf.log_group), (EmfSink::Stdout, None));
    assert!(load_with("", &[("AWS_EMF_NAMESPACE", "AWS/x")]).unwrap().model.emf.is_none());
}

#[test]
fn the_environment_chooses_the_sink() {
    let agent = EmfSink::Tcp(HostPort { host: "127.0.0.1".to_owned(), port: 25_888 });
    let endpoint = ("AWS_EMF_AGENT_ENDPOINT", "tcp://agent:7");
    let named = EmfSink::Tcp(HostPort { host: "agent".to_owned(), port: 7 });
    for (environment, alone, with_endpoint) in [
        ("", EmfSink::Stdout, named.clone()),
        ("Local", EmfSink::Stdout, EmfSink::Stdout),
        ("LAMBDA", EmfSink::Stdout, EmfSink::Stdout),
        ("ec2", agent.clone(), named.clone()),
        ("default", agent, named.clone()),
    ] {
        let environment = ("AWS_EMF_ENVIRONMENT", environment);
        assert_eq!(emf_with("[emf]", &[environment]).sink, alone, "{environment:?}");
        assert_eq!(emf_with("[emf]", &[environment, endpoint]).sink, with_endpoint, "{environment:?}");
    }
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("AWS_EMF_NAMESPACE", "AWS/x"),
        ("AWS_EMF_SERVICE_NAME", " "),
        ("AWS_EMF_LOG_GROUP_NAME", "a b"),
        ("AWS_EMF_LOG_STREAM_NAME", "a:b"),
        ("AWS_EMF_AGENT_ENDPOINT", "agent:25888"),
        ("AWS_EMF_AGENT_ENDPOINT", "tcp://agent"),
        ("AWS_EMF_ENVIRONMENT", "ecs"),
        ("AWS_EMF_DISABLE_METRIC_EXTRACTION", "yes"),
    ] {
        let told = refused("[emf]", &[(name, value)]);
        assert!(told.contains(&format!("error: `{name}` ")) && told.contains("--> environment\n"), "{told}");
    }
}

#[test]
fn what_comes_from_the_environment_says_so() {
    let variables = [("AWS_EMF_NAMESPACE", "Shop"), ("AWS_EMF_ENVIRONMENT", "EC2")];
    let loaded = load_with("[emf]", &variables).unwrap();
    assert_eq!(loaded.origins.get("emf.namespace"), Origin::Variable { name: "AWS_EMF_NAMESPACE" });
    let printed = print(&loaded);
    let line = printed.lines().find(|line| line.starts_with("sink = \"tcp://127.0.0.1:25888\""));
    assert!(
        line.is_some_and(|line| line.ends_with("# from the environment, AWS_EMF_ENVIRONMENT")),
        "{printed}"
    );
}

#[test]
fn lines_and_records_do_not_share_a_place() {
    let text = |access: &str, sink: &str| {
        let text = format!(
            "[upstream]\naddress = \"app:80\"\n[log]\naccess = \"{access}\"\n[emf]\nsink = \"{sink}\""
        );
        load(&text, "file", &|_| None, &Overrides::default()).is_ok()
    };
    assert!(!text("stdout", "stdout") && !text("/a/log", "file:/a/log"));
    assert!(text("stderr", "stdout") && text("off", "stdout") && text("/a/log", "file:/a/emf"));
    let default = "[upstream]\naddress = \"app:80\"\n[emf]";
    let told = load(default, "file", &|_| None, &Overrides::default()).unwrap_err().render(false);
    assert!(told.contains("--> file:3:2"), "{told}");
}
