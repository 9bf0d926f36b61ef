//! Services' output: from their pipes into their rings, and on to whoever follows.
//!
//! What an app's sides and tasks print is the app's: each has a pipe and a ring of its own, under
//! its key, and whoever asks for the app gets them all, by time.

use crate::ring::{Assembler, Chunk, Line, RING_BYTES, Ring};
use crate::watch::{Held, Ticket};
use control::limits::FEED_BATCHES_MAX;
use control::server::{Batch, Feed, LogQuery};
use control::types::LogRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::log_pipe;
use tokio::sync::mpsc;

/// One read from a pipe in bytes: the kernel's own default size of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// Read from one pipe before others get their turn, in bytes: a whole pipe, so that everything a
/// run printed before it ended is taken when its end is judged, and no more, so that a service
/// that never stops printing holds up nobody.
const TURN_BYTES: usize = log_pipe::PIPE_BYTES;

/// What a turn at a pipe left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Perhaps more: come again.
    More,
    /// The pipe cannot be read any more.
    Broken,
}

/// One service's.
#[derive(Debug)]
struct ServiceLog {
    pipe: Held,
    ring: Ring,
    assembler: Assembler,
    incarnation: u64,
    /// Writing the ring failed and it was said.
    failing: bool,
}

/// A caller of `GetLogs` with `follow`.
#[derive(Debug)]
struct Follower {
    service: Option<String>,
    sender: mpsc::Sender<Batch<LogRecord>>,
    lost: u64,
}

/// All services'.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    /// Names of apps.
    apps: BTreeSet<String>,
    /// By key.
    services: BTreeMap<String, ServiceLog>,
    followers: Vec<Follower>,
    buffer: Vec<u8>,
}

impl Logs {
    /// Rings lie in `directory`, 0700: what a service prints may be secret. Keys `APP.…` belong to
    /// these apps.
    ///
    /// # Errors
    /// Those of mkdir(2) and chmod(2).
    pub fn new(directory: &Path, apps: BTreeSet<String>) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
        Ok(Self {
            directory: directory.to_owned(),
            apps,
            services: BTreeMap::new(),
            followers: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// More apps: those whose last lines are still to come stay.
    pub fn add_apps<'a>(&mut self, apps: impl IntoIterator<Item = &'a String>) {
        self.apps.extend(apps.into_iter().cloned());
    }

    /// Whether the service has a pipe.
    #[must_use]
    pub fn has(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// Keys that have a pipe, or those of the service of this name.
    #[must_use]
    pub fn keys(&self, only: Option<&str>) -> Vec<String> {
        let wanted = |key: &&String| only.is_none_or(|only| only == self.service_of(key));
        self.services.keys().filter(wanted).cloned().collect()
    }

    /// Whose a key is: the app's whose side or task it is, else its own.
    fn service_of<'a>(&self, key: &'a str) -> &'a str {
        let app = key.rsplit_once('.').map(|(app, _)| app);
        app.filter(|app| self.apps.contains(*app)).unwrap_or(key)
    }

    /// A line as who asks sees it.
    fn record(&self, key: &str, line: &Line) -> LogRecord {
        let service = self.service_of(key);
        let record = LogRecord::new(service, line.incarnation, line.time_ns, &line.bytes);
        if service == key { record } else { record.with_key(key) }
    }

    /// Reads from now on the pipe whose read end this is, into the service's ring.
    ///
    /// # Errors
    /// Those of opening the ring and of registering the pipe.
    pub fn adopt(&mut self, service: &str, read: OwnedFd, incarnation: u64) -> io::Result<Ticket> {
        let ring = Ring::open(&self.directory.join(service), RING_BYTES)?;
        let (pipe, ticket) = Held::new(read)?;
        // The beginning of a line that is not ended yet belongs to the line's follower.
        let mut assembler = Assembler::default();
        for chunk in ring.chunks()? {
            assembler.push(&chunk, &mut Vec::new());
        }
        let log = ServiceLog { pipe, ring, assembler, incarnation, failing: false };
        self.services.insert(service.to_owned(), log);
        Ok(ticket)
    }

    /// What comes from now on is of this run.
    pub fn begin_run(&mut self, service: &str, incarnation: u64) {
        if let Some(log) = self.services.get_mut(service) {
            log.incarnation = incarnation;
        }
    }

