//! The server as a client meets it: bytes over a socket, no HTTP library on our side.
#![allow(missing_docs)]

use httpd::{Answer, Handler, Limits, Question};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Bytes of the stream: several pieces.
const LENGTH: usize = 200_000;

#[derive(Clone)]
struct Site {
    /// Lets the answer to `/late` go.
    late: Arc<Notify>,
    /// Lets the second half of `/gated` go.
    gate: Arc<Barrier>,
}

impl Default for Site {
    fn default() -> Self {
        Self { late: Arc::default(), gate: Arc::new(Barrier::new(2)) }
    }
}

impl Handler for Site {
    async fn answer(&self, question: Question) -> Answer {
        let whole = |bytes: usize| -> httpd::Write {
            Box::new(move |to| to.write_all(&pattern()[..bytes]))
        };
        let stream = |write| Answer::Stream { kind: "application/x-test", length: 200_000, write };
        match question.path.as_str() {
            "/text" => Answer::text(200, format!("{}?{}", question.path, question.query)),
            "/stream" => stream(whole(LENGTH)),
            "/short" => stream(whole(1_000)),
            "/long" => stream(Box::new(|to| {
                to.write_all(&pattern())?;
                to.write_all(b"more")
            })),
            "/broken" => stream(Box::new(|_| Err(io::ErrorKind::NotFound.into()))),
            "/gated" => {
                let gate = Arc::clone(&self.gate);
                stream(Box::new(move |to| {
                    to.write_all(&pattern()[..100_000])?;
                    gate.wait();
                    to.write_all(&pattern()[100_000..])
                }))
            }
            "/late" => {
                self.late.notified().await;
                Answer::text(200, "late")
            }
            _ => Answer::missing(),
        }
    }
}

fn pattern() -> Vec<u8> {
    (0..LENGTH).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
}

async fn start(limits: Limits) -> (SocketAddr, Site) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, site) = (listener.local_addr().expect("bound"), Site::default());
    tokio::spawn(httpd::serve(listener, limits, site.clone(), |_| {}));
    (address, site)
}

/// Sends `head` and reads until the server closes.
async fn ask(address: SocketAddr, head: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(head.as_bytes()).await.expect("send");
    read(stream).await
}

async fn read(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut all = Vec::new();
    // A connection that is given up may end with a reset.
    let _ = stream.read_to_end(&mut all).await;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").map_or(all.len(), |at| at + 4);
    (String::from_utf8_lossy(&all[..end]).to_ascii_lowercase(), all[end..].to_vec())
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
}

#[tokio::test]
async fn small_answers() {
    let (address, _) = start(Limits::default()).await;
    let (head, body) = ask(address, &get("/text?a=b", "")).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 9"), "{head}");
    assert_eq!(body, b"/text?a=b");
    let (head, body) =
        ask(address, "HEAD /text HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 6"), "{head}");
    assert!(body.is_empty());
    assert!(ask(address, &get("/none", "")).await.0.starts_with("http/1.1 404"));
    let post = "POST /text HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert!(ask(address, post).await.0.starts_with("http/1.1 405"));
    assert!(ask(address, "nonsense\r\n\r\n").await.0.starts_with("http/1.1 400"));
    let large = format!("x: {}\r\n", "y".repeat(40_000));
    assert!(ask(address, &get("/text", &large)).await.0.starts_with("http/1.1 431"));
}

#[tokio::test]
async fn streams_come_whole_or_from_a_byte_on() {
    let (address, _) = start(Limits::default()).await;
    let (head, body) = ask(address, &get("/stream", "")).await;
    assert!(head.contains("content-length: 200000") && head.contains("accept-ranges"), "{head}");
    assert!(body == pattern(), "{} bytes", body.len());
    for skip in [1, 65_536, 65_537, LENGTH - 1, LENGTH] {
        let (head, body) =
            ask(address, &get("/stream", &format!("range: bytes={skip}-\r\n"))).await;
        assert!(head.starts_with("http/1.1 206"), "{head}");
        assert!(head.contains(&format!("content-range: bytes {skip}-199999/200000")), "{head}");
        assert!(body == pattern()[skip..], "{skip}: {} bytes", body.len());
    }
    for other in ["bytes=5-9", "bytes=-5", "lines=5-", "bytes=200001-"] {
        let (head, body) = ask(address, &get("/stream", &format!("range: {other}\r\n"))).await;
        assert!(head.starts_with("http/1.1 200") && body.len() == LENGTH, "{other}: {head}");
    }
    let (head, body) =
        ask(address, "HEAD /stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 200000") && body.is_empty(), "{head}");
}

