//! A proxy that carries HTTP messages whole, and loses or changes some of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How late a request comes that is late: its sender has given up and asked again by then.
const LATE: Duration = Duration::from_millis(200);

/// What befalls the messages.
#[derive(Clone, Copy)]
pub enum Fault {
    /// Each kind of loss in its turn: half of all messages.
    Lossy,
    /// The same, of every third message.
    Spared,
    /// Heads of requests are rewritten.
    Edit(fn(&str) -> String),
}

#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
    halves: AtomicU64,
    late: AtomicU64,
}

pub struct Proxy {
    port: u16,
    counts: Arc<Counts>,
}

impl Proxy {
    pub async fn start(backend: String, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (backend, counts) = (backend.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = carry(client, &backend, fault, &counts).await;
                });
            }
        });
        Self { port, counts }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Requests so far.
    pub fn messages(&self) -> u64 {
        self.counts.messages.load(Ordering::Relaxed)
    }

    /// Each kind of loss happened, more than once.
    pub fn assert_lossy(&self) {
        let counts = &self.counts;
        for (what, count) in [
            ("lost requests", &counts.requests),
            ("lost answers", &counts.answers),
            ("halves of answers", &counts.halves),
            ("late requests", &counts.late),
        ] {
            let count = count.load(Ordering::Relaxed);
            assert!(count > 1, "{count} {what}");
        }
    }
}

/// One request after the other; what befalls each goes by its number, and the numbers are no
/// multiples of each other, so that each kind meets each call.
async fn carry(
    mut client: TcpStream,
    backend: &str,
    fault: Fault,
    counts: &Counts,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(backend).await?;
    while let Some(request) = message(&mut client).await? {
        let number = counts.messages.fetch_add(1, Ordering::Relaxed);
        if let Fault::Edit(edit) = fault {
            server.write_all(&edited(&request, edit)).await?;
            let Some(answer) = message(&mut server).await? else { return Ok(()) };
            client.write_all(&answer).await?;
            continue;
        }
        let number = match fault {
            // Of no kind below.
            Fault::Spared if number.is_multiple_of(3) => number / 3,
            Fault::Spared => 0,
            _ => number,
        };
        let count = |kind: &AtomicU64| {
            kind.fetch_add(1, Ordering::Relaxed);
        };
        if number % 7 == 3 {
            count(&counts.requests);
            return Ok(());
        }
        if number % 13 == 6 {
            count(&counts.late);
            drop(client);
            tokio::time::sleep(LATE).await;
            server.write_all(&request).await?;
            message(&mut server).await?;
            return Ok(());
        }
        server.write_all(&request).await?;
        let Some(answer) = message(&mut server).await? else { return Ok(()) };
        if number % 5 == 2 {
            count(&counts.answers);
            return Ok(());
        }
        if number % 11 == 8 {
            count(&counts.halves);
            return client.write_all(&answer[..answer.len() - 1]).await;
        }
        if number % 11 == 4 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// The next whole message; none at the end.
async fn message(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !is_whole(&bytes) {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    Ok(Some(bytes))
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = head_end(bytes) else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        return bytes.ends_with(b"\r\n0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    bytes.len() >= end + length.map_or(0, |length| length.trim().parse().unwrap())
}

fn edited(request: &[u8], edit: fn(&str) -> String) -> Vec<u8> {
    let end = head_end(request).unwrap();
    let head = edit(std::str::from_utf8(&request[..end]).unwrap());
    [head.as_bytes(), &request[end..]].concat()
}
