//! What a guest wrote to a line, kept whole and awaited by its words.
//!
//! A thread reads the line; whoever waits does so on a condition variable, never by sleeping and
//! looking again. Everything read is also in a file, for people.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the kernel says when PID 1 ended or worse. No test of ours may ever see it.
pub const PANIC: &str = "Kernel panic";

/// A line's words so far.
#[derive(Clone, Debug)]
pub struct Transcript {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// Bytes before it were matched by an earlier `expect`.
    cursor: usize,
    /// Nothing more will come.
    ended: bool,
    /// The reader holds still: the line is not read until this is false.
    paused: bool,
    /// Someone sits at a terminal and wants to read along.
    echo: bool,
}

impl Transcript {
    /// Reads `line` to its end on a thread of its own, and keeps a copy at `log`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn start(mut line: impl Read + Send + 'static, log: &Path) -> Result<Self> {
        let mut file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while reader.may_read() {
                let Ok(count @ 1..) = line.read(&mut chunk) else { break };
                // A log that cannot be written loses the copy for people, not the test.
                let _ = file.write_all(&chunk[..count]);
                reader.append(&String::from_utf8_lossy(&chunk[..count]));
            }
            reader.lock().ended = true;
            reader.changed.notify_all();
        });
        Ok(Self { shared })
    }

    /// Waits until `words` come after what was matched before; returns the line they are in.
    ///
    /// # Errors
    /// They did not come in time, the line ended, or the kernel panicked. The text has the tail.
    pub fn expect(&self, words: &str, patience: Duration) -> Result<String> {
        self.expect_any(&[words], patience).map(|(_, line)| line)
    }

    /// As [`Transcript::expect`] for the first of several; says which.
    ///
    /// # Errors
    /// As there.
    pub fn expect_any(&self, choices: &[&str], patience: Duration) -> Result<(usize, String)> {
        let give_up = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            if let Some((index, start, length)) = earliest(&state.text[state.cursor..], choices) {
                let start = state.cursor + start;
                state.cursor = start + length;
                return Ok((index, line_at(&state.text, start)));
            }
            if state.text[state.cursor..].contains(PANIC) && !choices.contains(&PANIC) {
                bail!("the kernel panicked:\n{}", tail(&state.text));
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended { "the line ended" } else { "time is up" };
                bail!("{why} before {choices:?} came; the last of it:\n{}", tail(&state.text));
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// Waits until nothing more can come, and returns all of it.
    ///
    /// # Errors
    /// It goes on longer than `patience`.
    pub fn whole(&self, patience: Duration) -> Result<String> {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(state.ended, "the line goes on:\n{}", tail(&state.text));
        Ok(state.text.clone())
    }

    /// All that came so far.
    #[must_use]
    pub fn so_far(&self) -> String {
        self.shared.lock().text.clone()
    }

    /// Stops reading: what the guest writes from now on stays in the way, as on a wedged line.
    pub fn pause(&self) {
        self.shared.lock().paused = true;
    }

    /// Reads again after [`Transcript::pause`].
    pub fn resume(&self) {
        self.shared.lock().paused = false;
        self.shared.changed.notify_all();
    }

    /// Copies what comes to standard output too.
    pub fn echo(&self) {
        let mut state = self.shared.lock();
        print!("{}", state.text);
        state.echo = true;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_read(&self) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_while(state, |state| state.paused);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        true
    }

    fn append(&self, text: &str) {
        let mut state = self.lock();
        state.text.push_str(text);
        if state.echo {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// The first place in `text` where one of `choices` is: which, where, how long.
fn earliest(text: &str, choices: &[&str]) -> Option<(usize, usize, usize)> {
    let places = choices.iter().enumerate();
    places
        .filter_map(|(index, words)| text.find(words).map(|start| (index, start, words.len())))
        .min_by_key(|(_, start, _)| *start)
}

fn line_at(text: &str, place: usize) -> String {
    let start = text[..place].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[place..].find('\n').map_or(text.len(), |newline| place + newline);
    text[start..end].trim_end().to_owned()
}

/// The last lines, for an error's text.
fn tail(text: &str) -> String {
    const LINES: usize = 25;
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = String::new();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        shown.push_str("  | ");
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const PATIENCE: Duration = Duration::from_secs(20);
    const NONE: Duration = Duration::ZERO;

    fn line() -> (UnixStream, Transcript, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let (guest, host) = UnixStream::pair().expect("a pair");
        let log = folder.path().join("serial.log");
        (guest, Transcript::start(host, &log).expect("a transcript"), folder)
    }

    /// The words come in two pieces, and the second `expect` must not match the first one's words.
    #[test]
    fn words_are_found_in_order_across_reads() {
        let (mut guest, transcript, folder) = line();
        guest.write_all(b"one rea").expect("written");
        guest.write_all(b"dy\r\ntwo ready\n").expect("written");
        assert_eq!(transcript.expect("ready", PATIENCE).expect("the first"), "one ready");
        assert_eq!(transcript.expect("ready", PATIENCE).expect("the second"), "two ready");
        drop(guest);
        assert!(transcript.expect("ready", PATIENCE).is_err(), "there is no third");
        let copy = std::fs::read_to_string(folder.path().join("serial.log")).expect("a log");
        assert_eq!(copy, "one ready\r\ntwo ready\n");
    }

    #[test]
    fn a_panic_is_an_error_for_whoever_waits_for_something_else() {
        let (mut guest, transcript, _folder) = line();
        guest.write_all(b"Kernel panic - not syncing: Attempted to kill init!\n").expect("written");
        let error = transcript.expect("login", PATIENCE).expect_err("a panic");
        assert!(error.to_string().contains("panicked"), "{error}");
        assert!(transcript.expect(PANIC, PATIENCE).is_ok(), "whoever wants it gets it");
    }

    #[test]
    fn patience_ends() {
        let (_guest, transcript, _folder) = line();
        let error = transcript.expect("never", NONE).expect_err("nothing came");
        assert!(error.to_string().contains("time is up"), "{error}");
    }
}
