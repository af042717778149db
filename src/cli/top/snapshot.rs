//! One state as plain text, for where there is no terminal.

use crate::admin::status::Status;

use super::super::columns::table;
use super::draw::{counts, headline};
use super::grid::{Grid, grid};
use super::view::{Panel, View};

/// All panels, one below the other.
pub(super) fn text(status: &Status, view: &View) -> String {
    let mut text = format!("{}\n", headline(status));
    for line in counts(status, &view.history) {
        text.push_str(&line);
        text.push('\n');
    }
    for panel in Panel::ALL {
        let Grid { columns, rows, empty } = grid(panel, status, view);
        text.push_str(&format!("\n{}\n", panel.title()));
        if rows.len() == 1 && !empty.is_empty() {
            text.push_str(&format!("{empty}\n"));
        } else {
            let cells: Vec<Vec<String>> = rows.into_iter().map(|(_, cells)| cells).collect();
            text.push_str(&table(columns, &cells));
        }
    }
    text
}
