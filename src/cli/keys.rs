//! `tollgate keys`: makes, lists and revokes the keys of a keys file.
//!
//! Invariant: a key is shown once, when it is made, and stored nowhere. A file is replaced as a whole or not at
//! all, what is not about the key stays byte for byte, and two of these at once lose nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::keys::{self, LoadedKeys, MAX_NOTE};
use crate::config::{is_name, keys::parse_expiry};
use crate::daemon::keys_file::{self, KeysFileError};
use crate::identity::{Holder, KeyDigest, Keys};

use super::options::{AddKey, Keys as Command, ListKeys, RevokeKey};
use super::{CONFIGURATION, USAGE, terminal};

/// Digits of a digest that are shown, and enough to tell any keys apart.
const SHOWN_DIGITS: usize = 12;
const LEAST_DIGITS: usize = 8;

/// What ends a command: a message, a help, and the exit code.
type Failure = (String, String, u8);

/// Does what is asked.
pub(super) fn keys(command: &Command) -> ExitCode {
    let done = match command {
        Command::Add(arguments) => add(arguments),
        Command::List(arguments) => list(arguments),
        Command::Revoke(arguments) => revoke(arguments),
    };
    match done {
        Ok(code) => code,
        Err((message, help, code)) => {
            terminal::fail(&message, &help);
            ExitCode::from(code)
        }
    }
}

fn add(arguments: &AddKey) -> Result<ExitCode, Failure> {
    let holder = holder(arguments)?;
    let key = new_key().map_err(|error| failure(format!("there is no randomness: {error}")))?;
    let digest = KeyDigest::of(key.as_bytes());
    let mut file = Edited::open(&arguments.file, true)?;
    file.text = keys::with_entry(&file.text, &digest, &holder);
    let expected = file.loaded.keys.len() + 1;
    file.replace(expected)?;
    terminal::to_stderr("This key is shown only now. A running tollgate knows it after a reload (SIGHUP).\n");
    Ok(terminal::to_stdout(format!("{key}\n").as_bytes()))
}

fn holder(arguments: &AddKey) -> Result<Holder, Failure> {
    let usage = |message: String, help: &str| (message, help.to_owned(), USAGE);
    let expires_unix_seconds = match &arguments.expires {
        None => None,
        Some(text) => Some(parse_expiry(text).ok_or_else(|| {
            let help = "write a date, `2027-01-31`, or a time, `2027-01-31T12:00:00Z`";
            usage(format!("`{text}` is neither a date nor a time"), help)
        })?),
    };
    if expires_unix_seconds.is_some_and(|end| end <= unix_seconds()) {
        return Err(usage("the key would have expired already".to_owned(), "give a date in the future"));
    }
    if let Some(tier) = arguments.tier.as_ref().filter(|tier| !is_name(tier)) {
        let help = "use 1 to 64 of letters, digits, `_`, `.` and `-`";
        return Err(usage(format!("`{tier}` is not the name of a tier"), help));
    }
    if !(1..=256).contains(&arguments.user.len()) {
        return Err(usage("the user must be 1 to 256 bytes".to_owned(), "name who holds the key"));
    }
    if arguments.note.as_ref().is_some_and(|note| note.len() > MAX_NOTE) {
        return Err(usage(format!("the note must be at most {MAX_NOTE} bytes"), "keep it short"));
    }
    Ok(Holder {
        user: arguments.user.as_str().into(),
        tier: arguments.tier.as_deref().map(Arc::from),
        note: arguments.note.clone(),
        expires_unix_seconds,
    })
}

