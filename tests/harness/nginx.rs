//! The real nginx with the files of `deploy/nginx/`, of which only addresses and paths are replaced.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use super::client::Client;
use super::process::{Process, command};
use super::scratch::Scratch;
use super::socket::Socket;

static NEXT: AtomicU8 = AtomicU8::new(1);

/// Who connects to nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFront {
    /// Clients.
    Clients,
    /// A load balancer at 127.0.0.8, of which its fields are believed.
    LoadBalancer,
}

/// The load balancer of [`InFront::LoadBalancer`].
pub const LOAD_BALANCER: [u8; 4] = [127, 0, 0, 8];

const PLAIN_PORT: u16 = 8081;
const TLS_PORT: u16 = 8443;
const REDIRECT_PORT: u16 = 8080;

/// What a distribution's nginx.conf is to the files: it includes them, and says where nginx may write.
const MAIN: &str = "pid nginx.pid;
events { worker_connections 512; }
http {
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    include conf.d/*.conf;
}
";

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    host: String,
    scratch: Scratch,
}

impl Nginx {
    /// In front of tollgate at this address, `host:port` or `unix:/path`.
    pub fn before(tollgate: &str, in_front: InFront) -> Nginx {
        let scratch = Scratch::new();
        let host = own_address();
        write(scratch.path(), &host, tollgate, in_front);
        let mut command = nginx(scratch.path());
        command.args(["-g", "daemon off; master_process off;"]);
        let mut process = Process::start("nginx", command);
        let deadline = Instant::now() + PATIENCE;
        while Socket::connect(&format!("{host}:{PLAIN_PORT}")).is_err() {
            let ended = process.ended();
            assert!(ended.is_none() && Instant::now() < deadline, "nginx: {ended:?}\n{}", process.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        Nginx { _process: process, host, scratch }
    }

    /// Where it speaks HTTP without TLS, which the site itself does not.
    pub fn address(&self) -> String {
        format!("{}:{PLAIN_PORT}", self.host)
    }

    /// A new connection without TLS, from this address of the loopback.
    pub fn client_from(&self, source: [u8; 4]) -> Client {
        Client::over(Socket::connect_from(source, &self.address()).unwrap())
    }

    /// A new connection without TLS.
    pub fn client(&self) -> Client {
        Client::connect(&self.address())
    }

    /// The port it speaks TLS at.
    pub fn tls_port(&self) -> u16 {
        TLS_PORT
    }

    /// What curl gets from `api.example.com` with these arguments, of which the last is scheme and path.
    pub fn curl(&self, arguments: &[&str], scheme: &str, path: &str) -> String {
        let port = if scheme == "https" { TLS_PORT } else { REDIRECT_PORT };
        let mut command = command(Path::new("curl"));
        command.args(["--silent", "--show-error", "--cacert"]).arg(self.scratch.file("fullchain.pem"));
        command.arg("--resolve").arg(format!("api.example.com:{port}:{}", self.host)).args(arguments);
        let output = command.arg(format!("{scheme}://api.example.com:{port}{path}")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until its log has a line that `matches`.
    pub fn wait_for_line(&self, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(self.scratch.file("access.log")).unwrap_or_default();
            let lines = text.lines().map(|line| {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            });
            if let Some(line) = lines.into_iter().find(|line| matches(line)) {
                return line;
            }
            assert!(Instant::now() < deadline, "no such line among:\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What `nginx -t` says to the files, and whether it takes them.
pub fn check(tollgate: &str, in_front: InFront) -> (bool, String) {
    let scratch = Scratch::new();
    write(scratch.path(), &own_address(), tollgate, in_front);
    let output = nginx(scratch.path()).arg("-t").output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// An address of the loopback network that no other test has, so that ports need not be asked for.
fn own_address() -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{}", 1 + high % 250, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn nginx(directory: &Path) -> Command {
    let mut command = command(Path::new("nginx"));
    // Debian has it where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin"));
    command.args(["-e", "stderr", "-p"]).arg(directory).args(["-c", "nginx.conf"]);
    command
}

fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces what a test cannot use; a panic if it is not there.
fn replaced(text: &str, replacements: &[(&str, String)]) -> String {
    replacements.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "`{old}` is not in:\n{text}");
        text.replace(old, new)
    })
}

fn write(directory: &Path, host: &str, tollgate: &str, in_front: InFront) {
    for name in ["conf.d", "snippets", "temporary"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    let upstream = match tollgate.strip_prefix("unix:") {
        Some(_) => replaced(
            &deployed("upstream-unix.conf"),
            &[("server unix:/run/tollgate/http.sock", format!("server {tollgate}"))],
        ),
        None => replaced(
            &deployed("upstream-tcp.conf"),
            &[("server 127.0.0.1:8080", format!("server {tollgate}"))],
        ),
    };
    let client = match in_front {
        InFront::Clients => deployed("edge.conf"),
        InFront::LoadBalancer => replaced(
            &deployed("behind-load-balancer.conf"),
            &[("10.0.0.0/20", "127.0.0.8/32".to_owned()), ("10.0.16.0/20", "192.0.2.0/24".to_owned())],
        ),
    };
    let certificate = rcgen::generate_simple_self_signed(vec!["api.example.com".to_owned()]).unwrap();
    let in_directory = |name: &str| directory.join(name).display().to_string();
    let site = replaced(
        &deployed("site.conf"),
        &[
            ("listen 80;", format!("listen {host}:{REDIRECT_PORT};")),
            ("listen [::]:80;", String::new()),
            (
                "listen 443 ssl http2;",
                format!("listen {host}:{TLS_PORT} ssl http2; listen {host}:{PLAIN_PORT};"),
            ),
            ("listen [::]:443 ssl http2;", String::new()),
            ("/etc/ssl/tollgate/", format!("{}/", directory.display())),
            ("/var/log/nginx/tollgate.log", in_directory("access.log")),
        ],
    );
    let files = [
        ("nginx.conf", MAIN.to_owned()),
        ("conf.d/00-tollgate.conf", deployed("00-tollgate.conf")),
        ("conf.d/tollgate-upstream.conf", upstream),
        ("conf.d/tollgate-client.conf", client),
        ("conf.d/site.conf", site),
        ("snippets/tollgate-proxy.conf", deployed("tollgate-proxy.conf")),
        ("fullchain.pem", certificate.cert.pem()),
        ("privkey.pem", certificate.signing_key.serialize_pem()),
    ];
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}
