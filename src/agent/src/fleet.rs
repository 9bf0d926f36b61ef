//! This host's part in its fleet: the shell around [`rollout::fleet::Member`].
//!
//! The member decides, from the group's record and from what runs here; what it says is carried
//! out in [`task`]. Between the two stands nothing that a restart of the agent would lose: the
//! record is on the ledger, swaps are in the journal.
//!
//! Before a step of a swap that others see, the record is read once more ([`Fleet::may`]): a host
//! whose slot was taken away stops there.

mod counted;
mod fence;
mod local;
mod migration;
mod records;
mod system;
mod task;
mod words;

use crate::config;
use crate::ec2::Ec2;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;
use control::types::ShutdownKind;
use ledger::{Address, Engine};
use rollout::LedgerError;
use rollout::fleet::Group;
use rollout::fleet::limits::LOOK_IDLE_MS;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, OnceCell};
use tokio::time::timeout;

pub use counted::Counted;
pub use fence::{Before, fence};
pub use local::{Over, local, why_not};
pub use migration::End;
pub use records::RecordError;
pub use rollout::fleet::Local;
pub use system::local as local_system;
pub use task::run;

/// Until the metadata service is asked again who this host is.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a farewell may take: a question to the supervisor and two writes. Services of a host
/// that goes down have stopped by then, and whoever waits for this waits for a power switch.
const FAREWELL: Duration = Duration::from_secs(5);

/// Between two looks at an engine that nobody is billed for by the request, in milliseconds.
const IDLE_OWN_MS: u64 = 2_000;

/// This host's part in its fleet.
#[derive(Debug)]
pub struct Fleet {
    group: String,
    /// As it is written, for people.
    ledger: String,
    address: Address,
    named: Option<String>,
    ec2: Option<Ec2>,
    host: OnceCell<String>,
    engine: OnceCell<Counted>,
    metrics: Metrics,
    /// The group's record as it was last seen.
    seen: RefCell<Option<Group>>,
    /// Whether the ledger has answered.
    heard: Cell<bool>,
    /// Why this host leaves, once it is told to end.
    leaving: RefCell<Option<String>>,
    /// Rung when it is.
    bell: Notify,
    /// Rung when that is on the ledger.
    left: Notify,
    /// What this host says of itself is written by one at a time.
    saying: Mutex<()>,
    /// Keys of hosts' records that cannot be read, of which the log knows.
    unread: RefCell<BTreeSet<String>>,
}

impl Fleet {
    /// The host's part, if ledger and group are both known. Asks nobody yet.
    #[must_use]
    pub fn new(
        settings: &config::fleet::Fleet,
        ec2: Option<Ec2>,
        metrics: Metrics,
    ) -> Option<Self> {
        let (ledger, group) = (settings.ledger.clone()?, settings.group.clone()?);
        // Checked when the configuration was read.
        let address = ledger.parse().ok()?;
        Some(Self {
            group,
            ledger,
            address,
            named: settings.host.clone(),
            ec2,
            host: OnceCell::new(),
            engine: OnceCell::new(),
            metrics,
            seen: RefCell::default(),
            heard: Cell::new(false),
            leaving: RefCell::default(),
            bell: Notify::new(),
            left: Notify::new(),
            saying: Mutex::new(()),
            unread: RefCell::default(),
        })
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The ledger's address, as it is written.
    #[must_use]
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// What this host is called in its group: as configured, or its instance id, or its host name.
    /// Returns once that is known.
    pub async fn host(&self) -> &str {
        let find = || async {
            let Some(ec2) = self.ec2.as_ref().filter(|_| self.named.is_none()) else {
                return self.named.clone().unwrap_or_else(host_name);
            };
            let mut is_said = false;
            loop {
                match ec2.imds.identity().await {
                    Ok(identity) => return identity.instance_id,
                    Err(error) if !is_said => {
                        tracing::warn!("the fleet waits for this instance's id: {error}");
                        is_said = true;
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        self.host.get_or_init(find).await
    }

    /// The engine that keeps the records, for whoever keeps more there.
    ///
    /// # Errors
    /// It cannot be opened: a file that its address names cannot be read.
    pub async fn engine(&self) -> Result<&Counted, LedgerError> {
        let aws = self.ec2.as_ref().map(|ec2| &ec2.aws);
        let open = async || {
            let engine = Engine::open(&self.address, aws)?;
            Ok(Counted::new(engine, self.metrics.clone()))
        };
        self.engine.get_or_try_init(open).await
    }
}

impl Fleet {
    /// Why an app of this host is not to be swapped by hand; nothing if the group does not roll it.
    #[must_use]
    pub fn rolls(&self, app: &str) -> Option<String> {
        let group = &self.group;
        if !self.heard.get() {
            return Some(format!("group {group} may roll it, and its ledger has not answered yet"));
        }
        let seen = self.seen.borrow();
        let track = seen.as_ref()?.apps.get(app)?;
        track.wanted().map(|(path, _)| format!("group {group} rolls it, now to {path}"))
    }

    /// This host is told to end: the group hears of it at once.
    pub fn leave(&self, why: &str) {
        self.leaving.borrow_mut().get_or_insert_with(|| why.to_owned());
        self.bell.notify_one();
    }

    /// The last act of an agent that ends: of a host that goes down, and not to come up again, the
    /// group is told, and that is waited for as long as nobody minds.
    pub async fn farewell(&self, supervisor: &Supervisor) {
        let told = async {
            let status = supervisor.ask(async |client| client.status(None).await).await;
            let Ok(status) = status else { return };
            let kind = status.host.shutdown.filter(|kind| *kind != ShutdownKind::Reboot);
            if let Some(kind) = kind {
                self.leave(&format!("the host goes down: {kind}"));
            }
            if self.leaving.borrow().is_some() {
                self.left.notified().await;
            }
        };
        if timeout(FAREWELL, told).await.is_err() {
            tracing::warn!("group {} was not told that this host leaves", self.group);
        }
    }

    /// Between two looks when nothing goes on, in milliseconds.
    fn idle_ms(&self) -> u64 {
        match self.address {
            Address::File { .. } | Address::Etcd(_) => IDLE_OWN_MS,
            _ => LOOK_IDLE_MS,
        }
    }
}

/// The kernel's name of this host.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_letter = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    let name: String = name.trim().chars().filter(is_letter).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
