//! The service: requests of one connection after the other, on a socket or standard input.

use crate::request::Request;
use crate::state::{Found, State};
use crate::time::http_date;
use crate::tokens::Tokens;
use crate::{StateError, TOKEN_TTL_S_MAX};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside those of every answer.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn document(body: String) -> Self {
        Self { status: 200, body, ..Self::default() }
    }
}

/// Answers a request; nothing: the connection is closed without a word.
///
/// # Errors
/// The file of answers cannot be read, or that of tokens not written.
pub fn answer(
    request: &Request,
    path: &Path,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Option<Answer>, ServeError> {
    let state = State::load(path, client)?;
    if state.is_away() {
        return Ok(None);
    }
    let tokens = Tokens::beside(path);
    if request.path == TOKEN_PATH {
        return token(request, &tokens, now).map(Some);
    }
    let given = request.header(TOKEN_HEADER).unwrap_or_default();
    if !tokens.is_good(given, now) {
        return Ok(Some(Answer::status(401)));
    }
    if let Some(status) = state.status() {
        return Ok(Some(Answer::status(status)));
    }
    if request.method != "GET" {
        return Ok(Some(Answer::status(405)));
    }
    // Any version is the latest one.
    let below = request.path.trim_start_matches('/').split_once('/').map_or("", |(_, rest)| rest);
    let found = state.find(below, now);
    Ok(Some(match found {
        Some(Found::Document(text) | Found::Folder(text)) => Answer::document(text),
        None => Answer::status(404),
    }))
}

/// A session begins. A request that came through a proxy gets none, as on EC2.
fn token(request: &Request, tokens: &Tokens, now: SystemTime) -> Result<Answer, ServeError> {
    if request.method != "PUT" {
        return Ok(Answer::status(405));
    }
    if request.header("x-forwarded-for").is_some() {
        return Ok(Answer::status(403));
    }
    let ttl_s = request.header(TOKEN_TTL_HEADER).and_then(|text| text.parse::<u64>().ok());
    let Some(ttl_s) = ttl_s.filter(|ttl_s| (1..=TOKEN_TTL_S_MAX).contains(ttl_s)) else {
        return Ok(Answer::status(400));
    };
    let mut answer = Answer::document(tokens.make(ttl_s, now).map_err(ServeError::Tokens)?);
    answer.headers.push((TOKEN_TTL_HEADER.to_owned(), ttl_s.to_string()));
    Ok(answer)
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The file of answers.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file of tokens.
    #[error("write the tokens: {0}")]
    Tokens(io::Error),
    /// The connection.
    #[error("the connection: {0}")]
    Connection(#[from] io::Error),
}

/// Serves one connection until it ends.
///
/// False if it was closed on a request without a word.
fn connection(
    mut input: impl BufRead,
    mut output: impl Write,
    path: &Path,
    client: Option<IpAddr>,
) -> Result<bool, ServeError> {
    while let Some(request) = Request::read(&mut input)? {
        let now = SystemTime::now();
        let Some(answer) = answer(&request, path, client, now)? else { return Ok(false) };
        write(&mut output, &answer, now)?;
    }
    Ok(true)
}

fn write(output: &mut impl Write, answer: &Answer, now: SystemTime) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Status",
    };
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    let date = http_date(now);
    let length = answer.body.len().to_string();
    let common = [
        ("Server", "EC2ws"),
        ("Content-Type", "text/plain"),
        ("Date", date.as_str()),
        ("Content-Length", length.as_str()),
    ];
    let own = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in common.into_iter().chain(own) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(&answer.body);
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Serves whoever is at the other end of standard input and output: QEMU's `guestfwd=…-cmd:`
/// starts a process for each connection of its guest.
///
/// # Errors
/// The file of answers cannot be read, or the connection breaks.
pub fn stdio(path: &Path) -> Result<(), ServeError> {
    connection(io::stdin().lock(), io::stdout().lock(), path, None).map(drop)
}

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopped: AtomicBool,
    unanswered: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

/// Serves the answers of `state` on `address`; port 0 is one that the kernel chooses.
///
/// # Errors
/// Those of bind(2), or the file cannot be read.
pub fn listen(address: SocketAddr, state: &Path) -> Result<Server, ServeError> {
    State::load(state, None)?;
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared::default());
    let accepting = std::thread::spawn({
        let (shared, state) = (Arc::clone(&shared), state.to_path_buf());
        move || accept(&listener, &state, &shared)
    });
    Ok(Server { address, state: state.to_path_buf(), shared, accepting: Some(accepting) })
}

fn accept(listener: &TcpListener, state: &Path, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (Ok(copy), Ok(output)) = (stream.try_clone(), stream.try_clone()) else { continue };
        lock(&shared.connections).push(copy);
        let client = stream.peer_addr().ok().map(|address| address.ip());
        let state = state.to_path_buf();
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            match connection(BufReader::new(&stream), &output, &state, client) {
                Ok(true) => {}
                Ok(false) => drop(shared.unanswered.fetch_add(1, Ordering::SeqCst)),
                // Whoever was killed says no goodbye.
                Err(ServeError::Connection(error))
                    if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => eprintln!("imds: {error}"),
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as an endpoint is named.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file of answers.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Changes the answers: reads the file, lets `change` at them, writes the file.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), StateError> {
        let mut state = State::load(&self.state, None)?;
        change(&mut state);
        state.save(&self.state)
    }

    /// Requests that were left without an answer, by `!away`.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.shared.unanswered.load(Ordering::SeqCst)
    }

    /// Forgets all tokens that were given.
    pub fn forget_tokens(&self) {
        let _ = std::fs::remove_file(self.state.with_extension("tokens"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for stream in lock(&self.shared.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

#[cfg(test)]
mod tests;
