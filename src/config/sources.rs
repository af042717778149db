//! The texts of a configuration one behind the other, so that a place is one range of bytes whatever file it is in.
//!
//! Invariant: behind the bytes of each file stands a line end that is none of them. So the end of a file is a place of
//! its own, and no line holds bytes of two files.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::excerpt::{Excerpt, Lines};

/// One file of a configuration; what a later one says goes before what an earlier one says.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Its name in messages.
    pub file: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file's name; `None` where there is one file only.
    pub file: Option<Arc<str>>,
    /// From 1.
    pub line: usize,
}

impl Position {
    /// As a part of a sentence.
    pub(crate) fn in_words(&self) -> String {
        match &self.file {
            None => format!("line {}", self.line),
            Some(file) => format!("line {} of `{file}`", self.line),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => write!(f, "line {}", self.line),
            Some(file) => write!(f, "{file}:{}", self.line),
        }
    }
}

/// A line of a named file, with a part of it marked.
#[derive(Debug, Clone)]
pub(crate) struct Quote {
    pub(crate) file: Arc<str>,
    pub(crate) excerpt: Excerpt,
}

/// All texts.
#[derive(Debug)]
pub(crate) struct Sources {
    text: String,
    lines: Lines,
    files: Vec<SourceFile>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct SourceFile {
    name: Arc<str>,
    /// Its bytes of the whole.
    pub(crate) bytes: Range<usize>,
    /// The first character that is there for a byte that belongs to none.
    pub(crate) not_utf8: Option<Range<usize>>,
}

impl Sources {
    /// The texts of some files, at least one. A byte that belongs to no character becomes one that stands for it.
    pub(crate) fn of(layers: &[Layer<'_>]) -> Sources {
        let mut text = String::with_capacity(layers.iter().map(|layer| layer.bytes.len() + 1).sum());
        let mut files = Vec::with_capacity(layers.len());
        for layer in layers {
            let start = text.len();
            let wrong = std::str::from_utf8(layer.bytes).err().map(|error| start + error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(layer.bytes));
            files.push(SourceFile {
                name: layer.file.into(),
                bytes: start..text.len(),
                not_utf8: wrong.map(|at| at..at + char::REPLACEMENT_CHARACTER.len_utf8()),
            });
            text.push('\n');
        }
        Sources { lines: Lines::new(&text), text, files }
    }

    /// One text.
    pub(crate) fn one(file: &str, text: &str) -> Sources {
        Sources::of(&[Layer { file, bytes: text.as_bytes() }])
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.files.iter().map(|file| Arc::clone(&file.name)).collect()
    }

    /// A number for the line that holds this byte, another for each line of all files.
    pub(crate) fn line_of_all(&self, at: usize) -> usize {
        self.lines.number(at)
    }

    /// The line that holds this byte.
    pub(crate) fn position(&self, at: usize) -> Position {
        let Some(file) = self.file_at(at) else {
            return Position { file: None, line: self.lines.number(at) };
        };
        let line = self.lines.number(at) - self.lines.number(file.bytes.start) + 1;
        Position { file: (self.files.len() > 1).then(|| Arc::clone(&file.name)), line }
    }

    /// Whether two places are in different files.
    pub(crate) fn are_apart(&self, one: usize, other: usize) -> bool {
        self.file_index(one) != self.file_index(other)
    }

    /// The line of a place; `shown` is the whole text with what must not be shown hidden.
    pub(crate) fn quote(&self, shown: &str, span: &Range<usize>) -> Quote {
        let (name, bytes) = match self.file_at(span.start) {
            Some(file) => (Arc::clone(&file.name), file.bytes.clone()),
            None => (Arc::from(""), 0..0),
        };
        let within = span.start.saturating_sub(bytes.start)..span.end.saturating_sub(bytes.start);
        Quote { file: name, excerpt: Excerpt::new(shown.get(bytes).unwrap_or_default(), &within) }
    }

    fn file_index(&self, at: usize) -> usize {
        self.files.partition_point(|file| file.bytes.start <= at).saturating_sub(1)
    }

    fn file_at(&self, at: usize) -> Option<&SourceFile> {
        self.files.get(self.file_index(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let layer = |file, bytes| Layer { file, bytes };
        Sources::of(&[layer("a", b"x = 1\n"), layer("empty", b""), layer("b", b"y = 2\nz = 3")])
    }

    #[test]
    fn every_byte_belongs_to_a_line_of_one_file() {
        let sources = sources();
        let told = |at: usize| sources.position(at).to_string();
        let found: Vec<String> = [0, 5, 6, 7, 8, 14, 19].into_iter().map(told).collect();
        assert_eq!(found, ["a:1", "a:1", "a:2", "empty:1", "b:1", "b:2", "b:2"]);
    }

    #[test]
    fn a_place_is_shown_in_its_own_file() {
        let sources = sources();
        let at = sources.text().find('3').unwrap();
        let Quote { file, excerpt } = sources.quote(sources.text(), &(at..at + 1));
        assert_eq!((&*file, excerpt.line, excerpt.column, &*excerpt.text), ("b", 2, 5, "z = 3"));
        let end = sources.quote(sources.text(), &(6..6));
        assert_eq!((&*end.file, end.excerpt.line), ("a", 2));
    }

    #[test]
    fn one_file_is_not_named_at_its_lines() {
        assert_eq!(Sources::one("a", "x\ny\n").position(2).to_string(), "line 2");
    }
}
