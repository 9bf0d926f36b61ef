//! The core against a model that is too simple to be wrong: a list of runs. Random orders of
//! spawns, outcomes, deaths, stops and forgets; what the two disagree about is a bug.

use super::*;
use port::limits::{KEYS_MAX, RUNS_MAX};
use proptest::collection::vec;
use proptest::prelude::*;
use sys::reap::Usage;

fn children() -> Children {
    Children::new(Table::create(0).expect("table"))
}

fn dead(pid: u32, status: i32) -> Dead {
    Dead { pid, status, usage: Usage::default() }
}

/// What happens, with small numbers so that things happen to the same run.
#[derive(Clone, Debug)]
enum Deed {
    Spawn { key: u8, incarnation: u64, clones: bool },
    Executes(usize),
    FailsToExecute(usize, bool),
    Dies { run: usize, leaves_others: bool },
    Empties(usize),
    Stop { run: usize, deadline_ns: u64 },
    Deadline { run: usize, deadline_ns: Option<u64> },
    Pass { ns: u64 },
    Forget(usize),
    ForgetKey(u8),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let run = || 0..8_usize;
    let deed = prop_oneof![
        4 => (0..4_u8, 0..30_u64, prop::bool::weighted(0.9))
            .prop_map(|(key, incarnation, clones)| Deed::Spawn { key, incarnation, clones }),
        2 => run().prop_map(Deed::Executes),
        1 => (run(), any::<bool>()).prop_map(|(run, orphaned)| Deed::FailsToExecute(run, orphaned)),
        3 => (run(), any::<bool>())
            .prop_map(|(run, leaves_others)| Deed::Dies { run, leaves_others }),
        2 => run().prop_map(Deed::Empties),
        2 => (run(), 1..100_u64).prop_map(|(run, ns)| Deed::Stop { run, deadline_ns: ns }),
        2 => (run(), prop::option::weighted(0.8, 1..100_u64))
            .prop_map(|(run, deadline_ns)| Deed::Deadline { run, deadline_ns }),
        3 => (0..40_u64).prop_map(|ns| Deed::Pass { ns }),
        2 => run().prop_map(Deed::Forget),
        1 => (0..4_u8).prop_map(Deed::ForgetKey),
    ];
    vec(deed, 0..120)
}

/// How far the model's run is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Far {
    Starting,
    Running,
    Failed,
    Ended { emptied: bool },
}

#[derive(Clone, Debug)]
struct Model {
    slot: usize,
    key: String,
    incarnation: u64,
    pid: u32,
    far: Far,
    told_exited: usize,
    told_emptied: usize,
    stop_deadline_ns: Option<u64>,
    own_deadline_ns: Option<u64>,
    killed: bool,
}

#[derive(Debug, Default)]
struct World {
    runs: Vec<Model>,
    /// The highest incarnation of each key since it was last forgotten.
    seen: std::collections::HashMap<String, u64>,
    now_ns: u64,
    pids: u32,
}

impl Model {
    fn end_deadlines(&mut self) {
        (self.stop_deadline_ns, self.own_deadline_ns) = (None, None);
    }
}

impl World {
    fn pick(&mut self, run: usize) -> Option<&mut Model> {
        let count = self.runs.len();
        (count > 0).then(|| &mut self.runs[run % count])
    }

