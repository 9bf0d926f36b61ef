//! A long answer: a thread writes it, the connection takes it piece by piece.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes of a piece: some packets at once, and few enough to hold a dozen of them for each client.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces on their way: the writer reads the next one from the disk while one is being sent.
const PIECES_MAX: usize = 3;

/// How fast all streams of a server may be together.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    /// When all that was sent so far is paid for.
    paid_at: Mutex<Instant>,
}

impl Pace {
    /// So many bytes a second; none: as fast as it goes.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, paid_at: Mutex::new(Instant::now()) }
    }

    /// Takes so many bytes; when the next ones may follow.
    fn take(&self, bytes: usize) -> Option<Instant> {
        let rate = self.bytes_per_second?.max(1);
        let cost_ns = (bytes as u64).saturating_mul(1_000_000_000) / rate;
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used in the past is gone: no burst makes up for it.
        *paid_at = (*paid_at).max(Instant::now()) + Duration::from_nanos(cost_ns);
        Some(*paid_at)
    }
}

/// The writing end, on a thread that may block.
pub(crate) struct Writer {
    to: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    /// Bytes that the client has already.
    skip: u64,
    /// Bytes that are due after those.
    due: u64,
}

impl Writer {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        let sent = self.to.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }

    /// Sends what is left. What was announced and not written is an error that the client sees: its
    /// connection ends too early.
    pub(crate) fn end(mut self, written: io::Result<()>) {
        let due = self.due;
        let whole = written.and_then(|()| self.send()).and_then(|()| match due {
            0 => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        if let Err(error) = whole {
            // Who would hear it may be gone.
            let _ = self.to.blocking_send(Err(error));
        }
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let mut rest = &bytes[usize::try_from(skipped).unwrap_or(bytes.len())..];
        let over = || io::Error::new(io::ErrorKind::InvalidData, "more than was announced");
        self.due = self.due.checked_sub(rest.len() as u64).ok_or_else(over)?;
        while !rest.is_empty() {
            let room = PIECE_BYTES - self.buffer.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == PIECE_BYTES {
                self.send()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The taking end.
pub(crate) struct Stream {
    from: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    pace: Arc<Pace>,
    pause: Option<Pin<Box<Sleep>>>,
    moved: Box<dyn Fn() + Send + Sync>,
    _permit: OwnedSemaphorePermit,
}

/// The two ends of an answer that skips `skip` bytes and then has `length`. `moved` is called with
/// each piece that is taken.
pub(crate) fn stream(
    skip: u64,
    length: u64,
    pace: Arc<Pace>,
    permit: OwnedSemaphorePermit,
    moved: impl Fn() + Send + Sync + 'static,
) -> (Writer, Stream) {
    let (to, from) = mpsc::channel(PIECES_MAX);
    let writer = Writer { to, buffer: Vec::with_capacity(PIECE_BYTES), skip, due: length };
    let moved = Box::new(moved);
    (writer, Stream { from, left: length, pace, pause: None, moved, _permit: permit })
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let Poll::Ready(piece) = self.from.poll_recv(context) else { return Poll::Pending };
        (self.moved)();
        Poll::Ready(piece.map(|piece| {
            let bytes = piece?;
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.pause = self.pace.take(bytes.len()).map(|at| Box::pin(sleep_until(at)));
            Ok(Frame::data(bytes))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
