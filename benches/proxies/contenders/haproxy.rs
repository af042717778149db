//! HAProxy, configured for the work of the benchmark.
//!
//! HAProxy writes no access file of its own. Of its ways out, a ring in memory whose lines a TCP
//! server takes away in batches cost it least: a datagram or a write to standard output is a
//! system call for every line.

use std::fs;
use std::process::Command;

use crate::trouble::{Fallible, io};

use super::sink::LineSink;
use super::{Launch, Lines, Site};

pub(super) fn launch(site: &Site<'_>) -> Fallible<Launch> {
    let sink = LineSink::start()?;
    let configuration = site.directory.join("haproxy.cfg");
    fs::write(&configuration, text(site, &sink)).map_err(io(configuration.display()))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(configuration);
    Ok(Launch { command, lines: Lines::Stream(sink) })
}

/// `http-reuse always`: the default would open an upstream connection for every new client.
fn text(site: &Site<'_>, sink: &LineSink) -> String {
    let (listen_tls, both) = (site.listen_tls, site.certificate.both.display());
    let (listen, origin, sink, port) = (site.listen, site.origin, sink.address(), site.listen.port());
    format!(
        r#"global
    nbthread 1
    maxconn 8000
    log ring@access format raw local0

ring access
    format raw
    maxlen 2048
    size 4194304
    timeout connect 5s
    timeout server 3600s
    server sink {sink}

defaults
    mode http
    log global
    timeout connect 5s
    timeout client 75s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 75s
    option http-keep-alive
    option dontlognull
    http-reuse always

frontend clients
    bind {listen} backlog 4096
    bind {listen_tls} ssl crt {both} alpn h2,http/1.1 backlog 4096
    unique-id-format %[uuid()]
    unique-id-header X-Request-Id
    http-request capture req.hdr(User-Agent) len 128
    http-request track-sc0 req.hdr(X-API-Key) table keys
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
    http-request deny deny_status 429 if {{ path /answers/refused }} {{ sc_http_req_rate(0) gt 0 }}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    http-request set-header X-Forwarded-Port {port}
    http-response set-header X-Request-Id %[unique-id]
    log-format '{{"time":"%tr","request_id":"%ID","client_addr":"%ci","method":"%HM","path":%{{+Q}}[capture.req.uri,json(utf8s)],"status":%ST,"bytes_in":%U,"bytes_out":%B,"duration":%Ta,"upstream_connect":%Tc,"upstream_head":%Tr,"upstream":"%b/%s","user_agent":%{{+Q}}[capture.req.hdr(0),json(utf8s)]}}'
    default_backend app

backend app
    server app {origin}

backend keys
    stick-table type string len 64 size 100k expire 60s store http_req_rate(10s)
"#
    )
}
