//! What a host does about the notices of EC2. Pure: readings in, effects out.
//!
//! ```text
//!          spot interruption, ends by terminate ──▶ power off within what is left
//!          spot interruption, ends by stop ───────▶ halt within what is left
//! Calm ────rebalance recommendation ──────────────▶ power off               ──▶ Leaving
//!          the group wants it to end ─▶ Asking ───▶ heartbeats, power off
//!                                       for hooks   within the hooks' time
//! ```
//!
//! * A notice whose answer is `tell` is told, once, and nothing else.
//! * Leaving is one shutdown of the host: services drain and stop in their order, PID 1 detaches
//!   what is mounted. It is asked for so early that [`RESERVE`] is left for PID 1.
//! * EC2 stops an instance that shall be *stopped* by itself; a power-off from within could end it
//!   for good (`InstanceInitiatedShutdownBehavior`). So such a host halts and waits for that.
//! * Whoever leaves for its group owes each hook a word once services have stopped
//!   ([`Machine::owed`]). A group without hooks waits for nobody.
//! * A notice that comes while leaving makes it faster, never slower, and does not turn it around.
//! * A metadata service that is away changes nothing; it is told after [`AWAY_SAID`].

use crate::config::cloud::{Answer, Notices};
use cloud::imds::{LifecycleState, SpotAction};
use control::agent::Level;
use control::types::ShutdownKind;
use std::time::Duration;

/// What PID 1 needs once services have stopped: 5 s for strays after SIGTERM, 5 s after SIGKILL,
/// and some to write out a page cache.
pub const RESERVE: Duration = Duration::from_secs(15);

/// The least that services get, however late a notice is.
pub const WITHIN_MIN: Duration = Duration::from_secs(2);

/// The most, however patient a group is: the stop timeout of the agent's own service, which goes
/// last, is that long too (nixos/modules/cloud.nix).
pub const WITHIN_MAX: Duration = Duration::from_secs(10 * 60);

/// How long the metadata service may be away before that is told: a spot notice is 120 s long.
pub const AWAY_SAID: Duration = Duration::from_secs(60);

/// A spot interruption, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// What EC2 will do.
    pub action: SpotAction,
    /// How long until then.
    pub left: Duration,
}

/// What the metadata service said in one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// A spot interruption.
    pub spot: Option<Spot>,
    /// Whether the instance is at risk.
    pub rebalance: bool,
    /// What the instance's group wants of it; nothing if it is in none.
    pub group: Option<LifecycleState>,
}

/// A hook that holds up the instance's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The group.
    pub group: String,
    /// The hook.
    pub name: String,
    /// How long the group waits for a word.
    pub patience: Duration,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The metadata service was looked at.
    Read(Reading),
    /// It did not answer.
    Away(String),
    /// What [`Effect::FindHooks`] found, or why it could not be found out.
    Hooks(Result<Vec<Hook>, String>),
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Something stands about [`Subject`] from now on.
    Tell {
        /// About what.
        subject: Subject,
        /// How bad it is.
        level: Level,
        /// What.
        text: String,
        /// What to do about it.
        cure: Option<String>,
    },
    /// Nothing stands about it any more.
    Clear(Subject),
    /// Find out which hooks hold up the instance's end; the answer is [`Event::Hooks`].
    FindHooks,
    /// Tell a hook that its time begins anew.
    Heartbeat(Hook),
    /// Take the host down.
    Shutdown {
        /// How it ends.
        kind: ShutdownKind,
        /// How long services have; nothing: as long as in any shutdown.
        within: Option<Duration>,
    },
}

/// What a notice is about: its line in `rollinit status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A spot interruption.
    Spot,
    /// A rebalance recommendation.
    Rebalance,
    /// The end by an Auto Scaling group.
    ScaleIn,
    /// The metadata service itself.
    Metadata,
}

impl Subject {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Rebalance => "rebalance",
            Self::ScaleIn => "scale-in",
            Self::Metadata => "metadata",
        }
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Notices,
    /// What was told about spot, rebalance and scale-in.
    told: [bool; 3],
    /// When the host is down at the latest, once it leaves.
    leaves_by: Option<Duration>,
    asking: bool,
    owed: Vec<Hook>,
    away_since: Option<Duration>,
    away_said: bool,
}

impl Machine {
    /// Calm.
    #[must_use]
    pub fn new(policy: Notices) -> Self {
        Self {
            policy,
            told: [false; 3],
            leaves_by: None,
            asking: false,
            owed: Vec::new(),
            away_since: None,
            away_said: false,
        }
    }

    /// The hooks that wait for a word that services have stopped.
    #[must_use]
    pub fn owed(&self) -> &[Hook] {
        &self.owed
    }

    /// When the host is down at the latest, on the clock of `now`; nothing while it stays.
    #[must_use]
    pub fn leaves_by(&self) -> Option<Duration> {
        self.leaves_by
    }

