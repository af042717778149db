//! The arguments of every subcommand.

pub(super) mod live;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;

use crate::config::Overrides;

const EXIT_CODES: &str = "Exit codes:
  0   done; for `run`: every exchange finished before the end
  1   could not start, or the drain ran out of time; a running tollgate or AWS could not be asked, or said no;
      `doctor` found a problem; `init` wrote nothing
  2   wrong use of the command line
  78  wrong configuration, or a file that cannot be read";

/// A sidecar in front of a Gunicorn app
///
/// nginx or a load balancer sends requests to tollgate, tollgate sends them to Gunicorn: checked,
/// numbered, recorded, and answered clearly when the app cannot.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve until SIGTERM or SIGINT
    ///
    /// No file is looked for: what is not given by `--config` or the other options has its default.
    Run(Run),
    /// Have a running tollgate read its configuration again, and wait for the outcome
    ///
    /// Tells what has changed. Exits with 78 and all problems if the file is refused; then nothing was changed.
    Reload(live::Reload),
    /// Tell every problem of configuration files, by the code that `run` starts with
    ///
    /// Nothing is opened or bound; with `--files` the files it names are read. Exits with 78 if any file is wrong; warnings do not count.
    Check(Check),
    /// Write a configuration for the Gunicorn that runs here
    ///
    /// Looks at its processes and at nothing else, asks nothing, and writes tollgate.toml, a snippet for nginx and a
    /// drop-in for tollgate.service, each with where its values come from. Nothing is overwritten: if one of the files
    /// is there already none is written, and the exit code is 1.
    Init(Init),
    /// Tell what would happen to a request: its route, its caller, its limits, its answer
    ///
    /// Told for a tollgate that has just started: every bucket is full. With `--live` told by the running one, with
    /// what each bucket holds.
    Explain(Explain),
    /// Look whether a configuration fits this host, its Gunicorn and what runs here
    ///
    /// A line for each thing: ok, warning, problem, or not seen, with what to do. Nothing is changed. Exits with 1 if
    /// there is a problem.
    Doctor(Doctor),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Tell how limits stand at a running tollgate; reset and lift them
    Limits(live::Limits),
    /// Refuse everything a caller asks a running tollgate for, for a while
    Block(live::Block),
    /// End a block before its time
    Unblock(live::Unblock),
    /// Watch a running tollgate in the terminal
    ///
    /// Rates by second, latencies, limits, callers and refusals. q quits, Tab and the arrows go through the panels,
    /// p pauses. Writes one state and ends if standard output is no terminal.
    Top(live::Top),
    /// Set CloudWatch up for what a configuration sends, and find where metrics get lost
    #[command(subcommand)]
    Cloudwatch(Cloudwatch),
    /// Write a completion script to standard output
    Completions {
        /// The shell it is for
        shell: Shell,
    },
    /// Write the manual page to standard output
    Man,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Configuration file; its values give way to the options below
    ///
    /// May be repeated: later files win key by key.
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) overrides: Overriding,
    /// Worker threads; by default one a core
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    pub(super) workers: Option<u16>,
    /// Take over from the tollgate that runs with this process id, and have it end when this one is ready
    ///
    /// Both serve the same addresses for a moment, and no request fails. What was spent of limits goes over by
    /// `[store] snapshot`.
    #[arg(long, value_name = "PID", value_parser = value_parser!(i32).range(1..))]
    pub(super) replaces: Option<i32>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Configuration files, each of them a whole
    #[arg(required_unless_present = "config", conflicts_with = "config", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Configuration file; repeated, the files are one configuration, in which later ones win key by key
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Vec<PathBuf>,
    /// Write the resolved configuration to standard output, each value with where it comes from
    ///
    /// The output is a configuration file itself. Takes one configuration.
    #[arg(long)]
    pub(super) print: bool,
    /// Also read the certificates, private keys and keys file that are named, as `run` will
    #[arg(long = "files")]
    pub(super) named_files: bool,
    #[command(flatten)]
    pub(super) overrides: Overriding,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write
    #[arg(default_value = ".", value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Process id of the Gunicorn, if several run; by default the lowest
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Where the kernel tells of processes; in a container that sees its host's, where that is mounted
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    pub(super) proc: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Configuration file; repeated, later files win key by key
    #[arg(long, short, value_name = "FILE", required = true)]
    pub(super) config: Vec<PathBuf>,
    /// The systemd service that runs tollgate
    #[arg(long, value_name = "NAME", default_value = "tollgate.service")]
    pub(super) unit: String,
    /// Where the kernel tells of processes; in a container that sees its host's, where that is mounted
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    pub(super) proc: PathBuf,
    /// Write what was found as a JSON list
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a random key, print it once, and write its digest into the keys file
    Add(AddKey),
    /// Show whose the keys are
    List(ListKeys),
    /// Remove a key, or all keys of a user
    Revoke(RevokeKey),
}