    /// The run is over and drained: its unfinished line gets no end.
    pub fn end_run(&mut self, service: &str) {
        let Some(log) = self.services.get_mut(service) else { return };
        let ended = log.ring.end_run(sys::clock::monotonic_ns());
        let lines = log.take_in(service, ended.map(|chunk| chunk.into_iter().collect()));
        self.tell(service, lines);
    }

    /// Takes what the pipe holds, at most one turn's worth.
    pub fn drain(&mut self, service: &str) -> Left {
        let Some(log) = self.services.get_mut(service) else { return Left::Broken };
        let (mut taken, mut lines) = (0, Vec::new());
        let left = loop {
            if taken >= TURN_BYTES {
                break Left::More;
            }
            match log_pipe::read(log.pipe.fd(), &mut self.buffer) {
                Ok(None) => break Left::Nothing,
                Ok(Some(0)) => break Left::Broken,
                Ok(Some(count)) => {
                    taken += count;
                    let now_ns = sys::clock::monotonic_ns();
                    let chunks = log.ring.append(now_ns, log.incarnation, &self.buffer[..count]);
                    lines.append(&mut log.take_in(service, chunks));
                }
                Err(error) => {
                    tracing::error!("{service}: its log pipe cannot be read: {error}");
                    break Left::Broken;
                }
            }
        };
        self.tell(service, lines);
        left
    }

    /// Drops a service's pipe and ring.
    pub fn remove(&mut self, service: &str) {
        self.services.remove(service);
        if let Err(error) = std::fs::remove_file(self.directory.join(service)) {
            tracing::warn!("{service}: its log could not be removed: {error}");
        }
    }

    /// Gives finished lines to those who follow. One that does not read in time is told how many
    /// it missed once it does.
    fn tell(&mut self, key: &str, lines: Vec<Line>) {
        if lines.is_empty() || self.followers.is_empty() {
            return;
        }
        let records: Vec<LogRecord> = lines.iter().map(|line| self.record(key, line)).collect();
        let service = self.service_of(key);
        self.followers.retain_mut(|follower| {
            if follower.service.as_deref().is_some_and(|wanted| wanted != service) {
                return !follower.sender.is_closed();
            }
            let batch = Batch { records: records.clone(), lost: follower.lost };
            match follower.sender.try_send(batch) {
                Ok(()) => follower.lost = 0,
                Err(mpsc::error::TrySendError::Full(_)) => follower.lost += records.len() as u64,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
            true
        });
    }

    /// Answers `GetLogs`: the last lines by time, and what is to come.
    ///
    /// # Errors
    /// Those of reading a ring, with the service's name.
    pub fn query(&mut self, query: &LogQuery) -> Result<Feed<LogRecord>, (String, io::Error)> {
        let wanted = usize::try_from(query.lines).unwrap_or(usize::MAX);
        let (mut backlog, mut lost) = (Vec::new(), 0);
        for (key, log) in &self.services {
            if query.service.as_ref().is_some_and(|only| only != self.service_of(key)) {
                continue;
            }
            let lines = log.lines(!query.follow).map_err(|error| (key.clone(), error))?;
            if lines.len() < wanted {
                lost += log.ring.lines_lost().min((wanted - lines.len()) as u64);
            }
            let skipped = lines.len().saturating_sub(wanted);
            backlog.extend(lines[skipped..].iter().map(|line| self.record(key, line)));
            // The sort is stable: lines of one read keep their order.
            backlog.sort_by_key(|record| record.time_ns);
            backlog.drain(..backlog.len().saturating_sub(wanted));
        }
        let live = query.follow.then(|| {
            let (sender, receiver) = mpsc::channel(FEED_BATCHES_MAX);
            self.followers.push(Follower { service: query.service.clone(), sender, lost: 0 });
            receiver
        });
        Ok(Feed { backlog, lost, live })
    }
}

impl ServiceLog {
    /// Lines that new chunks complete. A ring that cannot be written is said once.
    fn take_in(&mut self, service: &str, chunks: io::Result<Vec<Chunk>>) -> Vec<Line> {
        let mut lines = Vec::new();
        match chunks {
            Ok(chunks) => {
                self.failing = false;
                for chunk in chunks {
                    self.assembler.push(&chunk, &mut lines);
                }
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(
                    "{service}: its output is being lost: its log cannot be written: {error} (is \
                     the file system of the run directory full?)"
                );
            }
            Err(_) => {}
        }
        lines
    }