    /// Takes an event at `now`, on any clock that only grows.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        match event {
            Event::Read(reading) => self.read(now, &reading),
            Event::Away(why) => self.away(now, &why),
            Event::Hooks(found) => self.hooks(now, found),
        }
    }

    fn read(&mut self, now: Duration, reading: &Reading) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.away_since = None;
        if std::mem::take(&mut self.away_said) {
            effects.push(Effect::Clear(Subject::Metadata));
        }
        match reading.spot {
            Some(spot) => self.spot(now, spot, &mut effects),
            None => self.gone(Subject::Spot, &mut effects),
        }
        if reading.rebalance {
            self.rebalance(now, &mut effects);
        } else {
            self.gone(Subject::Rebalance, &mut effects);
        }
        if reading.group == Some(LifecycleState::Terminated) {
            self.scale_in(&mut effects);
        } else if !self.asking {
            self.gone(Subject::ScaleIn, &mut effects);
        }
        effects
    }

    fn spot(&mut self, now: Duration, spot: Spot, effects: &mut Vec<Effect>) {
        let seconds = spot.left.as_secs();
        let (word, kind) = match spot.action {
            SpotAction::Terminate => ("terminates", Some(ShutdownKind::Poweroff)),
            SpotAction::Stop => ("stops", Some(ShutdownKind::Halt)),
            // EC2 does that to a running host, and continues it later.
            SpotAction::Hibernate => ("hibernates", None),
        };
        let text = format!("EC2 takes this spot instance back and {word} it in {seconds} s");
        let kind = kind.filter(|_| self.policy.spot == Answer::PowerOff);
        self.tell(Subject::Spot, Level::Error, text, kind, effects);
        if let Some(kind) = kind {
            self.leave(now, kind, Some(spot.left.saturating_sub(RESERVE)), effects);
        }
    }

    fn rebalance(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let kind = (self.policy.rebalance == Answer::PowerOff).then_some(ShutdownKind::Poweroff);
        let text = "EC2 says that this spot instance is at risk of being taken back".to_owned();
        self.tell(Subject::Rebalance, Level::Warning, text, kind, effects);
        if let Some(kind) = kind {
            self.leave(now, kind, None, effects);
        }
    }

    fn scale_in(&mut self, effects: &mut Vec<Effect>) {
        let kind = (self.policy.scale_in == Answer::PowerOff).then_some(ShutdownKind::Poweroff);
        let is_news = !self.told[Subject::ScaleIn as usize];
        let text = "the Auto Scaling group ends this instance".to_owned();
        self.tell(Subject::ScaleIn, Level::Warning, text, kind, effects);
        if is_news && kind.is_some() {
            self.asking = true;
            effects.push(Effect::FindHooks);
        }
    }

    fn hooks(&mut self, now: Duration, found: Result<Vec<Hook>, String>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !std::mem::take(&mut self.asking) {
            return effects;
        }
        let hooks = match found {
            Ok(hooks) => hooks,
            Err(why) => {
                effects.push(Effect::Tell {
                    subject: Subject::ScaleIn,
                    level: Level::Error,
                    text: format!("the group's hooks are not known: {why}"),
                    cure: Some("a hook waits until its own timeout".to_owned()),
                });
                Vec::new()
            }
        };
        effects.extend(hooks.iter().cloned().map(Effect::Heartbeat));
        let patience = hooks.iter().map(|hook| hook.patience).min();
        let within = patience.map(|patience| patience.saturating_sub(RESERVE));
        self.owed = hooks;
        self.leave(now, ShutdownKind::Poweroff, within, &mut effects);
        effects
    }

    fn away(&mut self, now: Duration, why: &str) -> Vec<Effect> {
        let since = *self.away_since.get_or_insert(now);
        if self.away_said || now.saturating_sub(since) < AWAY_SAID {
            return Vec::new();
        }
        self.away_said = true;
        vec![Effect::Tell {
            subject: Subject::Metadata,
            level: Level::Warning,
            text: format!("notices of EC2 cannot be seen: {why}"),
            cure: Some("services go on; it is asked again and again".to_owned()),
        }]
    }

    /// Goes, or goes sooner.
    fn leave(
        &mut self,
        now: Duration,
        kind: ShutdownKind,
        within: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) {
        /// What any shutdown gives services (`service::limits::SHUTDOWN_TIMEOUT_MS`).
        const USUAL: Duration = Duration::from_secs(60);
        let within = within.map(|within| within.clamp(WITHIN_MIN, WITHIN_MAX));
        let by = now + within.unwrap_or(USUAL);
        // A notice is read again and again, and each reading differs by milliseconds.
        const TOLERANCE: Duration = Duration::from_secs(1);
        if self.leaves_by.is_some_and(|before| before <= by + TOLERANCE) {
            return;
        }
        self.leaves_by = Some(by);
        effects.push(Effect::Shutdown { kind, within });
    }

    fn tell(
        &mut self,
        subject: Subject,
        level: Level,
        text: String,
        kind: Option<ShutdownKind>,
        effects: &mut Vec<Effect>,
    ) {
        if std::mem::replace(&mut self.told[subject as usize], true) {
            return;
        }
        let cure = match kind {
            Some(ShutdownKind::Halt) => "services drain and stop, and the host halts until then",
            Some(_) => "services drain and stop, and the host powers off",
            None => "nothing is done about it here",
        };
        effects.push(Effect::Tell { subject, level, text, cure: Some(cure.to_owned()) });
    }

    /// A notice that was taken back is one that nobody has to know of, unless the host leaves.
    fn gone(&mut self, subject: Subject, effects: &mut Vec<Effect>) {
        if self.leaves_by.is_none() && std::mem::take(&mut self.told[subject as usize]) {
            effects.push(Effect::Clear(subject));
        }
    }
}

#[cfg(test)]
mod tests;
