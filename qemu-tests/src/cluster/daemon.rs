//! A server of the cluster's network: a foreign program, its log, and a wait until it answers.

use crate::guest::cleanup::Held;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long one may take until it answers. etcd takes two seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest time between two tries to reach one; a word of it leads to the next try at once.
const PACE: Duration = Duration::from_millis(25);

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Bytes of a log that an error shows.
const TAIL_BYTES: usize = 2000;

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    /// One for each time that it said something, until it ends.
    words: Receiver<()>,
    process: Held,
}

impl Daemon {
    /// Starts `command`; its words go to `FOLDER/NAME.log`.
    ///
    /// # Errors
    /// The program is missing: `cargo xtask setup` installs it.
    pub(crate) fn start(folder: &Path, name: &str, command: &mut Command) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        // It goes with the thread that it is started by, also when nobody is left to kill it.
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        let (output, pipe) = std::io::pipe()?;
        guarded.stdin(Stdio::null()).stdout(pipe.try_clone()?).stderr(pipe);
        let child = guarded.spawn().with_context(|| {
            let program = command.get_program().display();
            format!("start {program}; `cargo xtask setup` installs it")
        })?;
        let (sender, words) = channel();
        std::thread::spawn(move || keep(output, file, &sender));
        Ok(Self { name: name.to_owned(), log, words, process: Held::new(child) })
    }

    /// Waits until `answers` does.
    ///
    /// # Errors
    /// It does not in time; the text has the log's end.
    pub(crate) fn until<T>(&self, mut answers: impl FnMut() -> Result<T>) -> Result<T> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let error = match answers() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let ended = self.words.recv_timeout(PACE) == Err(RecvTimeoutError::Disconnected);
            if ended || Instant::now() > give_up {
                let (name, log) = (&self.name, self.log());
                let log = &log[log.floor_char_boundary(log.len().saturating_sub(TAIL_BYTES))..];
                let what = if ended { "ended" } else { "does not answer" };
                bail!("{name} {what}: {error:#}; its log ends:\n{log}");
            }
        }
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) {
        self.process.kill();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Writes all that it says to its log, and tells so.
fn keep(mut output: PipeReader, mut log: File, said: &Sender<()>) {
    let mut bytes = [0; 4096];
    while let Ok(count) = output.read(&mut bytes)
        && count > 0
    {
        // Neither a full disk nor a test that listens no more may stop who is read.
        let _ = log.write_all(&bytes[..count]);
        let _ = said.send(());
    }
}

/// Sends one request of HTTP/1.0 and returns the body of an answer with status 200.
///
/// # Errors
/// Nobody answers, or another status.
pub(super) fn post(server: SocketAddr, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    let mut rest = String::new();
    answer.read_to_string(&mut rest)?;
    let (_, body) = rest.split_once("\r\n\r\n").unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{server}{path}: {} {body}", status.trim());
    }
    Ok(body.to_owned())
}

/// Sends one line and returns all that is answered until the other side closes.
///
/// # Errors
/// Nobody answers.
pub(super) fn ask(server: SocketAddr, line: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