    /// All lines that are left; with `unfinished` also one that has no end yet.
    fn lines(&self, unfinished: bool) -> io::Result<Vec<Line>> {
        let (mut assembler, mut lines) = (Assembler::default(), Vec::new());
        for chunk in self.ring.chunks()? {
            assembler.push(&chunk, &mut lines);
        }
        if unfinished {
            lines.extend(assembler.partial().cloned());
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn query(lines: u32, follow: bool) -> LogQuery {
        LogQuery { service: Some("web".to_owned()), lines, follow }
    }

    /// A follower that does not read misses lines, and is told exactly how many with the first
    /// that reach it again: sent are one line a batch, so those beyond the channel are lost.
    #[tokio::test(flavor = "current_thread")]
    async fn slow_followers_are_told_what_they_missed() {
        let directory = tempfile::tempdir().expect("directory");
        let mut logs = Logs::new(directory.path(), BTreeSet::new()).expect("logs");
        let pipe = log_pipe::create().expect("pipe");
        let _ticket = logs.adopt("web", pipe.read, 1).expect("adopt");
        let mut printed = std::fs::File::from(pipe.write);
        let mut live = logs.query(&query(0, true)).expect("query").live.expect("live");
        for number in 0..FEED_BATCHES_MAX + 3 {
            writeln!(printed, "{number}").expect("print");
            assert_eq!(logs.drain("web"), Left::Nothing);
        }
        for number in 0..FEED_BATCHES_MAX {
            let batch = live.try_recv().expect("batch");
            assert_eq!((batch.lost, batch.records[0].text.clone()), (0, number.to_string()));
        }
        printed.write_all(b"torn").expect("print");
        logs.drain("web");
        live.try_recv().expect_err("half a line is none");
        printed.write_all(b" line\n").expect("print");
        logs.drain("web");
        let batch = live.try_recv().expect("batch");
        assert_eq!((batch.lost, batch.records[0].text.as_str()), (3, "torn line"));
    }

    /// A service that was overwritten: the answer says how many of the lines asked for are gone.
    /// The unfinished line is shown to who asks once, and kept back from who follows.
    #[tokio::test(flavor = "current_thread")]
    async fn overwritten_lines_are_counted() {
        let directory = tempfile::tempdir().expect("directory");
        let mut logs = Logs::new(directory.path(), BTreeSet::new()).expect("logs");
        let pipe = log_pipe::create().expect("pipe");
        let _ticket = logs.adopt("web", pipe.read, 1).expect("adopt");
        let mut printed = std::fs::File::from(pipe.write);
        let total = 5000;
        for number in 0..total {
            writeln!(printed, "{number:099}").expect("print");
            logs.drain("web");
        }
        printed.write_all(b"unfinished").expect("print");
        logs.drain("web");
        let feed = logs.query(&query(100_000, false)).expect("query");
        assert_eq!(feed.backlog.last().expect("line").text, "unfinished");
        assert_eq!(feed.lost + feed.backlog.len() as u64, total + 1);
        assert!(feed.lost > 1000);
        let feed = logs.query(&query(2, false)).expect("query");
        assert_eq!((feed.backlog.len(), feed.lost), (2, 0));
        let feed = logs.query(&query(1, true)).expect("query");
        assert_eq!(feed.backlog[0].text, format!("{:099}", total - 1));
    }

    /// Both sides of an app and its task are the app's, in the order of their lines, each line with
    /// its key; a service that only looks like a side is its own.
    #[tokio::test(flavor = "current_thread")]
    async fn an_apps_lines_come_together() {
        let directory = tempfile::tempdir().expect("directory");
        let apps = BTreeSet::from(["web".to_owned()]);
        let mut logs = Logs::new(directory.path(), apps).expect("logs");
        let mut tickets = Vec::new();
        for key in ["web.0", "web.1", "web.migrate", "db.1"] {
            let pipe = log_pipe::create().expect("pipe");
            tickets.push(logs.adopt(key, pipe.read, 1).expect("adopt"));
            writeln!(std::fs::File::from(pipe.write), "I am {key}").expect("print");
            logs.drain(key);
        }
        let feed = logs.query(&query(10, false)).expect("query");
        let keys: Vec<_> = feed.backlog.iter().filter_map(|line| line.key.as_deref()).collect();
        assert_eq!(keys, ["web.0", "web.1", "web.migrate"]);
        assert!(feed.backlog.iter().all(|line| line.service == "web"));
        assert_eq!(logs.keys(Some("db.1")), ["db.1"]);
    }
}
