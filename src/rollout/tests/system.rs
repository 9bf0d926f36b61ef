//! The system's swaps on a host of cardboard: a boot loader that counts, a disk that forgets what
//! was not written, generations that do what their names say.
//!
//! Proof: after each scenario, and after each of thousands of seeded orders of crashes, exactly one
//! generation runs, it is the one that the profile's link and the loader stay with, and what was
//! told to people is what happened.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is the test's verdict.

use rollout::slot::EntryName;
use rollout::system::{
    Answer, Effect, Event, Facts, Inspected, Level, Machine, Notice, Reboot, Record, Request, State,
};
use rollout::{
    Admission, Failure, Fault, Now, OutcomeKind, Release, Report, Step, StepState, Ticket,
};
use std::collections::{BTreeMap, VecDeque};

/// What a boot of a generation comes to, by its path.
fn comes_up(path: &str) -> bool {
    !path.contains("panics") && !path.contains("hangs")
}

const WITHIN_MS: u64 = 600_000;

const AFTER_MS: u64 = 10_000;

/// A host.
struct Host {
    /// Entries of the loader, by generation.
    entries: BTreeMap<u64, EntryName>,
    /// Generations.
    links: BTreeMap<u64, String>,
    /// What the profile's link points to.
    profile: u64,
    /// The record on disk.
    disk: Vec<u8>,
    boots: u64,
    booted: u64,
    /// What was activated in this boot, if another one.
    active: Option<String>,
    trial: Option<EntryName>,
    clock_ns: u64,
    machine: Option<Machine>,
    work: VecDeque<Effect>,
    reports: Vec<Report>,
    answers: Vec<Admission>,
    notice: Option<Notice>,
    /// The disk refuses records.
    full: bool,
    /// Somebody else says that this host may not go on.
    fenced: bool,
    /// It lost its power at the effect after so many.
    cut_in: Option<u32>,
}

fn release(number: u64, path: &str) -> Release {
    Release { path: path.to_owned(), generation: Some(number) }
}

impl Host {
    /// Generation 1, from an image, not blessed yet.
    fn new() -> Self {
        let mut host = Self {
            entries: BTreeMap::from([(1, EntryName::of(1, 3))]),
            links: BTreeMap::from([(1, "one".to_owned())]),
            profile: 1,
            disk: Record::default().encode(),
            boots: 0,
            booted: 0,
            active: None,
            trial: None,
            clock_ns: 0,
            machine: None,
            work: VecDeque::new(),
            reports: Vec::new(),
            answers: Vec::new(),
            notice: None,
            full: false,
            fenced: false,
            cut_in: None,
        };
        host.boot();
        host
    }

    /// The loader: the newest entry that has tries or needs none, else the newest; one try less.
    fn boot(&mut self) {
        loop {
            let usable = self.entries.iter().rev().find(|(_, entry)| !entry.is_tried_out());
            let (number, entry) = usable.or_else(|| self.entries.iter().next_back()).unwrap();
            let (number, mut entry) = (*number, entry.clone());
            if let Some(tries) = entry.tries.as_mut() {
                tries.left = tries.left.saturating_sub(1);
                tries.done += 1;
                self.entries.insert(number, entry.clone());
            }
            self.boots += 1;
            if comes_up(&self.links[&number]) {
                self.booted = number;
                self.trial = entry.tries.is_some().then_some(entry);
                break;
            }
        }
        self.active = None;
        self.clock_ns = 1_000_000_000;
        self.start();
    }

    fn facts(&self) -> Facts {
        let tried_out = self.entries.iter().filter(|(_, entry)| entry.is_tried_out());
        let is_other =
            |(number, entry): (&u64, &EntryName)| *number != self.booted && !entry.is_tried_out();
        Facts {
            boot: self.boots.to_string(),
            booted: Some(release(self.booted, &self.links[&self.booted])),
            profile: Some(release(self.profile, &self.links[&self.profile])),
            trial: self.trial.clone(),
            tried_out: tried_out.map(|(number, _)| release(*number, &self.links[number])).collect(),
            has_fallback: self.entries.iter().any(is_other),
            fresh_id: format!("B{}", self.boots),
            bless_within_ms: WITHIN_MS,
            bless_after_ms: AFTER_MS,
        }
    }

