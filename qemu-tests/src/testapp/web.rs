//! `web`: a server that counts what it is asked, so that both sides of a load can be compared, and
//! that ends without cutting anybody off.
//!
//! What it answers: [`crate::load::request::Kind`], and GET `/up` (`ok`), and GET
//! `/ledger?name=NAME`: how many different ids `NAME-…` it answered and how many came again.
//!
//! On SIGTERM it drains. It accepts no more: who waits in the queue of a kept socket is served by
//! the next tenant. A connection that was accepted and has not asked yet may still ask; a request
//! under way is answered and its connection closed. A connection that was used before may ask once
//! more for as long as clients reuse one ([`crate::load::KEPT_IDLE_MAX`]), and some; then it is
//! closed, and nobody's request crosses the close on its way. Then it exits with 0.

use super::arguments::Arguments;
use super::http::{self, Answer, Request};
use super::signals::{Termination, nanoseconds};
use super::{Failure, Outcome, at, notify};
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use sys::poll::{PollFd, PollFlags};

/// Connections at once, a thread each; those above it wait in the socket's queue.
const CONNECTIONS_MAX: usize = 1024;

/// Stack of a connection's thread in bytes: it holds one read buffer.
const STACK_BYTES: usize = 128 * 1024;

/// Ids that are counted; those above it are answered with 503, since they could not be.
const IDS_MAX: usize = 2_000_000;

/// How long a connection may be silent; while draining, a new one, and one that was used before:
/// three times as long as a client takes to give it up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(2);
const IDLE_MAX: Duration = crate::load::KEPT_IDLE_MAX.saturating_mul(3);

/// The longest `/slow`, in milliseconds.
const SLOW_MS_MAX: u64 = 30_000;

/// How it differs from a server that is well.
struct Behaviour {
    /// Told in every answer; empty: not told.
    version: String,
    /// Where each request is written down.
    served: Option<File>,
    /// What `/up` answers.
    up_status: u16,
    /// When `/up` begins to answer 503, by the monotonic clock.
    sick_from_ns: u64,
}

struct Server {
    behaviour: Behaviour,
    termination: Termination,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often each id was seen.
    seen: HashMap<String, u64>,
    /// Connections that are open.
    open: usize,
}

pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let port: Option<u16> = arguments.option_if_any("--port")?;
    let never_accepts = arguments.flag("--never-accept");
    let shuts_down = arguments.flag("--shut-down");
    let behaviour = Behaviour::read(arguments)?;
    arguments.finish()?;
    let termination = Termination::watch()?;
    let listener = listener(port)?;
    if never_accepts {
        termination.wait()?;
        return Ok(ExitCode::SUCCESS);
    }
    // A connection may be gone again between poll and accept.
    listener.set_nonblocking(true).map_err(at("set the listener non-blocking"))?;
    let state = Mutex::default();
    let server = Arc::new(Server { behaviour, termination, state, changed: Condvar::new() });
    notify::say("READY=1")?;
    server.accept(&listener)?;
    notify::say("STOPPING=1")?;
    if shuts_down {
        // For all who hold it, as some servers do.
        sys::rendezvous::shut_down(listener.as_fd()).map_err(at("shut the listener down"))?;
    }
    drop(listener);
    server.await_open(0);
    Ok(ExitCode::SUCCESS)
}

impl Behaviour {
    fn read(arguments: &mut Arguments) -> Result<Self, Failure> {
        let version = arguments.option("--version", String::new())?;
        let up_status = arguments.option("--up-status", 200)?;
        let sick_after_ms: Option<u64> = arguments.option_if_any("--sick-after-ms")?;
        let sick_from_ns = sick_after_ms.map_or(u64::MAX, |after_ms| {
            sys::clock::monotonic_ns() + nanoseconds(Duration::from_millis(after_ms))
        });
        let path: Option<PathBuf> = arguments.option_if_any("--served")?;
        let open = |path: &PathBuf| {
            let file = File::options().append(true).create(true).open(path);
            file.map_err(at(format!("open {}", path.display())))
        };
        let served = path.as_ref().map(open).transpose()?;
        Ok(Self { version, served, up_status, sick_from_ns })
    }

