//! tollgate, configured for the work of the benchmark.

use std::fs;
use std::process::Command;

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

pub(super) fn launch(site: &Site<'_>) -> Fallible<Launch> {
    let access = site.directory.join("access.log");
    let configuration = site.directory.join("tollgate.toml");
    let text = format!(
        "[listen]\naddress = \"{}\"\n\n[upstream]\naddress = \"{}\"\n\n[log]\naccess = \"{}\"\n{LIMITS}",
        site.listen,
        site.origin,
        access.display()
    );
    fs::write(&configuration, text).map_err(io(configuration.display()))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["run", "--workers", "1", "--config"]);
    command.arg(configuration);
    Ok(Launch { command, lines: Lines::File(access) })
}
