//! What is on the screen: the state that is shown, the panel that is chosen, and what keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::admin::status::Status;
use crate::clock::Tick;

use super::history::History;

/// A part of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panel {
    Routes,
    Limits,
    Talkers,
    Refusals,
    Upstream,
}

impl Panel {
    pub(super) const ALL: [Panel; 5] =
        [Panel::Routes, Panel::Limits, Panel::Talkers, Panel::Refusals, Panel::Upstream];

    pub(super) fn title(self) -> &'static str {
        match self {
            Panel::Routes => "Routes",
            Panel::Limits => "Limits",
            Panel::Talkers => "Talkers",
            Panel::Refusals => "Refusals",
            Panel::Upstream => "Upstream",
        }
    }
}

/// By what talkers are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Requests,
    Refusals,
    Bytes,
    Cost,
}

/// How it stands with the running tollgate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Live,
    /// Why it was lost.
    Lost(String),
}

/// The whole of it.
#[derive(Debug)]
pub(super) struct View {
    /// What is shown; `None` before the first state came.
    pub(super) status: Option<Box<Status>>,
    /// When it came.
    pub(super) came: Tick,
    pub(super) history: History,
    pub(super) link: Link,
    pub(super) panel: Panel,
    pub(super) by: By,
    pub(super) paused: bool,
    /// Rows that are scrolled over, by panel.
    pub(super) scrolled: [usize; Panel::ALL.len()],
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    Quit,
}

impl View {
    pub(super) fn new(now: Tick) -> View {
        View {
            status: None,
            came: now,
            history: History::default(),
            link: Link::Connecting,
            panel: Panel::Routes,
            by: By::Requests,
            paused: false,
            scrolled: [0; Panel::ALL.len()],
        }
    }

    /// A state came. While it is paused nothing of it shows.
    pub(super) fn take(&mut self, status: Box<Status>, now: Tick) {
        self.link = Link::Live;
        if !self.paused {
            self.history.push(&status);
            (self.status, self.came) = (Some(status), now);
        }
    }

    /// Seconds since the state that is shown came.
    pub(super) fn age_seconds(&self, now: Tick) -> u64 {
        now.nanos_since(self.came) / 1_000_000_000
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Stay;
        }
        let page = 10;
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Quit,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('o') => {
                self.by = match self.by {
                    By::Requests => By::Refusals,
                    By::Refusals => By::Bytes,
                    By::Bytes => By::Cost,
                    By::Cost => By::Requests,
                }
            }
            KeyCode::Char(digit @ '1'..='5') => {
                self.panel = Panel::ALL[digit as usize - '1' as usize];
            }
            KeyCode::Tab | KeyCode::Right => self.step(1),
            KeyCode::BackTab | KeyCode::Left => self.step(Panel::ALL.len() - 1),
            KeyCode::Down => self.scroll(1),
            KeyCode::PageDown => self.scroll(page),
            KeyCode::Up => self.scroll(-1),
            KeyCode::PageUp => self.scroll(-page),
            KeyCode::Home => self.scrolled[self.panel as usize] = 0,
            _ => {}
        }
        Wish::Stay
    }

    fn step(&mut self, by: usize) {
        self.panel = Panel::ALL[(self.panel as usize + by) % Panel::ALL.len()];
    }

    fn scroll(&mut self, rows: isize) {
        let scrolled = &mut self.scrolled[self.panel as usize];
        *scrolled = scrolled.saturating_add_signed(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::status;
    use super::*;

    fn press(view: &mut View, codes: &[KeyCode]) -> Wish {
        codes.iter().map(|code| view.press(KeyEvent::new(*code, KeyModifiers::NONE))).last().unwrap()
    }

    #[test]
    fn keys_go_through_the_panels_in_both_directions() {
        let mut view = View::new(Tick(0));
        press(&mut view, &[KeyCode::Tab, KeyCode::Right]);
        assert_eq!(view.panel, Panel::Talkers);
        press(&mut view, &[KeyCode::Left, KeyCode::BackTab, KeyCode::BackTab]);
        assert_eq!(view.panel, Panel::Upstream);
        press(&mut view, &[KeyCode::Tab]);
        assert_eq!(view.panel, Panel::Routes);
        assert_eq!(press(&mut view, &[KeyCode::Char('q')]), Wish::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(interrupt), Wish::Quit);
    }

    #[test]
    fn a_pause_keeps_what_is_shown() {
        let mut view = View::new(Tick(0));
        view.take(Box::new(status()), Tick(0));
        press(&mut view, &[KeyCode::Char('p')]);
        let mut later = status();
        later.traffic.requests += 1;
        view.take(Box::new(later.clone()), Tick(1));
        assert_eq!(view.status.as_ref().unwrap().traffic.requests, 182_340);
        press(&mut view, &[KeyCode::Char('p')]);
        view.take(Box::new(later), Tick(2));
        assert_eq!(view.status.as_ref().unwrap().traffic.requests, 182_341);
    }
}
