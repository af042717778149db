//! The systemd service, as systemctl tells of it.

use super::program;
use super::{Findings, Subject};

/// What is seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether systemctl answered.
    is_seen: bool,
    load: String,
    active: String,
    file: String,
    kind: String,
    /// `None` also for one without a bound.
    pub(super) descriptors: Option<u64>,
}

/// Asks systemctl for a unit.
pub(super) fn look(unit: &str) -> Seen {
    let properties = "--property=LoadState,ActiveState,UnitFileState,Type,LimitNOFILE";
    let arguments = vec!["show".to_owned(), properties.to_owned(), "--".to_owned(), unit.to_owned()];
    program::run_with("systemctl", arguments).map(|text| parse(&text)).unwrap_or_default()
}

fn parse(text: &str) -> Seen {
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let load = value("LoadState");
    let is_loaded = load == "loaded";
    Seen {
        is_seen: !load.is_empty(),
        active: value("ActiveState"),
        file: value("UnitFileState"),
        kind: value("Type"),
        descriptors: value("LimitNOFILE").parse().ok().filter(|_| is_loaded),
        load,
    }
}

/// Whether the service is installed, is started at boot, and tells systemd when it is ready.
pub(super) fn service(subject: &Subject<'_>, findings: &mut Findings) {
    let (seen, unit) = (&subject.service, &subject.options.unit);
    if !seen.is_seen {
        return findings.not_seen("systemd does not run here, or systemctl does not answer");
    }
    if seen.load != "loaded" {
        let help = "install the unit, or name another with `--unit`";
        return findings.warning(format!("{unit} is not installed: {}", seen.load), help);
    }
    let before = findings.all.len();
    if !matches!(seen.file.as_str(), "enabled" | "enabled-runtime" | "static" | "indirect" | "generated") {
        findings.warning(
            format!(
                "{unit} is {}: it is not started at boot",
                if seen.file.is_empty() { "not enabled" } else { &seen.file }
            ),
            format!("`systemctl enable {unit}`"),
        );
    }
    if !seen.kind.starts_with("notify") {
        findings.warning(
            format!("{unit} has `Type={}`: systemd does not learn when tollgate is ready", seen.kind),
            "set `Type=notify-reload`, or `Type=notify` before systemd 253",
        );
    }
    if seen.active == "failed" {
        findings.problem(format!("{unit} has failed"), format!("`journalctl -u {unit}` tells why"));
    }
    if findings.all.len() == before {
        findings.ok(format!("{unit} is installed, {}, `Type={}`, and {}", seen.file, seen.kind, seen.active));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_says_is_read() {
        let seen = parse(
            "Type=notify\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nLimitNOFILE=65536\n",
        );
        assert_eq!((seen.is_seen, seen.descriptors, &*seen.kind), (true, Some(65_536), "notify"));
        let missing = parse("LoadState=not-found\nLimitNOFILE=524288\n");
        assert_eq!(
            (missing.is_seen, missing.descriptors),
            (true, None),
            "of a unit that is not there nothing counts"
        );
        assert_eq!(parse("LoadState=loaded\nLimitNOFILE=infinity\n").descriptors, None);
        assert!(!parse("").is_seen);
    }
}