/// A client never takes less, or other bytes, for the whole.
#[tokio::test]
async fn a_stream_that_fails_ends_too_early() {
    let (address, _) = start(Limits::default()).await;
    for path in ["/short", "/long", "/broken"] {
        let (head, body) = ask(address, &get(path, "")).await;
        assert!(head.is_empty() || head.contains("content-length: 200000"), "{head}");
        assert!(body.len() < LENGTH || path == "/long", "{path}: {} bytes", body.len());
        assert!(pattern().starts_with(&body), "{path}: {} bytes", body.len());
    }
    assert_eq!(ask(address, &get("/text", "")).await.1, b"/text?", "it serves on");
}

/// Whoever takes nothing, or says nothing, loses its connection and nothing else.
#[tokio::test]
async fn idle_connections_are_given_up() {
    let limits = Limits { idle: Duration::from_millis(100), streams_max: 1, ..Limits::default() };
    let (address, _) = start(limits).await;
    let silent = TcpStream::connect(address).await.expect("connect");
    let mut half = TcpStream::connect(address).await.expect("connect");
    half.write_all(b"GET /text HT").await.expect("send");
    let mut kept = TcpStream::connect(address).await.expect("connect");
    kept.write_all(b"GET /text HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("send");
    for stream in [silent, half, kept] {
        read(stream).await;
    }
}

/// One that answers late is not idle to its client before the time is over.
#[tokio::test]
async fn an_answer_may_take_its_time() {
    let (address, site) = start(Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(get("/late", "").as_bytes()).await.expect("send");
    site.late.notify_one();
    assert_eq!(read(stream).await.1, b"late");
}

#[tokio::test]
async fn connections_and_streams_have_a_number() {
    let limits = Limits {
        connections_per_address_max: 2,
        streams_max: 1,
        stream_bytes_per_second: Some(1_000_000_000),
        ..Limits::default()
    };
    let (address, site) = start(limits).await;
    let mut first = TcpStream::connect(address).await.expect("connect");
    first.write_all(get("/gated", "").as_bytes()).await.expect("send");
    first.read_u8().await.expect("it began");
    let (head, _) = ask(address, &get("/stream", "")).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 1"), "{head}");
    let mut second = TcpStream::connect(address).await.expect("connect");
    let kept = get("/text", "").replace("close", "keep-alive");
    second.write_all(kept.as_bytes()).await.expect("send");
    second.read_u8().await.expect("it is served");
    let (head, _) = ask(address, &get("/text", "")).await;
    assert!(head.is_empty(), "a third connection of one address is closed at once: {head}");
    tokio::task::spawn_blocking(move || site.gate.wait()).await.expect("no panic");
    let (_, body) = read(first).await;
    assert!(body == pattern(), "the first one gets all of it");
}

/// A socket that gives no connections, as one does whose process has no descriptors left: that is
/// said once, not ten times a second, and the server goes on.
#[tokio::test]
async fn a_listener_that_gives_nothing_is_said_once() {
    // Whoever accepts on a datagram socket is refused, at once and always: what is there stays.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    socket.send_to(b"wake up", address).expect("sent");
    socket.set_nonblocking(true).expect("a socket");
    let listener = std::net::TcpListener::from(std::os::fd::OwnedFd::from(socket));
    let listener = TcpListener::from_std(listener).expect("registered");
    let said = std::cell::RefCell::new(Vec::new());
    let complain = |error: &io::Error| said.borrow_mut().push(error.raw_os_error());
    let serving = httpd::serve(listener, Limits::default(), Site::default(), complain);
    // Nothing can be awaited where nothing comes: long enough for several tries.
    let ended = tokio::time::timeout(Duration::from_millis(500), serving).await;
    assert!(ended.is_err(), "it goes on");
    let said = said.into_inner();
    assert!(matches!(said[..], [Some(_)]), "{said:?}");
}
