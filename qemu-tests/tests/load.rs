//! Is the load generator honest? Servers that cheat in one way each must be caught, request by
//! request, and an honest server must pass.

use qemu_tests::load::request::Kind;
use qemu_tests::load::{self, Plan};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// How the server treats a request.
#[derive(Clone, Copy, PartialEq)]
enum Treatment {
    Right,
    Reset,
    Late,
    WrongBody,
    WrongId,
    Cut,
    Unavailable,
    SaysSeenTwice,
}

#[derive(Default)]
struct Server {
    requests: AtomicU64,
    seen: Mutex<HashMap<String, u64>>,
}

struct Asked {
    id: String,
    path: String,
    body: Vec<u8>,
}

/// Reads one request; none at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some(("X-Request-Id", value)) => id = value.to_owned(),
            Some(("Content-Length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { id, path, body })
}

fn answer(status: u16, id: &str, count: u64, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nX-Request-Id: {id}\r\n\
         X-Request-Count: {count}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

impl Server {
    /// Serves one connection; every `nth` request gets `treatment`.
    fn serve(&self, mut stream: TcpStream, treatment: Treatment, nth: u64) -> Option<()> {
        // A byte left unread makes the kernel reset the connection when it is closed.
        let mut reader = BufReader::with_capacity(1, stream.try_clone().ok()?);
        loop {
            // A request counts once its first byte is there.
            if reader.fill_buf().ok()?.is_empty() {
                return None;
            }
            let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
            let treatment = if number.is_multiple_of(nth) { treatment } else { Treatment::Right };
            if treatment == Treatment::Reset {
                reader.read_exact(&mut [0; 4]).ok()?;
                return None;
            }
            let asked = read_request(&mut reader)?;
            let count = {
                let mut seen = self.seen.lock().expect("no thread panics");
                let count = seen.entry(asked.id.clone()).or_default();
                *count += 1;
                *count
            };
            let Asked { id, path, body } = asked;
            let text = format!("id={id} instance=7 count={count}\n");
            let body = if path == "/echo" { body } else { text.into_bytes() };
            let bytes = match treatment {
                Treatment::WrongBody => answer(200, &id, count, b"id=else instance=7 count=1\n"),
                Treatment::WrongId => answer(200, "another", count, &body),
                Treatment::Unavailable => answer(503, &id, count, b"no"),
                Treatment::SaysSeenTwice => answer(200, &id, count + 1, &body),
                Treatment::Cut => {
                    let bytes = answer(200, &id, count, &body);
                    bytes[..bytes.len() - 1].to_vec()
                }
                Treatment::Late => {
                    let (_never, nothing) = mpsc::channel::<()>();
                    let _ = nothing.recv_timeout(load::ANSWER_MAX + Duration::from_millis(500));
                    answer(200, &id, count, &body)
                }
                Treatment::Right | Treatment::Reset => answer(200, &id, count, &body),
            };
            stream.write_all(&bytes).ok()?;
            if treatment == Treatment::Cut {
                return None;
            }
        }
    }
}

/// Starts a server whose every `nth` request gets `treatment`.
fn server(treatment: Treatment, nth: u64) -> (SocketAddr, Arc<Server>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = Arc::new(Server::default());
    let shared = Arc::clone(&server);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(&shared);
            std::thread::spawn(move || server.serve(stream, treatment, nth));
        }
    });
    (address, server)
}

fn plan(target: SocketAddr, mix: &[Kind]) -> Plan {
    Plan { count: 200, mix: mix.to_vec(), ..Plan::new(target, "test", 200, 1) }
}

/// 200 requests to a server that treats every 50th badly: exactly 4 must fail, for that reason and
/// no other, and all 200 must have been sent.
fn caught(treatment: Treatment, reason: &str) {
    let mix = [Kind::GetNew, Kind::PostNew];
    let (target, _server) = server(treatment, 50);
    let report = load::start(plan(target, &mix)).expect("threads").finish();
    assert_eq!((report.sent, report.failed), (200, 4), "{report}");
    assert_eq!(report.failures.get(reason), Some(&4), "{report}");
    assert_eq!(report.examples.len(), 4);
}

/// No failure where there is none, over all kinds of requests, and both sides count the same.
#[test]
fn an_honest_server_passes() {
    let (target, server) = server(Treatment::Right, 1);
    let report = load::start(plan(target, &Kind::ALL)).expect("threads").finish();
    assert_eq!((report.sent, report.answered, report.failed), (200, 200, 0), "{report}");
    let seen = server.seen.lock().expect("no thread panics");
    assert_eq!(seen.len(), 200);
    assert!(seen.values().all(|count| *count == 1), "nothing is sent twice");
}

#[test]
fn every_50th_request_reset_is_caught() {
    caught(Treatment::Reset, "connection reset");
}

#[test]
fn late_answers_are_caught() {
    caught(Treatment::Late, "not in time");
}

#[test]
fn wrong_bodies_are_caught() {
    caught(Treatment::WrongBody, "wrong body");
}

#[test]
fn answers_to_another_request_are_caught() {
    caught(Treatment::WrongId, "answer to another request");
}

#[test]
fn answers_cut_short_are_caught() {
    caught(Treatment::Cut, "answer cut short");
}

#[test]
fn other_statuses_are_caught() {
    caught(Treatment::Unavailable, "status 503");
}

#[test]
fn repeated_requests_are_caught() {
    caught(Treatment::SaysSeenTwice, "request seen twice by the server");
}

/// A port that nobody listens on: every request fails, and the generator neither waits for it nor
/// tries again.
#[test]
fn a_refusing_host_is_caught() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("it is bound");
    drop(listener);
    let report = load::start(plan(target, &[Kind::GetNew])).expect("threads").finish();
    assert_eq!((report.sent, report.failed), (200, 200));
    assert_eq!(report.failures.get("connection refused"), Some(&200), "{report}");
}

/// Open loop: a server that answers nothing for two seconds does not slow the sender down. All
/// requests of the first second are sent within the plan's second, so all 200 fail together.
#[test]
fn a_stalled_server_does_not_slow_the_sender() {
    let (target, _server) = server(Treatment::Late, 1);
    let report = load::start(plan(target, &[Kind::GetNew])).expect("threads").finish();
    assert_eq!((report.sent, report.failed), (200, 200), "{report}");
    assert!(report.examples.iter().all(|example| example.due_ms <= 1000), "{report}");
}