    fn do_deed(&mut self, children: &mut Children, deed: &Deed) {
        match *deed {
            Deed::Spawn { key, incarnation, clones } => {
                self.spawn(children, &format!("key{key}"), incarnation, clones);
            }
            Deed::Executes(run) => {
                if let Some(run) = self.pick(run).filter(|run| run.far == Far::Starting) {
                    children.executed(run.slot);
                    run.far = Far::Running;
                }
            }
            Deed::FailsToExecute(run, orphaned) => {
                if let Some(run) = self.pick(run).filter(|run| run.far == Far::Starting) {
                    children.not_executed(run.slot, orphaned);
                    run.far = if orphaned { Far::Running } else { Far::Failed };
                }
            }
            Deed::Dies { run, leaves_others } => self.die(children, run, leaves_others),
            Deed::Empties(run) => {
                if let Some(run) = self.pick(run) {
                    let effect = children.emptied(run.slot);
                    let news = run.far == Far::Ended { emptied: false };
                    assert_eq!(effect, news.then_some(Effect::TellEmptied(run.slot)));
                    if news {
                        run.far = Far::Ended { emptied: true };
                        run.told_emptied += 1;
                        run.end_deadlines();
                    }
                }
            }
            Deed::Stop { run, deadline_ns } => {
                let now_ns = self.now_ns;
                let stopped = Far::Ended { emptied: true };
                if let Some(run) = self.pick(run).filter(|run| run.far != stopped) {
                    children.stop(run.slot, now_ns + deadline_ns);
                    run.stop_deadline_ns = Some(now_ns + deadline_ns);
                    run.killed = false;
                }
            }
            Deed::Deadline { run, deadline_ns } => {
                let deadline_ns = deadline_ns.map(|deadline_ns| self.now_ns + deadline_ns);
                let Some(run) = self.pick(run) else { return };
                let outcome = children.set_own_deadline(&run.key, run.incarnation, deadline_ns);
                if run.killed || run.far == (Far::Ended { emptied: true }) {
                    return assert_eq!(outcome, Err(Errno::SRCH), "it is past that");
                }
                assert_eq!(outcome, Ok(()));
                run.own_deadline_ns = deadline_ns;
            }
            Deed::Pass { ns } => self.pass(children, ns),
            Deed::Forget(run) => self.forget(children, run),
            Deed::ForgetKey(key) => {
                let key = format!("key{key}");
                let has_runs = self.runs.iter().any(|run| run.key == key);
                let expected = match (self.seen.contains_key(&key), has_runs) {
                    (false, _) => Err(Errno::NOENT),
                    (true, true) => Err(Errno::BUSY),
                    (true, false) => Ok(()),
                };
                assert_eq!(children.forget_key(&key), expected);
                if expected.is_ok() {
                    self.seen.remove(&key);
                }
            }
        }
    }

    fn spawn(&mut self, children: &mut Children, key: &str, incarnation: u64, clones: bool) {
        let cgroup = format!("services/{key}.0");
        let seen = self.seen.get(key).copied().unwrap_or(0);
        let stopped = |run: &Model| matches!(run.far, Far::Ended { emptied: true } | Far::Failed);
        let busy = self.runs.iter().any(|run| run.key == key && !stopped(run));
        let outcome = children.intend(key, incarnation, &cgroup);
        if incarnation <= seen {
            return assert_eq!(outcome, Err(Errno::EXIST), "nothing starts twice");
        }
        if busy {
            return assert_eq!(outcome, Err(Errno::BUSY));
        }
        let slot = outcome.expect("nothing is in the way");
        assert!(self.runs.iter().all(|run| run.slot != slot), "the slot is in use");
        self.seen.insert(key.to_owned(), incarnation);
        if !clones {
            return children.not_cloned(slot);
        }
        self.pids += 1;
        children.cloned(slot, self.pids, self.now_ns);
        self.runs.push(Model {
            slot,
            key: key.to_owned(),
            incarnation,
            pid: self.pids,
            far: Far::Starting,
            told_exited: 0,
            told_emptied: 0,
            stop_deadline_ns: None,
            own_deadline_ns: None,
            killed: false,
        });
    }

