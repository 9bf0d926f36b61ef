//! Temporary roots: what this process is about to need, told to Nix's collector.
//!
//! A root to a path that is not registered yet protects nothing; a temporary one does. The paths
//! stand in `temproots/PID`, each ended by NUL, in a file that we hold locked: once its lock can be
//! had, the collector takes the process for dead. A collector keeps whatever has the *hash part* of
//! a temporary root, so a path's staging name too.
//!
//! Order, which makes it safe: `gc.lock` shared → the collector does not run, and the file is read
//! by the next one. `gc.lock` taken → it runs, has read the file, and is told over its socket; its
//! answer comes when the path is not just being deleted. Only then is asked whether a path is
//! valid.
//!
//! The file is emptied when nobody in this process needs a root any more, and only while no
//! collector runs: one that has read the permanent roots and not yet these would see neither. If
//! one does run, what is not needed any more leaves the file at the next occasion without one.

use crate::error::{Error, Fault, Result, Step};
use crate::locks::open_lock;
use crate::path::StorePath;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a collector may take to answer: it finishes deleting the path that it is at.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a collector that holds its lock and does not listen is left alone: it is starting, or
/// ending. Nothing tells which, so it is asked again.
const COLLECTOR_PERIOD: Duration = Duration::from_millis(10);

/// The temporary roots of this process in one store.
#[derive(Debug)]
pub(crate) struct TempRoots {
    state: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    file: Option<File>,
    guards: usize,
    /// What was added since there were no guards.
    needed: Vec<StorePath>,
    /// The file holds more than that.
    stale: bool,
}

/// As long as this lives, what was [added](Self::add) through it is not collected.
#[derive(Debug)]
pub struct TempGuard {
    roots: Arc<TempRoots>,
}

impl TempRoots {
    pub(crate) fn new(state: PathBuf) -> Arc<Self> {
        Arc::new(Self { state, held: Mutex::default() })
    }

