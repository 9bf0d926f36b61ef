//! The task of a host's member: feeds it, and carries out what it says.
//!
//! It is the only one who steps the member. What takes its time (a call of the ledger, a fetch, a
//! request to an app) runs as a task of its own and answers through one bounded channel.

use super::system::Settling;
use super::{Fleet, Local, Over, words};
use crate::agent::Agent;
use crate::app::{Tools, fetching, now, until};
use crate::closures::Held;
use crate::disk;
use rollout::Cas;
use rollout::fleet::limits::FORGET_MS;
use rollout::fleet::seat::SEAT_FILE;
use rollout::fleet::{
    Effect, Event, Facts, Gone, Group, Member, RollCall, SYSTEM, Seat, Status, SwapId, Track,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use store::fetch::Cancel;
use tokio::sync::mpsc;

/// Answers that wait for the task. Whoever has one more waits too: nothing is lost.
const ANSWERS_MAX: usize = 64;

/// What an instance's id begins with; EC2 is not asked about others.
const INSTANCE: &str = "i-";

/// What an answer is.
enum Answer {
    Event(Event),
    /// The group's record with its version, and what all hosts say.
    Looked(Option<(Group, rollout::Token)>, Vec<Status>),
    Fetched(String, String, Result<Held, String>),
    Over(String, Over),
}

/// The task.
struct Task {
    fleet: Rc<Fleet>,
    agent: Rc<Agent>,
    tools: Rc<Tools>,
    host: String,
    member: Member,
    roll: RollCall,
    answers: mpsc::Sender<Answer>,
    /// What the member was told of each app.
    told: BTreeMap<String, Local>,
    over: BTreeMap<String, Over>,
    /// Closures that are here, until a swap roots them: by app, with their path.
    held: BTreeMap<String, (String, Held)>,
    fetches: BTreeMap<String, Cancel>,
    /// The way back for users after a swap of the system.
    settling: Option<Settling>,
    leaving: bool,
    words: words::Words,
    /// Where the others were told that this host serves its store.
    peer: Option<String>,
}

/// For the life of the agent.
pub async fn run(fleet: Rc<Fleet>, agent: Rc<Agent>, tools: Rc<Tools>, run: PathBuf) {
    let host = fleet.host().await.to_owned();
    tracing::info!("{host} is a member of group {} at {}", fleet.group(), fleet.ledger());
    fleet.take_seat(&host, run).await;
    let facts = Facts { host: host.clone(), apps: Vec::new(), idle_ms: fleet.idle_ms() };
    let (answers, mut inbox) = mpsc::channel(ANSWERS_MAX);
    let mut task = Task {
        fleet,
        agent,
        tools,
        host,
        member: Member::new(facts, now()),
        roll: RollCall::default(),
        answers,
        told: BTreeMap::new(),
        over: BTreeMap::new(),
        held: BTreeMap::new(),
        fetches: BTreeMap::new(),
        settling: None,
        leaving: false,
        words: words::Words::default(),
        peer: None,
    };
    task.tools.sharing.join();
    loop {
        task.look_around();
        task.tell_people();
        let wake_ns = task.member.wake_ns();
        tokio::select! {
            biased;
            Some(answer) = inbox.recv() => task.take(answer),
            () = task.tools.moved.notified() => {}
            () = task.fleet.bell.notified() => {}
            () = until((wake_ns != u64::MAX).then_some(wake_ns)) => task.step(Event::Tick),
        }
    }
}

impl Task {
    /// Tells the member what has changed on this host.
    fn look_around(&mut self) {
        let slot = self.member.group().and_then(|group| group.holder(&self.host));
        let slot = slot.map(|slot| (slot.app.clone(), SwapId::of_slot(slot)));
        let slot = slot.as_ref().map(|(app, id)| (app.as_str(), id.as_str()));
        self.settle(slot.filter(|(app, _)| *app == SYSTEM).map(|(_, id)| id));
        let settling = self.settling.as_ref().and_then(Settling::waits_for);
        let over = |app: &str| self.over.get(app).cloned();
        let locals = self.agent.locals(slot, over, settling.as_deref());
        for local in locals {
            if self.told.get(&local.app) == Some(&local) {
                continue;
            }
            // What is committed is rooted; so is what a swap goes to by the time it is told of.
            if local.path.is_some()
                && self.held.get(&local.app).map(|(path, _)| path) == local.path.as_ref()
            {
                self.held.remove(&local.app);
            }
            self.told.insert(local.app.clone(), local.clone());
            self.step(Event::Local(local));
        }
        if self.peer != self.tools.sharing.address()
            && let Some(said) = self.member.said().cloned()
        {
            self.say(said);
        }
        let leaving = self.fleet.leaving.borrow().clone();
        if let Some(why) = leaving
            && !std::mem::replace(&mut self.leaving, true)
        {
            self.step(Event::Leaving(why));
        }
    }

    /// Looks whether this host is back, once the system's swap that its slot goes with went well.
    fn settle(&mut self, swap: Option<&str>) {
        let Some(id) = swap.filter(|id| self.agent.has_committed_system(id)) else {
            self.settling = None;
            return;
        };
        if self.settling.as_ref().is_none_or(|settling| !settling.is_of(id)) {
            self.settling = Some(Settling::begin(&self.tools, id));
        }
    }

    /// Removes the record of one host that is gone for long; of a holder people still want to read.
    fn forget_one(&self, group: Option<&Group>) {
        let mut silent = self.roll.silent_for(now(), FORGET_MS).into_iter();
        let is_free = |(host, _): &(String, u64)| {
            *host != self.host && group.is_none_or(|group| group.holder(host).is_none())
        };
        if let Some((host, beat)) = silent.find(is_free) {
            let fleet = Rc::clone(&self.fleet);
            tokio::task::spawn_local(async move { fleet.forget(&host, beat).await });
        }
    }

    /// Lets go of closures that the group does not want any more.
    fn let_go(&mut self, group: Option<&Group>) {
        self.held.retain(|app, (path, _)| {
            let track = group.and_then(|group| group.apps.get(app));
            track.and_then(Track::wanted).is_some_and(|(wanted, _)| wanted == path)
        });
    }

    fn say(&mut self, mut status: Status) {
        self.peer = self.tools.sharing.address();
        status.peer.clone_from(&self.peer);
        let fleet = Rc::clone(&self.fleet);
        tokio::task::spawn_local(async move { fleet.say(status).await });
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Event(event) => self.step(event),
            Answer::Looked(group, statuses) => {
                let members = self.roll.call(now(), &self.host, statuses);
                self.forget_one(group.as_ref().map(|(group, _)| group));
                self.fleet.seen.replace(group.as_ref().map(|(group, _)| group.clone()));
                self.fleet.heard.set(true);
                self.tools.sharing.learn(&self.host, &members);
                if let Some((group, _)) = &group {
                    self.tools.events.group(&self.host, group);
                }
                self.words.heard();
                self.let_go(group.as_ref().map(|(group, _)| group));
                self.step(Event::Looked { group, members });
            }
            Answer::Fetched(app, path, result) => {
                let result = result.map(|held| {
                    self.held.insert(app.clone(), (path.clone(), held));
                });
                self.step(Event::Prefetched { app, path, result });
            }
            Answer::Over(app, over) => {
                self.over.insert(app, over);
            }
        }
    }

    fn step(&mut self, event: Event) {
        let wrote = matches!(&event, Event::Wrote(Cas::Applied(_)));
        match &event {
            Event::LookFailed(why) | Event::WriteFailed(why) => self.words.away(why),
            Event::Wrote(Cas::Unknown(why)) => self.words.away(why),
            Event::Gone { host, gone: Gone::Terminated } => self.roll.terminated(host),
            _ => {}
        }
        for effect in self.member.step(now(), event) {
            self.carry_out(effect);
        }
        let slot = self.member.group().and_then(|group| group.holder(&self.host));
        if wrote && slot.is_some_and(|slot| slot.leaves) {
            self.fleet.left.notify_one();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Look => self.spawn(async |fleet| match fleet.look().await {
                Ok((group, statuses)) => Answer::Looked(group, statuses),
                Err(error) => Answer::Event(Event::LookFailed(error.to_string())),
            }),
            Effect::Write { expected, group } => self.spawn(async move |fleet| {
                Answer::Event(match fleet.write(&expected, &group).await {
                    Ok(cas) => Event::Wrote(cas),
                    Err(error) => Event::WriteFailed(error.to_string()),
                })
            }),
            Effect::Say(status) => self.say(status),
            Effect::Prefetch { app, path } => self.prefetch(app, path),
            Effect::Swap { app, path, id, force, .. } => {
                self.over.remove(&app);
                let (agent, answers) = (Rc::clone(&self.agent), self.answers.clone());
                tokio::task::spawn_local(async move {
                    if let Some(over) = agent.roll(&app, &path, &id, force).await {
                        // The task lives as long as the agent.
                        let _ = answers.send(Answer::Over(app, over)).await;
                    }
                });
            }
            Effect::Cancel { app, id, why } => {
                let agent = Rc::clone(&self.agent);
                tokio::task::spawn_local(async move { agent.turn_back(&app, &id, &why).await });
            }
            Effect::Ask { host } => self.spawn(async move |fleet| {
                let gone = fleet.exists(&host).await;
                Answer::Event(Event::Gone { host, gone })
            }),
        }
    }

    /// Runs `work` beside; it answers.
    fn spawn(&self, work: impl AsyncFnOnce(&Fleet) -> Answer + 'static) {
        let (fleet, answers) = (Rc::clone(&self.fleet), self.answers.clone());
        tokio::task::spawn_local(async move {
            let answer = work(&fleet).await;
            // The task lives as long as the agent.
            let _ = answers.send(answer).await;
        });
    }

    /// Gets a closure that will be swapped to; one that another takes the place of is broken off.
    fn prefetch(&mut self, app: String, path: String) {
        let cancel = Cancel::new();
        if let Some(earlier) = self.fetches.insert(app.clone(), cancel.clone()) {
            earlier.cancel();
        }
        let (tools, agent) = (Rc::clone(&self.tools), Rc::clone(&self.agent));
        let answers = self.answers.clone();
        tokio::task::spawn_local(async move {
            let fetched = fetching(&tools.closures, &path, None, None, &cancel, |_, _| {}).await;
            let result = match fetched {
                // Before it takes a slot: a host that cannot reboot holds up nobody.
                Ok(brought) if app == SYSTEM => {
                    agent.can_become(&path).await.map(|()| brought.held)
                }
                Ok(brought) => Ok(brought.held),
                Err(failure) => Err(failure.reason),
            };
            let _ = answers.send(Answer::Fetched(app, path, result)).await;
        });
    }

    fn tell_people(&mut self) {
        let own = self.member.said();
        self.words.tell(&self.fleet, &self.tools, self.member.group(), own);
    }
}

