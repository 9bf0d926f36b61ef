//! One load balancer: its errands, one at a time, and the file of what was taken out of it.

use super::Say;
use crate::app::Tools;
use crate::config::balancer::{Balancer as Settings, Kind};
use crate::disk;
use crate::ec2::Ec2;
use ::balancer::alb::Alb;
use ::balancer::haproxy::Haproxy;
use ::balancer::limits::RECORD_BYTES_MAX;
use ::balancer::machine::{Ask, Failed, FailedKind, Goal, Taken, Trouble};
use ::balancer::{Driver, Front, Scope, Wanted, drive, record};
use control::agent::Level;
use rollout::{Failure, Fault};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// One of them.
#[derive(Debug)]
pub struct Balancer {
    /// What agent.toml says of it.
    pub settings: Settings,
    front: Front,
    folder: PathBuf,
    taken: RefCell<Vec<Taken>>,
    /// All of it is out, and nothing was done since.
    is_out: Cell<bool>,
    /// The number of the newest errand.
    errand: Cell<u64>,
    newer: Notify,
    busy: Mutex<()>,
}

/// What is wanted of a balancer.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    /// What it is to come to.
    pub goal: Goal,
    /// Which of its targets are meant.
    pub scope: Scope,
    /// Nobody waits for others to be well.
    pub in_haste: bool,
    /// The host does not come back, as far as is known.
    pub for_good: bool,
    /// The host itself goes: whatever others want for its apps comes after this, or never.
    pub of_host: bool,
    /// How long what is in flight may take, in place of what the file says.
    pub within: Option<Duration>,
}

impl Errand {
    /// The whole host, without haste.
    #[must_use]
    pub fn to(goal: Goal) -> Self {
        let (in_haste, for_good, of_host) = (false, false, false);
        Self { goal, scope: Scope::All, in_haste, for_good, of_host, within: None }
    }
}

impl Balancer {
    /// `None` for one that needs AWS where there is none: the configuration refuses that.
    pub fn open(settings: Settings, folder: &Path, ec2: Option<&Ec2>) -> Option<Self> {
        let front = match settings.kind.clone() {
            Kind::Haproxy { sockets, which, port } => {
                Front::Haproxy(Haproxy::new(sockets, which, port))
            }
            Kind::Alb { groups, port, absence } => {
                let Ec2 { aws, imds, .. } = ec2?;
                Front::Alb(Alb::new(aws.clone(), imds.clone(), groups, port, absence))
            }
        };
        let taken = read(folder, &settings.name).unwrap_or_else(|error| {
            let name = &settings.name;
            tracing::error!("balancer {name}: {error}; what was taken out stays out: give it back");
            Vec::new()
        });
        Some(Self {
            settings,
            front,
            folder: folder.to_owned(),
            taken: RefCell::new(taken),
            is_out: Cell::new(false),
            errand: Cell::new(0),
            newer: Notify::new(),
            busy: Mutex::new(()),
        })
    }

    /// Whether something is out that was taken out here, and is to come back.
    #[must_use]
    pub fn has_taken(&self) -> bool {
        !self.taken.borrow().is_empty()
    }

