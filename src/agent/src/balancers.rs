//! The load balancers that send to this host: leaving them, and coming back.
//!
//! What to do and in which order is decided by `balancer::machine`. Here is what surrounds it: what
//! was taken out is in a file for each balancer, written before it is taken out and removed when
//! all of it is back, so that an agent that is started again gives back just that. One errand at a
//! time goes to a balancer; a newer one takes the place of an older one.

mod one;

use crate::app::Tools;
use crate::config::balancer::{Around, Balancer as Settings};
use crate::disk;
use crate::ec2::Ec2;
use ::balancer::Scope;
use ::balancer::machine::Goal;
use control::types::ShutdownKind;
use one::{Balancer, Errand};
use rollout::{Failure, Fault};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// The folder of the records, below the agent's own.
const FOLDER: &str = "balancers";

/// All balancers of this host.
#[derive(Debug)]
pub struct Balancers {
    all: Vec<Balancer>,
    leaving: Cell<Leaving>,
}

/// Whether the host goes: then nobody brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// It leaves, or is out, to be booted anew, and may stay after all.
    Spared,
    /// It goes down.
    Down,
}

/// What goes on, for whoever waits.
pub type Say<'a> = &'a dyn Fn(&str);

impl Balancers {
    /// Those of the configuration. Asks nobody yet.
    ///
    /// # Errors
    /// The folder of their records cannot be made.
    pub fn open(
        settings: Vec<Settings>,
        state: &Path,
        ec2: Option<&Ec2>,
    ) -> Result<Self, disk::DiskError> {
        let folder = state.join(FOLDER);
        if !settings.is_empty() {
            disk::make_directory(&folder)?;
        }
        let of = |settings| Balancer::open(settings, &folder, ec2);
        let all = settings.into_iter().filter_map(of).collect();
        Ok(Self { all, leaving: Cell::new(Leaving::No) })
    }

    /// Whether any sends to this app.
    #[must_use]
    pub fn fronts(&self, app: &str) -> bool {
        self.of(app).next().is_some()
    }

    /// Whether something of this app is out that was taken out here, and is to come back.
    #[must_use]
    pub fn is_out(&self, app: &str) -> bool {
        !self.is_leaving() && self.of(app).any(Balancer::has_taken)
    }

    fn of(&self, app: &str) -> impl Iterator<Item = &Balancer> {
        self.all.iter().filter(move |one| one.settings.app == app)
    }

    /// Takes this host out wherever a swap of that kind asks for it, and waits until nobody's
    /// request is cut off by what comes next.
    ///
    /// # Errors
    /// The host cannot be spared, or a balancer does not answer.
    pub async fn drain(
        &self,
        tools: &Tools,
        app: &str,
        around: Around,
        say: Say<'_>,
    ) -> Result<(), Failure> {
        let asked = self.of(app).filter(|one| one.settings.around >= around);
        self.each(tools, asked, Errand::to(Goal::Out), say).await
    }

    /// Brings this host back where it was taken out. The app has to be well.
    ///
    /// # Errors
    /// A balancer does not answer, or finds the app unwell, which is the release's fault.
    pub async fn back(&self, tools: &Tools, app: &str, say: Say<'_>) -> Result<(), Failure> {
        if self.is_leaving() {
            return Ok(());
        }
        self.each(tools, self.of(app), Errand::to(Goal::In), say).await
    }

    /// Lets balancers send to `port` of this host, and waits until they find it well.
    ///
    /// # Errors
    /// As [`Balancers::back`].
    pub async fn join(
        &self,
        tools: &Tools,
        app: &str,
        port: u16,
        say: Say<'_>,
    ) -> Result<(), Failure> {
        if self.is_leaving() {
            return Ok(());
        }
        let scope = Scope::At(port);
        self.each(tools, self.of(app), Errand { scope, ..Errand::to(Goal::Join) }, say).await
    }

    /// Lets nobody send to `port` of this host any more, for good, and waits for what is in flight,
    /// so long at most. No time: nobody waits.
    ///
    /// # Errors
    /// As [`Balancers::drain`].
    pub async fn leave(
        &self,
        tools: &Tools,
        app: &str,
        port: u16,
        within_ms: u64,
        say: Say<'_>,
    ) -> Result<(), Failure> {
        let scope = Scope::At(port);
        let within = Some(Duration::from_millis(within_ms));
        let errand = Errand { scope, within, ..Errand::to(Goal::Leave) };
        self.each(tools, self.of(app), errand, say).await
    }

    /// Lets nobody send to any other port of this host than these. Nobody waits for what is in
    /// flight there: nobody serves.
    ///
    /// # Errors
    /// A balancer does not answer.
    pub async fn leave_all_but(
        &self,
        tools: &Tools,
        app: &str,
        ports: [u16; 2],
        say: Say<'_>,
    ) -> Result<(), Failure> {
        let (scope, within, in_haste) = (Scope::NotAt(ports), Some(Duration::ZERO), true);
        let errand = Errand { scope, within, in_haste, ..Errand::to(Goal::Leave) };
        self.each(tools, self.of(app), errand, say).await
    }

    /// Takes the whole host out since it is going to be booted anew; it comes back after that.
    ///
    /// # Errors
    /// As [`Balancers::drain`]; then the host is brought back.
    pub async fn spare_host(&self, tools: &Tools, say: Say<'_>) -> Result<(), Failure> {
        let sparing = Sparing::begin(self)?;
        let errand = Errand { of_host: true, ..Errand::to(Goal::Out) };
        self.each(tools, self.all.iter(), errand, say).await?;
        sparing.done();
        Ok(())
    }