fn list(arguments: &ListKeys) -> Result<ExitCode, Failure> {
    let loaded = load(&arguments.file)?;
    let now = unix_seconds();
    if arguments.json {
        let lines = loaded.keys.iter().map(|(digest, holder)| json_line(digest, holder, now));
        return Ok(terminal::to_stdout(lines.collect::<String>().as_bytes()));
    }
    let mut rows = vec![["key", "user", "tier", "expires", "note"].map(str::to_owned)];
    for (digest, holder) in loaded.keys.iter() {
        let expires = holder.expires_unix_seconds.map_or_else(String::new, |end| {
            let time = keys::expiry_text(end);
            if end <= now { format!("{time} (expired)") } else { time }
        });
        rows.push([
            digest.to_hex()[..SHOWN_DIGITS].to_owned(),
            holder.user.escape_debug().to_string(),
            holder.tier.as_deref().unwrap_or_default().to_owned(),
            expires,
            holder.note.as_deref().unwrap_or_default().escape_debug().to_string(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    Ok(terminal::to_stdout(text.as_bytes()))
}

fn json_line(digest: &KeyDigest, holder: &Holder, now: u64) -> String {
    let shown = &digest.to_hex()[..SHOWN_DIGITS];
    let mut line = format!("{{\"key\":\"{shown}\",\"user\":{}", json_text(&holder.user));
    let expires = holder.expires_unix_seconds.map(keys::expiry_text);
    for (name, value) in
        [("tier", holder.tier.as_deref()), ("expires", expires.as_deref()), ("note", holder.note.as_deref())]
    {
        if let Some(value) = value {
            line.push_str(&format!(",\"{name}\":{}", json_text(value)));
        }
    }
    let is_expired = holder.expires_unix_seconds.is_some_and(|end| end <= now);
    line.push_str(&format!(",\"expired\":{is_expired}}}\n"));
    line
}

fn json_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for found in text.chars() {
        match found {
            '"' | '\\' => quoted.extend(['\\', found]),
            _ if found.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(found))),
            _ => quoted.push(found),
        }
    }
    quoted.push('"');
    quoted
}

fn revoke(arguments: &RevokeKey) -> Result<ExitCode, Failure> {
    let mut file = Edited::open(&arguments.file, false)?;
    let gone = to_revoke(&file.loaded.keys, arguments)?;
    file.text = keys::without_entries(&file.text, &file.loaded.headers, &gone).ok_or_else(|| {
        let help = "this file lists its keys in another way than `[[keys]]`: remove it by hand".to_owned();
        ("the key cannot be removed".to_owned(), help, CONFIGURATION)
    })?;
    let expected = file.loaded.keys.len() - gone.len();
    file.replace(expected)?;
    let noun = if gone.len() == 1 { "key" } else { "keys" };
    let text =
        format!("{} {noun} revoked; a running tollgate forgets it after a reload (SIGHUP)\n", gone.len());
    Ok(terminal::to_stdout(text.as_bytes()))
}

fn to_revoke(keys: &Keys, arguments: &RevokeKey) -> Result<Vec<KeyDigest>, Failure> {
    let digests = |matches: &dyn Fn(&KeyDigest, &Holder) -> bool| {
        let found = keys.iter().filter(|(digest, holder)| matches(digest, holder));
        found.map(|(digest, _)| *digest).collect::<Vec<_>>()
    };
    let help = "`tollgate keys list` shows them".to_owned();
    if let Some(user) = &arguments.user {
        let found = digests(&|_, holder| *holder.user == **user);
        return if found.is_empty() { Err((format!("`{user}` has no key"), help, USAGE)) } else { Ok(found) };
    }
    let digits = arguments.digits.as_deref().unwrap_or_default().to_ascii_lowercase();
    if digits.len() < LEAST_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("give at least {LEAST_DIGITS} digits of the key's digest, or `--user`");
        return Err((message, help, USAGE));
    }
    let found = digests(&|digest, _| digest.to_hex().starts_with(&digits));
    match found.len() {
        0 => Err((format!("no key's digest begins with `{digits}`"), help, USAGE)),
        1 => Ok(found),
        _ => {
            let all = found.iter().map(|digest| digest.to_hex()[..digits.len() + 8].to_owned());
            let help = format!("it may be {}", all.collect::<Vec<_>>().join(" or "));
            Err((format!("several keys begin with `{digits}`"), help, USAGE))
        }
    }
}

/// A keys file under our lock.
struct Edited {
    path: PathBuf,
    text: String,
    loaded: LoadedKeys,
    /// Of the file there was.
    before: Option<fs::Metadata>,
    /// The directory: the file itself is replaced.
    _lock: File,
}

impl Edited {
    fn open(path: &Path, may_be_new: bool) -> Result<Edited, Failure> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = File::open(directory).and_then(|directory| {
            directory.lock()?;
            Ok(directory)
        });
        let lock = lock.map_err(|error| {
            failure(format!("cannot use the directory `{}`: {error}", directory.display()))
        })?;
        if may_be_new && !path.exists() {
            let loaded =
                keys::load("", "", 0).map_err(|_| failure("an empty file is no keys file".to_owned()))?;
            return Ok(Edited { path, text: String::new(), loaded, before: None, _lock: lock });
        }
        let loaded = load(&path)?;
        let unreadable = |error: io::Error| failure(format!("cannot read `{}`: {error}", path.display()));
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        let before = fs::metadata(&path).map_err(unreadable)?;
        Ok(Edited { path, text, loaded, before: Some(before), _lock: lock })
    }

    /// Puts the new text in place, if it holds as many keys as it should.
    fn replace(self, keys: usize) -> Result<(), Failure> {
        let shown = self.path.display().to_string();
        let holds = keys::load(&self.text, &shown, 0).is_ok_and(|loaded| loaded.keys.len() == keys);
        if !holds {
            let help = "nothing was changed; edit it by hand".to_owned();
            return Err((format!("`{shown}` cannot be edited"), help, CONFIGURATION));
        }
        self.write().map_err(|error| failure(format!("cannot write `{shown}`: {error}")))
    }

    fn write(&self) -> io::Result<()> {
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(format!(".new-{}", std::process::id()));
        let result = self.write_to(Path::new(&temporary));
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn write_to(&self, temporary: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        if let Some(before) = &self.before {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
            file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
        }
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, &self.path)
    }
}

fn load(path: &Path) -> Result<LoadedKeys, Failure> {
    keys_file::load(path, unix_seconds()).map_err(|error| {
        let message = format!("cannot use the keys file `{}`: {error}", path.display());
        let code = if matches!(error, KeysFileError::Unreadable(_)) { 1 } else { CONFIGURATION };
        (message, String::new(), code)
    })
}

fn failure(message: String) -> Failure {
    (message, String::new(), 1)
}

fn unix_seconds() -> u64 {
    let clock = Clock::start();
    Duration::from_nanos(clock.unix_nanos(clock.now())).as_secs()
}

/// 256 random bits, in the alphabet of URLs (RFC 4648 section 5).
fn new_key() -> Result<String, getrandom::Error> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0; 33];
    getrandom::fill(&mut random[..32])?;
    let mut key = String::from("tg_");
    for three in random.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for shift in [18, 12, 6, 0] {
            key.push(char::from(ALPHABET[(bits >> shift) as usize & 0x3f]));
        }
    }
    // The last character stands for the byte that was added to make threes.
    key.pop();
    Ok(key)
}