#[derive(Debug, Args)]
pub(super) struct AddKey {
    /// The keys file; made with mode 0600 if it is not there
    #[arg(long, value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Who holds the key
    #[arg(long, value_name = "NAME")]
    pub(super) user: String,
    /// The tier of limits the user has
    #[arg(long, value_name = "NAME")]
    pub(super) tier: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// The last day in UTC, 2027-01-31, or a time, 2027-01-31T12:00:00Z
    #[arg(long, value_name = "DATE")]
    pub(super) expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListKeys {
    /// The keys file
    #[arg(long, value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Write a JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RevokeKey {
    /// The keys file
    #[arg(long, value_name = "FILE")]
    pub(super) file: PathBuf,
    /// First digits of the key's digest, as `list` shows them; at least 8
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    pub(super) digits: Option<String>,
    /// All keys of this user
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Method and path, "POST /api/v1/query"; a path alone is a GET
    pub(super) request: String,
    /// Configuration file; with `--live` the one whose `[admin]` says where to ask
    ///
    /// May be repeated: later files win key by key.
    #[arg(long, short, value_name = "FILE", required_unless_present = "live", conflicts_with = "admin")]
    pub(super) config: Vec<PathBuf>,
    /// Ask the running tollgate, which answers with the levels of this moment
    #[arg(long, conflicts_with_all = ["listen", "upstream"])]
    pub(super) live: bool,
    #[command(flatten)]
    pub(super) asking: live::Asking,
    /// Address of the client, behind all trusted proxies
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<IpAddr>,
    /// User, whatever the credentials among the fields say
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Tier of the user
    #[arg(long, value_name = "NAME")]
    pub(super) tier: Option<String>,
    /// Field of the request, "X-Tenant: 7"; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub(super) headers: Vec<String>,
    #[command(flatten)]
    pub(super) overrides: Overriding,
}

#[derive(Debug, Subcommand)]
pub(super) enum Cloudwatch {
    /// Show dashboard and alarms for exactly the metrics that a configuration sends
    ///
    /// As text it tells the difference to what is in CloudWatch. Nothing is changed.
    Plan(PlanCloudwatch),
    /// Make dashboard and alarms as `plan` shows them
    ///
    /// Shows the difference first and asks. What is as it should be is left alone.
    Apply(ApplyCloudwatch),
    /// Walk the way a metric takes to CloudWatch, and tell where it ends
    ///
    /// Nothing is changed and no line is sent. Exits with 1 if a step failed or is not allowed.
    Doctor(DoctorCloudwatch),
}

#[derive(Debug, Args)]
pub(super) struct PlanCloudwatch {
    /// Configuration file; repeated, later files win key by key
    #[arg(long, short, value_name = "FILE", required = true)]
    pub(super) config: Vec<PathBuf>,
    /// Text for people, bodies of the API as JSON, or a CloudFormation template as JSON
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub(super) format: PlanFormat,
    /// Do not ask AWS: compare with nothing
    #[arg(long)]
    pub(super) offline: bool,
}

/// What `cloudwatch plan` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    Text,
    Json,
    Cloudformation,
}

#[derive(Debug, Args)]
pub(super) struct ApplyCloudwatch {
    /// Configuration file; repeated, later files win key by key
    #[arg(long, short, value_name = "FILE", required = true)]
    pub(super) config: Vec<PathBuf>,
    /// Do not ask before changing something
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Delete alarms that an earlier `apply` made for this service and that are no longer wanted
    #[arg(long)]
    pub(super) prune: bool,
}

#[derive(Debug, Args)]
pub(super) struct DoctorCloudwatch {
    /// Configuration file; repeated, later files win key by key
    #[arg(long, short, value_name = "FILE", required = true)]
    pub(super) config: Vec<PathBuf>,
    /// Configuration of the CloudWatch agent, if it is not where the agent's package puts it
    #[arg(long, value_name = "FILE")]
    pub(super) agent_config: Option<PathBuf>,
    /// Log group that lines end in, if neither configuration names it
    #[arg(long, value_name = "NAME")]
    pub(super) log_group: Option<String>,
    /// How far to look back, `15m`; at least 1m
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(super) since: String,
    /// Write the steps as a JSON list
    #[arg(long)]
    pub(super) json: bool,
}

/// What goes before the file.
#[derive(Debug, Args)]
pub(super) struct Overriding {
    /// Address to listen on, `127.0.0.1:8080` or `unix:/path`; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Address of the app, `127.0.0.1:8000` or `unix:/path`
    #[arg(long, value_name = "ADDRESS")]
    upstream: Option<String>,
}

impl Overriding {
    pub(super) fn upstream_is_given(&self) -> bool {
        self.upstream.is_some()
    }

    pub(super) fn to_overrides(&self) -> Overrides {
        Overrides { listen: self.listen.clone(), upstream: self.upstream.clone() }
    }
}
