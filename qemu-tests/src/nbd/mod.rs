//! Power cuts: a disk for QEMU, over NBD, that forgets what was never flushed.
//!
//! ```text
//! guest ── virtio ── QEMU ── NBD, a Unix socket ── Server ── Disk: image │ durable │ unflushed
//! ```
//!
//! A test boots a guest from a [`Server`], lets the power go ([`Server::cut`], or at a flush by
//! [`Server::cut_at`]), kills QEMU, and boots again from what a real disk would still have.

mod disk;
mod protocol;

pub use disk::{Cut, Disk, Loss, Moment, SECTOR_BYTES, Use};

use anyhow::{Context, Result};
use protocol::Shared;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A disk, served. It ends with its owner.
#[derive(Debug)]
pub struct Server {
    image: PathBuf,
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
    stop: mpsc::Sender<()>,
}

impl Server {
    /// Serves a fresh disk over this image.
    ///
    /// # Errors
    /// The image cannot be read; the socket cannot be made.
    pub fn start(image: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for the disk's socket")?;
        let listener = UnixListener::bind(folder.path().join("nbd"))?;
        let disk = Mutex::new(Disk::open(image)?);
        let shared = Arc::new(Shared { disk, went: std::sync::Condvar::new() });
        let (stop, stopped) = mpsc::channel();
        let mine = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("nbd".to_owned()).spawn(move || {
            accept(&listener, &mine, &stopped);
        })?;
        Ok(Self { image: image.to_owned(), shared, folder, thread: Some(thread), stop })
    }

    /// What QEMU calls it: `file=` of a drive.
    #[must_use]
    pub fn address(&self) -> String {
        format!("nbd+unix:///?socket={}", self.folder.path().join("nbd").display())
    }

    /// How much it was used since the power came.
    #[must_use]
    pub fn used(&self) -> Use {
        self.shared.disk().used()
    }

    /// The power goes now. Kill QEMU next: a guest does not outlive its power.
    pub fn cut(&self) {
        self.shared.disk().cut();
        self.shared.went.notify_all();
    }

    /// Has the power go by itself, at a flush to come.
    pub fn cut_at(&self, moment: Moment) {
        self.shared.disk().cut_at(moment);
    }

    /// Waits until the power is gone; false if it stays for so long.
    #[must_use]
    pub fn wait_for_cut(&self, patience: Duration) -> bool {
        let disk = self.shared.disk();
        let until = Instant::now() + patience;
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.shared.went.wait_timeout_while(disk, left, |disk| !disk.is_cut());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_cut()
    }

    /// The power comes back, to what was not lost. QEMU must be gone.
    ///
    /// # Errors
    /// The image cannot be read any more.
    pub fn restore(&self, loss: Loss) -> Result<()> {
        self.shared.disk().restore(loss)
    }

    /// Writes the disk as it is into a file, for tools of the host.
    ///
    /// # Errors
    /// Those of writing it.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.shared.disk().save(&self.image, path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut();
        let _ = self.stop.send(());
        // Wakes the thread, if it waits for a client.
        let _ = UnixStream::connect(self.folder.path().join("nbd"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One client after the other: QEMU is one, and the QEMU after a cut is the next.
fn accept(listener: &UnixListener, shared: &Shared, stopped: &mpsc::Receiver<()>) {
    for stream in listener.incoming() {
        if stopped.try_recv().is_ok() {
            return;
        }
        let served = stream.map_err(Into::into).and_then(|stream| protocol::serve(stream, shared));
        // Without power, QEMU ends in the middle of a word. Else a test fails by what it awaits.
        if let Err(error) = served
            && !shared.disk().is_cut()
        {
            eprintln!("  nbd: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const BYTES: usize = 1 << 16;

    fn server() -> (tempfile::NamedTempFile, Server) {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), vec![7; BYTES]).expect("image");
        let server = Server::start(file.path()).expect("server");
        (file, server)
    }

    /// A client that knows the protocol from its text, not from the server's code.
    fn client(server: &Server) -> UnixStream {
        let path = server.folder.path().join("nbd");
        let mut stream = UnixStream::connect(path).expect("connect");
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).expect("greeting");
        assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
        stream.write_all(&[0, 0, 0, 3]).expect("flags");
        // NBD_OPT_STRUCTURED_REPLY is refused, NBD_OPT_GO with an empty name goes on.
        stream.write_all(b"IHAVEOPT\0\0\0\x08\0\0\0\0").expect("option");
        let mut refusal = [0; 20];
        stream.read_exact(&mut refusal).expect("refusal");
        assert_eq!(refusal[12..16], [0x80, 0, 0, 1]);
        stream.write_all(b"IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0").expect("option");
        let mut answer = [0; 20 + 12 + 20];
        stream.read_exact(&mut answer).expect("answer");
        assert_eq!(answer[22..30], (BYTES as u64).to_be_bytes());
        stream
    }

    fn request(stream: &mut UnixStream, command: [u8; 4], offset: u64, length: u32, body: &[u8]) {
        let mut bytes = vec![0x25, 0x60, 0x95, 0x13];
        bytes.extend(command);
        bytes.extend(*b"a cookie");
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        stream.write_all(&bytes).expect("request");
    }

    fn reply(stream: &mut UnixStream, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 16 + length];
        stream.read_exact(&mut bytes).ok()?;
        assert_eq!(bytes[..4], [0x67, 0x44, 0x66, 0x98]);
        assert_eq!(bytes[4..8], [0; 4], "no error");
        assert_eq!(&bytes[8..16], b"a cookie");
        Some(bytes.split_off(16))
    }

    /// Over the socket: what is flushed is there for the next client, a cut answers nothing and
    /// loses the rest.
    #[test]
    fn a_client_meets_a_cut() {
        let (_file, server) = server();
        let mut stream = client(&server);
        request(&mut stream, [0, 0, 0, 1], 512, 512, &[1; 512]);
        reply(&mut stream, 0).expect("write");
        request(&mut stream, [0, 0, 0, 3], 0, 0, &[]);
        reply(&mut stream, 0).expect("flush");
        request(&mut stream, [0, 1, 0, 1], 1024, 512, &[2; 512]);
        reply(&mut stream, 0).expect("write with FUA");
        request(&mut stream, [0, 0, 0, 1], 512, 512, &[3; 512]);
        reply(&mut stream, 0).expect("write");
        assert_eq!(server.used().unflushed_bytes, 512);
        server.cut_at(Moment::BeforeFlush(1));
        request(&mut stream, [0, 0, 0, 3], 0, 0, &[]);
        assert_eq!(reply(&mut stream, 0), None, "a cut answers nothing");
        assert!(server.wait_for_cut(Duration::from_secs(60)));
        server.restore(Loss::All).expect("restore");
        let mut stream = client(&server);
        request(&mut stream, [0, 0, 0, 0], 0, 2048, &[]);
        let bytes = reply(&mut stream, 2048).expect("read");
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(sectors, [7, 1, 2, 7]);
    }
}