    fn die(&mut self, children: &mut Children, run: usize, leaves_others: bool) {
        let now_ns = self.now_ns;
        let Some(run) = self.pick(run) else { return };
        if let Far::Ended { .. } = run.far {
            return assert_eq!(children.ended(&dead(run.pid, 0), 0, now_ns), None, "it is dead");
        }
        // exec's outcome is always known before the end.
        if run.far == Far::Starting {
            children.executed(run.slot);
            run.far = Far::Running;
        }
        assert_eq!(children.ended(&dead(run.pid, 9), 0, now_ns), Some(run.slot));
        let effects = children.reaped(run.slot, leaves_others);
        if run.far == Far::Failed {
            assert_eq!(effects, [], "its asker heard of it, it never existed");
            let pid = run.pid;
            return self.runs.retain(|run| run.pid != pid);
        }
        run.told_exited += effects.iter().filter(|e| **e == Effect::TellExited(run.slot)).count();
        assert_eq!(effects.contains(&Effect::Watch(run.slot)), leaves_others);
        run.far = Far::Ended { emptied: !leaves_others };
        if !leaves_others {
            run.end_deadlines();
        }
    }

    fn pass(&mut self, children: &mut Children, ns: u64) {
        self.now_ns += ns;
        let now_ns = self.now_ns;
        let mut effects = children.due(now_ns);
        let mut expect = |effect: Effect| {
            let at = effects.iter().position(|told| *told == effect);
            effects.remove(at.unwrap_or_else(|| panic!("{effect:?}: unnoticed")));
        };
        let has_passed = |deadline_ns: Option<u64>| deadline_ns.is_some_and(|at| at <= now_ns);
        for run in &mut self.runs {
            if has_passed(run.own_deadline_ns) {
                run.own_deadline_ns = None;
                if !run.killed {
                    expect(Effect::KillOverdue(run.slot));
                    run.stop_deadline_ns = Some(now_ns + STUCK_AFTER_NS);
                    run.killed = true;
                }
            }
            if has_passed(run.stop_deadline_ns) {
                let (effect, again_ns) = match run.killed {
                    true => (Effect::TellStuck(run.slot), STUCK_AGAIN_NS),
                    false => (Effect::Kill(run.slot), STUCK_AFTER_NS),
                };
                expect(effect);
                run.stop_deadline_ns = Some(now_ns + again_ns);
                run.killed = true;
            }
        }
        assert_eq!(effects, [], "a deadline fired that nobody set");
    }

    fn forget(&mut self, children: &mut Children, run: usize) {
        let Some(run) = self.pick(run) else { return };
        let stopped = run.far == Far::Ended { emptied: true };
        let expected = match run.far {
            _ if stopped => Ok(()),
            _ => Err(Errno::BUSY),
        };
        assert_eq!(children.forget_run(&run.key, run.incarnation), expected);
        if stopped {
            assert_eq!(run.told_exited, 1, "an end is told exactly once");
            assert!(run.told_emptied <= 1);
            let pid = run.pid;
            self.runs.retain(|run| run.pid != pid);
        }
    }

