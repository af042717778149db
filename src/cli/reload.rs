//! `tollgate reload`: has a running tollgate read its configuration again, and tells how that went.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::columns::shown;
use super::live::{Admin, Failure};
use super::options::live::Reload;
use super::terminal;

/// Asks, and waits for the outcome.
pub(super) fn reload(arguments: &Reload) -> ExitCode {
    reloaded(arguments).unwrap_or_else(|failure| failure.tell())
}

fn reloaded(arguments: &Reload) -> Result<ExitCode, Failure> {
    let admin = Admin::by_file(&arguments.by_file)?;
    let told = admin.send(&Method::POST, "/reload", &json!({}))?;
    let changes = told["changes"].as_array().ok_or_else(|| admin.is_something_else())?;
    Ok(terminal::to_stdout(text_of(changes).as_bytes()))
}

/// A line a change, then how many there are.
fn text_of(changes: &[Value]) -> String {
    let side = |value: &Value| value.as_str().map_or_else(|| "nothing".to_owned(), shown);
    let mut text = String::new();
    for change in changes {
        let key = shown(change["key"].as_str().unwrap_or_default());
        text.push_str(&format!("`{key}` was {}, is {}\n", side(&change["from"]), side(&change["to"])));
    }
    text.push_str(&match changes.len() {
        0 => "reloaded, nothing has changed\n".to_owned(),
        1 => "reloaded, 1 key has changed\n".to_owned(),
        more => format!("reloaded, {more} keys have changed\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_a_line_each() {
        assert_eq!(text_of(&[]), "reloaded, nothing has changed\n");
        let changes = [
            json!({"key": "listen.max_headers", "from": "90", "to": "80"}),
            json!({"key": "limits.a\u{1b}.rate", "from": null, "to": "\"5/minute\""}),
        ];
        let text = text_of(&changes);
        assert!(text.starts_with("`listen.max_headers` was 90, is 80\n"), "{text}");
        assert!(text.contains("was nothing, is \"5/minute\"\n"), "{text}");
        assert!(text.ends_with("reloaded, 2 keys have changed\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
