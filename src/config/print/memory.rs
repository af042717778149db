//! What memory a configuration takes at worst, as comments: each part with the key that lowers it.

use std::fmt::Write as _;

use super::super::model::Model;
use super::super::model::memory::worst_case;

pub(super) fn print(out: &mut String, model: &Model) {
    let parts = worst_case(model);
    let total: u64 = parts.iter().map(|part| part.bytes).sum();
    let _ = writeln!(out, "\n# Memory at worst, when every client and the app are as bad as they can be:");
    for part in parts {
        let _ = writeln!(out, "#   {:>9}  {}", rounded(part.bytes), part.what);
    }
    let _ = writeln!(out, "#   {:>9}  in all", rounded(total));
}

/// With a digit behind the point, rounded up, in a unit that leaves few digits before it.
fn rounded(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(*unit));
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_a_tenth() {
        let told: Vec<String> = [0, 1023, 1024, 1025, 2 << 20, (6 << 30) + 1].map(rounded).into();
        assert_eq!(told, ["0B", "1023B", "1.0KiB", "1.1KiB", "2.0MiB", "6.1GiB"]);
    }

    #[test]
    fn every_part_has_its_line_and_the_sum_stands_below() {
        let text = "upstream.address = \"app:80\"";
        let loaded = crate::config::load(text, "f", &|_| None, &crate::config::Overrides::default()).unwrap();
        let printed = crate::config::print(&loaded);
        let lines: Vec<&str> = printed.lines().rev().take(8).collect();
        assert!(lines.iter().all(|line| line.starts_with("#   ")), "{printed}");
        assert!(lines[0].ends_with("iB  in all"), "{printed}");
        assert!(printed.contains(" 256.0MiB  bodies"), "{printed}");
    }
}
