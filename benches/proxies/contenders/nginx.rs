//! nginx, configured for the work of the benchmark.

use std::fs;
use std::process::Command;

use crate::trouble::{Fallible, io};

use super::{Launch, Lines, Site};

pub(super) fn launch(site: &Site<'_>) -> Fallible<Launch> {
    let access = site.directory.join("access.log");
    let configuration = site.directory.join("nginx.conf");
    fs::write(&configuration, text(site)).map_err(io(configuration.display()))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(site.directory);
    command.arg("-e").arg(site.directory.join("error.log"));
    command.arg("-c").arg(configuration);
    Ok(Launch { command, lines: Lines::File(access) })
}

/// The worker runs as whoever started the benchmark: Debian's default user could not write here.
/// Limits on requests a connection are off, as in the other two. Answers that outrun the client
/// wait in memory, not in a temporary file.
fn text(site: &Site<'_>) -> String {
    let directory = site.directory.display();
    let (chain, key) = (site.certificate.chain.display(), site.certificate.key.display());
    let listen_tls = site.listen_tls;
    let (listen, origin, port) = (site.listen, site.origin, site.listen.port());
    format!(
        r#"daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
    log_format record escape=json '{{"time":"$time_iso8601","request_id":"$request_id",'
        '"client_addr":"$remote_addr","method":"$request_method","path":"$uri",'
        '"status":$status,"bytes_in":$request_length,"bytes_out":$body_bytes_sent,'
        '"duration":$request_time,"upstream_connect":"$upstream_connect_time",'
        '"upstream_head":"$upstream_header_time","upstream":"$upstream_addr",'
        '"user_agent":"$http_user_agent"}}';
    access_log {directory}/access.log record buffer=64k flush=1s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;

    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    client_body_buffer_size 64k;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;

    limit_req_zone $http_x_api_key zone=keys:16m rate=1000000r/s;
    limit_req_zone $http_x_api_key zone=used_up:16m rate=1r/m;
    limit_req_log_level info;
    upstream app {{
        server {origin};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen} backlog=4096;
        listen {listen_tls} ssl http2 backlog=4096;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        http2_max_requests 1000000000;
        limit_req_status 429;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Request-Id $request_id;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Port {port};
        proxy_max_temp_file_size 0;
        add_header X-Request-Id $request_id always;
        location / {{
            limit_req zone=keys burst=1000000 nodelay;
            proxy_pass http://app;
        }}
        location = /answers/refused {{
            limit_req zone=used_up;
            proxy_pass http://app;
        }}
    }}
}}
"#
    )
}
