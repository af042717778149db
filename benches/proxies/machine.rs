//! The machine: which cores are used, what the report says about it, whether tools are there.

use std::fs;
use std::process::{Command, Stdio};

use crate::plan::{Name, baseline};
use crate::trouble::{Fallible, Trouble, io};

/// A load average above this means that others use the two cores.
const BUSY_LOAD: f64 = 1.0;

/// One core for the proxy, one for load and origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
    /// Both are threads of one physical core, which disturbs every figure.
    pub(crate) siblings: bool,
}

impl Cores {
    /// The first core this process may use, and one that does not share its hardware if there is.
    pub(crate) fn choose() -> Fallible<Self> {
        let allowed = allowed_cores()?;
        let [proxy, others @ ..] = allowed.as_slice() else {
            return Err(Trouble::new("no core to run on"));
        };
        let siblings = siblings_of(*proxy);
        let apart = others.iter().find(|core| !siblings.contains(core));
        match (apart, others.first()) {
            (Some(load), _) => Ok(Self { proxy: *proxy, load: *load, siblings: false }),
            (None, Some(load)) => Ok(Self { proxy: *proxy, load: *load, siblings: true }),
            (None, None) => Err(Trouble::new("one core is not enough: the proxy and the load need one each")),
        }
    }

    /// Moves this process, and what it will start, to the load core.
    pub(crate) fn pin_load(self) -> Fallible<()> {
        let output = Command::new("taskset")
            .args(["-a", "-c", "-p", &self.load.to_string()])
            .arg(std::process::id().to_string())
            .stdout(Stdio::null())
            .output()
            .map_err(io("cannot run `taskset`"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Trouble::new(format!("`taskset` failed: {}", text.trim())))
    }
}

/// An error that names every missing program and the package it comes from.
pub(crate) fn check_tools(contenders: &[Name], traces: bool) -> Fallible<()> {
    let tools = [
        ("nginx", "nginx", contenders.contains(&Name::Nginx)),
        ("haproxy", "haproxy", contenders.contains(&Name::Haproxy)),
        ("strace", "strace", traces),
        ("taskset", "util-linux", true),
        ("setpriv", "util-linux", true),
        ("kill", "procps", true),
    ];
    let missing: Vec<String> = tools
        .iter()
        .filter(|(program, _, needed)| *needed && !is_there(program))
        .map(|(program, package, _)| format!("`{program}` (package `{package}`)"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Trouble::new(format!("missing: {}; `make bench` installs them", missing.join(", "))))
}

/// An error when so many sockets cannot be open at once.
pub(crate) fn check_open_files(needed: u64) -> Fallible<()> {
    let limits = fs::read_to_string("/proc/self/limits").map_err(io("/proc/self/limits"))?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|columns| columns.split_ascii_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(u64::MAX);
    if soft >= needed {
        return Ok(());
    }
    Err(Trouble::new(format!(
        "{needed} open files are needed, {soft} are allowed; raise it with `ulimit -n {needed}`"
    )))
}

/// Lines for the head of the report.
pub(crate) fn describe(cores: Cores, contenders: &[Name]) -> Vec<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let count = processor.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut lines = vec![
        format!("machine: {count} cores, {model}, Linux {}", kernel.trim()),
        format!("cores: proxy on {}, load and origin on {}", cores.proxy, cores.load),
        format!("load average before: {}", load.split(' ').next().unwrap_or("?")),
    ];
    let load: f64 = load.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
    if load > BUSY_LOAD {
        lines.push("the machine is busy with something else: do not quote these figures".to_owned());
    }
    if cores.siblings {
        lines.push("the two cores are threads of one physical core: expect noise".to_owned());
    }
    for contender in contenders {
        if let Some(version) = version(*contender) {
            lines.push(version);
        }
    }
    lines
}

fn version(contender: Name) -> Option<String> {
    let (program, flag) = match contender {
        Name::Direct => return None,
        Name::Nginx => ("nginx", "-v"),
        Name::Haproxy => ("haproxy", "-v"),
        Name::Emf | Name::EmfInterval => return None,
        Name::Baseline => return baseline().map(|path| format!("baseline {}", path.display())),
        Name::Tollgate => (env!("CARGO_BIN_EXE_tollgate"), "--version"),
    };
    let output = Command::new(program).arg(flag).output().ok()?;
    let printed = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&printed);
    Some(text.lines().next()?.to_owned())
}

fn is_there(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn allowed_cores() -> Fallible<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").map_err(io("/proc/self/status"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    Ok(cores_of(list))
}

fn siblings_of(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    cores_of(&fs::read_to_string(path).unwrap_or_default())
}

/// `0-3,8` as numbers.
fn cores_of(list: &str) -> Vec<usize> {
    list.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        })
        .flatten()
        .collect()
}
