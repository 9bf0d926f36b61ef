//! What happens on this host, told to those who are not here: it is counted ([`Metrics`]), and
//! posted to the webhook if there is one ([`crate::webhook`]).
//!
//! Whoever makes something happen tells it once, here. Telling waits for nobody.

use crate::closures::wall_ms;
use crate::metrics::Metrics;
use control::agent::{Level, Notice, OutcomeKind, Progress, StepState};
use rollout::fleet::{Ended, Group, How};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events that wait for the webhook at most: those of a busy day. One more pushes out the oldest.
const WAITING_MAX: usize = 256;

/// The notice about the webhook itself, which is not told to it.
pub const WEBHOOK: &str = "webhook";

/// Where events are told. A clone is another handle of the same.
#[derive(Clone, Debug, Default)]
pub struct Events(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    metrics: Metrics,
    /// Whether anybody takes what waits.
    is_posted: bool,
    /// This life of the agent, in the names of events: it counts anew in the next one.
    life: String,
    host: RefCell<String>,
    count: Cell<u64>,
    waiting: RefCell<VecDeque<Waiting>>,
    dropped: Cell<u64>,
    bell: Notify,
    group: RefCell<Option<Seen>>,
}

/// An event for the webhook.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// JSON.
    pub text: String,
    /// Since when it waits.
    pub since: Instant,
}

/// What was last seen of the group.
#[derive(Debug, Default)]
struct Seen {
    /// The rollout under way, by app.
    rolling: BTreeMap<String, String>,
    /// The rollout that ended last, by app.
    ended: BTreeMap<String, String>,
    /// This host's slot: its number, its app, and since when.
    slot: Option<(u64, String, Instant)>,
}

/// What is posted.
#[derive(Debug, Serialize)]
struct Envelope<'a> {
    /// The same whenever it is posted again; another for each event.
    id: String,
    /// Milliseconds since 1970.
    at_ms: u64,
    /// Where.
    host: &'a str,
    #[serde(flatten)]
    event: Event<'a>,
}