    /// The host is not booted anew. One that goes down goes on with that.
    pub fn stay(&self) {
        if self.leaving.get() == Leaving::Spared {
            self.leaving.set(Leaving::No);
        }
    }

    fn is_leaving(&self) -> bool {
        self.leaving.get() != Leaving::No
    }

    /// What is wanted for one app while the whole host goes.
    fn refusal() -> Failure {
        let reason = "the host goes down".to_owned();
        Failure { fault: Fault::Host, reason, cure: Vec::new() }
    }

    /// The host did not go, and served all the while: it comes back. What does not is said, and
    /// given back with the next swap, or the agent's next start.
    pub async fn return_host(&self, tools: &Tools) {
        self.stay();
        if self.is_leaving() {
            return;
        }
        let back = self.each(tools, self.all.iter(), Errand::to(Goal::In), &|_| {}).await;
        if let Err(failure) = back {
            tracing::error!("the host did not go, and is not back: {}", failure.reason);
        }
    }

    /// Takes the whole host out since it goes down, whatever that means for others. Nobody brings
    /// it back before the next boot. One that does not boot again by itself is its Auto Scaling
    /// group's to replace, also if it was missing just now.
    ///
    /// # Errors
    /// A balancer does not answer.
    pub async fn leave_host(&self, tools: &Tools) -> Result<(), Failure> {
        self.leaving.set(Leaving::Down);
        let status = tools.supervisor.ask(async |client| client.status(None).await).await;
        let shutdown = status.ok().and_then(|status| status.host.shutdown);
        let for_good = shutdown.is_some_and(|kind| kind != ShutdownKind::Reboot);
        let errand = Errand { in_haste: true, for_good, of_host: true, ..Errand::to(Goal::Out) };
        let left = self.all.iter().filter(|one| for_good || !one.is_out());
        self.each(tools, left, errand, &|_| {}).await
    }

    /// Asks each balancer now for what will be needed when nobody may answer any more.
    pub async fn learn(&self, tools: &Tools) {
        for one in &self.all {
            one.learn(tools).await;
        }
    }

    /// The same errand to several at once; the first failure is told.
    async fn each<'a>(
        &'a self,
        tools: &Tools,
        balancers: impl Iterator<Item = &'a Balancer>,
        errand: Errand,
        say: Say<'_>,
    ) -> Result<(), Failure> {
        if self.is_leaving() && !errand.of_host {
            return Err(Self::refusal());
        }
        let runs = balancers.map(|one| Box::pin(one.run(tools, errand, say)) as Run<'_>).collect();
        let mut failures = together(runs).await.into_iter().filter_map(Result::err);
        failures.next().map_or(Ok(()), Err)
    }
}

/// The host leaves to be booted anew. Nobody brings it back meanwhile for the sake of one app, and
/// one that does not get out stays.
struct Sparing<'a>(&'a Balancers);

impl<'a> Sparing<'a> {
    fn begin(balancers: &'a Balancers) -> Result<Self, Failure> {
        if balancers.leaving.get() == Leaving::Down {
            return Err(Balancers::refusal());
        }
        balancers.leaving.set(Leaving::Spared);
        Ok(Self(balancers))
    }

    /// It is out, and so it remains.
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Sparing<'_> {
    fn drop(&mut self) {
        self.0.stay();
    }
}

type Run<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// Awaits all of them at once.
async fn together(runs: Vec<Run<'_>>) -> Vec<Result<(), Failure>> {
    let mut ended: Vec<Option<Result<(), Failure>>> = runs.iter().map(|_| None).collect();
    let mut runs: Vec<Option<Run<'_>>> = runs.into_iter().map(Some).collect();
    poll_fn(move |context| {
        for (slot, end) in runs.iter_mut().zip(&mut ended) {
            if let Some(run) = slot
                && let Poll::Ready(result) = run.as_mut().poll(context)
            {
                *end = Some(result);
                *slot = None;
            }
        }
        if runs.iter().any(Option::is_some) {
            return Poll::Pending;
        }
        Poll::Ready(ended.drain(..).flatten().collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An app's task that finds it out of its balancers brings it back: not while the host leaves.
    #[test]
    fn nobody_brings_back_a_host_that_is_leaving() {
        let folder = tempfile::tempdir().expect("a folder");
        let balancers = Balancers::open(Vec::new(), folder.path(), None).expect("none");
        let is_spared = || balancers.leaving.get() == Leaving::Spared;
        let begin = || Sparing::begin(&balancers);

        let sparing = begin().expect("it stays so far");
        assert!(is_spared(), "from the first step on, not only when it is out");
        drop(sparing);
        assert!(!balancers.is_leaving(), "one that is not let out, or whose errand ends, stays");

        begin().expect("it stays so far").done();
        assert!(is_spared(), "one that is out is brought back by nobody");
        begin().expect("asked again, after a death in the middle").done();
        balancers.stay();
        assert!(!balancers.is_leaving());

        let sparing = begin().expect("it stays so far");
        balancers.leaving.set(Leaving::Down);
        drop(sparing);
        assert!(balancers.is_leaving(), "one that goes down meanwhile goes on with that");
        assert!(begin().is_err(), "and is not booted anew");
    }
}
