//! From a feed of the supervisor to the replies of one streaming call.
//!
//! The backlog goes out in replies of bounded size, then what comes, as it comes. Every reply but
//! the last says `continues`; a feed that was followed ends with an empty one, since nobody can
//! know beforehand which batch is the last. When the caller goes away the stream ends at once,
//! not only at the next record: an idle feed must not outlive its reader.

use crate::limits::RECORDS_PER_REPLY_MAX;
use crate::server::{Backend, Batch, Feed};
use crate::types::{Event, EventBatch, LogBatch, LogRecord};
use futures_core::Stream;
use serde::Serialize;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use zlink::Reply;
use zlink::introspect::ReplyError;
use zlink::varlink_service;

/// Why a streaming call was not done: an error of ours, or one every Varlink service knows.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum StreamError<E> {
    /// `io.rollinit.Supervisor.*` or `io.rollinit.Agent.*`
    Own(E),
    /// `org.varlink.service.*`
    Varlink(varlink_service::Error<'static>),
}

impl<E: ReplyError> ReplyError for StreamError<E> {
    const VARIANTS: &'static [&'static zlink::idl::Error<'static>] = E::VARIANTS;
}

/// What a [`Replies`] of the supervisor fails with.
type FeedError = StreamError<crate::Error>;

/// A reply that carries records.
pub(crate) trait Carrier {
    /// What it carries.
    type Record;
    /// Makes the reply.
    fn carry(now_ns: u64, batch: Batch<Self::Record>) -> Self;
}

impl Carrier for LogBatch {
    type Record = LogRecord;
    fn carry(now_ns: u64, batch: Batch<LogRecord>) -> LogBatch {
        LogBatch { now_ns, records: batch.records, lost: batch.lost }
    }
}

impl Carrier for EventBatch {
    type Record = Event;
    fn carry(now_ns: u64, batch: Batch<Event>) -> EventBatch {
        EventBatch { now_ns, events: batch.records, lost: batch.lost }
    }
}

/// The replies of one streaming call.
pub(crate) struct Replies<C: Carrier> {
    backend: Rc<dyn Backend>,
    error: Option<FeedError>,
    ready: VecDeque<Batch<C::Record>>,
    live: Option<mpsc::Receiver<Batch<C::Record>>>,
    hangup: Pin<Box<dyn Future<Output = ()>>>,
    /// The last reply is out.
    done: bool,
}

// Nothing in it is pinned in place: the one future lies in a box of its own.
impl<C: Carrier> Unpin for Replies<C> {}

impl<C: Carrier> Replies<C> {
    /// The replies of a call that asked for `more`, or the single one of a call that did not.
    pub(crate) fn new(
        backend: Rc<dyn Backend>,
        watch: Rc<UnixStream>,
        feed: Result<Feed<C::Record>, FeedError>,
        more: bool,
    ) -> Self {
        let (error, ready, live) = match feed {
            Err(error) => (Some(error), VecDeque::new(), None),
            Ok(feed) if more => (None, split(feed.backlog, feed.lost), feed.live),
            Ok(feed) => (None, VecDeque::from([latest(feed.backlog, feed.lost)]), None),
        };
        let hangup = Box::pin(until_hung_up(watch));
        Replies { backend, error, ready, live, hangup, done: false }
    }

    fn reply(&mut self, batch: Batch<C::Record>, continues: bool) -> Reply<C> {
        self.done = !continues;
        Reply::new(Some(C::carry(self.backend.now_ns(), batch))).set_continues(Some(continues))
    }
}

impl<C: Carrier> Stream for Replies<C> {
    type Item = Result<Reply<C>, FeedError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        if let Some(error) = this.error.take() {
            this.done = true;
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(batch) = this.ready.pop_front() {
            let continues = !this.ready.is_empty() || this.live.is_some();
            return Poll::Ready(Some(Ok(this.reply(batch, continues))));
        }
        let Some(live) = &mut this.live else {
            this.done = true;
            return Poll::Ready(None);
        };
        if let Poll::Ready(batch) = live.poll_recv(context) {
            let continues = batch.is_some();
            let batch = batch.unwrap_or(Batch { records: Vec::new(), lost: 0 });
            return Poll::Ready(Some(Ok(this.reply(batch, continues))));
        }
        this.hangup.as_mut().poll(context).map(|()| {
            this.done = true;
            this.live = None;
            None
        })
    }
}

