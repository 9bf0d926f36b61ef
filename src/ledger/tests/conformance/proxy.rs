//! A proxy that loses requests before they arrive and answers after they were made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
}

pub struct Proxy {
    port: u16,
    counts: Arc<Counts>,
}

impl Proxy {
    pub async fn start(backend: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (backend, counts) = (backend.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = carry(client, &backend, &counts).await;
                });
            }
        });
        Self { port, counts }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn lost_requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    pub fn lost_answers(&self) -> u64 {
        self.counts.answers.load(Ordering::Relaxed)
    }
}

/// One request after the other; what befalls each goes by its number.
async fn carry(mut client: TcpStream, backend: &str, counts: &Counts) -> std::io::Result<()> {
    let mut server = TcpStream::connect(backend).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let number = counts.connections.fetch_add(1, Ordering::Relaxed);
        // Numbers that are no multiples of each other, so that each kind meets each call.
        if number % 7 == 3 {
            counts.requests.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        server.write_all(&buffer[..read]).await?;
        let read = server.read(&mut buffer).await?;
        if number % 5 == 2 {
            counts.answers.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if number % 11 == 4 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        client.write_all(&buffer[..read]).await?;
    }
}
