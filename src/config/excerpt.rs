//! One line of a configuration file with the place that is meant, fit for a terminal.
//!
//! Invariant: whatever the file holds, an excerpt is one short line without control characters, and
//! its columns are counted in cells, so that a mark put under it stands where it should.

use std::ops::Range;

/// Wider lines are cut around the place.
const MAX_CELLS: usize = 120;
const TAB: &str = "    ";
const BOM: char = '\u{feff}';

/// A line and the cells of it that are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) text: String,
    /// Cells before the mark.
    pub(crate) indent: usize,
    /// Cells of the mark, at least one.
    pub(crate) mark: usize,
}

impl Excerpt {
    /// The line in which `span` begins; the part of the span on later lines is not marked.
    pub(crate) fn new(source: &str, span: &Range<usize>) -> Excerpt {
        let start = boundary(source, span.start);
        let line_start = memchr::memrchr(b'\n', &source.as_bytes()[..start]).map_or(0, |at| at + 1);
        let rest = &source[line_start..];
        let line = rest.split('\n').next().unwrap_or(rest);
        let line = line.strip_suffix('\r').unwrap_or(line);
        // The byte order mark is no part of the first line.
        let mark = if line_start == 0 && line.starts_with(BOM) { BOM.len_utf8() } else { 0 };
        let (line, line_start) = (&line[mark..], line_start + mark);
        let from = start.saturating_sub(line_start).min(line.len());
        let to = boundary(source, span.end).saturating_sub(line_start).clamp(from, line.len());
        let (before, marked, behind) = (&line[..from], &line[from..to], &line[to..]);
        let (head, indent) = tail_cells(&cells(before), MAX_CELLS / 2);
        let marked = head_cells(&cells(marked), MAX_CELLS / 2);
        let room = MAX_CELLS.saturating_sub(indent + width(&marked));
        let behind = head_cells(&cells(behind), room);
        Excerpt {
            line: memchr::memchr_iter(b'\n', &source.as_bytes()[..start]).count() + 1,
            column: before.chars().count() + 1,
            mark: width(&marked).max(1),
            text: format!("{head}{marked}{behind}").trim_end().to_owned(),
            indent,
        }
    }
}

/// Where the lines of a file end, so that a number is found without reading the file again.
#[derive(Debug)]
pub(crate) struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(source: &str) -> Lines {
        Lines { ends: memchr::memchr_iter(b'\n', source.as_bytes()).collect() }
    }

    /// The number, from 1, of the line that holds this byte.
    pub(crate) fn number(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }
}

/// The character boundary at or before `at`.
fn boundary(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What a terminal shows one cell after another: tabs as spaces, nothing that moves the cursor.
fn cells(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for found in text.chars() {
        match found {
            '\t' => shown.push_str(TAB),
            _ if found.is_control() || turns_direction(found) => shown.push('\u{fffd}'),
            _ => shown.push(found),
        }
    }
    shown
}

fn turns_direction(found: char) -> bool {
    matches!(found, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The last `room` cells, with an ellipsis for what is left out, and how many cells that is.
fn tail_cells(text: &str, room: usize) -> (String, usize) {
    if width(text) <= room {
        return (text.to_owned(), width(text));
    }
    let mut used = 1;
    let mut from = text.len();
    for (at, found) in text.char_indices().rev() {
        if used + cell_width(found) > room {
            break;
        }
        used += cell_width(found);
        from = at;
    }
    (format!("…{}", &text[from..]), used)
}

/// The first `room` cells, with an ellipsis for what is left out.
fn head_cells(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    if room == 0 {
        return String::new();
    }
    let mut used = 1;
    let mut shown = String::new();
    for found in text.chars() {
        used += cell_width(found);
        if used > room {
            break;
        }
        shown.push(found);
    }
    shown.push('…');
    shown
}

fn width(text: &str) -> usize {
    text.chars().map(cell_width).sum()
}

/// Cells of a character: the blocks that terminals agree on; the rest counts one.
fn cell_width(found: char) -> usize {
    match found {
        '\u{0300}'..='\u{036f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excerpt(source: &str, of: &str) -> Excerpt {
        let start = source.find(of).unwrap();
        Excerpt::new(source, &(start..start + of.len()))
    }

    #[test]
    fn the_line_the_column_and_the_mark_are_found() {
        let found = excerpt("a = 1\nburst = 0\n", "0");
        assert_eq!((found.line, found.column), (2, 9));
        assert_eq!((found.text.as_str(), found.indent, found.mark), ("burst = 0", 8, 1));
    }

    #[test]
    fn tabs_wide_characters_and_line_ends_do_not_move_the_mark() {
        let tab = excerpt("\tb\t= 12\r\n", "12");
        assert_eq!((tab.text.as_str(), tab.indent, tab.mark, tab.column), ("    b    = 12", 11, 2, 6));
        let wide = excerpt("\"日本é\" = 12", "12");
        assert_eq!((wide.indent, wide.column), (10, 9));
        let bom = excerpt("\u{feff}a = 1", "1");
        assert_eq!((bom.text.as_str(), bom.indent, bom.column), ("a = 1", 4, 5));
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(excerpt("a\u{1b}[31m\u{202e}b", "b").text, "a\u{fffd}[31m\u{fffd}b");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let source = format!("{} = 7 {}", "k".repeat(500), "v".repeat(500));
        let found = excerpt(&source, "7");
        assert!(width(&found.text) <= MAX_CELLS, "{}", found.text);
        assert_eq!(found.text.chars().nth(found.indent), Some('7'));
        assert_eq!(found.column, 504);
    }

    #[test]
    fn a_place_behind_the_end_is_the_end() {
        assert_eq!(Excerpt::new("", &(0..9)).line, 1);
        assert_eq!(Excerpt::new("a\n", &(2..2)).line, 2);
    }

    proptest! {
        #[test]
        fn no_text_and_place_make_it_panic(source in "(\\PC|[\t\r\n\u{feff}]){0,200}", start in 0..300_usize, length in 0..300_usize) {
            let found = Excerpt::new(&source, &(start..start + length));
            prop_assert!(width(&found.text) <= MAX_CELLS);
            prop_assert!(!found.text.contains(['\n', '\r', '\t']));
        }
    }
}