impl Fleet {
    /// Leaves word in the run directory for who asks on this host about the group without naming
    /// it.
    async fn take_seat(&self, host: &str, run: PathBuf) {
        let (ledger, group, host) = (self.ledger.clone(), self.group.clone(), host.to_owned());
        let bytes = Seat { ledger, group, host }.write();
        let written =
            tokio::task::spawn_blocking(move || disk::replace(&run, SEAT_FILE, &bytes)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("{error}; `rollinit rollout` on this host needs --ledger and --group");
        }
    }

    /// Whether a host still exists; of one that is no instance nobody can tell.
    async fn exists(&self, host: &str) -> Gone {
        let Some(ec2) = self.ec2.as_ref().filter(|_| host.starts_with(INSTANCE)) else {
            return Gone::No;
        };
        let filters = [cloud::ec2::Filter::new("instance-id", host)];
        match ec2.aws.ec2().instances(&filters).await {
            Ok(instances) => match instances.iter().find(|found| found.instance_id == host) {
                Some(found) if matches!(&*found.state, "terminated" | "shutting-down") => {
                    Gone::Terminated
                }
                Some(_) => Gone::No,
                None => Gone::Unknown,
            },
            Err(error) => {
                tracing::warn!("whether {host}, which holds a slot, still exists: {error}");
                Gone::No
            }
        }
    }
}
