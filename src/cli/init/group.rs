//! Who may connect to a Unix socket.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Of a socket, what matters to somebody who wants to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    /// The group's name, or its number where it has none here.
    pub(super) group: String,
    /// Whether the group is root's.
    pub(super) is_root: bool,
    /// Whether the group may connect.
    pub(super) by_group: bool,
    /// Whether anybody may.
    pub(super) by_all: bool,
}

/// Of the socket with this path; `None` if it cannot be looked at.
pub(super) fn of(path: &Path) -> Option<Access> {
    let metadata = fs::metadata(path).ok()?;
    let (gid, mode) = (metadata.gid(), metadata.permissions().mode());
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let group = name_of(&groups, gid).unwrap_or_else(|| gid.to_string());
    Some(Access { group, is_root: gid == 0, by_group: mode & 0o020 != 0, by_all: mode & 0o002 != 0 })
}

fn name_of(groups: &str, gid: u32) -> Option<String> {
    let name = |line: &str| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(gid)).then(|| name.to_owned())
    };
    groups.lines().find_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_by_the_file() {
        let groups = "root:x:0:\nwww-data:x:33:nginx,app\nbroken\n";
        assert_eq!(name_of(groups, 33).as_deref(), Some("www-data"));
        assert_eq!(name_of(groups, 34), None);
    }
}
