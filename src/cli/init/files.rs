//! The text of each file.

use std::fmt::Write as _;
use std::time::Duration;

use super::plan::{Line, Plan};

/// nginx gives up later than tollgate, so that the answer is tollgate's.
const AFTER_TOLLGATE: Duration = Duration::from_secs(30);

/// All files, by their names below the directory.
pub(super) fn all(plan: &Plan) -> Vec<(&'static str, String)> {
    vec![
        ("tollgate.toml", configuration(plan)),
        ("tollgate.nginx.conf", nginx(plan)),
        ("tollgate.service.d/gunicorn.conf", drop_in(plan)),
    ]
}

fn for_whom(plan: &Plan) -> String {
    match plan.pid {
        Some(pid) => format!("for Gunicorn at {}, process {pid} at that time", plan.upstream),
        None => "for a Gunicorn with its defaults: none was running".to_owned(),
    }
}

fn configuration(plan: &Plan) -> String {
    let mut text = format!(
        "# tollgate in front of Gunicorn. Written by `tollgate init`, {}.\n\
         # What is not here has its default; docs/configuration.md has every key.\n\
         #\n\
         #     tollgate check tollgate.toml                tells what is wrong\n\
         #     tollgate doctor --config tollgate.toml      looks whether it fits this host\n\
         #     tollgate run --config tollgate.toml\n",
        for_whom(plan)
    );
    table(&mut text, "[listen]", &plan.listen_lines);
    table(&mut text, "[upstream]", &plan.upstream_lines);
    text.push_str(
        "\n# Health, metrics, and what `tollgate top` shows, for this host alone.\n\
         [admin]\n\
         address = \"127.0.0.1:9180\"\n\
         \n\
         # A first limit decides and tells in records, and refuses nobody; see docs/limits.md.\n\
         [limits.default]\n\
         rate = \"600/minute\"\n\
         mode = \"shadow\"\n",
    );
    text
}

fn table(text: &mut String, header: &str, lines: &[Line]) {
    let _ = writeln!(text, "\n{header}");
    for Line { key, value, why, is_open } in lines {
        let mark = if *is_open { "# " } else { "" };
        let _ = writeln!(text, "# {why}\n{mark}{key} = {value}");
    }
}

fn nginx(plan: &Plan) -> String {
    let read_timeout = (plan.response_timeout + AFTER_TOLLGATE).as_secs();
    format!(
        r#"# nginx in front of tollgate. Written by `tollgate init`, {for_whom}.
# For a directory that nginx reads within http {{ }}, as /etc/nginx/conf.d. Of a server that is there already
# take the lines of `location`.
map $http_upgrade $tollgate_connection {{
    default        "";
    ~*^websocket$  upgrade;
}}

upstream tollgate_here {{
    server {listen};
    keepalive 32;
}}

server {{
    listen 80;
    server_name _;
    client_max_body_size 10m;            # as `max_body` of tollgate, or more: nginx answers first

    # tollgate believes what nginx passes on, so every field that says who the client is, is set or emptied here.
    location / {{
        proxy_pass http://tollgate_here;
        proxy_http_version 1.1;
        proxy_set_header Host              $http_host;
        proxy_set_header Connection        $tollgate_connection;
        proxy_set_header Upgrade           $http_upgrade;
        proxy_set_header X-Request-Id      $request_id;
        proxy_set_header X-Forwarded-For   $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host  $http_host;
        proxy_set_header X-Forwarded-Port  $server_port;
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header X-Real-IP         $remote_addr;
        proxy_set_header Forwarded         "";
        proxy_set_header Remote-User       "";
        proxy_request_buffering off;         # tollgate buffers, and refuses before a body is sent
        proxy_buffering off;
        proxy_read_timeout {read_timeout}s;           # above `response_timeout` of tollgate; raise it for WebSockets
    }}
}}
"#,
        for_whom = for_whom(plan),
        listen = plan.listen,
    )
}

fn drop_in(plan: &Plan) -> String {
    let mut text = format!(
        "# What tollgate.service needs of Gunicorn. Written by `tollgate init`, {}.\n\
         # Put it into /etc/systemd/system/tollgate.service.d/, then `systemctl daemon-reload`.\n\
         [Unit]\n\
         After={}\n",
        for_whom(plan),
        plan.unit
    );
    let service = match &plan.access {
        _ if !plan.is_unix => "\n# Gunicorn listens at a TCP address: no group is needed.\n".to_owned(),
        None => {
            "\n# Gunicorn's socket could not be looked at: name its group, if not everybody may connect.\n\
                 [Service]\n# SupplementaryGroups=www-data\n"
                .to_owned()
        }
        Some(access) if access.is_root && access.by_all => {
            "\n# Everybody may connect to Gunicorn's socket: no group is needed.\n".to_owned()
        }
        Some(access) if access.is_root || !access.by_group => format!(
            "\n# The group of Gunicorn's socket, {}, is no way in: set `group` and `umask = 0o007` of Gunicorn, and name the\n\
             # group here.\n[Service]\n# SupplementaryGroups=www-data\n",
            access.group
        ),
        Some(access) => format!(
            "\n[Service]\n# The group of Gunicorn's socket, which may connect to it.\nSupplementaryGroups={}\n",
            access.group
        ),
    };
    text.push_str(&service);
    text
}