    /// The agent starts.
    fn start(&mut self) {
        let record = Record::decode(&self.disk).unwrap();
        let (machine, effects) = Machine::resume(record, self.now(), self.facts());
        self.machine = Some(machine);
        self.work = effects.into();
    }

    fn now(&self) -> Now {
        Now { clock_ns: self.clock_ns, wall_ms: self.boots * 1_000_000 + self.clock_ns / 1_000_000 }
    }

    fn machine(&self) -> &Machine {
        self.machine.as_ref().unwrap()
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        let effects = self.machine.as_mut().unwrap().step(now, event);
        self.work.extend(effects);
    }

    fn ask(&mut self, path: &str) {
        self.ask_for(path, |_| {});
    }

    fn ask_for(&mut self, path: &str, change: impl FnOnce(&mut Request)) {
        let known = self.links.iter().rev().find(|(_, known)| *known == path);
        let mut request = Request {
            number: 1,
            id: format!("S{}", self.answers.len()),
            to: Release { path: path.to_owned(), generation: known.map(|(number, _)| *number) },
            is_rollback: false,
            reboot: Reboot::Auto,
            dry_run: false,
            force: false,
        };
        change(&mut request);
        // A new number is given to each: an old one would be taken for the target's own.
        request.to.generation = None;
        self.tell(Event::Request(request));
    }

    /// Carries out what there is to do; false: nothing.
    fn turn(&mut self) -> bool {
        let Some(effect) = self.work.pop_front() else { return false };
        if let Some(left) = self.cut_in.as_mut() {
            if *left == 0 {
                self.cut_in = None;
                self.boot();
                return true;
            }
            *left -= 1;
        }
        self.carry_out(effect);
        true
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("it never rests: {:?}", self.machine().record());
    }

    /// Everything is done and the host comes up.
    fn come_up(&mut self) {
        for _ in 0..20 {
            self.settle();
            match (self.machine().is_on_trial(), self.runs()) {
                (true, "silent") => {
                    self.tell(Event::Health(Some("it".to_owned())));
                    self.clock_ns = WITHIN_MS * 1_000_000;
                }
                (true, _) => self.tell(Event::Health(None)),
                (false, _) => {}
            }
            if self.machine().record().swap.is_some()
                || self.machine().wake_ns().is_some_and(|wake_ns| wake_ns < WITHIN_MS * 1_000_000)
            {
                self.clock_ns += 31_000_000_000;
                self.tell(Event::Tick);
            }
            self.settle();
        }
    }

    /// What runs.
    fn runs(&self) -> &str {
        self.active.as_ref().unwrap_or(&self.links[&self.booted])
    }

    fn carry_out(&mut self, effect: Effect) {
        let done = |ticket, answer| Event::Done { ticket, answer };
        match effect {
            Effect::Persist { .. } if self.full => {
                self.work.clear();
                self.tell(Event::Broke { index: 0, reason: "no space".to_owned() });
            }
            Effect::Persist { bytes } => self.disk = bytes,
            Effect::Root { .. } | Effect::Unroot => {}
            Effect::Report(report) => self.reports.push(report),
            Effect::Answer { admission, .. } => self.answers.push(admission),
            Effect::Notice(notice) => self.notice = notice,
            Effect::Plan { ticket, path } => {
                let answer = Answer::Planned { text: "planned".into(), is_here: path != "far" };
                self.tell(done(ticket, answer));
            }
            Effect::Fetch { ticket, path } if path.contains("missing") => {
                self.fail(ticket, Fault::Host, "no cache has it");
            }
            Effect::Fetch { ticket, .. } => {
                self.tell(done(ticket, Answer::Fetched("fetched".into())));
            }
            Effect::Inspect { ticket, path, .. } => self.inspect(ticket, &path),
            Effect::Write { ticket, path, kept } => self.write(ticket, path, &kept),
            Effect::Activate { ticket, path } if path.contains("broken") => {
                self.fail(ticket, Fault::Release, "tmpfiles: line 3");
            }
            Effect::Activate { ticket, .. } if self.fenced && !self.goes_back() => {
                self.fail(ticket, Fault::Fence, "its slot is gone");
            }
            Effect::Activate { ticket, path } => {
                self.active = Some(path);
                self.tell(done(ticket, Answer::Text("activated".into())));
            }
            Effect::Reboot { ticket } if self.fenced && self.trial.is_none() => {
                self.fail(ticket, Fault::Fence, "its slot is gone");
            }
            Effect::Reboot { .. } => self.boot(),
            Effect::Bless { ticket, entry } => {
                let number = entry.generation().unwrap();
                self.entries.insert(number, entry.blessed());
                self.trial = None;
                self.tell(done(ticket, Answer::Text("blessed".into())));
            }
            Effect::Commit { ticket, path, generation } => {
                let number = generation.filter(|number| self.links.get(number) == Some(&path));
                let generation = number.unwrap_or_else(|| self.number(&path));
                self.profile = generation;
                self.tell(done(ticket, Answer::Committed { generation }));
            }
            Effect::Discard { ticket, generation } => {
                assert_ne!(generation, self.booted, "what runs is never discarded");
                assert_ne!(generation, self.profile, "what a boot should start neither");
                self.entries.remove(&generation);
                self.links.remove(&generation);
                self.tell(done(ticket, Answer::Done));
            }
        }
    }