    /// The table holds what the model holds, no more and no less.
    fn compare(&self, children: &Children) {
        let of_run = |run: &Model| [run.stop_deadline_ns, run.own_deadline_ns];
        let deadline_ns = self.runs.iter().flat_map(of_run).flatten().min();
        assert_eq!(children.deadline_ns(), deadline_ns);
        let used = |slot: &usize| children.table().run(*slot).state != State::Free;
        assert_eq!((0..children.run_slots()).filter(used).count(), self.runs.len());
        for run in &self.runs {
            assert_eq!(children.find(&run.key, run.incarnation), Some(run.slot));
            let kept = children.table().run(run.slot);
            let state = match run.far {
                Far::Starting => State::Starting,
                Far::Running => State::Running,
                Far::Failed => State::Failed,
                Far::Ended { .. } => State::Ended,
            };
            let emptied = run.far == Far::Ended { emptied: true };
            assert_eq!((kept.state, kept.emptied, kept.pid), (state, emptied, run.pid));
            let deadlines = [kept.stop_deadline_ns, kept.deadline_ns];
            assert_eq!(deadlines, of_run(run), "the table is what a successor reads");
        }
        for (key, seen) in &self.seen {
            let slot = (0..children.key_slots())
                .find(|slot| children.table().key(*slot) == Some(key))
                .expect("the key is kept");
            assert_eq!(children.table().incarnation_last(slot), *seen);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No run forgotten, none doubled, no end untold, no deadline missed, in any order.
    #[test]
    fn any_order_agrees_with_the_model(deeds in deeds()) {
        let (mut children, mut world) = (children(), World::default());
        for deed in &deeds {
            world.do_deed(&mut children, deed);
            world.compare(&children);
        }
    }
}

/// Starts a run that executes.
fn living(children: &mut Children, key: &str, pid: u32) -> usize {
    let slot = children.intend(key, 1, "").expect("intent");
    children.cloned(slot, pid, 0);
    children.executed(slot);
    slot
}

/// The cause is the first that applies: what the owner asked for, then the deadline; the OOM killer
/// only for one that nobody asked to end, and only while its count goes up.
#[test]
fn causes() {
    let mut children = children();
    let cause = |children: &Children, slot: usize| children.table().run(slot).end.cause;
    let own = living(&mut children, "own", 1);
    children.ended(&dead(1, 9), 0, 5);
    assert_eq!(cause(&children, own), Cause::Own);
    let asked = living(&mut children, "asked", 2);
    children.asked(asked);
    children.ended(&dead(2, 9), 7, 5);
    assert_eq!(cause(&children, asked), Cause::Asked, "the count went up, but it was asked to end");
    let late = living(&mut children, "late", 3);
    children.stop(late, 10);
    assert_eq!(children.due(10), [Effect::Kill(late)]);
    children.ended(&dead(3, 9), 0, 11);
    assert_eq!(cause(&children, late), Cause::Deadline);
    let overdue = living(&mut children, "overdue", 6);
    children.set_own_deadline("overdue", 1, Some(20)).expect("it lives");
    children.set_own_deadline("overdue", 1, Some(30)).expect("moved on");
    assert_eq!(children.due(29), [], "what was before does not count");
    assert_eq!(children.due(30), [Effect::KillOverdue(overdue)]);
    children.ended(&dead(6, 9), 0, 31);
    assert_eq!(cause(&children, overdue), Cause::Deadline);
    let hungry = living(&mut children, "hungry", 4);
    children.ended(&dead(4, 9), 1, 5);
    assert_eq!(cause(&children, hungry), Cause::OutOfMemory);
    children.reaped(hungry, false);
    let slot = children.intend("hungry", 2, "").expect("intent");
    children.cloned(slot, 5, 0);
    children.ended(&dead(5, 9), 1, 6);
    assert_eq!(cause(&children, slot), Cause::Own, "the count is the same as last time");
}

/// A full table refuses and keeps everything; a forgotten run makes room.
#[test]
fn a_full_table_refuses() {
    let mut children = children();
    for number in 0..RUNS_MAX {
        let slot = children.intend("key", number as u64 + 1, "").expect("room");
        children.cloned(slot, u32::try_from(number).expect("small") + 1, 0);
    }
    let next = RUNS_MAX as u64 + 1;
    assert_eq!(children.intend("key", next, ""), Err(Errno::AGAIN));
    assert_eq!(children.intend("other", 1, ""), Err(Errno::AGAIN));
    assert_eq!(children.forget_key("other"), Err(Errno::NOENT), "a refusal makes no key");
    let slot = children.ended(&dead(1, 0), 0, 0).expect("the first");
    children.reaped(slot, false);
    assert_eq!(children.intend("key", next, ""), Err(Errno::AGAIN), "a tombstone is not dropped");
    children.forget_run("key", 1).expect("stopped");
    children.intend("key", next, "").expect("room again");
    for number in 1..KEYS_MAX {
        children.set_memo(&format!("key{number}"), b"").expect("room");
    }
    assert_eq!(children.set_memo("one-more", b""), Err(Errno::AGAIN));
}
