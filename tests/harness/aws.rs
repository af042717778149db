//! AWS on the loopback: moto's server, and endpoints that answer what moto cannot.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::admin::{Operator, Told};
use super::origin::{Origin, Peer};
use super::process::{Process, command};

/// What the SDK is told of its surroundings; the credentials are none.
pub fn environment(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", format!("http://{endpoint}")),
        ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
    ]
}

/// A running moto, empty at first.
#[derive(Debug)]
pub struct Moto {
    _process: Process,
    address: String,
}

impl Moto {
    /// Starts it and waits until it listens.
    pub fn start() -> Moto {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/venv/bin/python");
        assert!(python.exists(), "{} is missing: run `make test`", python.display());
        let mut command = command(&python);
        command.arg(root.join("tests/app/aws.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Process::start("moto", command);
        let found = process.stdout.wait(|lines| {
            lines.iter().find_map(|line| line.strip_prefix("listening at ").map(str::to_owned))
        });
        let address = found.unwrap_or_else(|| panic!("moto does not listen:\n{}", process.said()));
        Moto { _process: process, address }
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks CloudWatch Logs.
    pub fn logs(&self, operation: &str, body: &Value) -> Value {
        self.ask("logs", &format!("Logs_20140328.{operation}"), body)
    }

    /// Asks CloudWatch.
    pub fn cloudwatch(&self, operation: &str, body: &Value) -> Value {
        self.ask("monitoring", &format!("GraniteServiceVersion20100801.{operation}"), body)
    }

    fn ask(&self, service: &str, target: &str, body: &Value) -> Value {
        let told = self.send(service, target, body);
        assert_eq!(told.status, 200, "{target}: {}", told.text);
        serde_json::from_str(&told.text).unwrap_or(Value::Null)
    }

    fn send(&self, service: &str, target: &str, body: &Value) -> Told {
        // moto reads who is asked of what from the signature, and does not check it.
        let fields = format!(
            "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: {target}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=testing/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        Operator::at(&self.address).send("POST", "/", &fields, &body.to_string())
    }

    /// All events of a stream; none if it is not there.
    pub fn messages(&self, group: &str, stream: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut asked = json!({"logGroupName": group, "logStreamName": stream, "startFromHead": true});
        loop {
            let told = self.send("logs", "Logs_20140328.GetLogEvents", &asked);
            if told.status == 400 && told.text.contains("ResourceNotFoundException") {
                return found;
            }
            assert_eq!(told.status, 200, "{}", told.text);
            let page = told.json();
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                return found;
            }
            found.extend(events.iter().map(|event| event["message"].as_str().unwrap().to_owned()));
            asked["nextToken"] = page["nextForwardToken"].clone();
        }
    }

    /// The sum of a metric with exactly these dimensions, over the last hours.
    pub fn sum(&self, namespace: &str, name: &str, dimensions: &[(&str, &str)], stat: &str) -> f64 {
        let dimension = |(name, value): &(&str, &str)| json!({"Name": name, "Value": value});
        let metric = json!({
            "Namespace": namespace, "MetricName": name,
            "Dimensions": dimensions.iter().map(dimension).collect::<Vec<_>>(),
        });
        let now = unix_seconds();
        let asked = json!({
            "StartTime": now - 7_200, "EndTime": now + 3_600,
            "MetricDataQueries": [{"Id": "m1", "MetricStat": {"Metric": metric, "Period": 10_800, "Stat": stat}}],
        });
        let answer = self.cloudwatch("GetMetricData", &asked);
        let values = answer["MetricDataResults"][0]["Values"].as_array().cloned().unwrap_or_default();
        values.iter().filter_map(Value::as_f64).sum()
    }

    /// Puts a value at this moment.
    pub fn put_metric(&self, namespace: &str, name: &str, dimensions: &[(&str, &str)], value: f64) {
        let dimension = |(name, value): &(&str, &str)| json!({"Name": name, "Value": value});
        let datum = json!({
            "MetricName": name, "Value": value, "Timestamp": unix_seconds() - 5,
            "Dimensions": dimensions.iter().map(dimension).collect::<Vec<_>>(),
        });
        self.cloudwatch("PutMetricData", &json!({"Namespace": namespace, "MetricData": [datum]}));
    }

    /// Puts an event at this moment; group and stream are made if they are not there.
    pub fn put_event(&self, group: &str, message: &str) {
        let groups = self.logs("DescribeLogGroups", &json!({"logGroupNamePrefix": group}));
        if groups["logGroups"].as_array().is_none_or(Vec::is_empty) {
            self.logs("CreateLogGroup", &json!({"logGroupName": group}));
            self.logs("CreateLogStream", &json!({"logGroupName": group, "logStreamName": "s"}));
        }
        let event = json!({"timestamp": (unix_seconds() - 5) * 1_000, "message": message});
        let asked = json!({"logGroupName": group, "logStreamName": "s", "logEvents": [event]});
        self.logs("PutLogEvents", &asked);
    }
}

/// The host's clock.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// An endpoint that answers what moto cannot: refusals, classes of log groups, another time.
///
/// `answer` gets the operation's name and returns a JSON body, or the code of an error. Logs are asked in JSON, CloudWatch
/// in CBOR, of which only the empty map and errors are written here. `date` is the field `Date`, if there is to be one.
pub fn endpoint(
    date: &str,
    answer: impl Fn(&str) -> Result<Value, &'static str> + Send + Sync + 'static,
) -> Origin {
    let date = if date.is_empty() { String::new() } else { format!("Date: {date}\r\n") };
    Origin::start(move |mut peer: Peer| {
        while let Some(request) = peer.request() {
            let target = request.headers.get("x-amz-target");
            let name = target.clone().unwrap_or_else(|| request.target.clone());
            let operation = name.rsplit(['/', '.']).next().unwrap_or_default();
            let (status, body) = match (answer(operation), target.is_some()) {
                (Ok(body), true) => ("200 OK", body.to_string().into_bytes()),
                (Ok(_), false) => ("200 OK", vec![0xa0]),
                (Err(code), true) => {
                    ("400 Bad Request", json!({"__type": code, "message": "no"}).to_string().into())
                }
                (Err(code), false) => ("400 Bad Request", error_in_cbor(code)),
            };
            let kind = match target {
                Some(_) => "Content-Type: application/x-amz-json-1.1",
                None => "smithy-protocol: rpc-v2-cbor\r\nContent-Type: application/cbor",
            };
            let length = body.len();
            peer.send(format!("HTTP/1.1 {status}\r\n{kind}\r\n{date}Content-Length: {length}\r\n\r\n"))
                .send(body);
        }
    })
}

/// An endpoint that allows nothing.
pub fn refusing() -> Origin {
    endpoint("", |_| Err("AccessDeniedException"))
}

/// `{"__type": code}`; the code is shorter than 24 bytes.
fn error_in_cbor(code: &str) -> Vec<u8> {
    let mut body = b"\xa1\x66__type".to_vec();
    body.push(0x60 | u8::try_from(code.len()).unwrap());
    body.extend_from_slice(code.as_bytes());
    body
}

/// Runs the test of this name in a process of its own, with these variables: the SDK reads them from its environment,
/// which a process cannot change safely once it has threads.
pub fn run_in_environment(test: &str, endpoint: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).envs(environment(endpoint)).env(IN_ENVIRONMENT, "1");
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

const IN_ENVIRONMENT: &str = "TOLLGATE_TEST_IN_ENVIRONMENT";

/// Whether this process was started by [`run_in_environment`].
pub fn is_in_environment() -> bool {
    std::env::var_os(IN_ENVIRONMENT).is_some()
}