    /// The swap under way is being taken back, which is asked of nobody.
    fn goes_back(&self) -> bool {
        self.machine().record().swap.as_ref().is_some_and(|swap| swap.back.is_some())
    }

    /// Carries out everything before an effect.
    fn turn_until(&mut self, is_it: impl Fn(&Effect) -> bool) {
        while !self.work.front().is_some_and(&is_it) {
            assert!(self.turn(), "it never comes");
        }
    }

    fn cancel(&mut self) -> &Admission {
        self.tell(Event::Cancel { number: 7, reason: "nobody wants it".to_owned() });
        self.settle();
        self.answers.last().unwrap()
    }

    fn fail(&mut self, ticket: Ticket, fault: Fault, reason: &str) {
        let failure = Failure { fault, reason: reason.to_owned(), cure: Vec::new() };
        self.tell(Event::Failed { ticket, failure });
    }

    fn inspect(&mut self, ticket: Ticket, path: &str) {
        if path.contains("huge") {
            return self.fail(ticket, Fault::Host, "the boot partition is full");
        }
        let same_kernel = path.contains("live") || self.links[&self.booted] == path;
        let needs_reboot = (!same_kernel).then(|| "another kernel".to_owned());
        let no_slots = path.contains("slotless").then(|| "no loader counts".to_owned());
        let inspected = Inspected { needs_reboot, no_slots, text: "fits".to_owned() };
        self.tell(Event::Done { ticket, answer: Answer::Inspected(inspected) });
    }

    fn write(&mut self, ticket: Ticket, path: String, kept: &[u64]) {
        assert!(self.trial.is_none(), "the boot partition is not touched during a trial");
        assert!(kept.contains(&self.booted), "the way back stays");
        let newest = self.links.iter().next_back().filter(|(number, known)| {
            **known == path && !kept.contains(number) && self.entries.contains_key(number)
        });
        let generation = match newest.map(|(number, _)| *number) {
            Some(number) => number,
            None => self.number(&path),
        };
        self.entries.entry(generation).or_insert_with(|| EntryName::of(generation, 1));
        let answer = Answer::Written { generation, text: "written".into() };
        self.tell(Event::Done { ticket, answer });
    }

    /// A new generation of this path.
    fn number(&mut self, path: &str) -> u64 {
        let number = self.boots * 100 + self.links.keys().next_back().unwrap() + 1;
        self.links.insert(number, path.to_owned());
        number
    }

    fn outcomes(&self) -> Vec<OutcomeKind> {
        let history = &self.machine().record().history;
        history.iter().filter_map(|summary| Some(summary.outcome.as_ref()?.kind)).collect()
    }

    /// Whatever happened, this holds once it is over.
    fn is_sound(&self) {
        let record = self.machine().record();
        assert_eq!(record.swap, None, "it is over");
        assert_eq!(self.links[&self.profile], self.runs(), "a boot starts what runs");
        assert_eq!(record.running.as_ref().unwrap().path, self.runs());
        let entry = &self.entries[&self.booted];
        assert!(entry.tries.is_none() || self.runs() != self.links[&self.booted], "{entry}");
        let first = self.entries.iter().rev().find(|(_, entry)| !entry.is_tried_out());
        assert_eq!(self.links[first.unwrap().0], self.runs(), "the loader agrees");
    }
}

