//! What a doctor says, for people: a line for each thing it looked at, what to do below.

use super::columns::shown;

/// One of them: its name, how it is, what was found, what to do if anything.
pub(super) type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

/// The rows as lines.
pub(super) fn text(rows: &[Row<'_>]) -> String {
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, state, found, help) in rows {
        text.push_str(&format!("{name:width$}  {state:11}  {}\n", shown(found)));
        if !help.is_empty() {
            text.push_str(&format!("{:width$}  {:11}  -> {}\n", "", "", shown(help)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_found_moves_no_cursor() {
        let text =
            super::text(&[("app", "ok", "calls itself \u{1b}[2J", ""), ("longer", "problem", "no", "do")]);
        let lines = [
            "app     ok           calls itself \\u{1b}[2J",
            "longer  problem      no",
            "                     -> do",
        ];
        assert_eq!(text, lines.join("\n") + "\n");
    }
}
