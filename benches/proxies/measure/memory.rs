//! Resident memory of all processes of a proxy.
//!
//! The proportional set size: pages shared by several processes are divided among them, so master
//! and worker of nginx are not counted twice. Socket buffers belong to the kernel and are in none
//! of the figures.

use std::fs;

use crate::trouble::{Fallible, Trouble, io};

/// Bytes of the processes' proportional set size.
pub(crate) fn proportional_bytes(processes: &[u32]) -> Fallible<u64> {
    let mut bytes = 0;
    for process in processes {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(io(&path))?;
        bytes += field_kib(&text, "Pss:").ok_or_else(|| Trouble::new(format!("{path} has no `Pss`")))? * 1024;
    }
    Ok(bytes)
}

fn field_kib(smaps: &str, name: &str) -> Option<u64> {
    let line = smaps.lines().find(|line| line.starts_with(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
