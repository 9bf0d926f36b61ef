//! `rollinit rollout status`, and watching: the screen written anew as things change.
//!
//! Who watches has no part in the rollout: Ctrl-C, a closed terminal or a ledger that is away
//! leave it as it is. While the ledger gives no answer, what was seen last stays on the screen.

use super::paint::{self, Paint};
use super::place::Fleet;
use super::table;
use super::view::{self, AppView, HostView, Read, State, View};
use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable, wrap};
use crate::times::now_ms;
use rollout::fleet::limits::LOOK_BUSY_MS;
use rollout::fleet::{AppWord, How};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Between two looks when nothing goes on: somebody sits in front of it.
const LOOK_QUIET: Duration = Duration::from_secs(3);

/// How a rollout that was waited for ended. The form with `--json`.
#[derive(Debug, Serialize)]
struct EndedJson<'a> {
    ended: Ended<'a>,
}

#[derive(Debug, Serialize)]
struct Ended<'a> {
    app: &'a str,
    rollout: &'a str,
    how: &'a str,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct DetachedJson<'a> {
    detached: &'a str,
}

#[derive(Debug, Serialize)]
struct TroubleJson<'a> {
    trouble: &'a str,
}

/// Shows the group, once or until Ctrl-C.
pub async fn status(
    fleet: &Fleet,
    app: Option<&str>,
    is_watch: bool,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let read = view::read(&fleet.desk.engine, &fleet.group).await?;
    let view = View::new(&fleet.group, &fleet.desk.ledger, &read, app, now_ms());
    if view.apps.is_empty() {
        return Err(nothing(fleet, app));
    }
    if !is_watch {
        if screen.json {
            screen.json(&view)?;
        } else {
            let text = table::draw(screen, &view, None, now_ms());
            screen.text(&text)?;
        }
        return Ok(Code::Done);
    }
    let mut watcher = Watcher::new(fleet, app, screen);
    watcher.show(&read)?;
    watcher.follow(|_| None::<()>).await?;
    Ok(Code::Done)
}

fn nothing(fleet: &Fleet, app: Option<&str>) -> Failure {
    let group = &fleet.group;
    let (kind, message) = match app {
        Some(app) => ("no_such_app", format!("the group {group} has no app called {app}")),
        None => {
            let message = format!("{} has nothing of a group called {group}", fleet.desk.ledger);
            ("no_such_group", message)
        }
    };
    let cures = vec![
        "See --group and --ledger; a host writes there once its agent runs with `[fleet]`."
            .to_owned(),
    ];
    Failure { code: Code::NoSuchService, kind, message, cures }
}

/// Watches one rollout to its end.
pub async fn wait(
    fleet: &Fleet,
    app: &str,
    id: &str,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let mut watcher = Watcher::new(fleet, Some(app), screen);
    let ended = watcher.follow(|read| over(read, app, id)).await?;
    let Some((code, how, text)) = ended else {
        return watcher.detached(id);
    };
    if watcher.screen.json {
        let ended = Ended { app, rollout: id, how, text: &text };
        watcher.screen.json(&EndedJson { ended })?;
    } else {
        watcher.ending(code, id)?;
    }
    Ok(code)
}

/// How the rollout ended: the exit code, a word, and the reason; none while it goes on.
fn over(read: &Read, app: &str, id: &str) -> Option<(Code, &'static str, String)> {
    let track = read.group.as_ref()?.apps.get(app)?;
    if track.rollout.as_ref().is_some_and(|rollout| rollout.id == id) {
        return None;
    }
    let last = track.last.as_ref().filter(|last| last.id == id);
    Some(match last.map(|last| &last.how) {
        Some(How::Blessed) => (Code::Done, "blessed", String::new()),
        Some(How::Failed(reason)) => (Code::RolledBack, "failed", reason.clone()),
        Some(How::Aborted(why)) => (Code::Aborted, "aborted", why.clone()),
        Some(How::Superseded(by)) => (Code::Superseded, "superseded", by.clone()),
        None => (Code::Superseded, "superseded", "another one came after it".to_owned()),
    })
}

/// What was shown so far, and where.
struct Watcher<'a> {
    fleet: &'a Fleet,
    app: Option<&'a str>,
    screen: &'a mut Screen,
    view: Option<View>,
    paint: Paint,
    trouble: Option<String>,
}

