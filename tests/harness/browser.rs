//! The real Chromium, driven over WebDriver: JSON over HTTP, as W3C describes it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::process::{Process, command};
use super::scratch::Scratch;
use super::socket::Socket;
use super::wire::{Framing, Wire, parse_head};

/// The name of an element's id in WebDriver's answers, which is part of the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What keeps Chromium from asking anybody for anything, and from outliving its driver.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--window-size=1200,900",
];

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    address: String,
    session: String,
    _profile: Scratch,
}

impl Browser {
    /// Starts chromedriver on a free port, and Chromium with an empty profile.
    pub fn start() -> Browser {
        let profile = Scratch::new();
        let mut command = command(Path::new("chromedriver"));
        command.args(["--port=0", "--allowed-ips=127.0.0.1"]).env("HOME", profile.path());
        let driver = Process::start("chromedriver", command);
        let port = driver.stdout.wait(|lines| {
            let line = lines.iter().find(|line| line.contains("started successfully on port "))?;
            Some(line.rsplit(' ').next()?.trim_end_matches('.').to_owned())
        });
        let port = port.unwrap_or_else(|| panic!("chromedriver is not ready: {:?}", driver.stdout.all()));
        let address = format!("127.0.0.1:{port}");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.file("profile").display()));
        let options = json!({ "args": arguments });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let session = value(&address, "POST", "/session", &body)["sessionId"].as_str().unwrap().to_owned();
        Browser { driver, address, session, _profile: profile }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        value(&self.address, method, &format!("/session/{}{path}", self.session), body)
    }

    /// Goes to a page, and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// What a function's body returns in the page.
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait_for(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})")) != json!(true) {
            let page = self.run("return document.body.innerText");
            assert!(
                Instant::now() < deadline,
                "`{expression}` does not come true; the page says:\n{}\nand the console:\n{}",
                page.as_str().unwrap_or_default(),
                self.console().join("\n"),
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Clicks, as a person does: the element must be there, visible, and not covered.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let id = self.find(selector);
        self.ask("POST", &format!("/element/{id}/click"), &json!({}));
    }

    /// Types into an element.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let id = self.find(selector);
        self.ask("POST", &format!("/element/{id}/value"), &json!({ "text": text }));
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        self.wait_for(&format!("document.querySelector({})", json!(selector)));
        let body = json!({ "using": "css selector", "value": selector });
        self.ask("POST", "/element", &body)[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Shows the page as a screen of this width does, in dark mode or not.
    pub fn emulate(&self, width: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.chromium("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.chromium("Emulation.setDeviceMetricsOverride", &metrics);
    }

    fn chromium(&self, command: &str, parameters: &Value) {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    /// What the console was told since the last question: errors of scripts, what the policy refused.
    pub fn console(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let text = |entry: &Value| format!("{} {}", entry["level"], entry["message"]);
        entries.as_array().unwrap().iter().map(text).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; a driver that is gone has taken it along.
        let end = format!("/session/{}", self.session);
        if self.driver.ended().is_none() {
            let _ = exchange(&self.address, "DELETE", &end, None);
        }
    }
}

fn value(address: &str, method: &str, path: &str, body: &Value) -> Value {
    let (status, text) = exchange(address, method, path, Some(body)).unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer["value"].take()
}

/// One request over a connection of its own, with a JSON body if there is one: the status and the body of its answer.
fn exchange(address: &str, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, String)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut wire = Wire::new(Socket::connect(address)?);
    wire.try_send(
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )?;
    let broken = |_| std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
    let (line, headers) = parse_head(&wire.head().map_err(broken)?);
    let framing = match headers.get("content-length") {
        Some(length) => Framing::Length(length.parse().unwrap()),
        None if headers.has("transfer-encoding") => Framing::Chunked,
        None => Framing::UntilClose,
    };
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Ok((status, String::from_utf8(wire.body(framing).bytes).unwrap()))
}
