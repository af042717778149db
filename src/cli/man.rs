//! `tollgate man`: one manual page with the subcommands in it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::options::Cli;
use super::terminal;

const ENVIRONMENT: &str = ".SH ENVIRONMENT
.TP
\\fBNO_COLOR\\fR
When set, messages have no color.
.TP
\\fBCLICOLOR_FORCE\\fR
When set, messages have color even if standard error is no terminal.
.TP
\\fBTOLLGATE_ADMIN_TOKEN\\fR
The token of the admin listener, for the commands that ask a running tollgate.
.PP
A configuration file can take values from other variables, ${NAME} or ${NAME:\\-default}.
";

/// Writes the page.
pub(super) fn man() -> ExitCode {
    let mut page = Vec::new();
    match render(&mut page) {
        Ok(()) => terminal::to_stdout(&page),
        Err(error) => {
            terminal::fail(&format!("cannot render the manual page: {error}"), "");
            ExitCode::FAILURE
        }
    }
}

/// Every subcommand and those below it, in order.
fn leaves(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    below.flat_map(|sub| std::iter::once(sub).chain(leaves(sub))).collect()
}

fn render(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    for subcommand in leaves(&command) {
        let name = subcommand.get_bin_name().unwrap_or(subcommand.get_name()).to_uppercase();
        writeln!(page, ".SH \"{name}\"")?;
        let man = Man::new(subcommand.clone());
        let mut sections = Vec::new();
        man.render_synopsis_section(&mut sections)?;
        man.render_description_section(&mut sections)?;
        if subcommand.get_arguments().next().is_some() {
            man.render_options_section(&mut sections)?;
        }
        for line in String::from_utf8_lossy(&sections).lines() {
            let line = match line.strip_prefix(".SH ") {
                Some(title) => format!(".SS {title}"),
                None => line.to_owned(),
            };
            writeln!(page, "{line}")?;
        }
    }
    page.write_all(ENVIRONMENT.as_bytes())?;
    man.render_extra_section(page)
}
