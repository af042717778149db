//! A pseudo terminal: what a program writes when a person watches, and what that person presses.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::PATIENCE;
use super::journal::Journal;
use super::process::command;

/// What lets a program have the whole screen, and what gives it back.
pub const TAKEN: &str = "\u{1b}[?1049h";
/// See [`TAKEN`].
pub const GIVEN_BACK: &str = "\u{1b}[?1049l";

/// A program at a terminal of 80 columns and 24 lines.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    screen: File,
    written: Journal<Vec<u8>>,
}

impl Terminal {
    /// Starts a program whose three streams are the terminal.
    pub fn start(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keys = openpt(flags).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let screen = File::from(ioctl_tiocgptpeer(&keys, flags).unwrap());
        tcsetwinsize(&screen, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let stream = || Stdio::from(screen.try_clone().unwrap());
        let mut command = command(program);
        command.args(arguments).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let (keys, written) = (File::from(keys), Journal::default());
        let (mut source, target) = (keys.try_clone().unwrap(), written.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The other side's end is an error here.
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                target.push(buffer[..count].to_vec());
            }
        });
        Terminal { child, keys, screen, written }
    }

    /// Everything that was written so far.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.all().concat()).into_owned()
    }

    /// Waits until this was written.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_for_after("", text);
    }

    /// Waits until this was written behind the last of something else.
    #[track_caller]
    pub fn wait_for_after(&self, before: &str, text: &str) {
        let found = self.written.wait(|pieces| {
            let written = String::from_utf8_lossy(&pieces.concat()).into_owned();
            let begin = if before.is_empty() { 0 } else { written.rfind(before)? };
            written[begin..].contains(text).then_some(())
        });
        assert!(found.is_some(), "no `{text}` in {:?}", self.written());
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the window larger or smaller.
    pub fn resize(&self, columns: u16, lines: u16) {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.screen, size).unwrap();
        // Nobody's foreground group, so the kernel tells nobody by itself.
        self.signal(Signal::WINCH);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Whether keys are shown as they are pressed, and a line is read at a time.
    pub fn is_ordinary(&self) -> bool {
        tcgetattr(&self.screen).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// Waits for the program's end and returns the exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end; it wrote {:?}", self.written());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
