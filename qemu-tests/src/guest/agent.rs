//! Commands in the guest, over its second serial line: `rollinit-testagent` answers there.
//!
//! One ASCII JSON object a line, both ways. A serial line and not the network, so that it works
//! with no module loaded, with no initramfs, and while the console is wedged.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The host's end of the line.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    lines: Receiver<Value>,
    next_id: u64,
    patience: Duration,
}

/// How a command in the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` after a signal.
    pub code: Option<i64>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Somebody to kill while a command runs.
#[derive(Clone, Copy, Debug)]
pub struct Kill<'a> {
    /// When a line of the command's output has this text in it, for the first time.
    pub when: &'a str,
    /// Whom.
    pub pid: u32,
}

impl Output {
    fn read(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let code = answer["exit"].as_i64();
        Self { code, stdout: text("stdout"), stderr: text("stderr") }
    }
}

impl Agent {
    /// Listens for the agent's lines. What is no JSON (the kernel's noise) is passed over.
    ///
    /// # Errors
    /// The socket cannot be duplicated.
    pub fn start(stream: UnixStream, patience: Duration) -> Result<Self> {
        let reader = BufReader::new(stream.try_clone().context("agent: duplicate the socket")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { break };
                if let Ok(message) = serde_json::from_str(line.trim())
                    && sender.send(message).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { stream, lines, next_id: 1, patience })
    }

    /// Waits until the agent has said hello: services run in the guest.
    ///
    /// # Errors
    /// It does not in time.
    pub fn hello(&mut self, patience: Duration) -> Result<()> {
        let give_up = Instant::now() + patience;
        while self.next(give_up).context("the guest's test agent says no hello")?["hello"].is_null()
        {
        }
        Ok(())
    }

    /// Runs a program in the guest to its end.
    ///
    /// # Errors
    /// It cannot be started, or takes too long.
    pub fn run(&mut self, words: &[&str]) -> Result<Output> {
        self.ask(json!({ "exec": words })).map(|answer| Output::read(&answer))
    }

    /// As [`Agent::rollinit`], whatever comes of it; with `kill`, somebody dies in the middle
    /// (SIGKILL), and the second value tells whether it came to that.
    ///
    /// # Errors
    /// It cannot be started, or takes too long.
    pub fn attempt(&mut self, words: &[&str], kill: Option<Kill<'_>>) -> Result<(Output, bool)> {
        let mut request = json!({ "exec": outside_of_services(words) });
        if let Some(Kill { when, pid }) = kill {
            request["when"] = when.into();
            request["kill"] = pid.into();
            request["signal"] = 9.into();
        }
        let answer = self.ask(request)?;
        Ok((Output::read(&answer), answer["killed"] == true))
    }

    /// Runs `rollinit WORDS` as root outside of any service (inside the agent's own it could only
    /// read), which must succeed, and returns what it printed.
    ///
    /// # Errors
    /// It fails; the text has its words.
    pub fn rollinit(&mut self, words: &[&str]) -> Result<String> {
        let output = self.run(&outside_of_services(words))?;
        if output.code != Some(0) {
            bail!("in the guest: rollinit {words:?}: {output:?}");
        }
        Ok(output.stdout)
    }

    /// As [`Agent::rollinit`] for a command that ends the guest: maybe nobody is left to answer.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn rollinit_last(&mut self, words: &[&str]) -> Result<()> {
        self.send(json!({ "exec": outside_of_services(words) })).map(drop)
    }

    /// `rollinit status --json`.
    ///
    /// # Errors
    /// As [`Agent::rollinit`], or it prints no JSON.
    pub fn status(&mut self) -> Result<Value> {
        let text = self.rollinit(&["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("status --json printed {text:?}"))
    }

    /// Sends a signal to a process of the guest.
    ///
    /// # Errors
    /// There is no such process.
    pub fn kill(&mut self, pid: u32, signal: u8) -> Result<()> {
        self.ask(json!({ "kill": pid, "signal": signal })).map(drop)
    }

    /// The text of a file of the guest.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, path: &str) -> Result<String> {
        let answer = self.ask(json!({ "read": path }))?;
        Ok(answer["text"].as_str().unwrap_or_default().to_owned())
    }

    /// Writes to a device of the guest without blocking, until it would block.
    ///
    /// # Errors
    /// It cannot be opened, or takes everything.
    pub fn fill(&mut self, path: &str) -> Result<u64> {
        Ok(self.ask(json!({ "fill": path }))?["bytes"].as_u64().unwrap_or(0))
    }

    fn send(&mut self, mut request: Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = id.into();
        writeln!(self.stream, "{request}").with_context(|| format!("agent: send {request}"))?;
        Ok(id)
    }

    fn ask(&mut self, request: Value) -> Result<Value> {
        let id = self.send(request.clone())?;
        let give_up = Instant::now() + self.patience;
        loop {
            let answer = self.next(give_up).with_context(|| format!("in the guest: {request}"))?;
            if answer["id"] != id {
                continue; // a late answer to a question that was given up, or a hello
            }
            return match answer["error"].as_str() {
                None => Ok(answer),
                Some(error) => bail!("in the guest: {request}: {error}"),
            };
        }
    }

    fn next(&mut self, give_up: Instant) -> Result<Value> {
        let left = give_up.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).context("no answer")
    }
}

/// The words of a shell that leaves the agent's cgroup and becomes `rollinit WORDS`.
fn outside_of_services<'a>(words: &[&'a str]) -> Vec<&'a str> {
    const LEAVE: &str = "echo 0 > /sys/fs/cgroup/cgroup.procs && exec rollinit \"$@\"";
    let mut line = vec!["/run/current-system/sw/bin/sh", "-c", LEAVE, "sh"];
    line.extend(words);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// An agent that is preceded by noise, repeats an old answer, and refuses the second question.
    #[test]
    fn noise_and_late_answers_are_passed_over_and_errors_are_errors() {
        let (host, guest) = UnixStream::pair().expect("a pair");
        let server = std::thread::spawn(move || {
            let mut out = guest.try_clone().expect("a duplicate");
            let mut lines = BufReader::new(guest).lines();
            writeln!(out, "[    1.0] noise\r\n{{\"hello\":7}}").expect("said");
            lines.next().expect("run").expect("a line");
            writeln!(out, "{{\"id\":0,\"exit\":9}}").expect("said");
            writeln!(out, "{{\"id\":1,\"exit\":3,\"stdout\":\"a\\n\"}}").expect("said");
            lines.next().expect("read").expect("a line");
            writeln!(out, "{{\"id\":2,\"error\":\"no such file\"}}").expect("said");
        });
        let mut agent = Agent::start(host, PATIENCE).expect("an agent");
        agent.hello(PATIENCE).expect("hello");
        let output = agent.run(&["/bin/false"]).expect("an answer");
        assert_eq!((output.code, output.stdout.as_str()), (Some(3), "a\n"));
        assert!(agent.read("/nothing").is_err());
        server.join().expect("the server");
    }
}
