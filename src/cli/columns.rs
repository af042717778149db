//! Tables for people: columns that line up, and names that cannot play tricks with a terminal.

/// On which side of a column its cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows of cells as lines, columns two spaces apart. Rows may be shorter than `columns`, not longer.
pub(super) fn table(columns: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(columns).zip(&widths).map(|((cell, align), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A text from outside: what a terminal would act upon, or show as something else, is written as an escape.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => out.push(character),
            other => out.extend(other.escape_debug()),
        }
    }
    out
}

/// A number of seconds in at most two units, `3 h 17 min`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 if !seconds.is_multiple_of(60) => format!("{} min {} s", seconds / 60, seconds % 60),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_ends() {
        let rows = [vec!["a", "1"], vec!["long", "100"], vec!["b"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(table(&[Align::Left, Align::Right], &rows), "a       1\nlong  100\nb\n");
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_as_a_command() {
        assert_eq!(shown("a\u{1b}[31m\nb\u{202e}c\u{9b}\u{7f}"), "a\\u{1b}[31m\\nb\\u{202e}c\\u{9b}\\u{7f}");
        assert_eq!(shown("o'brien \"x\" \\ é 名"), "o'brien \"x\" \\ é 名");
    }

    #[test]
    fn spans_have_at_most_two_units() {
        let told = [0, 59, 60, 61, 600, 3_599, 3_600, 90_061].map(span);
        assert_eq!(told, ["0 s", "59 s", "1 min", "1 min 1 s", "10 min", "59 min", "1 h 0 min", "1 d 1 h"]);
    }
}