/// What happened. The words are those of `rollinit … --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", content = "event", rename_all = "kebab-case")]
enum Event<'a> {
    /// A swap begins.
    SwapBegan(&'a Progress),
    /// A swap is over.
    SwapEnded(&'a Progress),
    /// Something holds that somebody should know.
    NoticeSet(&'a Notice),
    /// It holds no more.
    NoticeCleared { subject: &'a str },
    /// A rollout goes over the group.
    RolloutBegan { app: &'a str, rollout: &'a str, path: &'a str, by: &'a str },
    /// It ended; each host of the group tells that it saw so.
    RolloutEnded {
        app: &'a str,
        rollout: &'a str,
        path: &'a str,
        outcome: &'a str,
        reason: &'a str,
    },
}

impl Events {
    /// Counts in `metrics`; `is_posted`: somebody will take what waits.
    #[must_use]
    pub fn new(metrics: Metrics, is_posted: bool, life: &str, host: &str) -> Self {
        let (life, host) = (life.to_owned(), RefCell::new(host.to_owned()));
        Self(Rc::new(Inner { metrics, is_posted, life, host, ..Inner::default() }))
    }

    /// The numbers.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// A line of a swap's progress; `is_first`: it had none before.
    pub fn swap(&self, progress: &Progress, is_first: bool) {
        let metrics = &self.0.metrics;
        let is_over = matches!(progress.state, StepState::Ok | StepState::Failed);
        if is_over && progress.outcome.is_none() {
            metrics.step(&progress.app, progress.step.word(), progress.elapsed_ms);
        }
        match &progress.outcome {
            Some(outcome) if outcome.kind == OutcomeKind::Planned => {}
            Some(outcome) => {
                metrics.swap(&progress.app, outcome.kind.word());
                self.post(Event::SwapEnded(progress));
            }
            None if is_first => self.post(Event::SwapBegan(progress)),
            None => {}
        }
    }

    /// A notice is new, or says something else.
    pub fn notice(&self, notice: &Notice) {
        if notice.subject != WEBHOOK {
            self.post(Event::NoticeSet(notice));
        }
    }

    /// A notice is gone.
    pub fn notice_cleared(&self, subject: &str) {
        if subject != WEBHOOK {
            self.post(Event::NoticeCleared { subject });
        }
    }

    /// How many notices of each level stand.
    pub fn notices(&self, levels: impl Iterator<Item = Level> + Clone) {
        for level in [Level::Information, Level::Warning, Level::Error] {
            let count = levels.clone().filter(|one| *one == level).count();
            self.0.metrics.notices(level.word(), count);
        }
    }

    /// The group's record as it is now; `own` is what this host is called there.
    pub fn group(&self, own: &str, group: &Group) {
        if *self.0.host.borrow() != own {
            own.clone_into(&mut self.0.host.borrow_mut());
        }
        let before = self.0.group.borrow_mut().take();
        let is_first = before.is_none();
        let mut seen = before.unwrap_or_default();
        for (app, track) in &group.apps {
            if let Some(last) = &track.last
                && seen.ended.insert(app.clone(), last.id.clone()).as_ref() != Some(&last.id)
                && !is_first
            {
                self.rollout_ended(app, last);
            }
            self.0.metrics.rolling(app, track.rollout.is_some());
            let Some(rollout) = &track.rollout else {
                seen.rolling.remove(app);
                continue;
            };
            if seen.rolling.insert(app.clone(), rollout.id.clone()).as_ref() != Some(&rollout.id) {
                let (path, by) = (&rollout.to.path, &rollout.by);
                self.post(Event::RolloutBegan { app, rollout: &rollout.id, path, by });
            }
        }
        let slot = group.holder(own).map(|holder| (holder.fence, holder.app.clone()));
        let held = seen.slot.take_if(|(fence, ..)| Some(*fence) != slot.as_ref().map(|one| one.0));
        if let Some((_, app, since)) = held {
            self.0.metrics.slot_held(&app, since.elapsed());
        }
        if let (None, Some((fence, app))) = (&seen.slot, slot) {
            seen.slot = Some((fence, app, Instant::now()));
        }
        self.0.group.replace(Some(seen));
    }

    fn rollout_ended(&self, app: &str, ended: &Ended) {
        let (outcome, reason) = match &ended.how {
            How::Blessed => ("blessed", ""),
            How::Failed(why) => ("failed", why.as_str()),
            How::Aborted(why) => ("aborted", why.as_str()),
            How::Superseded(by) => ("superseded", by.as_str()),
        };
        self.0.metrics.rollout(app, outcome);
        let (rollout, path) = (&ended.id, &ended.to.path);
        self.post(Event::RolloutEnded { app, rollout, path, outcome, reason });
    }

    fn post(&self, event: Event<'_>) {
        let inner = &self.0;
        if !inner.is_posted {
            return;
        }
        inner.count.set(inner.count.get() + 1);
        let id = format!("{}-{}", inner.life, inner.count.get());
        let at_ms = wall_ms(SystemTime::now()).unwrap_or(0);
        let host = inner.host.borrow();
        // What is told here has names for keys and no numbers that JSON lacks.
        let Ok(text) = serde_json::to_string(&Envelope { id, at_ms, host: &host, event }) else {
            return self.drop_one();
        };
        let mut waiting = inner.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
            self.drop_one();
        }
        waiting.push_back(Waiting { text, since: Instant::now() });
        inner.metrics.waiting_events(waiting.len());
        inner.bell.notify_one();
    }

    /// The oldest one that waits, as soon as there is one.
    pub async fn next(&self) -> Waiting {
        loop {
            let first = self.0.waiting.borrow_mut().pop_front();
            if let Some(first) = first {
                self.0.metrics.waiting_events(self.0.waiting.borrow().len());
                return first;
            }
            self.0.bell.notified().await;
        }
    }

    /// One was given up.
    pub fn drop_one(&self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
        self.0.metrics.event("dropped");
    }

    /// Events that were given up so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::fleet::{Holder, Rollout, Version};

    fn events() -> Events {
        Events::new(Metrics::default(), true, "life", "web-1")
    }

    async fn kinds(events: &Events) -> Vec<String> {
        let mut kinds = Vec::new();
        while !events.0.waiting.borrow().is_empty() {
            let value: serde_json::Value =
                serde_json::from_str(&events.next().await.text).expect("JSON");
            assert_eq!(value["host"], "web-1");
            kinds.push(value["kind"].as_str().expect("a kind").to_owned());
        }
        kinds
    }

    fn rollout(id: &str) -> Rollout {
        let to = Version { path: format!("/nix/store/{id}"), serial: 0 };
        let (id, by) = (id.to_owned(), "ann".to_owned());
        Rollout { id, to, by, began_ms: 1, paused: None, forced: false }
    }

    /// Each rollout is told when it begins and when it ends, once; what had ended before this host
    /// looked for the first time is no news.
    #[tokio::test]
    async fn rollouts_are_told_once() {
        let (events, mut group) = (events(), Group::new());
        group.start("web", rollout("r1"), false).expect("begun");
        group.abort("web", "no", 2).expect("ended");
        events.group("web-1", &group);
        assert!(kinds(&events).await.is_empty());
        group.start("web", rollout("r2"), false).expect("begun");
        let wanted = Holder {
            host: "web-1".to_owned(),
            fence: 0,
            app: "web".to_owned(),
            path: "/nix/store/r2".to_owned(),
            rollout: "r2".to_owned(),
            since_ms: 3,
            leaves: false,
        };
        group.take_slot(wanted, 1).expect("free");
        events.group("web-1", &group);
        events.group("web-1", &group);
        assert_eq!(kinds(&events).await, ["rollout-began"]);
        group.holders.clear();
        group.abort("web", "no", 4).expect("ended");
        events.group("web-1", &group);
        assert_eq!(kinds(&events).await, ["rollout-ended"]);
        let text = events.metrics().text();
        assert!(text.contains("outcome=\"aborted\"} 1"), "{text}");
        assert!(text.contains("rollinit_slot_held_seconds_count{app=\"web\"} 1"), "{text}");
    }

    /// The newest are kept, what was lost is counted, and nothing waits where nobody takes it.
    #[tokio::test]
    async fn what_waits_is_bounded() {
        let events = events();
        for number in 0..WAITING_MAX + 10 {
            events.notice_cleared(&number.to_string());
        }
        events.notice_cleared(WEBHOOK);
        assert_eq!(events.dropped(), 10);
        assert!(events.next().await.text.contains("\"subject\":\"10\""));
        let nobody = Events::default();
        nobody.notice_cleared("system");
        assert!(nobody.0.waiting.borrow().is_empty());
    }
}
