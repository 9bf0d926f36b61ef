//! This host's numbers, as Prometheus reads them.
//!
//! Labels are bounded: names of apps come from the host's definitions and end at [`APPS_MAX`], all
//! others are words of ours. Nothing that users or caches choose becomes a label.

use crate::sharing;
use httpd::{Answer, Handler, Question};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use store::fetch::Peers;
use store::serve::Served;

/// Names of apps that become labels. A host of ours serves one purpose; what a reload renames for
/// ever ends as [`OTHER`].
const APPS_MAX: usize = 64;

/// The label of apps beyond those.
const OTHER: &str = "other";

/// Bounds of what takes from a moment to minutes, in seconds: steps of swaps, slots, locks.
const SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

/// The media type of what is served.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct App {
    app: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    app: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Step {
    app: String,
    step: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Source {
    source: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Look {
    app: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Level {
    level: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Delivery {
    result: &'static str,
}

/// How long something takes.
type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds<L: Clone + std::hash::Hash + Eq>() -> Seconds<L> {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

/// All numbers of this host. A clone is another handle of the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    apps: Mutex<BTreeSet<String>>,
    swaps: Family<Outcome, Counter>,
    steps: Seconds<Step>,
    rollouts: Family<Outcome, Counter>,
    rolling: Family<App, Gauge>,
    slots: Seconds<App>,
    lock_waits: Seconds<App>,
    fetched_bytes: Family<Source, Counter>,
    fetched_paths: Family<Source, Counter>,
    peers: Gauge,
    bans: Counter,
    served_bytes: Counter,
    served_nars: Counter,
    not_served: Family<Reason, Counter>,
    ledger: Family<Call, Counter>,
    release_looks: Family<Look, Counter>,
    notices: Family<Level, Gauge>,
    events: Family<Delivery, Counter>,
    waiting_events: Gauge,
    /// Whose own numbers are read when somebody asks.
    fetches_from: OnceLock<Peers>,
    serves: OnceLock<Arc<Served>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let inner = Inner {
            registry: Registry::with_prefix("rollinit"),
            apps: Mutex::default(),
            swaps: Family::default(),
            steps: seconds(),
            rollouts: Family::default(),
            rolling: Family::default(),
            slots: seconds(),
            lock_waits: seconds(),
            fetched_bytes: Family::default(),
            fetched_paths: Family::default(),
            peers: Gauge::default(),
            bans: Counter::default(),
            served_bytes: Counter::default(),
            served_nars: Counter::default(),
            not_served: Family::default(),
            ledger: Family::default(),
            release_looks: Family::default(),
            notices: Family::default(),
            events: Family::default(),
            waiting_events: Gauge::default(),
            fetches_from: OnceLock::new(),
            serves: OnceLock::new(),
        };
        Self(Arc::new(inner.registered()))
    }
}

impl Inner {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("swaps", "Swaps of apps that ended", self.swaps.clone());
        let help = "Time that steps of swaps took";
        registry.register_with_unit("swap_step", help, Unit::Seconds, self.steps.clone());
        let help = "Rollouts whose end this host has seen";
        registry.register("rollouts", help, self.rollouts.clone());
        let help = "Whether a rollout of the app goes on in the group";
        registry.register("rollout_under_way", help, self.rolling.clone());
        let help = "Time that this host held a slot of its group";
        registry.register_with_unit("slot_held", help, Unit::Seconds, self.slots.clone());
        let help = "Time that a migration waited for its lock";
        registry.register_with_unit("lock_wait", help, Unit::Seconds, self.lock_waits.clone());
        let help = "Bytes that were fetched, as they came over the network";
        registry.register_with_unit("fetched", help, Unit::Bytes, self.fetched_bytes.clone());
        let help = "Store paths that were fetched";
        registry.register("fetched_paths", help, self.fetched_paths.clone());
        registry.register("peers", "Peers that are known", self.peers.clone());
        let help = "Times that a peer was left out for a while";
        registry.register("peer_bans", help, self.bans.clone());
        let help = "Bytes of store paths that were sent to peers";
        registry.register_with_unit("served", help, Unit::Bytes, self.served_bytes.clone());
        let help = "Store paths that were sent to peers, whole";
        registry.register("served_paths", help, self.served_nars.clone());
        let help = "Requests for store paths that were answered with 403 or 500";
        registry.register("not_served", help, self.not_served.clone());
        registry.register("ledger_calls", "Calls of the ledger", self.ledger.clone());
        let help = "Looks at the release of an app, by what they came to";
        registry.register("release_looks", help, self.release_looks.clone());
        registry.register("notices", "What stands in rollinit status", self.notices.clone());
        let help = "Events for the webhook, by what became of them";
        registry.register("webhook_events", help, self.events.clone());
        let help = "Events that wait for the webhook";
        registry.register("webhook_waiting", help, self.waiting_events.clone());
        self
    }
}

impl Metrics {
    /// The app's label.
    fn app(&self, name: &str) -> String {
        let mut apps = self.0.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if !apps.contains(name) {
            if apps.len() >= APPS_MAX {
                return OTHER.to_owned();
            }
            apps.insert(name.to_owned());
        }
        name.to_owned()
    }

    /// A swap ended so.
    pub fn swap(&self, app: &str, outcome: &'static str) {
        self.0.swaps.get_or_create(&Outcome { app: self.app(app), outcome }).inc();
    }

    /// A step of a swap took so long.
    pub fn step(&self, app: &str, step: &'static str, elapsed_ms: u64) {
        let label = Step { app: self.app(app), step };
        let elapsed = Duration::from_millis(elapsed_ms);
        self.0.steps.get_or_create(&label).observe(elapsed.as_secs_f64());
    }

    /// A rollout of the group ended so.
    pub fn rollout(&self, app: &str, outcome: &'static str) {
        self.0.rollouts.get_or_create(&Outcome { app: self.app(app), outcome }).inc();
    }

    /// Whether a rollout of the app goes on.
    pub fn rolling(&self, app: &str, is_rolling: bool) {
        self.0.rolling.get_or_create(&App { app: self.app(app) }).set(i64::from(is_rolling));
    }

    /// This host held a slot for so long.
    pub fn slot_held(&self, app: &str, held: Duration) {
        self.0.slots.get_or_create(&App { app: self.app(app) }).observe(held.as_secs_f64());
    }

    /// A migration waited for its lock for so long.
    pub fn lock_waited(&self, app: &str, waited: Duration) {
        self.0.lock_waits.get_or_create(&App { app: self.app(app) }).observe(waited.as_secs_f64());
    }

    /// A fetch brought so much, from peers and from caches.
    pub fn fetched(&self, is_peer: bool, bytes: u64, paths: u64) {
        let source = Source { source: if is_peer { "peer" } else { "cache" } };
        self.0.fetched_bytes.get_or_create(&source).inc_by(bytes);
        self.0.fetched_paths.get_or_create(&source).inc_by(paths);
    }

    /// These are the peers that this host fetches from. Only the first ones count.
    pub fn fetches_from(&self, peers: Peers) {
        let _ = self.0.fetches_from.set(peers);
    }

    /// This is what it has served. Only the first one counts.
    pub fn serves(&self, served: Arc<Served>) {
        let _ = self.0.serves.set(served);
    }

    /// What others count themselves.
    fn collect(&self) {
        let inner = &self.0;
        let raise = |counter: &Counter, to: u64| {
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        if let Some(peers) = inner.fetches_from.get() {
            inner.peers.set(i64::try_from(peers.count()).unwrap_or(i64::MAX));
            raise(&inner.bans, peers.bans());
        }
        if let Some(served) = inner.serves.get() {
            raise(&inner.served_bytes, served.bytes.load(Ordering::Relaxed));
            raise(&inner.served_nars, served.nars.load(Ordering::Relaxed));
            for (reason, count) in [("stranger", &served.refused), ("store", &served.failed)] {
                let counter = inner.not_served.get_or_create_owned(&Reason { reason });
                raise(&counter, count.load(Ordering::Relaxed));
            }
        }
    }

    /// The ledger was called: `get`, `cas`, `list` …, with `ok`, `lost`, `unknown` or `error`.
    pub fn ledger_call(&self, operation: &'static str, result: &'static str) {
        self.0.ledger.get_or_create(&Call { operation, result }).inc();
    }

    /// A look at an app's release came to this: `unchanged`, `sound`, why it is refused …
    pub fn release_look(&self, app: &str, result: &'static str) {
        self.0.release_looks.get_or_create(&Look { app: self.app(app), result }).inc();
    }

    /// So many notices of a level stand.
    pub fn notices(&self, level: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.notices.get_or_create(&Level { level }).set(count);
    }

    /// An event for the webhook was `sent` or `dropped`.
    pub fn event(&self, result: &'static str) {
        self.0.events.get_or_create(&Delivery { result }).inc();
    }

    /// So many events wait.
    pub fn waiting_events(&self, count: usize) {
        self.0.waiting_events.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All of it, in the text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        self.collect();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }
}

impl Handler for Metrics {
    async fn answer(&self, question: Question) -> Answer {
        match question.path.as_str() {
            "/metrics" => {
                Answer::Text { status: 200, kind: KIND, fields: Vec::new(), text: self.text() }
            }
            _ => Answer::missing(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Serves them for the life of the agent, as soon as the address can be had.
pub async fn serve(metrics: Metrics, listen: SocketAddr) {
    const WHAT: &str = "[metrics] listen";
    let listener = sharing::listen(listen, WHAT).await;
    sharing::serve(listener, WHAT, httpd::Limits::default(), metrics).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is one that Prometheus reads: names, labels and units as the documentation has
    /// them.
    #[test]
    fn the_text() {
        let metrics = Metrics::default();
        metrics.swap("web", "committed");
        metrics.swap("web", "committed");
        metrics.step("web", "gate", 2_100);
        metrics.fetched(true, 1_000, 2);
        let peers = Peers::new(store::fetch::peers::Patience::default()).expect("a client");
        peers.set("", [("a".to_owned(), "10.0.0.7:1".to_owned())]);
        metrics.fetches_from(peers);
        let served = Arc::new(Served::default());
        metrics.serves(Arc::clone(&served));
        served.bytes.store(5_000, Ordering::Relaxed);
        assert!(metrics.text().contains("rollinit_served_bytes_total 5000"));
        served.bytes.store(6_000, Ordering::Relaxed);
        served.refused.store(3, Ordering::Relaxed);
        metrics.ledger_call("get", "ok");
        metrics.rollout("web", "blessed");
        metrics.release_look("web", "forged");
        let text = metrics.text();
        for line in [
            "rollinit_swaps_total{app=\"web\",outcome=\"committed\"} 2",
            "rollinit_swap_step_seconds_sum{app=\"web\",step=\"gate\"} 2.1",
            "rollinit_swap_step_seconds_bucket{le=\"2.5\",app=\"web\",step=\"gate\"} 1",
            "rollinit_fetched_bytes_total{source=\"peer\"} 1000",
            "rollinit_peers 1",
            "rollinit_peer_bans_total 0",
            "rollinit_served_bytes_total 6000",
            "rollinit_not_served_total{reason=\"stranger\"} 3",
            "rollinit_not_served_total{reason=\"store\"} 0",
            "rollinit_ledger_calls_total{operation=\"get\",result=\"ok\"} 1",
            "rollinit_rollouts_total{app=\"web\",outcome=\"blessed\"} 1",
            "rollinit_release_looks_total{app=\"web\",result=\"forged\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }

    /// However many names there are, labels end.
    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::default();
        for number in 0..2 * APPS_MAX {
            metrics.swap(&format!("app-{number}"), "committed");
        }
        let text = metrics.text();
        let labels = text.lines().filter(|line| line.starts_with("rollinit_swaps_total{")).count();
        assert_eq!(labels, APPS_MAX + 1);
        assert!(text.contains("rollinit_swaps_total{app=\"other\",outcome=\"committed\"} 64"));
    }
}
