//! The body of a NAR on its way from the network to the thread that unpacks it.
//!
//! Two sides: a [`Stream`] that asks a cache and, when the connection dies, asks on from the byte
//! it had got to; and a [`Body`], the blocking reader at the other end of a short channel.

use crate::error::Fault;
use crate::fetch::caches::{Caches, Patience, Refusal, transient};
use crate::fetch::peers::{RATE_AFTER, RATE_MIN_BYTES_PER_S};
use reqwest::{Response, StatusCode};
use std::io::{self, BufRead, Read};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;

/// Pieces on their way to an unpacker. A piece is what one read of the socket gave; two keep the
/// unpacker busy while the next one is read.
pub(crate) const PIECES_MAX: usize = 2;

/// Bytes that a compressed NAR may have beyond its NarSize: one per cent for what does not
/// compress, and room for frame headers and a skippable frame.
const SLACK_BYTES: u64 = 1 << 20;

/// Some bytes of a body; those before `from` are not part of it any more.
#[derive(Debug)]
pub(crate) struct Piece<B> {
    bytes: B,
    from: usize,
}

impl<B: AsRef<[u8]>> Piece<B> {
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.as_ref().get(self.from..).unwrap_or_default()
    }
}

/// What travels to the unpacker; a channel that closes without `End` means that it was abandoned.
#[derive(Debug)]
pub(crate) enum Part<B> {
    Piece(Piece<B>),
    End,
}

/// The most compressed bytes that are read for a NAR of `nar_size` bytes.
pub(crate) const fn body_limit(nar_size: u64) -> u64 {
    nar_size.saturating_add(nar_size / 100).saturating_add(SLACK_BYTES)
}

/// Told when a stream has to wait for its cache, and why; and when it goes on.
pub(crate) type OnWait<'fetch> = Box<dyn Fn(Option<&str>) + Send + Sync + 'fetch>;

/// The downloading side.
pub(crate) struct Stream<'fetch> {
    caches: &'fetch Caches,
    url: String,
    nar_size: u64,
    patience: Patience,
    open: Option<Response>,
    /// Bytes of the body handed out.
    at: u64,
    /// Bytes to drop, when the cache began at 0 though it was asked to go on.
    skip: u64,
    on_wait: OnWait<'fetch>,
    /// How long the network was waited for, where that has an end: a peer must not be slow.
    waited: Option<Duration>,
}

impl<'fetch> Stream<'fetch> {
    pub(crate) fn new(
        caches: &'fetch Caches,
        url: String,
        nar_size: u64,
        on_wait: OnWait<'fetch>,
    ) -> Self {
        let patience = Patience::new(caches.options(), &url);
        Self { caches, url, nar_size, patience, open: None, at: 0, skip: 0, on_wait, waited: None }
    }

    /// What a peer has begun to send. It is asked only once, and must not be slow.
    pub(crate) fn of_peer(caches: &'fetch Caches, nar_size: u64, response: Response) -> Self {
        let url = response.url().to_string();
        let (patience, open, waited) = (Patience::none(), Some(response), Some(Duration::ZERO));
        let on_wait = Box::new(|_: Option<&str>| {});
        Self { caches, url, nar_size, patience, open, at: 0, skip: 0, on_wait, waited }
    }

    /// The next piece; `None` at the end of the body.
    pub(crate) async fn next(
        &mut self,
    ) -> Result<Option<Piece<impl AsRef<[u8]> + Send + use<>>>, Fault> {
        loop {
            let mut response = match self.open.take() {
                Some(response) => response,
                None => self.reopen().await?,
            };
            let asked = Instant::now();
            let chunk = response.chunk().await;
            self.weigh(asked.elapsed()).await?;
            match chunk {
                Ok(None) => return Ok(None),
                Ok(Some(bytes)) => {
                    self.open = Some(response);
                    let length = bytes.len() as u64;
                    let from = self.skip.min(length);
                    self.skip -= from;
                    self.at += length - from;
                    self.patience.gain();
                    let limit = body_limit(self.nar_size);
                    if self.at > limit {
                        return Err(Fault::TooManyBytes { expected: self.nar_size, limit });
                    }
                    if from < length {
                        let from = usize::try_from(from).unwrap_or(usize::MAX);
                        return Ok(Some(Piece { bytes, from }));
                    }
                }
                Err(error) => self.wait(transient(&error)).await?,
            }
        }
    }

    /// Only time in which nothing came counts: what our own disk takes is not the peer's fault.
    async fn weigh(&mut self, waited: Duration) -> Result<(), Fault> {
        let Some(sum) = &mut self.waited else { return Ok(()) };
        *sum += waited;
        let due = u128::from(RATE_MIN_BYTES_PER_S) * sum.as_millis() / 1000;
        if *sum < RATE_AFTER || u128::from(self.at) >= due {
            return Ok(());
        }
        let last = format!("{} bytes in {} ms", self.at, sum.as_millis());
        self.patience.pause(last).await
    }

    async fn reopen(&mut self) -> Result<Response, Fault> {
        loop {
            match self.caches.get(&self.url, self.at).await {
                Ok(response) => {
                    (self.on_wait)(None);
                    let whole = response.status() == StatusCode::OK;
                    self.skip = if whole { self.at } else { 0 };
                    return Ok(response);
                }
                Err(refusal) => self.wait(refusal).await?,
            }
        }
    }

    async fn wait(&mut self, refusal: Refusal) -> Result<(), Fault> {
        let url = self.url.clone();
        match refusal {
            Refusal::Missing => Err(Fault::NarMissing { url }),
            Refusal::Status(status) => Err(Fault::Status { status, url }),
            Refusal::Transient(last) | Refusal::Busy(last) => {
                (self.on_wait)(Some(&last));
                self.patience.pause(last).await
            }
        }
    }
}

/// Sends `part`; `false` if the unpacker has ended.
pub(crate) async fn send<B>(to: &Sender<Part<B>>, part: Part<B>) -> bool {
    to.send(part).await.is_ok()
}

/// The unpacking side: blocks until bytes arrive.
#[derive(Debug)]
pub(crate) struct Body<B> {
    parts: Receiver<Part<B>>,
    current: Option<Piece<B>>,
    ended: bool,
}

impl<B: AsRef<[u8]>> Body<B> {
    pub(crate) fn new(parts: Receiver<Part<B>>) -> Self {
        Self { parts, current: None, ended: false }
    }
}

impl<B: AsRef<[u8]>> BufRead for Body<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended && self.current.as_ref().is_none_or(|piece| piece.rest().is_empty()) {
            match self.parts.blocking_recv() {
                Some(Part::Piece(piece)) => self.current = Some(piece),
                Some(Part::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(self.current.as_ref().map(Piece::rest).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        if let Some(piece) = &mut self.current {
            piece.from += count;
        }
    }
}

impl<B: AsRef<[u8]>> Read for Body<B> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let count = bytes.read(into)?;
        self.consume(count);
        Ok(count)
    }
}
