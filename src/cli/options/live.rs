//! The arguments of what asks a running tollgate.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::units::parse_duration;

/// How the running tollgate is reached.
#[derive(Debug, Args)]
pub(in crate::cli) struct Asking {
    /// Address of the admin listener, `127.0.0.1:9180` or `unix:/path`
    ///
    /// By default the first address of `[admin]` in the files of `--config`, without one 127.0.0.1:9180.
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) admin: Option<String>,
    /// File that holds the admin listener's token; goes before the variable TOLLGATE_ADMIN_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
}

/// [`Asking`], and the file that says where.
#[derive(Debug, Args)]
pub(in crate::cli) struct AskingByFile {
    /// Configuration file whose `[admin]` says where to ask, and by what token; given again, later files win
    #[arg(long, short, value_name = "FILE", conflicts_with = "admin")]
    pub(in crate::cli) config: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) asking: Asking,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Reload {
    #[command(flatten)]
    pub(in crate::cli) by_file: AskingByFile,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Limits {
    #[command(subcommand)]
    pub(in crate::cli) change: Option<ChangeLimit>,
    #[command(flatten)]
    pub(in crate::cli) list: ListLimits,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListLimits {
    /// Show this limit alone, with all of its fullest keys
    pub(in crate::cli) name: Option<String>,
    /// Write a JSON object a line
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) by_file: AskingByFile,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ChangeLimit {
    /// Forget what was spent of a limit, by one caller or by all
    Reset {
        /// The limit's name
        name: String,
        #[command(flatten)]
        caller: CallerIfAny,
        #[command(flatten)]
        by_file: AskingByFile,
    },
    /// Let requests pass a limit for a while, of one caller or of all
    Lift {
        /// The limit's name
        name: String,
        #[command(flatten)]
        caller: CallerIfAny,
        /// How long, `90s`, `10m`, `2h`
        #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds)]
        seconds: u64,
        #[command(flatten)]
        by_file: AskingByFile,
    },
    /// End a lift before its time
    Unlift {
        /// The limit's name
        name: String,
        #[command(flatten)]
        caller: CallerIfAny,
        #[command(flatten)]
        by_file: AskingByFile,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Block {
    #[command(flatten)]
    pub(in crate::cli) caller: Caller,
    /// How long, `90s`, `10m`, `2h`
    #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds)]
    pub(in crate::cli) seconds: u64,
    #[command(flatten)]
    pub(in crate::cli) by_file: AskingByFile,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Unblock {
    #[command(flatten)]
    pub(in crate::cli) caller: Caller,
    #[command(flatten)]
    pub(in crate::cli) by_file: AskingByFile,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Top {
    #[command(flatten)]
    pub(in crate::cli) by_file: AskingByFile,
}

/// One caller.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Caller {
    /// The caller with this user name
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user: Option<String>,
    /// The caller with this address
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) address: Option<IpAddr>,
}

/// One caller, or all of them.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(in crate::cli) struct CallerIfAny {
    /// For the caller with this user name alone
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user: Option<String>,
    /// For the caller with this address alone
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) address: Option<IpAddr>,
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    let duration = parse_duration(text).map_err(|error| format!("it {}; {}", error.fault, error.help))?;
    if duration < Duration::from_secs(1) || duration.subsec_nanos() != 0 {
        return Err("write whole seconds, for example `10m`".to_owned());
    }
    Ok(duration.as_secs())
}