    /// Whether all of it is out, and nothing was done since.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.is_out.get()
    }

    /// Asks now for what will be needed when nobody may answer any more.
    pub async fn learn(&self, tools: &Tools) {
        match self.front.rules(&self.settings.wanted).await {
            Ok(_) => {}
            Err(Trouble::Lasting(text, cure)) => self.tell(tools, Level::Error, &text, &cure),
            Err(Trouble::Passing(words)) => {
                let name = self.name();
                tracing::warn!("balancer {name}: {words}; asked again when it is needed");
            }
        }
    }

    fn name(&self) -> &str {
        &self.settings.name
    }

    fn tell(&self, tools: &Tools, level: Level, text: &str, cure: &str) {
        let subject = format!("balancer {}", self.name());
        tools.standing.set(&tools.console, &subject, level, text, Some(cure));
    }

    /// Runs an errand to its end, or until there is a newer one.
    ///
    /// # Errors
    /// It cannot be done, or something newer is wanted.
    pub async fn run(&self, tools: &Tools, errand: Errand, say: Say<'_>) -> Result<(), Failure> {
        let number = self.errand.get() + 1;
        self.errand.set(number);
        self.newer.notify_waiters();
        let replaced = async {
            loop {
                let mut newer = pin!(self.newer.notified());
                newer.as_mut().enable();
                if self.errand.get() != number {
                    return;
                }
                newer.await;
            }
        };
        let ended = tokio::select! {
            biased;
            () = replaced => {
                let reason = format!("balancer {}: something newer is wanted of it", self.name());
                return Err(Failure { fault: Fault::Host, reason, cure: Vec::new() });
            }
            ended = self.work(tools, errand, say) => ended,
        };
        tools.standing.clear(&format!("balancer {}", self.name()));
        ended.map_err(|failed| self.failure(failed))
    }

    async fn work(&self, tools: &Tools, errand: Errand, say: Say<'_>) -> Result<(), Failed> {
        let _alone = self.busy.lock().await;
        self.is_out.set(false);
        let taken = self.taken.borrow().clone();
        let waits = errand.within.is_none_or(|within| !within.is_zero());
        let Errand { goal, in_haste, for_good, .. } = errand;
        let ask = Ask { goal, in_haste, for_good, waits, taken };
        let wanted = &self.settings.wanted;
        let drain_max = errand.within.or(wanted.drain_max);
        let wanted = Wanted { drain_max, ..wanted.clone() };
        let clerk = Clerk { balancer: self, tools, say };
        let words = drive(&self.front, errand.scope, ask, &wanted, &clerk).await?;
        self.is_out.set(errand.goal == Goal::Out);
        if !words.is_empty() {
            tracing::info!("balancer {}: {words}", self.name());
        }
        Ok(())
    }

    fn failure(&self, failed: Failed) -> Failure {
        let fault = match failed.kind {
            FailedKind::Unwell => Fault::Release,
            FailedKind::Needed | FailedKind::Away => Fault::Host,
        };
        let reason = format!("balancer {}: {}", self.name(), failed.reason);
        Failure { fault, reason, cure: vec![failed.cure] }
    }
}

fn file(name: &str) -> String {
    format!("{name}.json")
}

fn read(folder: &Path, name: &str) -> Result<Vec<Taken>, String> {
    match disk::read_capped(&folder.join(file(name)), RECORD_BYTES_MAX) {
        Ok(bytes) => record::decode(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes down for a balancer what is taken out, and tells people what goes on.
struct Clerk<'a> {
    balancer: &'a Balancer,
    tools: &'a Tools,
    say: Say<'a>,
}

impl Driver for Clerk<'_> {
    async fn keep(&self, taken: Vec<Taken>) -> Result<(), String> {
        let (folder, name) = (self.balancer.folder.clone(), file(self.balancer.name()));
        let bytes = record::encode(&taken);
        let is_empty = taken.is_empty();
        if is_empty && self.balancer.taken.borrow().is_empty() {
            return Ok(());
        }
        // Whatever cuts this off, what is out is known here or on the disk.
        if !is_empty {
            *self.balancer.taken.borrow_mut() = taken;
        }
        let write = move || match is_empty {
            true => disk::remove(&folder, &name),
            false => disk::replace(&folder, &name, &bytes),
        };
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.map_err(|error| error.to_string())?;
        written.map_err(|error| error.to_string())?;
        if is_empty {
            self.balancer.taken.borrow_mut().clear();
        }
        Ok(())
    }

    fn say(&self, words: &str, is_stuck: bool) {
        let words = format!("balancer {}: {words}", self.balancer.name());
        tracing::info!("{words}");
        (self.say)(&words);
        if is_stuck {
            let cure = "docs/balancers.md says what each of these words means";
            self.balancer.tell(self.tools, Level::Warning, &words, cure);
        }
    }
}
