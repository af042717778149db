//! A configuration file of Gunicorn, as far as it can be known without running it.
//!
//! It is Python. What is read are assignments at the beginning of a line whose value is one literal: a number, text in
//! plain quotes, or a list of such text. Invariant: a name that is assigned anything else is known to be computed, so
//! no value is taken that the file might not have meant.

use super::settings::Key;

/// The names that matter to a proxy in front.
const NAMES: [(&str, Key); 11] = [
    ("bind", Key::Bind),
    ("workers", Key::Workers),
    ("threads", Key::Threads),
    ("worker_class", Key::WorkerClass),
    ("timeout", Key::Timeout),
    ("keepalive", Key::Keepalive),
    ("limit_request_line", Key::RequestLine),
    ("limit_request_fields", Key::RequestFields),
    ("limit_request_field_size", Key::FieldSize),
    ("certfile", Key::Certificate),
    ("control_socket", Key::ControlSocket),
];

/// The value of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// One or more texts, or the digits of a number.
    Plain(Vec<String>),
    /// Only Python knows.
    Computed,
}

/// What a file sets; a name that is assigned twice has its last value.
pub fn read(text: &str) -> Vec<(Key, Literal)> {
    let mut found: Vec<(Key, Literal)> = Vec::new();
    let mut within: Option<&str> = None;
    for line in text.lines() {
        // What is between three quotes is text, whatever it looks like.
        if let Some(quotes) = within {
            if line.contains(quotes) {
                within = None;
            }
            continue;
        }
        within = ["\"\"\"", "'''"].into_iter().find(|quotes| line.matches(*quotes).count() % 2 == 1);
        let bare = line.trim_start();
        let Some((name, value)) = bare.split_once('=') else { continue };
        // A name behind white space is set under a condition, or in a function: it may or may not be.
        let is_certain = bare.len() == line.len() && within.is_none();
        let plain = name.trim_end_matches(['+', '-', '*', '/', '|']).trim_end();
        let name = plain.split_once(':').map_or(plain, |(name, _)| name.trim_end());
        let is_operator = plain.len() != bare.split('=').next().unwrap_or_default().trim_end().len();
        let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == name) else { continue };
        if value.starts_with('=') {
            continue;
        }
        let literal = if is_certain && !is_operator { literal(value) } else { None };
        found.retain(|(known, _)| known != key);
        found.push((*key, literal.map_or(Literal::Computed, Literal::Plain)));
    }
    found
}

fn literal(value: &str) -> Option<Vec<String>> {
    let value = value.trim();
    let digits = value.split('#').next().unwrap_or_default().trim_end();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(vec![digits.to_owned()]);
    }
    if let Some(inside) = value.strip_prefix(['[', '(']) {
        return list(inside, if value.starts_with('[') { ']' } else { ')' });
    }
    let (text, rest) = quoted(value)?;
    is_over(rest).then(|| vec![text])
}

fn list(mut rest: &str, close: char) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix(close) {
            return is_over(rest).then_some(texts);
        }
        let (text, behind) = quoted(rest)?;
        texts.push(text);
        rest = behind.trim_start();
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            // Without a comma brackets hold one text, which is what they stand around.
            None if rest.starts_with(close) => {}
            None => return None,
        }
    }
}

/// Text in plain quotes, and what stands behind it.
fn quoted(value: &str) -> Option<(String, &str)> {
    let quote = value.chars().next().filter(|found| matches!(found, '"' | '\''))?;
    let (text, rest) = value[1..].split_once(quote)?;
    let is_triple = text.is_empty() && rest.starts_with(quote);
    (!text.contains('\\') && !is_triple).then(|| (text.to_owned(), rest))
}

fn is_over(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<Literal> {
        read(text).into_iter().next().map(|(_, literal)| literal)
    }

    fn plain(values: &[&str]) -> Option<Literal> {
        Some(Literal::Plain(values.iter().map(|value| (*value).to_owned()).collect()))
    }

    #[test]
    fn literals_are_read() {
        assert_eq!(value("workers = 4"), plain(&["4"]));
        assert_eq!(value("workers=4  # two a core"), plain(&["4"]));
        assert_eq!(value("workers: int = 4"), plain(&["4"]));
        assert_eq!(value("bind = 'unix:/run/app.sock' # here"), plain(&["unix:/run/app.sock"]));
        assert_eq!(
            value("bind = [\"127.0.0.1:8000\", '[::1]:8000',]"),
            plain(&["127.0.0.1:8000", "[::1]:8000"])
        );
        assert_eq!(value("bind = ('127.0.0.1:8000')"), plain(&["127.0.0.1:8000"]));
    }

    #[test]
    fn what_is_computed_is_not_guessed() {
        for text in [
            "workers = multiprocessing.cpu_count() * 2 + 1",
            "workers = 4 + 1",
            "workers = int('4')",
            "workers = 2\nworkers += 2",
            "workers = 2\nif debug:\n    workers = 1",
            "bind = f'unix:{path}'",
            "bind = 'a' + 'b'",
            "bind = 'a' 'b'",
            "bind = [",
            "bind = 'a\\n'",
            "bind = os.environ['BIND']",
            "bind = \"\"\"a\"\"\"",
        ] {
            assert_eq!(value(text), Some(Literal::Computed), "{text}");
        }
    }

    #[test]
    fn what_sets_nothing_is_passed_over() {
        for text in [
            "# workers = 4",
            "my_workers = 4",
            "print(workers == 4)",
            "workers == 4",
            "\"\"\"\nworkers = 4\n\"\"\"",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_assignment_counts() {
        assert_eq!(value("workers = 1\nworkers = 2"), plain(&["2"]));
        assert_eq!(value("workers = f()\nworkers = 2"), plain(&["2"]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|\n|bind = |workers = |\"|'|\\[){0,60}") {
            read(&text);
        }
    }
}