    pub(crate) fn guard(self: &Arc<Self>) -> TempGuard {
        self.lock().guards += 1;
        TempGuard { roots: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_file(&self) -> PathBuf {
        self.state.join("temproots").join(std::process::id().to_string())
    }

    fn collector_lock(&self) -> PathBuf {
        self.state.join("gc.lock")
    }

    fn add(&self, paths: &[StorePath]) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let path = self.own_file();
        let mut held = self.lock();
        if held.file.is_none() {
            held.file = Some(make_file(&path).map_err(Error::io(Step::Root, &path))?);
        }
        held.needed.extend_from_slice(paths);
        let failed = || Error::io(Step::Root, &path);
        let lock = self.collector_lock();
        let began = Instant::now();
        loop {
            let collector = open_lock(&lock).map_err(Error::io(Step::Root, &lock))?;
            match collector.try_lock_shared() {
                // The lock is let go when `collector` is dropped, after the write.
                Ok(()) if held.stale => return held.rewrite().map_err(failed()),
                Ok(()) => return held.append(paths).map_err(failed()),
                Err(TryLockError::Error(error)) => return Err(Error::io(Step::Root, &lock)(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if announce(&self.state.join("gc-socket/socket"), paths).is_ok() {
                return held.append(paths).map_err(failed());
            }
            if began.elapsed() > ANSWER_TIMEOUT {
                let waited_ms = u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
                let fault = Fault::Collector { waited_ms };
                return Err(Error::new(Step::Root, lock.display(), fault));
            }
            std::thread::park_timeout(COLLECTOR_PERIOD);
        }
    }

    /// Empties the file if no collector runs; else it is done at a later occasion.
    fn release(&self, held: &mut Held) {
        held.needed.clear();
        held.stale = held.file.is_some();
        let Ok(collector) = open_lock(&self.collector_lock()) else { return };
        if collector.try_lock_shared().is_ok() {
            // A file that cannot be emptied protects too much, which is no harm.
            let _ = held.rewrite();
        }
    }
}

impl Held {
    fn append(&mut self, paths: &[StorePath]) -> io::Result<()> {
        let lines: String = paths.iter().map(|path| format!("{path}\0")).collect();
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(lines.as_bytes()))
    }

    /// Leaves in the file what is needed. Only while no collector runs.
    fn rewrite(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.set_len(0)?;
        self.stale = false;
        let needed = std::mem::take(&mut self.needed);
        let written = self.append(&needed);
        self.needed = needed;
        written
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        let path = self.own_file();
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held.file.is_some() {
            // As with a killed process, the collector removes what stays behind.
            let _ = fs::remove_file(path);
        }
    }
}

impl TempGuard {
    /// Protects `paths`; it may wait for a running collector, so not for the thread of a runtime.
    ///
    /// # Errors
    /// The files cannot be written, or a collector does not answer.
    pub fn add(&self, paths: &[StorePath]) -> Result<()> {
        self.roots.add(paths)
    }
}

impl Drop for TempGuard {
    fn drop(&mut self) {
        let mut held = self.roots.lock();
        held.guards -= 1;
        if held.guards == 0 {
            self.roots.release(&mut held);
        }
    }
}

/// The file, locked, under its name. One with this pid in its name and no living owner is stale.
fn make_file(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    loop {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.lock()?;
        // A collector that saw it before the lock took it for stale: it unlinked the name and then
        // wrote into the file.
        if file.metadata()?.len() == 0 {
            return Ok(file);
        }
    }
}

/// Tells a running collector.
fn announce(socket: &Path, paths: &[StorePath]) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    for path in paths {
        stream.write_all(format!("{path}\n").as_bytes())?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        if answer != *b"1" {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    fn path(letter: char) -> StorePath {
        let hash = letter.to_string().repeat(32);
        format!("/nix/store/{hash}-x").parse().expect("a store path")
    }

    fn state() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn paths_stand_in_a_locked_file_and_leave_it_with_the_last_guard() {
        let folder = state();
        let roots = TempRoots::new(folder.path().to_path_buf());
        let (first, second) = (roots.guard(), roots.guard());
        first.add(&[path('a'), path('b')]).expect("added");
        second.add(&[path('c')]).expect("added");
        let file = roots.own_file();
        let expected = format!("{}\0{}\0{}\0", path('a'), path('b'), path('c'));
        assert_eq!(fs::read_to_string(&file).expect("read"), expected);
        let collector = fs::OpenOptions::new().write(true).open(&file).expect("open");
        assert!(collector.try_lock().is_err(), "a live process's file is locked");
        drop(first);
        assert_eq!(fs::read_to_string(&file).expect("read"), expected, "one still needs them");
        drop(second);
        assert_eq!(fs::read_to_string(&file).expect("read"), "");
        drop(roots);
        assert!(!file.exists());
    }

    #[test]
    fn a_running_collector_is_told_and_its_answer_awaited_and_nothing_is_taken_back_meanwhile() {
        let folder = state();
        let lock = open_lock(&folder.path().join("gc.lock")).expect("open");
        lock.lock().expect("the collector's lock");
        fs::create_dir(folder.path().join("gc-socket")).expect("mkdir");
        let listener = UnixListener::bind(folder.path().join("gc-socket/socket")).expect("bind");
        let collector = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("accept");
            let mut told = Vec::new();
            let mut lines = BufReader::new(stream.try_clone().expect("clone")).lines();
            while let Some(Ok(line)) = lines.next() {
                told.push(line);
                (&stream).write_all(b"1").expect("answer");
            }
            told
        });
        let roots = TempRoots::new(folder.path().to_path_buf());
        let guard = roots.guard();
        guard.add(&[path('a'), path('b')]).expect("acknowledged");
        let told = collector.join().expect("the collector");
        assert_eq!(told, [path('a').to_string(), path('b').to_string()]);
        let length = || fs::metadata(roots.own_file()).expect("stat").len();
        let written = length();
        assert!(written > 0, "the next collection reads them");
        drop(guard);
        assert_eq!(length(), written, "not while a collector runs");
        drop(lock);
        let guard = roots.guard();
        guard.add(&[path('c')]).expect("added");
        let text = fs::read_to_string(roots.own_file()).expect("read");
        assert_eq!(text, format!("{}\0", path('c')), "the next occasion");
    }

    #[test]
    fn a_file_that_a_dead_process_left_under_our_pid_does_not_count() {
        let folder = state();
        let roots = TempRoots::new(folder.path().to_path_buf());
        fs::create_dir(folder.path().join("temproots")).expect("mkdir");
        fs::write(roots.own_file(), "/nix/store/stale\0").expect("write");
        let guard = roots.guard();
        guard.add(&[path('a')]).expect("added");
        let text = fs::read_to_string(roots.own_file()).expect("read");
        assert_eq!(text, format!("{}\0", path('a')));
    }
}
