//! `tollgate top`: a running tollgate, live in the terminal.
//!
//! Invariant: however it ends, by a key, a signal, an error or a panic, the terminal is as it was.

mod draw;
#[cfg(test)]
mod fixture;
mod follow;
mod grid;
mod history;
mod numbers;
mod snapshot;
mod view;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use crossterm::event::{self, Event};
use ratatui::DefaultTerminal;

use crate::clock::Clock;

use super::live::client::runtime;
use super::live::events::Events;
use super::live::{Admin, Failure};
use super::options::live::Top;
use super::terminal;

use draw::{Palette, draw};
use follow::Update;
use view::{Link, View, Wish};

/// Between two looks at what came.
const BEAT: Duration = Duration::from_millis(200);
/// States that wait for the screen.
const WAITING: usize = 8;

/// Watches until somebody quits.
pub(super) fn top(arguments: &Top) -> ExitCode {
    let watched = Admin::by_file(&arguments.by_file)
        .and_then(|admin| if io::stdout().is_terminal() { watch(admin) } else { tell_once(&admin) });
    watched.unwrap_or_else(|failure| failure.tell())
}

/// Two states, because a rate needs two.
fn tell_once(admin: &Admin) -> Result<ExitCode, Failure> {
    let clock = Clock::start();
    let mut view = View::new(clock.now());
    runtime()?.block_on(async {
        let mut events = Events::open(admin).await?;
        for _ in 0..2 {
            view.take(Box::new(events.next().await?), clock.now());
        }
        Ok(())
    })?;
    let text = view.status.as_ref().map(|status| snapshot::text(status, &view));
    Ok(terminal::to_stdout(text.unwrap_or_default().as_bytes()))
}

/// The terminal while it is ours.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Screen> {
        // This also lets a panic give the terminal back before it is told.
        ratatui::try_init().map(Screen).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic it was given back before the panic was told; once more would put the cursor over what was told.
        if !std::thread::panicking() {
            ratatui::restore();
        }
    }
}

fn watch(admin: Admin) -> Result<ExitCode, Failure> {
    let (sender, updates) = sync_channel(WAITING);
    follow::start(admin, sender)?;
    // An address where nobody listens is told on an ordinary screen.
    let first = match updates.recv() {
        Ok(Update::Failed(failure)) => return Err(failure),
        Ok(Update::State(status)) => status,
        Ok(Update::Lost(_) | Update::Ended) | Err(_) => return Ok(ExitCode::SUCCESS),
    };
    let clock = Clock::start();
    let mut view = View::new(clock.now());
    view.take(first, clock.now());
    let unusable = |error: io::Error| Failure::new(format!("cannot use the terminal: {error}"), "");
    let mut screen = Screen::open().map_err(unusable)?;
    let palette = Palette { colors: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    loop {
        let now = clock.now();
        screen.0.draw(|frame| draw(frame, &view, palette, now)).map_err(unusable)?;
        if event::poll(BEAT).map_err(unusable)?
            && let Event::Key(key) = event::read().map_err(unusable)?
            && view.press(key) == Wish::Quit
        {
            return Ok(ExitCode::SUCCESS);
        }
        if take_all(&updates, &mut view, &clock)? == Wish::Quit {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Takes over what came meanwhile.
fn take_all(updates: &Receiver<Update>, view: &mut View, clock: &Clock) -> Result<Wish, Failure> {
    loop {
        match updates.try_recv() {
            Ok(Update::State(status)) => view.take(status, clock.now()),
            Ok(Update::Lost(why)) => view.link = Link::Lost(why),
            Ok(Update::Failed(failure)) => return Err(failure),
            Ok(Update::Ended) | Err(TryRecvError::Disconnected) => return Ok(Wish::Quit),
            Err(TryRecvError::Empty) => return Ok(Wish::Stay),
        }
    }
}
