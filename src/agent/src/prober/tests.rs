//! Probes against a server that answers what a test told it, byte by byte.

use super::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

/// Who asked, and the request's head.
type Asked = (SocketAddr, String);

/// Answers every connection with `answer` after its request's head, and tells who asked what.
async fn server(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("address");
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut byte).await {
                    Ok(1) => head.push(byte[0]),
                    _ => break,
                }
            }
            let _ = tell.send((peer, String::from_utf8_lossy(&head).into_owned()));
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, told)
}

async fn get(answer: &'static str) -> (Answer, Asked) {
    let (address, mut told) = server(answer).await;
    let answer = Prober::new().expect("a prober").http(Door::Gate, address, "/up", PATIENCE).await;
    (answer, told.recv().await.expect("somebody asked"))
}

/// The gate knows probes by their source, so that is looked at from the server's side.
#[tokio::test]
async fn a_good_answer_is_asked_for_from_the_probe_address() {
    let (answer, (peer, head)) = get("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(answer, Answer::Good("200".to_owned()));
    assert_eq!(peer.ip(), PROBE_SOURCE);
    assert!(head.starts_with("GET /up HTTP/1.1\r\n"), "{head}");
}

/// Whoever serves is asked as users ask: the gate's address would reach the candidate.
#[tokio::test]
async fn who_serves_is_asked_from_no_special_address() {
    let (address, mut told) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let prober = Prober::new().expect("a prober");
    prober.http(Door::Users, address, "/up", PATIENCE).await;
    prober.tcp(Door::Users, address, PATIENCE).await;
    for _ in 0..2 {
        let (peer, _) = told.recv().await.expect("somebody asked");
        assert_ne!(peer.ip(), PROBE_SOURCE);
    }
}

/// Two probes are two connections, though the server would keep the first one open.
#[tokio::test]
async fn no_connection_is_used_twice() {
    let (address, mut told) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let prober = Prober::new().expect("a prober");
    for _ in 0..2 {
        let answer = prober.http(Door::Gate, address, "/up", PATIENCE).await;
        assert!(matches!(answer, Answer::Good(_)), "{answer:?}");
    }
    let (first, second) = (told.recv().await.expect("one"), told.recv().await.expect("two"));
    assert_ne!(first.0.port(), second.0.port());
}

/// What a person reads is one printable line, and not all of a long page.
#[tokio::test]
async fn a_bad_status_shows_its_body() {
    let text = "HTTP/1.1 503 No\r\ncontent-length: 38\r\n\r\nrelation\n \x1b[31morders\tdoes not  exist\n\n";
    let (answer, _) = get(text).await;
    let Answer::Bad(text) = answer else { panic!("{answer:?}") };
    assert_eq!(text, "503 \"relation [31morders does not exist\"");
    assert!(excerpt(&[b'x'; 5000]).len() <= EXCERPT_BYTES_MAX + '…'.len_utf8());
    assert_eq!(excerpt("é".repeat(500).as_bytes()).chars().last(), Some('…'));
}

/// A redirect is the app's answer, and a bad one: nobody follows it to another host.
#[tokio::test]
async fn redirects_are_not_followed() {
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (answer, _) = get(redirect).await;
    assert_eq!(answer, Answer::Bad("302".to_owned()));
}

/// Not yet (nobody listens) is told from ill (it listens and hangs up, or says no HTTP).
#[tokio::test]
async fn refused_is_not_the_same_as_broken() {
    let prober = Prober::new().expect("a prober");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = free.local_addr().expect("address");
    assert_eq!(
        prober.tcp(Door::Gate, address, PATIENCE).await,
        Answer::Good("connected".to_owned())
    );
    drop(free);
    assert_eq!(prober.http(Door::Gate, address, "/", PATIENCE).await, Answer::Refused);
    assert_eq!(prober.tcp(Door::Gate, address, PATIENCE).await, Answer::Refused);
    for noise in ["", "hello\r\n\r\n"] {
        let (answer, _) = get(noise).await;
        assert!(matches!(answer, Answer::Bad(_)), "{noise:?}: {answer:?}");
    }
}

/// A server that takes the connection and says nothing costs the timeout and no more.
#[tokio::test]
async fn silence_ends_at_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = silent.local_addr().expect("address");
    let prober = Prober::new().expect("a prober");
    let answer = prober.http(Door::Gate, address, "/", Duration::from_millis(50)).await;
    assert_eq!(answer, Answer::Silent(50));
}

/// Wildcards are asked on loopback, over IPv4.
#[test]
fn wildcards_are_asked_on_loopback() {
    for (listen, asked) in [
        ("[::]:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("10.0.0.5:80", "10.0.0.5:80"),
        ("[::1]:80", "[::1]:80"),
    ] {
        let address = listen.parse().expect("an address");
        assert_eq!(target(address).to_string(), asked);
    }
}
