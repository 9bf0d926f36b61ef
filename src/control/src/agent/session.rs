//! One connection: the methods of `io.rollinit.Agent` as zlink calls them.

use super::board::Reader;
use super::server::{Backend, Caller, SwapRequest};
use super::{
    Error, Generation, GenerationList, Level, Notice, NoticeList, Outcome, OutcomeKind, Progress,
    Reboot, Release, SYSTEM, Step, StepState, SwapList, SwapReply, SwapSummary,
};
use crate::roles::{Grant, Method};
use crate::stream::{Pending, Source, Stated, StreamError};
use futures_core::Stream;
use std::rc::Rc;
use tokio::net::UnixStream;
use zlink::Reply;

/// A caller, what it may do, and where answers come from.
pub(crate) struct Session {
    caller: Caller,
    grant: Grant,
    /// A second descriptor of the connection, to see the peer leave while a swap says nothing.
    watch: Rc<UnixStream>,
    backend: Rc<dyn Backend>,
}

impl Session {
    pub(crate) fn new(
        caller: Caller,
        grant: Grant,
        watch: Rc<UnixStream>,
        backend: Rc<dyn Backend>,
    ) -> Session {
        Session { caller, grant, watch, backend }
    }

    /// The replies that tell of a swap: all with `more`, else the first or the last alone.
    async fn tell(&self, reader: Result<Reader, Error>, how: Telling) -> Stated<SwapReply, Error> {
        let feed = match reader {
            Err(error) => Err(error),
            Ok(reader) => how.choose(reader).await,
        };
        let feed = feed.map_err(StreamError::Own);
        Stated::new(feed.map(|source| Box::new(source) as Box<dyn Source<_, _>>), &self.watch)
    }
}

/// How much of a swap a caller wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// Everything, until its end.
    All,
    /// How it ended, once it has.
    End,
    /// That it began.
    Beginning,
}

impl Telling {
    fn of(more: bool, detach: Option<bool>) -> Telling {
        match (detach, more) {
            (Some(true), _) => Telling::Beginning,
            (_, true) => Telling::All,
            (_, false) => Telling::End,
        }
    }

    async fn choose(self, mut reader: Reader) -> Result<Told, Error> {
        let one = match self {
            Telling::All => return Ok(Told { reader: Some(reader), one: None }),
            Telling::Beginning => reader.next().await,
            Telling::End => reader.end().await,
        };
        let progress = one.ok_or_else(lost)?;
        Ok(Told { reader: None, one: Some(progress) })
    }
}

/// The agent let go of a swap without an outcome: it is ending itself.
fn lost() -> Error {
    let reason = "the agent ended before the swap did; it goes on when the agent is back: \
                  `rollinit swaps` shows it";
    Error::Failed { name: "agent".to_owned(), reason: reason.to_owned() }
}

/// What is told of one swap.
struct Told {
    reader: Option<Reader>,
    one: Option<Progress>,
}

impl Source<SwapReply, Error> for Told {
    fn next(mut self: Box<Self>) -> Pending<SwapReply, Error> {
        Box::pin(async move {
            if let Some(progress) = self.one {
                return (Ok(SwapReply { progress }), None);
            }
            let Some(reader) = &mut self.reader else { return (Err(lost()), None) };
            match reader.next().await {
                None => (Err(lost()), None),
                Some(progress) if progress.outcome.is_some() => (Ok(SwapReply { progress }), None),
                Some(progress) => (Ok(SwapReply { progress }), Some(self as Box<dyn Source<_, _>>)),
            }
        })
    }
}

