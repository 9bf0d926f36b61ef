//! QEMU's machine protocol (QMP, docs/interop/qmp-spec.txt of QEMU): JSON, one object a line.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// QEMU itself answers at once, even when the guest does not.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Greeting, answers: all that is no event.
    answers: Vec<Value>,
    events: Vec<Value>,
    ended: bool,
}

impl Qmp {
    /// Greets QEMU and leaves its negotiation mode.
    ///
    /// # Errors
    /// QEMU does not answer as it should.
    pub fn start(stream: UnixStream) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        let lines = BufReader::new(stream.try_clone().context("QMP: duplicate the socket")?);
        std::thread::spawn(move || {
            for line in lines.lines() {
                let Ok(line) = line else { break };
                let Ok(message) = serde_json::from_str::<Value>(&line) else { break };
                reader.take(message);
            }
            reader.lock().ended = true;
            reader.changed.notify_all();
        });
        let mut qmp = Self { stream, shared };
        let greeting = qmp.answer().context("QMP: QEMU does not greet")?;
        anyhow::ensure!(greeting.get("QMP").is_some(), "QMP: not a greeting: {greeting}");
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns what it answers.
    ///
    /// # Errors
    /// QEMU refuses it, or is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream, "{line}").with_context(|| format!("QMP: send {command}"))?;
        let answer = self.answer().with_context(|| format!("QMP: answer to {command}"))?;
        if let Some(error) = answer.get("error") {
            bail!("QMP: {command} {line}: {error}");
        }
        Ok(answer.get("return").cloned().unwrap_or(Value::Null))
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn press_power(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses Ctrl, Alt and Delete together on the guest's keyboard.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn press_ctrl_alt_del(&mut self) -> Result<()> {
        let key = |name: &str| json!({ "type": "qcode", "data": name });
        let keys = [key("ctrl"), key("alt"), key("delete")];
        self.execute("send-key", json!({ "keys": keys })).map(drop)
    }

    /// Runs a line of QEMU's human monitor and returns its text.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn monitor(&mut self, line: &str) -> Result<String> {
        let text = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits for an event of this name, also one that came before, and returns it.
    ///
    /// # Errors
    /// It does not come in time, or QEMU is gone.
    pub fn event(&self, name: &str, patience: Duration) -> Result<Value> {
        let give_up = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            if let Some(event) = state.events.iter().find(|event| event["event"] == name) {
                return Ok(event.clone());
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let names: Vec<&Value> = state.events.iter().map(|event| &event["event"]).collect();
                bail!("QMP: no {name}; there were {names:?}");
            }
            state = self.shared.wait(state, left);
        }
    }

    fn answer(&mut self) -> Result<Value> {
        let give_up = Instant::now() + ANSWER_PATIENCE;
        let mut state = self.shared.lock();
        loop {
            if !state.answers.is_empty() {
                return Ok(state.answers.remove(0));
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                bail!("{}", if state.ended { "QEMU is gone" } else { "QEMU is silent" });
            }
            state = self.shared.wait(state, left);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, left);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state)
    }

    fn take(&self, message: Value) {
        let mut state = self.lock();
        if message.get("event").is_some() {
            state.events.push(message);
        } else {
            state.answers.push(message);
        }
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU of three lines: greets, sends an event *before* the answer, refuses the next command.
    #[test]
    fn events_between_answers_and_refusals_are_told_apart() {
        let (host, qemu) = UnixStream::pair().expect("a pair");
        let server = std::thread::spawn(move || {
            let mut out = qemu.try_clone().expect("a duplicate");
            let mut lines = BufReader::new(qemu).lines();
            let say = |out: &mut UnixStream, text: &str| writeln!(out, "{text}").expect("said");
            say(&mut out, r#"{"QMP": {"version": {}}}"#);
            lines.next().expect("qmp_capabilities").expect("a line");
            say(&mut out, r#"{"event": "RESUME"}"#);
            say(&mut out, r#"{"return": {}}"#);
            lines.next().expect("system_powerdown").expect("a line");
            say(&mut out, r#"{"error": {"class": "GenericError", "desc": "no"}}"#);
        });
        let mut qmp = Qmp::start(host).expect("a greeting");
        assert!(qmp.event("RESUME", ANSWER_PATIENCE).is_ok());
        assert!(qmp.press_power().is_err(), "an error answer is an error");
        server.join().expect("the server");
        assert!(qmp.event("SHUTDOWN", ANSWER_PATIENCE).is_err(), "QEMU is gone");
    }
}
