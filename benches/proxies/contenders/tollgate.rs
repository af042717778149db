//! tollgate, configured for the work of the benchmark.

use std::fs;
use std::process::Command;

use crate::trouble::{Fallible, io};

use super::{Launch, Lines, Site};

/// What the comparison has to say about tollgate's share of the work.
pub(crate) const CAVEAT: &str = "\
tollgate has no limits yet: nginx and HAProxy keep a count for each X-API-Key, tollgate only passes \
the field on";

pub(super) fn launch(site: &Site<'_>) -> Fallible<Launch> {
    let access = site.directory.join("access.log");
    let configuration = site.directory.join("tollgate.toml");
    let text = format!(
        "[listen]\naddress = \"{}\"\n\n[upstream]\naddress = \"{}\"\n\n[log]\naccess = \"{}\"\n",
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