/// A host whose first boot is blessed.
fn host() -> Host {
    let mut host = Host::new();
    host.come_up();
    assert_eq!(host.entries[&1].to_string(), "rollinit-1.conf");
    host
}

/// Another kernel: entry, reboot, blessing, commit, in this order; the first reply ends with the
/// reboot, the second boot tells the rest under the same id.
#[test]
fn a_good_generation_stays() {
    let mut host = host();
    host.ask("two");
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.boots), ("two", 2));
    assert_eq!(host.outcomes(), [OutcomeKind::Committed]);
    let steps: Vec<(Step, StepState)> =
        host.reports.iter().map(|report| (report.step, report.state)).collect();
    use StepState::{Ok, Running};
    for step in [(Step::Write, Ok), (Step::Reboot, Ok), (Step::Bless, Ok), (Step::Commit, Ok)] {
        assert!(steps.contains(&step), "{step:?} in {steps:?}");
    }
    let ends = host.reports.iter().filter_map(|report| Some(report.outcome.as_ref()?.kind));
    assert_eq!(ends.collect::<Vec<_>>(), [OutcomeKind::Rebooting, OutcomeKind::Committed]);
    assert!(steps.contains(&(Step::Fetch, Running)));
    assert_eq!(host.notice, None);
    assert_eq!(host.machine().record().previous.as_ref().unwrap().path, "one");
}

/// A generation that panics or hangs gets one boot; the host is back on the old one, says so, and
/// does not try it again unless it is forced to.
#[test]
fn a_generation_that_does_not_come_up_falls_back() {
    for path in ["panics", "hangs"] {
        let mut host = host();
        host.ask(path);
        host.come_up();
        host.is_sound();
        assert_eq!((host.runs(), host.boots), ("one", 3));
        assert_eq!(host.outcomes(), [OutcomeKind::RolledBack]);
        assert_eq!(host.notice.as_ref().unwrap().level, Level::Warning);
        assert_eq!(host.entries.len(), 1, "its entry is gone");
        host.ask(path);
        assert!(matches!(&host.answers[..], [_] | [_, ..]));
        host.settle();
        let Some(Admission::Over(outcome)) = host.answers.last() else { panic!("not refused") };
        assert_eq!(outcome.kind, OutcomeKind::Refused);
        host.ask_for(path, |request| request.force = true);
        host.come_up();
        assert_eq!(host.outcomes().len(), 2);
        host.start();
        host.settle();
        assert!(host.notice.as_ref().unwrap().text.contains("fell back"), "said after a restart");
    }
}

/// One that comes up but never well is left in time, and its reason is told after the fall.
#[test]
fn a_generation_that_is_never_blessed_is_left_in_time() {
    let mut host = host();
    host.ask("silent");
    host.settle();
    assert_eq!((host.runs(), host.boots), ("silent", 2));
    host.tell(Event::Health(Some("network-online".to_owned())));
    host.settle();
    assert!(host.notice.as_ref().unwrap().text.contains("waits for network-online"));
    host.clock_ns = host.machine().wake_ns().unwrap();
    host.tell(Event::Tick);
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.boots), ("one", 3));
    let record = host.machine().record();
    let outcome = record.history[0].outcome.as_ref().unwrap();
    assert!(
        outcome.reason.as_ref().unwrap().contains("it waits for network-online"),
        "{outcome:?}"
    );
    assert_eq!(outcome.failed_at, Some(Step::Bless));
}

/// Up is not enough: it has to stay up for a while, and a break begins that while anew.
#[test]
fn a_boot_is_blessed_once_it_stayed_up() {
    let mut host = host();
    host.ask("two");
    host.settle();
    let at_s = |host: &mut Host, seconds: u64, waits_for: Option<&str>| {
        host.clock_ns = seconds * 1_000_000_000;
        host.tell(Event::Health(waits_for.map(str::to_owned)));
        host.settle();
        host.machine().is_on_trial()
    };
    assert!(at_s(&mut host, 20, None), "just come up");
    assert!(at_s(&mut host, 29, None));
    assert!(at_s(&mut host, 30, Some("network-online")), "it went again");
    assert!(at_s(&mut host, 31, None) && at_s(&mut host, 40, None));
    assert_eq!(host.machine().wake_ns(), Some(41_000_000_000));
    assert!(!at_s(&mut host, 41, None), "ten seconds without a break");
    host.come_up();
    host.is_sound();
}

