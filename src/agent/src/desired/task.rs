//! The task that follows one app's release.

use super::check::Entry;
use super::{Source, apply, subject};
use crate::agent::Agent;
use crate::app::{Tools, until};
use crate::config::desired::{Desired, Signers};
use crate::disk;
use control::agent::Level;
use release::limits::SIGNERS_BYTES_MAX;
use release::{Effect, Event, Facts, Follower, Found, Grade, Now, Policy, Seen, Time, Trust};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// Until it is asked again whether user-data has told the fleet, or whether a damaged record was
/// removed.
const AGAIN: Duration = Duration::from_secs(1);

/// The group of a host that is told none.
const GROUP: &str = "default";

/// The host, and what it takes to change it.
#[derive(Debug)]
pub struct Host {
    /// All apps.
    pub agent: Rc<Agent>,
    /// What the agent works with.
    pub tools: Rc<Tools>,
    /// Whether it is to be in a fleet: what is missing of that, user-data says.
    pub is_fleet_due: bool,
    /// The group that user-data names.
    pub group: Option<String>,
}

/// Follows the release of `app` for the life of the agent.
pub async fn run(host: Rc<Host>, app: String, desired: Desired) {
    let entry = host.tools.releases.register(&app, &desired);
    if entry.is_followed.replace(true) {
        tracing::warn!("{app}: its release is followed as agent.toml says, not as user-data does");
        return;
    }
    let group = group(&host, &app, &desired).await;
    let seen = seen(&host, &app, &entry).await;
    let facts = Facts {
        app: app.clone(),
        trust: Trust::Plain,
        every_ms: u64::try_from(desired.every.as_millis()).unwrap_or(u64::MAX),
        spread: u64::from(std::process::id()) ^ sys::clock::boottime_ns(),
    };
    let follower = Follower::new(facts, seen, now());
    let source = Source::new(Rc::clone(&host.tools), &app, desired.place.clone());
    Task { host, app, desired, group, entry, follower, source }.run().await;
}

/// The group that releases have to be for.
async fn group(host: &Host, app: &str, desired: &Desired) -> String {
    if let Some(group) = &desired.group {
        return group.clone();
    }
    while host.is_fleet_due && host.tools.fleet().is_none() {
        let text = "waits for user-data to say ledger and group";
        let cure = "write them into the user-data, or into [fleet] of agent.toml";
        say(host, app, Level::Information, text, cure);
        sleep(AGAIN).await;
    }
    let of_fleet = host.tools.fleet().map(|fleet| fleet.group().to_owned());
    of_fleet.or_else(|| host.group.clone()).unwrap_or_else(|| GROUP.to_owned())
}

/// What was seen before. As long as that cannot be read nothing is followed.
async fn seen(host: &Host, app: &str, entry: &Entry) -> Option<Seen> {
    loop {
        match entry.seen() {
            Ok(seen) => {
                host.tools.standing.clear(&subject(app));
                return seen;
            }
            Err(error) => {
                let text = format!("which serial was seen last is not known: {error}");
                let cure = "nothing is released here before it is restored, or removed: then the \
                    next sound release counts, whatever its serial";
                say(host, app, Level::Error, &text, cure);
            }
        }
        sleep(AGAIN).await;
        match host.tools.releases.kept().load(app) {
            Ok(seen) => entry.set(seen),
            Err(_) => continue,
        }
    }
}

fn say(host: &Host, app: &str, level: Level, text: &str, cure: &str) {
    let console = &host.tools.console;
    host.tools.standing.set(console, &subject(app), level, text, Some(cure));
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { clock_ns: sys::clock::boottime_ns(), wall: Time(wall) }
}

struct Task {
    host: Rc<Host>,
    app: String,
    desired: Desired,
    group: String,
    entry: Rc<Entry>,
    follower: Follower,
    source: Source,
}

impl Task {
    async fn run(mut self) {
        let mut event = Event::Tick;
        loop {
            let next = self.step(event).await;
            event = match next {
                Some(event) => event,
                None => {
                    let wake_ns = self.follower.wake_ns();
                    tokio::select! {
                        () = self.entry.hurry.notified() => Event::Hurry,
                        () = until(Some(wake_ns)) => Event::Tick,
                    }
                }
            };
        }
    }