/// The agent of this host: swap an app for another closure, go back, see what was done.
///
/// Callers are told apart by uid and groups: the role read looks, operate and admin (root) swap.
/// Of Swap, Rollback and Follow each reply but the last says `continues`; the last one carries the
/// outcome. A caller that goes away ends nothing: Follow finds the swap again.
#[zlink::service(
    interface = "io.rollinit.Agent",
    vendor = "rollinit",
    product = "rollinit-agent",
    version = env!("CARGO_PKG_VERSION"),
    url = "https://github.com/rollinit/rollinit",
    types = [
        Generation,
        Level,
        Notice,
        Outcome,
        OutcomeKind,
        Progress,
        Reboot,
        Release,
        Step,
        StepState,
        SwapSummary
    ]
)]
impl Session {
    /// Swaps the app for the closure of that store path. With test it is undone by a boot, and
    /// unless Confirm comes in time. With dry_run nothing is touched. With force a path that
    /// failed before is tried again. With detach there is one reply, as soon as it has begun;
    /// without more there is one, when it is over. Role: operate. The app `system` is the host's
    /// system itself: reboot says whether it may reboot the host for that. Role: admin.
    #[zlink(more)]
    #[allow(clippy::too_many_arguments)] // They are the method's parameters, by name.
    async fn swap(
        &self,
        more: bool,
        app: String,
        path: String,
        test: Option<bool>,
        confirm_within_ms: Option<u64>,
        dry_run: Option<bool>,
        force: Option<bool>,
        detach: Option<bool>,
        reboot: Option<Reboot>,
    ) -> impl Stream<Item = Result<Reply<SwapReply>, StreamError<Error>>> + Unpin {
        let request = SwapRequest {
            app,
            path,
            test: test.unwrap_or(false),
            confirm_within_ms,
            dry_run: dry_run.unwrap_or(false),
            force: force.unwrap_or(false),
            reboot: reboot.unwrap_or_default(),
        };
        let method = if request.app == SYSTEM { Method::SwapSystem } else { Method::Swap };
        let reader = match self.grant.check_agent(method) {
            Err(error) => Err(error),
            Ok(()) => self.backend.swap(&self.caller, request).await,
        };
        self.tell(reader, Telling::of(more, detach)).await
    }

    /// Swaps the app back to a generation, or to the previous one. It never migrates. With detach
    /// and without more as Swap. Role: operate; of `system` admin.
    #[zlink(more)]
    async fn rollback(
        &self,
        more: bool,
        app: String,
        generation: Option<u64>,
        detach: Option<bool>,
    ) -> impl Stream<Item = Result<Reply<SwapReply>, StreamError<Error>>> + Unpin {
        let method = if app == SYSTEM { Method::SwapSystem } else { Method::Rollback };
        let reader = match self.grant.check_agent(method) {
            Err(error) => Err(error),
            Ok(()) => self.backend.rollback(&self.caller, &app, generation).await,
        };
        self.tell(reader, Telling::of(more, detach)).await
    }

    /// Tells of a swap from its beginning: of one under way, or of one that is over. Role: read.
    #[zlink(more)]
    async fn follow(
        &self,
        more: bool,
        swap: String,
    ) -> impl Stream<Item = Result<Reply<SwapReply>, StreamError<Error>>> + Unpin {
        let reader = match self.grant.check_agent(Method::Follow) {
            Err(error) => Err(error),
            Ok(()) => self.backend.follow(&swap).await,
        };
        self.tell(reader, Telling::of(more, None)).await
    }

    /// Keeps what a test swapped in. Counts only over a connection that was opened after the
    /// switch. Role: operate.
    async fn confirm(&self, app: String) -> Result<(), Error> {
        self.grant.check_agent(Method::Confirm)?;
        self.backend.confirm(&self.caller, &app).await
    }

    /// The generations of an app. Role: read.
    async fn generations(&self, app: String) -> Result<GenerationList, Error> {
        self.grant.check_agent(Method::Generations)?;
        self.backend.generations(&app).await
    }

    /// The swaps of an app or of all, newest first, as far back as the history goes. Role: read.
    async fn swaps(&self, app: Option<String>) -> Result<SwapList, Error> {
        self.grant.check_agent(Method::Swaps)?;
        self.backend.swaps(app.as_deref()).await
    }

    /// What holds on this host and somebody should know, the worst first. Role: read.
    async fn standing(&self) -> Result<NoticeList, Error> {
        self.grant.check_agent(Method::Standing)?;
        Ok(self.backend.standing())
    }

    /// Takes the host out of its load balancers since it goes down, and answers when nobody's
    /// request is cut off by that any more. Nobody brings it back before the next boot.
    /// Role: admin.
    async fn leave_balancers(&self) -> Result<(), Error> {
        self.grant.check_agent(Method::LeaveBalancers)?;
        self.backend.leave_balancers().await
    }
}
