//! How a host follows one app's release, wherever that is.
//!
//! # How it goes
//!
//! ```text
//!        ┌───────────────────────────── every so often, a little later each host ──────────────┐
//!        ▼                                                                                     │
//!      Look ──▶ judge ──▶ new ──▶ Keep (the serial, on disk) ──▶ Apply ──▶ done, failed ──▶ Keep┤
//!        │        │        └ known, and over ─────────────────────────────────────────────────▶┤
//!        │        └ refused: said, and what was wished before goes on ────────────────────────▶┤
//!        └ unchanged, nothing there, no answer ─── still to be applied? Apply ─────────────────▶┘
//! ```
//!
//! - The serial is on the disk before anything follows from it: whatever comes after, an older
//!   release is refused from then on.
//! - What follows from a release (a rollout of the group, or a swap here) bears repetition. It is
//!   asked for until it is over, well or badly, and then not again: who goes back by hand is not
//!   brought forward by the next look, nor by the next start of the agent.
//! - A release that has to wait (another rollout goes on, the ledger is away) is asked for again
//!   after the next look, as long as it has not expired.
//! - An answer is asked for by its ETag only if the one before was sound: what was refused for its
//!   time or a clock may be right later.
//! - A document that nobody has to sign ([`Trust::Plain`]) has no serial: it is followed as it is,
//!   unless a signed one was followed before.

use crate::judge::{Policy, Seen, judge};
use crate::limits::{JITTER_PERCENT, SAID_BYTES_MAX};
use crate::time::Time;

/// What a look came to: the document may be obeyed.
const SOUND: &str = "sound";

/// It is signed, and nobody is known here who may sign.
const NO_SIGNERS: &str = "no-signers";

/// It is not signed, and has to be: as [`Refusal::name`](crate::Refusal::name) says it.
const UNSIGNED: &str = "unsigned";

/// A moment, given with every call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub clock_ns: u64,
    /// The wall clock: what documents are judged by.
    pub wall: Time,
}

/// What is known when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The app.
    pub app: String,
    /// Whom to believe.
    pub trust: Trust,
    /// Between two looks, in milliseconds.
    pub every_ms: u64,
    /// Any number that differs between hosts: it spreads their looks.
    pub spread: u64,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whoever may write the document: it names a path, and is not signed.
    Plain,
    /// Persons.
    Signed(Policy),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed: at [`Follower::wake_ns`] at the latest.
    Tick,
    /// Somebody wants to know now.
    Hurry,
    /// Answer to [`Effect::Look`].
    Found(Found),
    /// Answer to [`Effect::Keep`].
    Kept(Result<(), String>),
    /// Answer to [`Effect::Apply`].
    Applied(Applied),
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It still has the ETag that was given.
    Unchanged,
    /// A document with its signatures.
    Release {
        /// The bytes.
        bytes: Vec<u8>,
        /// Names this version of it.
        etag: Option<String>,
    },
    /// A document that is not signed names this path.
    Path {
        /// The path.
        path: String,
        /// Names this version of it.
        etag: Option<String>,
    },
    /// There is none.
    Nothing(String),
    /// No answer, or none that can be used.
    Failed {
        /// What came of it.
        text: String,
        /// What to do about it.
        cure: String,
    },
}

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is so, or somebody else sees to it from now on.
    Done,
    /// Not now: it is asked for again.
    Later(String),
    /// This host cannot, for reasons of its own: it is asked for again.
    Refused {
        /// What stands in the way.
        text: String,
        /// What to do about it.
        cure: String,
    },
    /// It failed, and will again.
    Failed {
        /// What happened.
        text: String,
        /// What to do about it.
        cure: String,
    },
}

/// What shall be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The closure that the app shall run.
    pub path: String,
    /// The release's serial; 0 for one that is not signed.
    pub serial: u64,
    /// An id for what follows from it: the same on each host.
    pub id: String,
    /// Who wants it, for people.
    pub by: String,
    /// From when on it may not be begun.
    pub expires: Option<Time>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// It waits.
    Information,
    /// It may pass by itself.
    Warning,
    /// Somebody has to do something.
    Error,
}

/// What the agent shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Get the document, unless it still has this ETag.
    Look {
        /// The ETag.
        etag: Option<String>,
    },
    /// Write this to the disk, to survive a power cut.
    Keep(Seen),
    /// Let the app run that: begin its rollout, or its swap.
    Apply(Wish),
    /// From now on this stands about the app's release, in place of what stood before.
    Say {
        /// How bad it is.
        grade: Grade,
        /// What is so.
        text: String,
        /// What to do about it.
        cure: String,
    },
    /// Nothing stands about it any more.
    Quiet,
}