/// Cuts a backlog into batches of bounded size; at least one, so that there is a first reply.
fn split<T>(backlog: Vec<T>, lost: u64) -> VecDeque<Batch<T>> {
    let mut batches = VecDeque::from([Batch { records: Vec::new(), lost }]);
    for record in backlog {
        match batches.back_mut() {
            Some(batch) if batch.records.len() < RECORDS_PER_REPLY_MAX => {
                batch.records.push(record);
            }
            _ => batches.push_back(Batch { records: vec![record], lost: 0 }),
        }
    }
    batches
}

/// The newest records that one reply may carry; the others count as lost.
fn latest<T>(mut backlog: Vec<T>, lost: u64) -> Batch<T> {
    let excess = backlog.len().saturating_sub(RECORDS_PER_REPLY_MAX);
    backlog.drain(..excess);
    Batch { records: backlog, lost: lost + excess as u64 }
}

/// One value of a [`Source`], and the rest of it if there may be more.
pub(crate) type Next<R, E> = (Result<R, E>, Option<Box<dyn Source<R, E>>>);

/// What is awaited for the next one.
pub(crate) type Pending<R, E> = Pin<Box<dyn Future<Output = Next<R, E>>>>;

/// Replies that come one by one, where each tells whether it is the last.
pub(crate) trait Source<R, E> {
    /// The next one.
    fn next(self: Box<Self>) -> Pending<R, E>;
}

/// The replies of a [`Source`], until its end or until the caller goes away.
pub(crate) struct Stated<R, E> {
    error: Option<StreamError<E>>,
    next: Option<Pending<R, E>>,
    hangup: Pin<Box<dyn Future<Output = ()>>>,
}

// Nothing in it is pinned in place: both futures lie in boxes of their own.
impl<R, E> Unpin for Stated<R, E> {}

impl<R, E> Stated<R, E> {
    pub(crate) fn new(
        source: Result<Box<dyn Source<R, E>>, StreamError<E>>,
        watch: &Rc<UnixStream>,
    ) -> Self {
        let hangup = Box::pin(until_hung_up(Rc::clone(watch)));
        match source {
            Ok(source) => Stated { error: None, next: Some(source.next()), hangup },
            Err(error) => Stated { error: Some(error), next: None, hangup },
        }
    }
}

impl<R, E> Stream for Stated<R, E> {
    type Item = Result<Reply<R>, StreamError<E>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(next) = &mut this.next else { return Poll::Ready(None) };
        if let Poll::Ready((value, rest)) = next.as_mut().poll(context) {
            this.next = rest.map(Source::next);
            let continues = this.next.is_some();
            return Poll::Ready(Some(match value {
                Ok(value) => Ok(Reply::new(Some(value)).set_continues(Some(continues))),
                Err(error) => Err(StreamError::Own(error)),
            }));
        }
        this.hangup.as_mut().poll(context).map(|()| {
            this.next = None;
            None
        })
    }
}

/// Something as it is, then each time it has changed. Ends with what it was last when nobody will
/// change it any more.
pub(crate) struct Latest<T, R> {
    values: watch::Receiver<T>,
    reply: fn(u64, T) -> R,
    backend: Rc<dyn Backend>,
    more: bool,
    is_first: bool,
}

impl<T, R> Latest<T, R> {
    /// `reply` makes a reply of the time, in CLOCK_MONOTONIC nanoseconds, and the newest value.
    pub(crate) fn new(
        values: watch::Receiver<T>,
        reply: fn(u64, T) -> R,
        backend: Rc<dyn Backend>,
        more: bool,
    ) -> Self {
        Latest { values, reply, backend, more, is_first: true }
    }
}

impl<T: Clone + 'static, R: 'static> Source<R, crate::Error> for Latest<T, R> {
    fn next(mut self: Box<Self>) -> Pending<R, crate::Error> {
        Box::pin(async move {
            let is_last = !self.is_first && self.values.changed().await.is_err();
            let value = self.values.borrow_and_update().clone();
            let reply = (self.reply)(self.backend.now_ns(), value);
            let goes_on = self.more && !is_last;
            self.is_first = false;
            (Ok(reply), goes_on.then_some(self as Box<dyn Source<_, _>>))
        })
    }
}

/// Returns when the peer went away; never if that cannot be watched: the next write will tell.
async fn until_hung_up(watch: Rc<UnixStream>) {
    if hung_up(&watch).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when the peer closed its end. Bytes that it pipelines, and an end it only closed for
/// writing, do not count.
async fn hung_up(stream: &UnixStream) -> io::Result<()> {
    loop {
        // EPOLLHUP shows as "closed for writing"; that state is never cleared again.
        if stream.ready(Interest::WRITABLE).await?.is_write_closed() {
            return Ok(());
        }
        // Forget "writable", which is of no interest here, so that `ready` waits for a change.
        let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        match stream.try_io(Interest::WRITABLE, forget) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
