//! The command line of a Gunicorn: is it one, and what does it say.
//!
//! Invariant: only what Gunicorn's own parser would take for one of [`OPTIONS`] is read; an argument that is not
//! understood is passed over.

use std::path::Path;

use super::settings::Key;

/// The options that matter to a proxy in front: short, long, what they set.
const OPTIONS: [(&str, &str, Key); 12] = [
    ("-b", "--bind", Key::Bind),
    ("-w", "--workers", Key::Workers),
    ("", "--threads", Key::Threads),
    ("-k", "--worker-class", Key::WorkerClass),
    ("-t", "--timeout", Key::Timeout),
    ("", "--keep-alive", Key::Keepalive),
    ("", "--limit-request-line", Key::RequestLine),
    ("", "--limit-request-fields", Key::RequestFields),
    ("", "--limit-request-field_size", Key::FieldSize),
    ("-c", "--config", Key::Config),
    ("", "--certfile", Key::Certificate),
    ("", "--control-socket", Key::ControlSocket),
];

/// What `setproctitle` makes of a master's command line.
const TITLE: &str = "gunicorn: master ";

/// What a process is, by its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A Gunicorn, with its own arguments.
    Gunicorn(Vec<String>),
    /// A Gunicorn whose master has put a title in the place of its arguments.
    Titled,
}

/// The command line of `/proc/PID/cmdline`, if it is a Gunicorn's.
pub fn command(cmdline: &[u8]) -> Option<Command> {
    let text = String::from_utf8_lossy(cmdline);
    if text.starts_with(TITLE) {
        return Some(Command::Titled);
    }
    let words: Vec<&str> = text.trim_end_matches('\0').split('\0').collect();
    let own =
        |from: usize| Some(Command::Gunicorn(words.iter().skip(from).map(|w| (*w).to_owned()).collect()));
    let program = name_of(words.first()?);
    if program == "gunicorn" {
        return own(1);
    }
    if !program.starts_with("python") && !program.starts_with("pypy") {
        return None;
    }
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match *word {
            "-m" => {
                return if matches!(*words.get(at + 1)?, "gunicorn" | "gunicorn.app.wsgiapp") {
                    own(at + 2)
                } else {
                    None
                };
            }
            "-X" | "-W" => at += 2,
            _ if word.starts_with('-') => at += 1,
            _ => return if name_of(word) == "gunicorn" { own(at + 1) } else { None },
        }
    }
    None
}

fn name_of(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What arguments set, in their order.
pub fn read(arguments: &[String]) -> Vec<(Key, String)> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let option = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => long(name).map(|key| (key, Some(value))),
            _ if argument.starts_with("--") => long(argument).map(|key| (key, None)),
            _ => short(argument),
        };
        let Some((key, value)) = option else { continue };
        if let Some(value) = value.or_else(|| rest.next().map(String::as_str)) {
            found.push((key, value.to_owned()));
        }
    }
    found
}

fn long(name: &str) -> Option<Key> {
    OPTIONS.iter().find(|(_, long, _)| *long == name).map(|(_, _, key)| *key)
}

/// `-w 4`, `-w4` and `-w=4`.
fn short(argument: &str) -> Option<(Key, Option<&str>)> {
    let (name, value) = argument.split_at_checked(2)?;
    let (_, _, key) = OPTIONS.iter().find(|(short, _, _)| *short == name)?;
    Some((*key, Some(value.trim_start_matches('=')).filter(|value| !value.is_empty())))
}

/// The words of `GUNICORN_CMD_ARGS`, as a shell has them.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(found) = characters.next() {
        match (quote, found) {
            (Some(open), _) if found == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(found);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, _) if found.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(found),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arguments(words: &[&str]) -> Vec<u8> {
        words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect()
    }

    #[test]
    fn a_gunicorn_is_told_from_what_only_names_one() {
        for (words, own) in [
            (&["/venv/bin/python3", "/venv/bin/gunicorn", "app:app"][..], Some(&["app:app"][..])),
            (&["python3.13", "-u", "-X", "dev", "-m", "gunicorn", "-w", "4"], Some(&["-w", "4"])),
            (&["/usr/bin/python3", "-m", "gunicorn.app.wsgiapp", "a"], Some(&["a"])),
            (&["/opt/gunicorn", "a"], Some(&["a"])),
            (&["python3", "manage.py", "gunicorn"], None),
            (&["sh", "-c", "gunicorn app:app"], None),
            (&["tail", "-f", "/var/log/gunicorn"], None),
            (&["python3", "-m", "pytest", "gunicorn"], None),
            (&["vim", "gunicorn"], None),
        ] {
            let expected = own.map(|own| Command::Gunicorn(own.iter().map(|w| (*w).to_owned()).collect()));
            assert_eq!(command(&arguments(words)), expected, "{words:?}");
        }
        assert_eq!(command(b"gunicorn: master [app:app]\0\0\0"), Some(Command::Titled));
        assert_eq!(command(b"gunicorn: worker [app:app]\0"), None);
        assert_eq!(command(b""), None);
    }

    #[test]
    fn options_are_read_however_they_are_written() {
        let line = "-w4 -b=unix:/a.sock --threads 8 --bind 127.0.0.1:8000 --keep-alive=5 -k gthread app:app --preload -t 30 \
                    --limit-request-field_size 100 --statsd-host -w";
        let found = read(&words(line));
        let text = |(key, value): &(Key, String)| format!("{key:?}={value}");
        assert_eq!(
            found.iter().map(text).collect::<Vec<_>>(),
            [
                "Workers=4",
                "Bind=unix:/a.sock",
                "Threads=8",
                "Bind=127.0.0.1:8000",
                "Keepalive=5",
                "WorkerClass=gthread",
                "Timeout=30",
                "FieldSize=100",
            ]
        );
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(words("  --bind='a b' \"c\\\"d\" e\\ f '' "), ["--bind=a b", "c\"d", "e f", ""]);
        assert_eq!(words(""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
            if let Some(Command::Gunicorn(arguments)) = command(&bytes) {
                read(&arguments);
            }
            read(&words(&text));
            command(format!("gunicorn\0{text}\0-w").as_bytes());
        }
    }
}