    /// Writes a request down before it is answered: one write, so that lines of several processes
    /// do not mix.
    fn note(&self, request: &Request) -> Result<(), Failure> {
        let Some(mut file) = self.served.as_ref() else { return Ok(()) };
        let (version, process) = (&self.version, std::process::id());
        let id = if request.id.is_empty() { "-" } else { &request.id };
        let line = format!("{version} {process} {} {id}\n", request.path);
        file.write_all(line.as_bytes()).map_err(at("write down a request"))
    }

    fn up(&self) -> Answer {
        let sick = sys::clock::monotonic_ns() >= self.sick_from_ns;
        let status = if sick { 503 } else { self.up_status };
        let text = if status == 200 { "ok" } else { "relation orders does not exist" };
        Answer { status, count: 0, body: text.into() }
    }
}

/// The kept socket of sd_listen_fds(3), else one of our own on `--port` or `$PORT`.
fn listener(port: Option<u16>) -> Result<TcpListener, Failure> {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if let Some(count) = variable("LISTEN_FDS") {
        if variable("LISTEN_PID") != Some(std::process::id()) {
            return Err(Failure("LISTEN_PID is not this process".to_owned()));
        }
        if count != 1 {
            return Err(Failure(format!("LISTEN_FDS is {count}; one socket is served")));
        }
        let socket = sys::inherit::take(sys::inherit::LISTEN_FDS_START);
        return socket.map(TcpListener::from).map_err(at("take the socket of LISTEN_FDS"));
    }
    let told = || variable("PORT").and_then(|port| u16::try_from(port).ok());
    let port = port.or_else(told);
    let port = port.ok_or_else(|| Failure("no LISTEN_FDS, --port N or $PORT".to_owned()))?;
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(at(format!("listen on port {port}")))
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until at most so many connections are open.
    fn await_open(&self, count: usize) {
        let state = self.lock();
        drop(self.changed.wait_while(state, |state| state.open > count));
    }

    /// Accepts until it is asked to end.
    fn accept(self: &Arc<Self>, listener: &TcpListener) -> Result<(), Failure> {
        loop {
            self.await_open(CONNECTIONS_MAX - 1);
            let mut fds = [
                PollFd::new(&self.termination, PollFlags::IN),
                PollFd::new(listener, PollFlags::IN),
            ];
            sys::poll::until(&mut fds, None).map_err(at("poll"))?;
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
            match listener.accept() {
                Ok((stream, _)) => self.start(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The client was gone before we came to it: accept(2).
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(at("accept")(error)),
            }
        }
    }

    fn start(self: &Arc<Self>, stream: TcpStream) -> Result<(), Failure> {
        self.lock().open += 1;
        let server = Arc::clone(self);
        let serve = move || {
            // What breaks here is the client's connection; it tells the load generator, not us.
            let _ = server.serve(&stream);
            // Before the count goes down: the process may end right after it.
            drop(stream);
            server.lock().open -= 1;
            server.changed.notify_all();
        };
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(serve);
        thread.map(drop).map_err(at("start a thread"))
    }

    /// One connection, until either side has enough.
    fn serve(&self, stream: &TcpStream) -> Result<(), Failure> {
        stream.set_nonblocking(false).map_err(at("set a connection blocking"))?;
        stream.set_nodelay(true).map_err(at("TCP_NODELAY"))?;
        let (mut bytes, mut answered) = (Vec::new(), false);
        loop {
            let request = match http::take_request(&mut bytes) {
                Ok(Some(request)) => request,
                Ok(None) => {
                    let is_idle = answered && bytes.is_empty();
                    if !self.await_bytes(stream, is_idle)? || !read_some(stream, &mut bytes)? {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => {
                    let answer = Answer { status: 400, count: 0, body: Vec::new() };
                    answer.send("", true, stream).map_err(at("answer"))?;
                    return Err(at("understand a request")(error));
                }
            };
            let answer = self.answer(&request)?;
            let closes = request.closes || self.is_draining()?;
            answer.send(&request.id, closes, stream).map_err(at("answer"))?;
            answered = true;
            if closes {
                // Nothing but the client's end of the connection is left to come.
                let _ = stream.shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }

    /// Waits for bytes of the client; false when it is time to close instead.
    fn await_bytes(&self, stream: &TcpStream, is_idle: bool) -> Result<bool, Failure> {
        let draining = self.is_draining()?;
        let time = match (draining, is_idle) {
            (true, true) => IDLE_MAX,
            (true, false) => FIRST_REQUEST_MAX,
            (false, _) => SILENCE_MAX,
        };
        let deadline_ns = sys::clock::monotonic_ns() + nanoseconds(time);
        let mut fds =
            [PollFd::new(stream, PollFlags::IN), PollFd::new(&self.termination, PollFlags::IN)];
        let watched = if draining { &mut fds[..1] } else { &mut fds[..] };
        sys::poll::until(watched, Some(deadline_ns)).map_err(at("poll"))?;
        if !fds[0].revents().is_empty() {
            return Ok(true);
        }
        // The drain has begun while we waited: look again, with its shorter patience.
        if !draining && self.is_draining()? { self.await_bytes(stream, is_idle) } else { Ok(false) }
    }

    fn is_draining(&self) -> Result<bool, Failure> {
        let mut fds = [PollFd::new(&self.termination, PollFlags::IN)];
        sys::poll::until(&mut fds, Some(0)).map_err(at("poll"))?;
        Ok(!fds[0].revents().is_empty())
    }

    fn answer(&self, request: &Request) -> Result<Answer, Failure> {
        let text = |status: u16, text: &str| Answer { status, count: 0, body: text.into() };
        self.behaviour.note(request)?;
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/up") => return Ok(self.behaviour.up()),
            ("GET", "/ledger") => {
                let name = request.parameter("name").unwrap_or_default();
                return Ok(text(200, &self.ledger(name)));
            }
            ("GET", "/" | "/slow") | ("POST", "/echo") => {}
            _ => return Ok(text(404, "nothing is here\n")),
        }
        let Some(count) = self.count(&request.id) else {
            return Ok(text(503, "too many ids to count\n"));
        };
        if request.path == "/slow" {
            let asked_ms = request.parameter("ms").and_then(|text| text.parse().ok()).unwrap_or(0);
            let (_never, nothing) = mpsc::channel::<()>();
            let _ = nothing.recv_timeout(Duration::from_millis(SLOW_MS_MAX.min(asked_ms)));
        }
        let body = match request.method.as_str() {
            "POST" => request.body.clone(),
            _ => {
                let (id, instance) = (&request.id, std::process::id());
                let version = &self.behaviour.version;
                let version =
                    if version.is_empty() { String::new() } else { format!(" version={version}") };
                format!("id={id} instance={instance} count={count}{version}\n").into_bytes()
            }
        };
        Ok(Answer { status: 200, count, body })
    }

    /// How often `id` was seen, this time included; none if no more ids can be counted.
    fn count(&self, id: &str) -> Option<u64> {
        let mut state = self.lock();
        if state.seen.len() >= IDS_MAX && !state.seen.contains_key(id) {
            return None;
        }
        let count = state.seen.entry(id.to_owned()).or_default();
        *count += 1;
        Some(*count)
    }

    fn ledger(&self, name: &str) -> String {
        let state = self.lock();
        let of_load = |id: &str| id.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        let counts = state.seen.iter().filter(|(id, _)| of_load(id)).map(|(_, count)| *count);
        let (seen, repeated) =
            counts.fold((0, 0), |(seen, more), count| (seen + 1, more + u64::from(count > 1)));
        format!("seen={seen} repeated={repeated}\n")
    }
}

/// Reads what is there; false at the connection's end.
fn read_some(mut stream: &TcpStream, bytes: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(count) => {
                bytes.extend_from_slice(&chunk[..count]);
                return Ok(count > 0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(at("read")(error)),
        }
    }
}