impl<'a> Watcher<'a> {
    fn new(fleet: &'a Fleet, app: Option<&'a str>, screen: &'a mut Screen) -> Watcher<'a> {
        let (view, trouble) = (None, None);
        Watcher { fleet, app, screen, view, paint: Paint::default(), trouble }
    }

    /// Shows what changes until `is_over` says so; none if that was Ctrl-C.
    async fn follow<T>(
        &mut self,
        is_over: impl Fn(&Read) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let interrupt = signal(SignalKind::interrupt());
        let mut interrupt =
            interrupt.map_err(|error| Failure::local("cannot listen for Ctrl-C", &error))?;
        loop {
            let look = view::read(&self.fleet.desk.engine, &self.fleet.group);
            let Some(look) = unless_interrupted(look, &mut interrupt).await else {
                return Ok(None);
            };
            match look {
                Ok(read) => {
                    self.trouble = None;
                    self.show(&read)?;
                    if let Some(over) = is_over(&read) {
                        return Ok(Some(over));
                    }
                }
                // Not passing: a record that is none stays so.
                Err(failure) if failure.code != Code::Unreachable => return Err(failure),
                Err(failure) => self.show_trouble(&failure)?,
            }
            let rest = tokio::time::sleep(self.pause());
            if unless_interrupted(rest, &mut interrupt).await.is_none() {
                return Ok(None);
            }
        }
    }

    fn pause(&self) -> Duration {
        let busy = |app: &AppView| app.state == State::Rolling;
        let view = self.view.as_ref();
        let is_busy = view.is_none_or(|view| !view.out.is_empty() || view.apps.iter().any(busy));
        if is_busy { Duration::from_millis(LOOK_BUSY_MS) } else { LOOK_QUIET }
    }

    /// Shows what was read, as far as it is news.
    fn show(&mut self, read: &Read) -> Result<(), Failure> {
        let now_ms = now_ms();
        let (group, ledger) = (&self.fleet.group, &self.fleet.desk.ledger);
        let view = View::new(group, ledger, read, self.app, now_ms);
        if self.screen.json {
            if self.view.as_ref().is_none_or(|before| still(before) != still(&view)) {
                self.screen.json(&view)?;
            }
        } else if self.screen.moves_cursor {
            let text = paint::fitting(self.screen, &view, paint::lines(), now_ms);
            self.screen.text(&self.paint.over(text, self.screen.width))?;
        } else {
            let text = news(self.screen, self.view.as_ref(), &view, now_ms);
            self.screen.text(&text)?;
        }
        self.view = Some(view);
        self.screen.flush()?;
        Ok(())
    }

    fn show_trouble(&mut self, failure: &Failure) -> Result<(), Failure> {
        if self.trouble.as_ref() == Some(&failure.message) {
            return Ok(());
        }
        self.trouble = Some(failure.message.clone());
        let line = format!("ledger: {}; it is asked again", printable(&failure.message));
        let line = format!("{}\n", wrap(&line, self.screen.width, 2));
        if self.screen.json {
            self.screen.json(&TroubleJson { trouble: &failure.message })?;
        } else if self.screen.moves_cursor {
            let lines = paint::lines().saturating_sub(line.lines().count());
            let seen = self.view.as_ref();
            let seen = seen.map(|view| paint::fitting(self.screen, view, lines, now_ms()));
            let text = format!("{}{line}", seen.unwrap_or_default());
            self.screen.text(&self.paint.over(text, self.screen.width))?;
        } else {
            self.screen.text(&line)?;
        }
        self.screen.flush()?;
        Ok(())
    }

    fn detached(self, id: &str) -> Result<Code, Failure> {
        if self.screen.json {
            self.screen.json(&DetachedJson { detached: id })?;
        } else {
            let text = format!(
                "\nrollinit: detached, rollout {id} goes on.  \
                 Watch it: rollinit rollout status --watch\n"
            );
            self.screen.text(&text)?;
        }
        Ok(Code::Detached)
    }

    /// The last lines, for people.
    fn ending(&mut self, code: Code, id: &str) -> Result<(), Failure> {
        let app = self.view.as_ref().and_then(|view| view.apps.first());
        // On a terminal it stands on the screen; what took its place does, too.
        if let Some(app) = app.filter(|_| !self.screen.moves_cursor) {
            let text = table::head(self.screen, app, now_ms());
            self.screen.text(&format!("\n{text}"))?;
        }
        if code == Code::Superseded {
            self.screen.text(&format!("rollinit: another one took the place of rollout {id}\n"))?;
        }
        self.screen.flush()?;
        Ok(())
    }
}

async fn unless_interrupted<T>(work: impl Future<Output = T>, interrupt: &mut Signal) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = interrupt.recv() => None,
    }
}

/// What a view says, but for what changes by itself as time goes by.
fn still(view: &View) -> View {
    let mut view = view.clone();
    for app in &mut view.apps {
        app.eta_ms = None;
        for host in &mut app.hosts {
            host.said_ms = None;
        }
    }
    view
}

/// Lines for what changed, where lines are only appended.
fn news(screen: &Screen, before: Option<&View>, now: &View, now_ms: u64) -> String {
    let Some(before) = before else { return table::draw(screen, now, None, now_ms) };
    let mut text = String::new();
    for app in &now.apps {
        let known = before.apps.iter().find(|known| known.app == app.app);
        let head = |app: &AppView| (app.state, app.rollout.clone(), app.held_up.clone());
        let is_same = |known: &AppView| head(known) == head(app);
        if !known.is_some_and(is_same) {
            text.push_str(&table::head(screen, app, now_ms));
        }
        let hosts = known.map_or(&[][..], |known| known.hosts.as_slice());
        let hosts: BTreeMap<&str, &HostView> =
            hosts.iter().map(|host| (host.host.as_str(), host)).collect();
        for host in &app.hosts {
            let is_known = hosts.get(host.host.as_str()).is_some_and(|known| says_so(known, host));
            if !is_known {
                text.push_str(&table::line(screen, app, host, now_ms));
            }
        }
    }
    text
}

/// Whether two views of a host say the same to a person.
fn says_so(one: &HostView, other: &HostView) -> bool {
    let text = |host: &HostView| match host.word {
        // Who of the others is out just now.
        Some(AppWord::Waits) => String::new(),
        _ => host.text.clone(),
    };
    let said = |host: &HostView| (host.word, host.silent, host.path.clone(), host.slot, text(host));
    said(one) == said(other)
}
