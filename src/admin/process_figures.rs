//! What the kernel says of this process. A figure it does not tell is 0.

use std::fs;

/// Clock ticks a second, as Linux tells them to programs on every architecture tollgate runs on.
const TICKS_A_SECOND: u64 = 100;
const NANOS_PER_TICK: u64 = 1_000_000_000 / TICKS_A_SECOND;

/// What the kernel says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ProcessFigures {
    /// Resident memory.
    pub(super) resident_bytes: u64,
    /// Processor time of all threads.
    pub(super) cpu_nanos: u64,
    /// Open descriptors.
    pub(super) open_files: u64,
    /// The most that may be open.
    pub(super) max_open_files: u64,
    /// Threads.
    pub(super) threads: u64,
}

impl ProcessFigures {
    /// Reads them.
    pub(super) fn read() -> ProcessFigures {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        // The descriptor of the directory itself is gone again.
        let open_files =
            fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64).saturating_sub(1);
        let status = text("status");
        ProcessFigures {
            resident_bytes: number_after(&status, "VmRSS:").saturating_mul(1024),
            cpu_nanos: cpu_ticks(&text("stat")).saturating_mul(NANOS_PER_TICK),
            open_files,
            max_open_files: number_after(&text("limits"), "Max open files"),
            threads: number_after(&status, "Threads:"),
        }
    }
}

fn number_after(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time. The name, in parentheses before them, may hold anything.
fn cpu_ticks(stat: &str) -> u64 {
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_this_process_s() {
        let figures = ProcessFigures::read();
        assert!(figures.resident_bytes > 1 << 20, "{figures:?}");
        assert!(figures.threads >= 1 && figures.open_files >= 3, "{figures:?}");
        assert!(figures.max_open_files >= figures.open_files, "{figures:?}");
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(ProcessFigures::read().open_files > 0);
        drop(file);
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_confuses_nothing() {
        let stat = "7 (a) 1 2 (b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), 300);
        assert_eq!(cpu_ticks(""), 0);
        assert_eq!(
            number_after("Max open files            1024                 4096   files\n", "Max open files"),
            1024
        );
        assert_eq!(
            number_after("Max open files            unlimited  unlimited files\n", "Max open files"),
            0
        );
    }
}
