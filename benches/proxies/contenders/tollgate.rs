//! tollgate, configured for the work of the benchmark.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::plan::{Name, baseline};
use crate::trouble::{Fallible, io};

use super::{Launch, Lines, Site};

/// What the others do, a limit keyed by `X-API-Key`; and routes with none, with three, and with one that is used up.
const LIMITS: &str = r#"
[limits.keys]
key = "header:X-API-Key"
rate = "1000000/second"

[limits.address]
key = "ip"
per = "service"
rate = "1000000/second"

[limits.callers]
key = "caller"
rate = "1000000/second"

[limits.used_up]
key = "header:X-API-Key"
rate = "1/hour"

[[routes]]
name = "unlimited"
match = "/answers/unlimited"

[[routes]]
name = "limited"
match = "/answers/limited"
limits = ["keys", "address", "callers"]

[[routes]]
name = "refused"
match = "/answers/refused"
limits = "used_up"

[[routes]]
name = "rest"
match = "/*"
limits = "keys"
"#;

pub(super) fn launch(name: Name, site: &Site<'_>) -> Fallible<Launch> {
    let access = site.directory.join("access.log");
    let configuration = site.directory.join("tollgate.toml");
    let text = format!(
        "[listen]\naddress = \"{}\"\n\n[upstream]\naddress = \"{}\"\n\n[log]\naccess = \"{}\"\n{LIMITS}",
        site.listen,
        site.origin,
        access.display()
    );
    let tls = format!(
        "[listen.tls]\naddress = \"{}\"\ncertificate = \"{}\"\nprivate_key = \"{}\"\n",
        site.listen_tls,
        site.certificate.chain.display(),
        site.certificate.key.display()
    );
    // It takes no part over TLS, and may not know it.
    let tls = if name == Name::Baseline { String::new() } else { tls };
    let per = match name {
        Name::Emf => Some("request"),
        Name::EmfInterval => Some("10s"),
        _ => None,
    };
    let emf = per.map(|per| {
        let lines = site.directory.join("emf.log");
        format!("\n[emf]\nsink = \"file:{}\"\nper = \"{per}\"\n", lines.display())
    });
    fs::write(&configuration, text + &tls + &emf.unwrap_or_default()).map_err(io(configuration.display()))?;
    let this = || PathBuf::from(env!("CARGO_BIN_EXE_tollgate"));
    let program = if name == Name::Baseline { baseline().unwrap_or_else(this) } else { this() };
    let mut command = Command::new(program);
    command.args(["run", "--workers", "1", "--config"]);
    command.arg(configuration);
    Ok(Launch { command, lines: Lines::File(access) })
}
