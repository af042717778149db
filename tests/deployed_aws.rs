//! What `deploy/aws/` holds: cfn-lint and moto read the template, and the user data runs with stand-ins for what would
//! change the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::config::{self, Loaded, Overrides};

use crate::harness::process::{command, run};
use crate::harness::scratch::Scratch;
use crate::harness::tollgate::binary;

const TEMPLATE: &str = "deploy/aws/load-balancer.cfn.yaml";
const USER_DATA: &str = "deploy/aws/user-data.sh";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(text: &str) -> Loaded {
    config::load(text, "file", &|_| None, &Overrides::default())
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// What moto makes of the template, and the template itself. Asked once: it takes seconds.
static STACK: LazyLock<Value> = LazyLock::new(make_stack);

fn make_stack() -> Value {
    let python = root("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make test`", python.display());
    let mut command = command(&python);
    command.args(["-W", "ignore"]).arg(root("tests/app/stack.py")).arg(root(TEMPLATE));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    for (name, value) in crate::harness::aws::environment("127.0.0.1:9") {
        if name != "AWS_ENDPOINT_URL" {
            command.env(name, value);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn attributes(stack: &Value, resource: &str, key: &str) -> impl Fn(&str) -> String {
    let list = stack["template"]["Resources"][resource]["Properties"][key].as_array().unwrap().clone();
    move |name| {
        let entry = list.iter().find(|entry| entry["Key"] == name);
        entry.unwrap_or_else(|| panic!("no {name}"))["Value"].as_str().unwrap().to_owned()
    }
}

#[test]
fn cfn_lint_finds_nothing_in_the_load_balancer_s_template() {
    let program = root("target/venv/bin/cfn-lint");
    assert!(program.exists(), "{} is missing: run `make test`", program.display());
    let (code, said, complaint) = run(&program, &[root(TEMPLATE)]);
    assert_eq!(code, 0, "{said}{complaint}");
}

#[test]
fn the_stack_s_times_are_in_order_with_tollgate_s() {
    let stack = &*STACK;
    assert_eq!(stack["status"], "CREATE_COMPLETE");
    let seconds = |text: String| Duration::from_secs(text.parse().unwrap());
    let balancer = attributes(stack, "LoadBalancer", "LoadBalancerAttributes");
    let targets = attributes(stack, "TargetGroup", "TargetGroupAttributes");
    let idle = seconds(balancer("idle_timeout.timeout_seconds"));
    let model = load("[upstream]\naddress = \"127.0.0.1:8000\"\n").model;
    assert!(idle < model.listen.keepalive_timeout, "a connection that is just closing would be used");
    let answer = model.upstream.response_timeout + model.upstream.queue.timeout;
    assert!(idle > answer, "the load balancer would give up before tollgate: {answer:?}");
    let delay = seconds(targets("deregistration_delay.timeout_seconds"));
    assert!(delay > model.listen.drain_timeout + Duration::from_secs(15));
    assert_eq!(balancer("routing.http.xff_header_processing.mode"), "append");

    let group = &stack["target_group"];
    let number = |key: &str| group[key].as_u64().unwrap();
    let noticed = number("HealthCheckIntervalSeconds") * number("UnhealthyThresholdCount");
    assert!(noticed < 15, "drained before the load balancer notices");
    assert!(fs::read_to_string(root(USER_DATA)).unwrap().contains("drain_delay = \"15s\""));
    assert_eq!(
        (&group["HealthCheckPath"], &group["Matcher"]["HttpCode"]),
        (&json!("/readyz"), &json!("200"))
    );
    assert_eq!((&group["Port"], &group["ProtocolVersion"]), (&json!(8080), &json!("HTTP1")));
    let listeners: Vec<_> = stack["listeners"].as_array().unwrap().iter().collect();
    let action =
        |port| &listeners.iter().find(|listener| listener["Port"] == port).unwrap()["DefaultActions"][0];
    assert_eq!(action(443)["TargetGroupArn"], group["TargetGroupArn"]);
    assert_eq!(action(80)["RedirectConfig"]["Protocol"], "HTTPS");
}

#[test]
fn the_instance_may_write_its_metrics_and_logs_and_nothing_else() {
    let stack = &*STACK;
    assert_eq!(stack["attached"], json!([]), "a managed policy would allow more");
    let [policy] = &stack["policies"].as_array().unwrap()[..] else { panic!("{}", stack["policies"]) };
    let statements = policy["Statement"].as_array().unwrap();
    let mut allowed = Vec::new();
    for statement in statements {
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            one => vec![one.clone()],
        };
        for action in &actions {
            allowed.push(action.as_str().unwrap().to_owned());
        }
        if statement["Resource"] == "*" {
            assert_eq!(actions, [json!("cloudwatch:PutMetricData")], "{statement}");
            assert_eq!(
                statement["Condition"],
                json!({ "StringEquals": { "cloudwatch:namespace": "Tollgate" } })
            );
            continue;
        }
        for resource in statement["Resource"].as_array().unwrap() {
            let name = resource.as_str().unwrap().split(":log-group:").nth(1).unwrap();
            assert!(["tollgate/access:*", "tollgate/metrics:*"].contains(&name), "{resource}");
        }
    }
    allowed.sort();
    assert_eq!(
        allowed,
        [
            "cloudwatch:PutMetricData",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
            "logs:PutRetentionPolicy"
        ]
    );
    assert_eq!(stack["log_groups"], json!(["tollgate/access", "tollgate/metrics"]));
}

#[test]
fn the_load_balancer_alone_reaches_tollgate() {
    let stack = &*STACK;
    let groups = stack["security_groups"].as_array().unwrap();
    let named = |part: &str| {
        let found = groups.iter().find(|group| group["GroupName"].as_str().unwrap().contains(part));
        found.unwrap_or_else(|| panic!("no group {part}"))
    };
    let [rule] = &named("InstanceSecurityGroup")["IpPermissions"].as_array().unwrap()[..] else {
        panic!("more than one rule");
    };
    assert_eq!(rule["IpRanges"], json!([]));
    assert_eq!(rule["UserIdGroupPairs"][0]["GroupId"], named("LoadBalancerSecurityGroup")["GroupId"]);
    assert_eq!((&rule["FromPort"], &rule["ToPort"]), (&json!(8080), &json!(8080)));
    // moto knows no rules outward, so the template is asked.
    let outward = &stack["template"]["Resources"]["LoadBalancerToInstances"]["Properties"];
    assert_eq!(outward["DestinationSecurityGroupId"], json!({ "Ref": "InstanceSecurityGroup" }));
    let own =
        &stack["template"]["Resources"]["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupEgress"];
    assert!(own.as_array().unwrap().iter().all(|rule| rule["CidrIp"] == "127.0.0.1/32"), "{own}");
}

/// A host of a distribution, in a directory, with stand-ins that note how they were called.
struct Host {
    scratch: Scratch,
}

impl Host {
    fn of(distribution: &str) -> Host {
        let host = Host { scratch: Scratch::new() };
        let agent = "root/opt/aws/amazon-cloudwatch-agent/bin";
        for directory in ["bin", "root/etc", agent] {
            fs::create_dir_all(host.file(directory)).unwrap();
        }
        fs::write(host.file("root/etc/os-release"), format!("ID={distribution}\n")).unwrap();
        for program in ["apt-get", "dnf", "systemctl", "usermod"] {
            host.stand_in(&format!("bin/{program}"), "");
        }
        host.stand_in("bin/dpkg", "echo amd64");
        host.stand_in(&format!("{agent}/amazon-cloudwatch-agent-ctl"), "");
        // What is fetched is what lies at `package`, wherever it is said to come from.
        host.stand_in(
            "bin/curl",
            "while [ \"$1\" != --output ]; do shift; done; cp \"$HERE/package\" \"$2\"",
        );
        host.stand_in("bin/tollgate", &format!("exec {} \"$@\"", binary().display()));
        host.pack();
        host
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    fn stand_in(&self, name: &str, does: &str) {
        let path = self.file(name);
        let note = format!("#!/bin/sh\necho \"$(basename \"$0\") $*\" >>\"$HERE/calls\"\n{does}\n");
        fs::write(&path, note).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A tarball of which only `install` is there.
    fn pack(&self) {
        fs::create_dir(self.file("tollgate-0")).unwrap();
        self.stand_in("tollgate-0/install", "");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--gzip").arg("--file").arg(self.file("package"));
        let made = tar.arg("--directory").arg(self.scratch.path()).arg("tollgate-0").status().unwrap();
        assert!(made.success());
    }

    fn checksum(&self) -> String {
        let (_, said, _) = run(Path::new("sha256sum"), &[self.file("package")]);
        said.split(' ').next().unwrap().to_owned()
    }

    fn boot(&self, checksum: &str) -> (bool, String) {
        let mut command = command(&root(USER_DATA));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.file("bin").display()));
        command.env("HERE", self.scratch.path()).env("TOLLGATE_ROOT", self.file("root"));
        command.env("TOLLGATE_PACKAGE_URL", "https://packages.test/tollgate");
        command.env("TOLLGATE_PACKAGE_SHA256", checksum);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// How stand-ins were called, in order.
    fn calls(&self) -> String {
        fs::read_to_string(self.file("calls")).unwrap_or_default()
    }

    fn configuration(&self) -> String {
        fs::read_to_string(self.file("root/etc/tollgate/tollgate.toml")).unwrap()
    }
}

#[track_caller]
fn assert_in_order(calls: &str, expected: &[&str]) {
    let mut rest = calls;
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("no `{part}` in its place among:\n{calls}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn user_data_makes_a_host_of_every_distribution() {
    for (distribution, steps) in [
        ("debian", ["apt-get update", "tollgate.deb", "amazonaws.com/debian/amd64", "agent.deb"]),
        ("ubuntu", ["apt-get update", "tollgate.deb", "amazonaws.com/ubuntu/amd64", "agent.deb"]),
        ("amzn", ["dnf install", "amazon-cloudwatch-agent", "packages.test/tollgate", "install"]),
    ] {
        let host = Host::of(distribution);
        let (done, said) = host.boot(&host.checksum());
        assert!(done, "{distribution}: {said}");
        let calls = host.calls();
        assert_in_order(&calls, &steps);
        let last = [
            "usermod -aG tollgate cwagent",
            "amazon-cloudwatch-agent-ctl -a fetch-config",
            "tollgate check",
            "systemctl enable tollgate.service",
            "systemctl start tollgate.service",
        ];
        assert_in_order(&calls, &last);
        let loaded = load(&host.configuration());
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
        let model = loaded.model;
        // As the template and the agent's configuration have them.
        assert_eq!(model.admin.unwrap().ready_path.as_deref(), Some("/readyz"));
        assert!(host.configuration().contains("0.0.0.0:8080"));
        assert_eq!(model.emf.unwrap().sink.to_string(), "tcp://127.0.0.1:25888");
    }
}

#[test]
fn user_data_installs_nothing_but_the_package_that_was_named() {
    for distribution in ["debian", "amzn"] {
        let host = Host::of(distribution);
        let (done, said) = host.boot(&"0".repeat(64));
        assert!(!done, "{distribution}: {said}");
        let calls = host.calls();
        let installs = |call: &str| {
            call.starts_with("install") || call.starts_with("apt-get") && call.contains("tollgate.deb")
        };
        assert!(!calls.lines().any(installs), "{calls}");
        assert!(!calls.contains("usermod") && !calls.contains("systemctl"), "{calls}");
    }
}

#[test]
fn user_data_leaves_a_configuration_that_is_there() {
    let host = Host::of("debian");
    fs::create_dir(host.file("root/etc/tollgate")).unwrap();
    let own = "[upstream]\naddress = \"127.0.0.1:9000\"\n";
    fs::write(host.file("root/etc/tollgate/tollgate.toml"), own).unwrap();
    let (done, said) = host.boot(&host.checksum());
    assert!(done, "{said}");
    assert_eq!(host.configuration(), own);
}

#[test]
fn user_data_refuses_a_distribution_it_does_not_know() {
    let host = Host::of("alpine");
    let (done, said) = host.boot(&host.checksum());
    assert!(!done && said.contains("alpine"), "{said}");
}
