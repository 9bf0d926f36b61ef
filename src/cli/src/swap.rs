//! `rollinit swap`, `rollback` and `swaps --follow`: begins a swap, or finds one, and watches it.
//!
//! Who watches has no part in the swap: Ctrl-C, a closed terminal or a dead connection leave it
//! as it is. If the agent is replaced meanwhile, its successor is asked for the same swap.

mod drawing;

use crate::exit::{Code, Failure};
use crate::screen::Screen;
use control::agent::client::{CallError, Client, SwapRequest};
use control::agent::{Error, Progress, Step};
use drawing::Drawing;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Agents that may go, one after the other, without having said anything new. A bound on a loop
/// that otherwise ends with the swap.
const AGENTS_MAX: usize = 20;

/// What to watch.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    /// Begin a swap.
    Swap(SwapRequest<'a>),
    /// Begin the swap back.
    Rollback {
        /// Of this app.
        app: &'a str,
        /// To this generation, or to the previous one.
        generation: Option<u64>,
        /// Only begin it.
        detach: bool,
    },
    /// One that was begun before.
    Follow(&'a str),
}

impl Order<'_> {
    /// Asked for again it is the same swap: one to the same path joins the one under way, or finds
    /// that there is nothing left to do. Only "the previous generation" is another one by then.
    fn bears_repeating(&self) -> bool {
        !matches!(self, Order::Rollback { generation: None, .. })
    }
}

/// How watching ended.
enum Watched {
    /// With the swap.
    Over(Code),
    /// There was one reply, and it goes on.
    Begun,
    /// By Ctrl-C.
    Left,
}

/// Why watching broke off.
enum Broken {
    Call(CallError),
    Local(Failure),
}

impl From<CallError> for Broken {
    fn from(error: CallError) -> Broken {
        Broken::Call(error)
    }
}

impl Broken {
    /// The agent went away, or is about to and says so of a swap it has told of: its successor
    /// knows the swap.
    fn is_agent_gone(&self, is_known: bool) -> bool {
        match self {
            Broken::Call(CallError::Broken { .. }) => true,
            Broken::Call(CallError::Answered(Error::Failed { .. })) => is_known,
            _ => false,
        }
    }

    fn failure(self) -> Failure {
        match self {
            Broken::Call(error) => error.into(),
            Broken::Local(failure) => failure,
        }
    }
}

/// Does it, and watches until the end.
pub async fn run(socket: &Path, order: Order<'_>, screen: &mut Screen) -> Result<Code, Failure> {
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt =
        interrupt.map_err(|error| Failure::local("cannot listen for Ctrl-C", &error))?;
    let mut watcher = Watcher::new(screen);
    let mut known = None;
    let mut agents_gone = 0;
    loop {
        // After the first it is not a second swap, but the same one as the next agent knows it.
        let order = known.as_deref().map_or(order, Order::Follow);
        let news = watcher.news;
        match attempt(socket, order, &mut watcher, &mut interrupt).await {
            Ok(watched) => return watcher.end(watched),
            Err(broken) => {
                agents_gone = if watcher.news > news { 0 } else { agents_gone + 1 };
                let is_known = !watcher.swap.is_empty();
                let may_go_on = is_known || order.bears_repeating();
                if !broken.is_agent_gone(is_known) || !may_go_on || agents_gone > AGENTS_MAX {
                    return Err(watcher.lost(broken.failure()));
                }
                known = is_known.then(|| watcher.swap.clone());
            }
        }
    }
}

/// Watches by way of one agent.
async fn attempt(
    socket: &Path,
    order: Order<'_>,
    watcher: &mut Watcher<'_>,
    interrupt: &mut Signal,
) -> Result<Watched, Broken> {
    let mut client = Client::connect(socket).await?;
    let mut replies = match order {
        Order::Swap(request) => client.swap(&request).await?,
        Order::Rollback { app, generation, detach } => {
            client.rollback(app, generation, detach).await?
        }
        Order::Follow(swap) => client.follow(swap).await?,
    };
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply?,
            _ = interrupt.recv() => return Ok(Watched::Left),
        };
        let Some(reply) = reply else { return Ok(Watched::Begun) };
        let code = reply.progress.outcome.as_ref().map(|outcome| Code::from(outcome.kind));
        let heard = watcher.hear(reply.progress);
        heard.map_err(|error| Broken::Local(error.into()))?;
        if let Some(code) = code {
            return Ok(Watched::Over(code));
        }
    }
}

/// What is known of the swap so far, and where that is shown.
struct Watcher<'a> {
    screen: &'a mut Screen,
    drawing: Drawing,
    /// The newest of each step: what is told a second time is not printed again.
    known: BTreeMap<Step, Progress>,
    swap: String,
    /// Things heard that were not known.
    news: usize,
}

#[derive(Debug, Serialize)]
struct DetachedJson<'a> {
    detached: &'a str,
}

impl<'a> Watcher<'a> {
    fn new(screen: &'a mut Screen) -> Watcher<'a> {
        let drawing = Drawing::new(screen);
        Watcher { screen, drawing, known: BTreeMap::new(), swap: String::new(), news: 0 }
    }

    /// Takes in and shows one line of progress.
    fn hear(&mut self, progress: Progress) -> io::Result<()> {
        if self.known.get(&progress.step) == Some(&progress) {
            return Ok(());
        }
        self.news += 1;
        self.swap.clone_from(&progress.swap);
        if self.screen.json {
            self.screen.json(&progress)?;
        } else {
            let text = self.drawing.add(self.screen, &progress);
            self.screen.text(&text)?;
        }
        self.known.insert(progress.step, progress);
        self.screen.flush()
    }

    fn end(self, watched: Watched) -> Result<Code, Failure> {
        let swap = &self.swap;
        let code = match watched {
            Watched::Over(code) => return Ok(code),
            Watched::Begun => Code::Done,
            Watched::Left => Code::Detached,
        };
        if self.screen.json {
            self.screen.json(&DetachedJson { detached: swap })?;
        } else if swap.is_empty() {
            self.screen.text("\nrollinit: detached before it began; look at `rollinit swaps`\n")?;
        } else {
            let text = format!(
                "\nrollinit: detached, swap {swap} goes on.  Watch it: rollinit swaps -f {swap}\n"
            );
            self.screen.text(&text)?;
        }
        Ok(code)
    }

    /// Nobody tells any more what becomes of it.
    fn lost(&self, failure: Failure) -> Failure {
        if self.swap.is_empty() {
            return failure;
        }
        let mut cures = failure.cures;
        cures.push(format!(
            "The swap goes on when the agent is back: `rollinit swaps -f {}`.",
            self.swap
        ));
        Failure { cures, ..failure }
    }
}
