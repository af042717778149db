//! The command line: one file a subcommand, and the exit codes they share.
//!
//! Invariant: what is asked for goes to standard output, what went wrong to standard error, and a
//! reader that left early (`tollgate man | head`) is nobody's error.

mod check;
mod cloudwatch;
mod columns;
mod doctor;
mod explain;
mod explain_live;
mod init;
mod keys;
mod limits;
mod live;
mod load;
mod man;
mod options;
mod reload;
mod run;
mod steps;
mod terminal;
mod top;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use options::{Cli, Command};

/// Wrong use of the command line.
const USAGE: u8 = 2;
/// Wrong configuration, `EX_CONFIG` of sysexits.h.
const CONFIGURATION: u8 = 78;

/// Does what the arguments say; the first is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap as well, with exit code 0; a closed pipe is fine.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Reload(arguments) => reload::reload(&arguments),
        Command::Explain(arguments) if arguments.live => explain_live::explain_live(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Keys(command) => keys::keys(&command),
        Command::Limits(arguments) => limits::limits(&arguments),
        Command::Block(arguments) => limits::block(&arguments),
        Command::Unblock(arguments) => limits::unblock(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Cloudwatch(command) => cloudwatch::cloudwatch(&command),
        Command::Check(arguments) => check::check(&arguments),
        Command::Init(arguments) => init::init(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut script);
            terminal::to_stdout(&script)
        }
        Command::Man => man::man(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_use_is_told_from_success() {
        let code = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            format!("{:?}", main(arguments))
        };
        assert_eq!(code(&["tollgate", "--version"]), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(&["tollgate", "rnu"]), format!("{:?}", ExitCode::from(USAGE)));
        assert_eq!(code(&["tollgate"]), format!("{:?}", ExitCode::from(USAGE)));
        assert_eq!(code(&["tollgate", "run"]), format!("{:?}", ExitCode::from(USAGE)));
    }
}
