//! A binary cache for tests: files of a folder over HTTP/1.1, with faults on purpose.
//!
//! A thread for each connection, which is kept; ranges of the form `bytes=N-`; every request is
//! counted. A fault holds for all paths that contain a text, always or a number of times.

mod serve;

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What a cache does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and no file.
    Status(u16),
    /// Has only so many bytes of the file, and says so: the upload was cut.
    Short(u64),
    /// Closes the connection after so many bytes of the answer's body, though more was announced.
    Drop(u64),
    /// Sends so many bytes of the body and then nothing more, until the client goes.
    Hang(u64),
    /// Has one bit of the file's byte there turned.
    Flip(u64),
    /// Has other bytes.
    Replace(Vec<u8>),
    /// Answers a request for a range with the whole file.
    NoRange,
}

/// A fault for paths that contain a text.
#[derive(Debug)]
struct Trap {
    text: String,
    fault: Fault,
    /// Requests that it still meets; `None` for all.
    left: Option<usize>,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    traps: Mutex<Vec<Trap>>,
    requests: Mutex<BTreeMap<String, usize>>,
    body_bytes: AtomicU64,
    /// Requests after which everything is shut down.
    lives: AtomicUsize,
    stopped: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    address: SocketAddr,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `folder` on a port of loopback that the kernel chooses.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn start(folder: &Path) -> io::Result<Self> {
        Self::start_on(folder, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Serves `folder` on `address`: again there, after a server that was dropped.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn start_on(folder: &Path, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let state = Arc::new(State {
            folder: folder.to_path_buf(),
            traps: Mutex::default(),
            requests: Mutex::default(),
            body_bytes: AtomicU64::new(0),
            lives: AtomicUsize::new(usize::MAX),
            stopped: AtomicBool::new(false),
            connections: Mutex::default(),
            address: listener.local_addr()?,
        });
        let accepting = std::thread::spawn({
            let state = Arc::clone(&state);
            move || accept(&listener, &state)
        });
        Ok(Self { state, accepting: Some(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Its address as a cache is named.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.state.address)
    }

    /// From now on does `fault` wrong for every path that contains `text`.
    pub fn fail(&self, text: &str, fault: Fault) {
        self.trap(text, fault, None);
    }

    /// Does `fault` wrong for the next `times` requests of a path that contains `text`.
    pub fn fail_times(&self, text: &str, fault: Fault, times: usize) {
        self.trap(text, fault, Some(times));
    }

    fn trap(&self, text: &str, fault: Fault, left: Option<usize>) {
        lock(&self.state.traps).push(Trap { text: text.to_owned(), fault, left });
    }

    /// Does nothing wrong any more.
    pub fn heal(&self) {
        lock(&self.state.traps).clear();
    }

    /// Serves `requests` more and dies: every connection is cut and none is accepted.
    pub fn die_after(&self, requests: usize) {
        self.state.lives.store(requests, Ordering::SeqCst);
    }

    /// Requests so far for paths that contain `text`.
    #[must_use]
    pub fn requests(&self, text: &str) -> usize {
        let requests = lock(&self.state.requests);
        requests.iter().filter(|(path, _)| path.contains(text)).map(|(_, count)| count).sum()
    }

    /// Paths that were asked for more than once and contain `text`.
    #[must_use]
    pub fn repeated(&self, text: &str) -> Vec<String> {
        let requests = lock(&self.state.requests);
        let repeated = requests.iter().filter(|(path, count)| path.contains(text) && **count > 1);
        repeated.map(|(path, _)| path.clone()).collect()
    }

    /// Bytes of bodies sent so far.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.state.body_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop();
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl State {
    /// Cuts everything, and wakes who waits for a connection.
    fn stop(&self) {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = TcpStream::connect(self.address);
        for connection in lock(&self.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Counts a request; what is to be done wrong with it.
    fn met(&self, path: &str) -> Option<Fault> {
        *lock(&self.requests).entry(path.to_owned()).or_default() += 1;
        let mut traps = lock(&self.traps);
        let trap = traps
            .iter_mut()
            .find(|trap| path.contains(&trap.text) && trap.left.is_none_or(|left| left > 0))?;
        if let Some(left) = &mut trap.left {
            *left -= 1;
        }
        Some(trap.fault.clone())
    }

    /// Whether there is one more request to serve.
    fn lives(&self) -> bool {
        let one_less = |lives: usize| match lives {
            usize::MAX => Some(usize::MAX),
            lives => lives.checked_sub(1),
        };
        self.lives.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((connection, _)) = listener.accept() {
        if state.stopped.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(clone) = connection.try_clone() {
            lock(&state.connections).push(clone);
        }
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let _ = serve::connection(&connection, &state);
            let _ = connection.shutdown(Shutdown::Both);
            let peer = connection.peer_addr().ok();
            lock(&state.connections).retain(|one| one.peer_addr().ok() != peer);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