/// A first boot that does not come up has nothing to fall back to: it stays, says so, and is
/// blessed late.
#[test]
fn without_another_generation_nothing_reboots() {
    let mut host = Host::new();
    host.settle();
    host.tell(Event::Health(Some("network-online".to_owned())));
    host.settle();
    host.clock_ns = WITHIN_MS * 1_000_000;
    host.tell(Event::Tick);
    host.settle();
    assert_eq!(host.boots, 1);
    assert_eq!(host.notice.as_ref().unwrap().level, Level::Error);
    host.ask("two");
    host.settle();
    assert!(host.entries.len() == 1, "nothing is written before this boot is blessed");
    host.come_up();
    host.is_sound();
    assert_eq!(host.runs(), "two");
}

/// The same kernel: no reboot. Its entry is tried at the next boot, whenever that comes.
#[test]
fn the_same_kernel_needs_no_reboot() {
    let mut host = host();
    host.ask("live");
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.boots), ("live", 1));
    host.boot();
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.boots), ("live", 2));
}

/// It ran live, and its first boot failed: the link moves back too.
#[test]
fn a_later_boot_that_fails_moves_the_link_back() {
    let mut host = host();
    host.ask("live-panics");
    host.come_up();
    assert_eq!((host.runs(), host.profile > 1), ("live-panics", true));
    host.boot();
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.profile), ("one", 1));
    assert_eq!(host.outcomes(), [OutcomeKind::Committed, OutcomeKind::RolledBack]);
}

/// What cannot be activated is taken back, live.
#[test]
fn a_broken_activation_goes_back() {
    let mut host = host();
    host.ask("live-broken");
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.boots, host.entries.len()), ("one", 1, 1));
    assert_eq!(host.outcomes(), [OutcomeKind::RolledBack]);
}

/// Refusals touch nothing: no cache, no room, no loader that counts, another swap under way.
#[test]
fn refusals_touch_nothing() {
    for (path, word) in [("missing", "no cache"), ("huge", "is full"), ("slotless", "no loader")] {
        let mut host = host();
        host.ask(path);
        host.come_up();
        host.is_sound();
        assert_eq!((host.outcomes(), host.entries.len()), (vec![OutcomeKind::Refused], 1));
        let reason = host.machine().record().history[0].outcome.clone().unwrap().reason;
        assert!(reason.unwrap().contains(word));
    }
    let mut host = host();
    host.ask("two");
    host.ask("two");
    host.ask("three");
    while host.answers.len() < 3 {
        assert!(host.turn());
    }
    assert!(matches!(&host.answers[1], Admission::Joins(id) if id == "S0"));
    assert!(
        matches!(&host.answers[2], Admission::Over(outcome) if outcome.kind == OutcomeKind::Refused)
    );
    host.come_up();
    host.is_sound();
    host.ask("two");
    host.settle();
    let Some(Admission::Over(outcome)) = host.answers.last() else { panic!("not over") };
    assert_eq!(outcome.kind, OutcomeKind::NothingToDo);
}

/// A dry run says what would be done, and nothing is on disk of it.
#[test]
fn a_dry_run_does_nothing() {
    for (path, word) in
        [("two", "reboots: another kernel"), ("live", "no reboot"), ("far", "planned")]
    {
        let mut host = host();
        let disk = host.disk.clone();
        host.ask_for(path, |request| request.dry_run = true);
        host.settle();
        assert_eq!((host.disk == disk, host.entries.len(), host.boots), (true, 1, 1));
        let last = host.reports.last().unwrap();
        assert!(last.text.contains(word) && last.outcome.is_some(), "{last:?}");
        assert_eq!(host.machine().record().swap, None);
    }
}

/// `always` and `never` overrule, and a rollback is a swap with a new number.
#[test]
fn a_reboot_is_asked_for_or_not() {
    let mut host = host();
    host.ask_for("two", |request| request.reboot = Reboot::Never);
    host.come_up();
    assert_eq!((host.runs(), host.boots), ("two", 1));
    host.ask_for("live", |request| request.reboot = Reboot::Always);
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.boots), ("live", 2));
    host.ask_for("two", |request| request.is_rollback = true);
    host.come_up();
    host.is_sound();
    assert_eq!((host.runs(), host.machine().record().previous.clone()), ("two", None));
}