    /// One event, and what follows; the answer to the one effect that has one.
    async fn step(&mut self, event: Event) -> Option<Event> {
        let has_looked = matches!(event, Event::Found(_));
        let effects = self.follower.step(now(), event);
        if has_looked {
            let metrics = self.host.tools.events.metrics();
            metrics.release_look(&self.app, self.follower.looked());
        }
        let is_busy = effects.iter().any(|effect| matches!(effect, Effect::Keep(_)));
        if has_looked && !is_busy {
            // Nothing more will be known from this look.
            self.entry.looked.notify_waiters();
        }
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Look { etag } => answer = Some(self.look(etag).await),
                Effect::Keep(seen) => answer = Some(Event::Kept(self.keep(seen).await)),
                Effect::Apply(wish) => {
                    tracing::info!("{}: {} is {}", self.app, wish.by, wish.path);
                    let applied = apply::apply(&self.host, &self.app, &wish).await;
                    answer = Some(Event::Applied(applied));
                }
                Effect::Say { grade, text, cure } => {
                    let level = match grade {
                        Grade::Information => Level::Information,
                        Grade::Warning => Level::Warning,
                        Grade::Error => Level::Error,
                    };
                    say(&self.host, &self.app, level, &text, &cure);
                }
                Effect::Quiet => self.host.tools.standing.clear(&subject(&self.app)),
            }
        }
        answer
    }

    async fn look(&mut self, etag: Option<String>) -> Event {
        let trust = match trust(&self.desired, &self.app, &self.group).await {
            Ok(trust) => trust,
            Err(found) => return Event::Found(found),
        };
        let is_plain = trust == Trust::Plain;
        self.follower.trust(trust);
        let found = self.source.look(etag.as_deref()).await;
        Event::Found(if is_plain { plain(&self.app, found) } else { found })
    }

    async fn keep(&self, seen: Seen) -> Result<(), String> {
        let (kept, written) = (self.host.tools.releases.kept().clone(), seen.clone());
        let stored = tokio::task::spawn_blocking(move || kept.store(&written)).await;
        let stored = match stored {
            Ok(stored) => stored.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if stored.is_ok() {
            self.entry.set(Some(seen));
        }
        self.entry.looked.notify_waiters();
        stored
    }
}

/// Whom to believe now: the file of signers may change.
async fn trust(desired: &Desired, app: &str, group: &str) -> Result<Trust, Found> {
    let (label, text, threshold) = match &desired.signers {
        Signers::Anybody => return Ok(Trust::Plain),
        Signers::Text(text, threshold) => ("signers".to_owned(), text.clone(), *threshold),
        Signers::File(path, threshold) => {
            let (label, path) = (path.display().to_string(), path.clone());
            let read = move || disk::read_capped(&path, SIGNERS_BYTES_MAX);
            let bytes = match tokio::task::spawn_blocking(read).await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(error)) => return Err(unsigned(error.to_string())),
                Err(error) => return Err(unsigned(format!("{label}: {error}"))),
            };
            let text = String::from_utf8(bytes);
            (label.clone(), text.map_err(|_| unsigned(format!("{label}: not UTF-8")))?, *threshold)
        }
    };
    let signers = release::Signers::read(&text);
    let signers = signers.map_err(|error| unsigned(format!("{label}: {error}")))?;
    let persons = signers.persons().len();
    if persons < threshold {
        let text = format!("{label}: {threshold} persons have to sign, and {persons} may");
        return Err(unsigned(text));
    }
    let (app, group) = (app.to_owned(), group.to_owned());
    Ok(Trust::Signed(Policy { app, group, signers, threshold }))
}

/// Without the persons nothing is believed.
fn unsigned(text: String) -> Found {
    let cure = "correct the file of signers; no release is followed before".to_owned();
    Found::Failed { text, cure }
}

/// What a document that nobody has to sign says: the TOML that user-data's releases are, too.
fn plain(app: &str, found: Found) -> Found {
    let Found::Release { bytes, etag } = found else { return found };
    // One with signatures is not for here: the follower says so.
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Found::Release { bytes, etag };
    }
    match userdata::read_release("release", &bytes, app) {
        Ok(release) => Found::Path { path: release.path, etag },
        Err(problems) => {
            let text = problems.first().map(ToString::to_string).unwrap_or_default();
            Found::Failed { text, cure: "correct the document".to_owned() }
        }
    }
}
