//! A ledger that loses answers, and what became of the writes.

use super::*;
use rollout::fleet::{Rollout, Version};
use rollout::{Entry, LedgerError, Token};
use std::cell::RefCell;
use std::collections::VecDeque;

/// What the ledger does with the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Applied,
    /// Somebody else writes before.
    Lost,
    /// Written, and the answer is lost.
    WrittenUnknown,
    /// Not written, and nobody says so.
    UnwrittenUnknown,
    /// Written after the next read, and the answer is lost.
    LateUnknown,
    /// Not written, and it says so.
    Refused,
}

#[derive(Default)]
struct Lossy {
    entry: RefCell<Option<(Vec<u8>, u64)>>,
    fates: RefCell<VecDeque<Fate>>,
    late: RefCell<Option<Vec<u8>>>,
    writes: RefCell<usize>,
    is_away: RefCell<usize>,
}

impl Lossy {
    fn with(fates: &[Fate]) -> Lossy {
        let lossy = Lossy::default();
        lossy.fates.borrow_mut().extend(fates);
        lossy
    }

    fn put(&self, value: &[u8]) -> Token {
        let mut entry = self.entry.borrow_mut();
        let number = entry.as_ref().map_or(1, |(_, number)| number + 1);
        *entry = Some((value.to_owned(), number));
        *self.writes.borrow_mut() += 1;
        Token(number.to_string())
    }

    fn group(&self) -> Group {
        let entry = self.entry.borrow();
        Group::read(&entry.as_ref().expect("an entry").0).expect("a group")
    }

    fn error() -> LedgerError {
        LedgerError { step: "ask".into(), reason: "away".into(), cure: "wait".into() }
    }
}

impl Ledger for Lossy {
    async fn get(&self, _key: &str) -> Result<Option<Entry>, LedgerError> {
        if *self.is_away.borrow() > 0 {
            *self.is_away.borrow_mut() -= 1;
            return Err(Lossy::error());
        }
        let entry = self.entry.borrow().clone();
        if let Some(late) = self.late.borrow_mut().take() {
            self.put(&late);
        }
        Ok(entry.map(|(value, number)| Entry { value, token: Token(number.to_string()) }))
    }

    async fn remove(&self, _: &str, _: &Token) -> Result<Cas, LedgerError> {
        unreachable!("a change removes nothing")
    }

    async fn cas(
        &self,
        _: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        let fate = self.fates.borrow_mut().pop_front().unwrap_or(Fate::Applied);
        if fate == Fate::Lost {
            let mut other = Group::new();
            other.fences = 7;
            self.put(&other.write().expect("small"));
        }
        let now = self.entry.borrow().as_ref().map(|(_, number)| Token(number.to_string()));
        if now.as_ref() != expected {
            return Ok(Cas::Lost);
        }
        Ok(match fate {
            Fate::Applied | Fate::Lost => Cas::Applied(self.put(value)),
            Fate::WrittenUnknown => {
                self.put(value);
                Cas::Unknown("cut".into())
            }
            Fate::UnwrittenUnknown => Cas::Unknown("cut".into()),
            Fate::LateUnknown => {
                *self.late.borrow_mut() = Some(value.to_owned());
                Cas::Unknown("cut".into())
            }
            Fate::Refused => return Err(Lossy::error()),
        })
    }

    async fn list(&self, _: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        Ok(Vec::new())
    }
}

fn rollout() -> Rollout {
    Rollout {
        id: "R1".to_owned(),
        to: Version { path: "/nix/store/new".to_owned(), serial: 0 },
        by: "alice".to_owned(),
        began_ms: 1,
        paused: None,
        forced: false,
    }
}

fn start(ledger: &Lossy) -> Result<Group, Failure> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let start = |group: &mut Group| group.start("web", rollout(), false);
    runtime.block_on(change(ledger, "groups/g/record", "alice", start)).map(|(group, ())| group)
}

/// Whatever becomes of the writes and their answers, it is begun once.
#[test]
fn a_change_is_made_once() {
    use Fate::{Applied, LateUnknown, Lost, UnwrittenUnknown, WrittenUnknown};
    for (fates, writes) in [
        (&[Applied][..], 1),
        (&[Lost, Applied], 2),
        (&[WrittenUnknown], 1),
        (&[UnwrittenUnknown, Applied], 1),
        (&[UnwrittenUnknown, UnwrittenUnknown, WrittenUnknown], 1),
        (&[LateUnknown, Applied], 1),
        (&[Lost, LateUnknown, WrittenUnknown], 2),
    ] {
        let ledger = Lossy::with(fates);
        let group = start(&ledger).unwrap_or_else(|failure| panic!("{fates:?}: {failure:?}"));
        let begun = group.apps["web"].rollout.as_ref().map(|rollout| rollout.id.as_str());
        assert_eq!(begun, Some("R1"), "{fates:?}");
        assert_eq!(*ledger.writes.borrow(), writes, "{fates:?}: others' and one of ours");
        assert_eq!(ledger.group().writer, "alice", "{fates:?}");
    }
}

/// While an answer is owing, a ledger that is away is waited for; before that, it is not.
#[test]
fn only_an_owed_answer_is_waited_for() {
    let away = Lossy::default();
    *away.is_away.borrow_mut() = 1;
    let failure = start(&away).expect_err("nothing was written");
    assert_eq!((failure.code, failure.kind), (Code::Unreachable, "ledger"));
    assert_eq!(failure.cures, ["wait"]);
    let refused = Lossy::with(&[Fate::Refused]);
    assert_eq!(start(&refused).expect_err("it said no").kind, "ledger");
    let owing = Lossy::with(&[Fate::UnwrittenUnknown, Fate::Refused, Fate::Applied]);
    assert!(start(&owing).is_ok());
    assert_eq!(*owing.writes.borrow(), 1);
}

/// Nobody ever answers: that is said, with what to do.
#[test]
fn an_answer_that_never_comes_is_said() {
    let silent = Lossy::with(&[Fate::UnwrittenUnknown; 1000]);
    let failure = start(&silent).expect_err("nobody knows");
    assert_eq!((failure.code, failure.kind), (Code::Unreachable, "unknown"));
    assert!(failure.message.contains("nobody knows whether it was written"), "{failure:?}");
    assert!(failure.cures[0].contains("same command again"), "{failure:?}");
    let contended = Lossy::with(&[Fate::Lost; 1000]);
    let failure = start(&contended).expect_err("others are faster");
    assert!(failure.message.contains("others were faster"), "{failure:?}");
}