/// A disk that takes no record: refused while nothing is written, waited for after that.
#[test]
fn a_record_that_cannot_be_written() {
    let mut host = host();
    host.full = true;
    host.ask("two");
    for _ in 0..50 {
        host.turn();
    }
    let ends = host.reports.iter().filter_map(|report| Some(report.outcome.as_ref()?.kind));
    assert_eq!(ends.collect::<Vec<_>>(), [OutcomeKind::Refused]);
    host.full = false;
    host.come_up();
    host.ask("two");
    while host.machine().record().swap.as_ref().map(|swap| swap.state) != Some(State::Rebooting) {
        assert!(host.turn());
    }
    host.full = true;
    host.work.retain(|effect| !matches!(effect, Effect::Reboot { .. }));
    host.full = false;
    host.start();
    host.come_up();
    host.is_sound();
    assert_eq!(host.runs(), "two");
}

/// A swap that nobody wants any more ends as refused, wherever it is before the reboot, and leaves
/// nothing; the host then takes another one. What is on its way goes on.
#[test]
fn what_is_called_back_leaves_nothing() {
    let is_early: [fn(&Effect) -> bool; 4] = [
        |effect| matches!(effect, Effect::Plan { .. }),
        |effect| matches!(effect, Effect::Fetch { .. }),
        |effect| matches!(effect, Effect::Inspect { .. }),
        |effect| matches!(effect, Effect::Write { .. }),
    ];
    for is_there in is_early {
        let mut host = host();
        host.ask("two");
        host.turn_until(is_there);
        assert_eq!(*host.cancel(), Admission::Done);
        host.come_up();
        host.is_sound();
        assert_eq!((host.runs(), host.boots, host.entries.len()), ("one", 1, 1));
        assert_eq!(host.outcomes(), [OutcomeKind::Refused]);
        host.ask("two");
        host.come_up();
        host.is_sound();
        assert_eq!((host.runs(), host.outcomes().len()), ("two", 2), "it is not barred");
    }
    let mut host = host();
    host.ask("two");
    host.turn_until(|effect| matches!(effect, Effect::Reboot { .. }));
    let reboot = host.work.pop_front().unwrap();
    assert!(matches!(host.cancel(), Admission::Over(_)), "too late");
    host.work.push_front(reboot);
    host.come_up();
    host.is_sound();
    assert_eq!(host.outcomes(), [OutcomeKind::Committed]);
    assert!(matches!(host.cancel(), Admission::Over(_)), "there is none");
}

/// A host that may not go on stays what it was, and its entry goes; also when the power goes in the
/// middle of that.
#[test]
fn a_fence_before_the_last_step_turns_back() {
    for path in ["two", "live"] {
        for cut_in in 0..40 {
            let mut host = host();
            host.fenced = true;
            host.cut_in = (cut_in > 0).then_some(cut_in);
            host.ask(path);
            host.settle();
            host.cut_in = None;
            host.come_up();
            host.is_sound();
            // A power cut boots what is written already: that is the same as a reboot.
            if cut_in == 0 {
                assert_eq!((host.runs(), host.entries.len(), host.boots), ("one", 1, 1), "{path}");
                assert_eq!(host.outcomes(), [OutcomeKind::Refused]);
            }
        }
    }
}

/// Thousands of orders: swaps of all kinds, with the agent killed or the power cut at any effect.
#[test]
fn any_crash_ends_on_one_generation() {
    let paths = ["two", "panics", "live", "live-panics", "silent", "live-broken", "huge", "three"];
    for seed in 0..3_000_u64 {
        let mut host = host();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |range: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) % range
        };
        for _ in 0..3 {
            let path = paths[usize::try_from(next(8)).unwrap()];
            host.cut_in = Some(u32::try_from(next(40)).unwrap());
            host.ask_for(path, |request| request.force = true);
            for _ in 0..next(30) {
                host.turn();
            }
            // The agent dies; what it was about to do is not done.
            host.start();
            host.settle();
            host.cut_in = None;
            host.come_up();
            host.is_sound();
        }
    }
}