#[derive(Clone, Debug)]
enum Busy {
    Look,
    /// With the wish that follows, if this is not the end of one.
    Keep(Box<Seen>, Option<Wish>),
    Apply,
}

type Words = (Grade, String, String);

/// One app's release, followed.
#[derive(Clone, Debug)]
pub struct Follower {
    facts: Facts,
    now: Now,
    seen: Option<Seen>,
    etag: Option<String>,
    busy: Option<Busy>,
    look_ns: u64,
    draws: u64,
    /// What shall be so, and is not over.
    wish: Option<Wish>,
    /// What is wrong with the document, or the way to it.
    of_document: Option<Words>,
    /// What came of the wish.
    of_wish: Option<Words>,
    said: Option<Words>,
    looked: &'static str,
    effects: Vec<Effect>,
}

impl Follower {
    /// Looks at once. `seen`: what was kept.
    #[must_use]
    pub fn new(facts: Facts, seen: Option<Seen>, now: Now) -> Self {
        let draws = facts.spread;
        Self {
            facts,
            now,
            seen,
            etag: None,
            busy: None,
            look_ns: now.clock_ns,
            draws,
            wish: None,
            of_document: None,
            of_wish: None,
            said: None,
            looked: "",
            effects: Vec::new(),
        }
    }

    /// Takes one event; returns what follows.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Tick => {}
            Event::Hurry => self.look_ns = now.clock_ns,
            Event::Found(found) => self.found(found),
            Event::Kept(kept) => self.kept(kept),
            Event::Applied(applied) => self.applied(applied),
        }
        if self.busy.is_none() && now.clock_ns >= self.look_ns {
            self.busy = Some(Busy::Look);
            self.effects.push(Effect::Look { etag: self.etag.clone() });
        }
        self.speak();
        std::mem::take(&mut self.effects)
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn wake_ns(&self) -> u64 {
        if self.busy.is_some() { u64::MAX } else { self.look_ns }
    }

    /// From now on others are believed, or as many as before: what counts from the next look on.
    pub fn trust(&mut self, trust: Trust) {
        if self.facts.trust != trust {
            self.facts.trust = trust;
            self.etag = None;
        }
    }

    /// What the newest look came to, in a word, for whoever counts: `unchanged`, `sound`,
    /// `missing`, `failed`, or why it is refused ([`Refusal::name`](crate::Refusal::name)).
    #[must_use]
    pub const fn looked(&self) -> &'static str {
        self.looked
    }

    /// The newest release that was seen.
    #[must_use]
    pub const fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    fn found(&mut self, found: Found) {
        self.busy = None;
        self.look_ns = self.next_ns();
        self.looked = match found {
            Found::Unchanged => {
                self.of_document = None;
                "unchanged"
            }
            Found::Release { bytes, etag } => self.release(&bytes, etag),
            Found::Path { path, etag } => self.path(path, etag),
            Found::Nothing(text) => {
                self.etag = None;
                let cure = "put one there".to_owned();
                self.of_document = Some((Grade::Warning, text, cure));
                "missing"
            }
            Found::Failed { text, cure } => {
                self.etag = None;
                self.of_document = Some((Grade::Warning, text, cure));
                "failed"
            }
        };
        if self.busy.is_none() {
            self.pursue();
        }
    }

    /// A document with its signatures. What the look came to, in a word.
    fn release(&mut self, bytes: &[u8], etag: Option<String>) -> &'static str {
        self.etag = None;
        let Trust::Signed(policy) = &self.facts.trust else {
            let text = "a signed release, and nobody is known here who may sign".to_owned();
            let cure = "name the file of signers, or give a plain document".to_owned();
            self.of_document = Some((Grade::Error, text, cure));
            return NO_SIGNERS;
        };
        let verified = match judge(bytes, policy, self.seen.as_ref(), self.now.wall) {
            Ok(verified) => verified,
            Err(refusal) => {
                let cure = refusal.cure().to_owned();
                self.of_document = Some((Grade::Error, refusal.to_string(), cure));
                return refusal.name();
            }
        };
        self.etag = etag;
        self.of_document = None;
        let (serial, by) = (verified.document.serial, verified.persons.join(" and "));
        let wish = Wish {
            path: verified.document.path.clone(),
            serial,
            id: format!("release-{serial}"),
            by: format!("release {serial}, signed by {by}"),
            expires: Some(verified.document.expires),
        };
        let known = self.seen.as_ref().filter(|seen| {
            seen.serial == serial && seen.document_sha256 == verified.document_sha256
        });
        match known {
            Some(seen) if seen.settled => {}
            Some(_) => self.wish = Some(wish),
            None => self.keep(verified.seen(), Some(wish)),
        }
        SOUND
    }

    /// A document that nobody signed. What the look came to, in a word.
    fn path(&mut self, path: String, etag: Option<String>) -> &'static str {
        self.etag = None;
        if matches!(self.facts.trust, Trust::Signed(_)) {
            let text = "the release is not signed".to_owned();
            let cure = "have it signed (`rollinit release sign`)".to_owned();
            self.of_document = Some((Grade::Error, text, cure));
            return UNSIGNED;
        }
        if let Some(seen) = self.seen.as_ref().filter(|seen| seen.serial > 0) {
            let text = format!("the release is not signed, and {} was", seen.serial);
            let cure = "name the file of signers again; or, if that is meant, remove what this \
                host keeps of signed releases (docs/releases.md)";
            self.of_document = Some((Grade::Error, text, cure.to_owned()));
            return UNSIGNED;
        }
        self.etag = etag;
        self.of_document = None;
        // A rollout's id has room for a part of the hash that no two paths of an app share.
        let hash: String = path.rsplit('/').next().unwrap_or_default().chars().take(12).collect();
        let (id, by) = (format!("path-{hash}"), "the release document".to_owned());
        let wish = Wish { path: path.clone(), serial: 0, id, by, expires: None };
        match self.seen.as_ref().filter(|seen| seen.path == path) {
            Some(seen) if seen.settled => {}
            Some(_) => self.wish = Some(wish),
            None => self.keep(Seen::plain(&self.facts.app, path), Some(wish)),
        }
        SOUND
    }

    fn keep(&mut self, seen: Seen, wish: Option<Wish>) {
        self.busy = Some(Busy::Keep(Box::new(seen.clone()), wish));
        self.effects.push(Effect::Keep(seen));
    }

    fn kept(&mut self, kept: Result<(), String>) {
        let Some(Busy::Keep(seen, wish)) = self.busy.take() else { return };
        match kept {
            Ok(()) => {
                self.seen = Some(*seen);
                if wish.is_some() {
                    self.of_wish = None;
                    self.wish = wish;
                }
            }
            Err(error) => {
                self.etag = None;
                let text = format!("the release's serial cannot be kept: {error}");
                let cure = "nothing follows from it before that; see to the disk".to_owned();
                self.of_document = Some((Grade::Error, text, cure));
            }
        }
        self.pursue();
    }

    /// Asks for what shall be so.
    fn pursue(&mut self) {
        let Some(wish) = self.wish.clone() else { return };
        if wish.expires.is_some_and(|expires| expires <= self.now.wall) {
            // The next look says so, in the words of the judge.
            self.wish = None;
            self.of_wish = None;
            self.etag = None;
            return;
        }
        self.busy = Some(Busy::Apply);
        self.effects.push(Effect::Apply(wish));
    }

    fn applied(&mut self, applied: Applied) {
        self.busy = None;
        self.of_wish = match applied {
            Applied::Later(text) => {
                let cure = "nothing: it goes on by itself".to_owned();
                self.of_wish = Some((Grade::Information, text, cure));
                return;
            }
            Applied::Refused { text, cure } => {
                self.of_wish = Some((Grade::Warning, text, cure));
                return;
            }
            Applied::Done => None,
            Applied::Failed { text, cure } => Some((Grade::Error, text, cure)),
        };
        let wish = self.wish.take();
        let is_of = |seen: &Seen| wish.is_some_and(|wish| wish.serial == seen.serial);
        if let Some(seen) = self.seen.clone().filter(is_of) {
            self.keep(Seen { settled: true, ..seen }, None);
        }
    }

    fn speak(&mut self) {
        let mut words = self.of_document.clone().or_else(|| self.of_wish.clone());
        if let Some((_, text, cure)) = &mut words {
            cut(text);
            cut(cure);
        }
        if words == self.said {
            return;
        }
        self.said.clone_from(&words);
        self.effects.push(match words {
            Some((grade, text, cure)) => Effect::Say { grade, text, cure },
            None => Effect::Quiet,
        });
    }

    /// The next look: a little later than said, and by another while each time.
    fn next_ns(&mut self) -> u64 {
        // A linear congruential generator (Knuth's constants): it only spreads.
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let extra_ms = (self.draws >> 33) % (self.facts.every_ms * JITTER_PERCENT / 100).max(1);
        let pause_ns = (self.facts.every_ms + extra_ms).saturating_mul(1_000_000);
        self.now.clock_ns.saturating_add(pause_ns)
    }
}

/// Somebody else's text, cut at a character.
fn cut(text: &mut String) {
    if text.len() > SAID_BYTES_MAX {
        let mut end = SAID_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}
