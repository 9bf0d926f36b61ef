//! The machine that takes a host out of a balancer and gives it back. Pure: the time and what
//! happened go in, what to do comes out.
//!
//! A *place* is where the host can be reached through a balancer: one server of one HAProxy's
//! backend, one target of one target group. [`Stand`] is how it stands there.
//!
//! ```text
//!  out    look ─▶ others well enough? ─▶ keep ─▶ take ─▶ floor, nothing in flight ─▶ shut ─▶ done
//!                        │ no: again, until patience ends
//!  leave  the same, and nothing is kept: nobody gives it back here
//!  in     look ─▶ give what was taken ─▶ all well ─▶ settle ─▶ keep nothing ─▶ done
//!  join   the same with all places that are looked at
//! ```
//!
//! * It works by *level*: after each order it looks again, and orders what is still to be done.
//!   So an order whose answer was lost, a balancer that was restarted and forgot, and a machine
//!   that begins anew in the middle all come out the same.
//! * What is taken is kept ([`Effect::Keep`]) before it is taken, and only that is given back: a
//!   place that somebody else had taken out stays out.
//! * A place that serves is taken only while its group has `min_healthy` other healthy places. A
//!   place that is unwell itself takes nothing away, so it never waits: the release that mends a
//!   sick fleet gets through. In haste nobody waits.
//! * The balancer may go on sending for a while after it was told ([`Rules::floor`]); until then
//!   nothing counts as over. Then it is over when nothing is in flight, or after
//!   [`Rules::drain_max`], whichever is first; where nobody knows what is in flight, the latter.
//! * Nobody waits for ever: [`Rules::patience`] bounds being away and others being sick,
//!   [`Rules::join_max`] bounds coming back.
//! * A place that was unwell before it was taken is given back and not waited for.

mod words;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use words::{
    Ask, Effect, Event, Failed, FailedKind, Goal, Order, Outcome, Rules, Seen, Stand, Taken,
    Trouble,
};

/// The machine, for one [`Ask`].
#[derive(Clone, Debug)]
pub struct Machine {
    ask: Ask,
    rules: Rules,
    /// What is ours; nothing until it was decided.
    mine: Option<Vec<Taken>>,
    orders: VecDeque<Order>,
    /// When a place was told not to take more.
    taken_at: BTreeMap<String, Duration>,
    excused: bool,
    given_at: Option<Duration>,
    well_since: Option<Duration>,
    away_since: Option<Duration>,
    needed_since: Option<Duration>,
    /// An answer is due.
    waits: bool,
    wake: Option<Duration>,
    said: String,
    is_over: bool,
}

impl Machine {
    /// Begins.
    #[must_use]
    pub fn begin(ask: Ask, rules: Rules) -> (Self, Vec<Effect>) {
        let mine = match ask.goal {
            Goal::In => Some(ask.taken.clone()),
            Goal::Out if !ask.taken.is_empty() => Some(ask.taken.clone()),
            _ => None,
        };
        let mut machine = Self {
            ask,
            rules,
            mine,
            orders: VecDeque::new(),
            taken_at: BTreeMap::new(),
            excused: false,
            given_at: None,
            well_since: None,
            away_since: None,
            needed_since: None,
            waits: false,
            wake: None,
            said: String::new(),
            is_over: false,
        };
        let effects = match (machine.ask.goal, &machine.mine) {
            (Goal::In, Some(taken)) if taken.is_empty() => machine.done(""),
            _ => machine.look(),
        };
        (machine, effects)
    }

    /// When [`Event::Tick`] is due; nothing while an answer is.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        self.wake.filter(|_| !self.waits && !self.is_over)
    }

    /// Takes an event at `now`, on any clock that only grows.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        if self.is_over {
            return Vec::new();
        }
        match event {
            Event::Looked(Ok(seen)) => {
                self.waits = false;
                self.seen(now, &seen)
            }
            Event::Told(Ok(())) => {
                self.away_since = None;
                self.told(now)
            }
            Event::Looked(Err(trouble)) | Event::Told(Err(trouble)) => self.trouble(now, trouble),
            Event::Broke(why) => {
                let reason = format!("what is taken out cannot be written down: {why}");
                self.fail(FailedKind::Away, reason, "see that the agent's folder can be written")
            }
            Event::Tick if self.wake().is_some_and(|wake| wake <= now) => self.look(),
            Event::Tick => Vec::new(),
        }
    }

    fn look(&mut self) -> Vec<Effect> {
        self.waits = true;
        self.wake = None;
        vec![Effect::Look]
    }

    fn again(&mut self, at: Duration) -> Vec<Effect> {
        self.wake = Some(at);
        Vec::new()
    }

    /// Gives the next order, or looks at what came of them.
    fn next_order(&mut self) -> Vec<Effect> {
        match self.orders.front() {
            Some(order) => {
                self.waits = true;
                vec![Effect::Tell(order.clone())]
            }
            None => self.look(),
        }
    }

    fn told(&mut self, now: Duration) -> Vec<Effect> {
        self.waits = false;
        match self.orders.pop_front() {
            Some(Order::Take(place)) => {
                self.taken_at.insert(place, now);
            }
            Some(Order::Excuse | Order::Recall) => self.excused = true,
            Some(Order::Shut(_) | Order::Give(_)) | None => {}
        }
        self.next_order()
    }

    fn trouble(&mut self, now: Duration, trouble: Trouble) -> Vec<Effect> {
        self.waits = false;
        // What is still to be done is found out by the next look.
        self.orders.clear();
        let text = match trouble {
            Trouble::Lasting(reason, cure) => return self.fail(FailedKind::Away, reason, &cure),
            Trouble::Passing(text) => text,
        };
        let since = *self.away_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.rules.patience {
            let cure = "see that it runs and that this host may reach it";
            return self.fail(FailedKind::Away, text, cure);
        }
        let mut effects = self.say(format!("{text}; tried again"), true);
        effects.extend(self.again(now + crate::limits::AGAIN));
        effects
    }

    fn seen(&mut self, now: Duration, seen: &[Seen]) -> Vec<Effect> {
        if self.ask.goal.is_out() { self.out(now, seen) } else { self.back(now, seen) }
    }

    /// On the way out.
    fn out(&mut self, now: Duration, seen: &[Seen]) -> Vec<Effect> {
        let is_mine = |one: &&Seen| match &self.mine {
            Some(mine) => mine.iter().any(|taken| taken.place == one.place),
            None => one.stand.is_in() || self.ask.goal == Goal::Leave,
        };
        let mine: Vec<&Seen> = seen.iter().filter(is_mine).collect();
        if mine.is_empty() {
            return self.out_at_last("it was not in");
        }
        let to_take: Vec<&Seen> = mine.iter().copied().filter(|one| one.stand.is_in()).collect();
        if !to_take.is_empty() {
            return self.take(now, &mine, &to_take);
        }
        self.drain(now, &mine)
    }

    /// Takes places out, if they can be spared.
    fn take(&mut self, now: Duration, mine: &[&Seen], to_take: &[&Seen]) -> Vec<Effect> {
        let least = self.rules.min_healthy;
        // One that is joining may have users already.
        let has_users = |one: &Seen| matches!(one.stand, Stand::Serving | Stand::Joining);
        let is_short = |one: &&&Seen| has_users(one) && one.others_healthy < least;
        let short = to_take.iter().find(is_short).filter(|_| !self.ask.in_haste);
        if let Some(short) = short {
            let since = *self.needed_since.get_or_insert(now);
            let text = format!(
                "{} has {} other healthy of the {least} that it has to keep",
                short.place, short.others_healthy
            );
            if now.saturating_sub(since) >= self.rules.patience {
                let cure = "mend the others, or lower min-healthy";
                return self.fail(FailedKind::Needed, text, cure);
            }
            let mut effects = self.say(format!("{text}; waits for them"), true);
            effects.extend(self.again(now + crate::limits::AGAIN));
            return effects;
        }
        self.needed_since = None;
        let never_obeys = self.taken_at.values().min().is_some_and(|first| {
            now.saturating_sub(*first) > self.rules.drain_max + self.rules.patience
        });
        if never_obeys {
            let reason = format!("{} is in again after each order to take it out", mine[0].place);
            return self.fail(FailedKind::Away, reason, "see who else gives it orders");
        }
        let mut effects = self.decide(mine);
        if self.rules.excuses && !self.excused && !self.ask.for_good {
            self.orders.push_back(Order::Excuse);
        }
        self.orders.extend(to_take.iter().map(|one| Order::Take(one.place.clone())));
        effects.extend(self.next_order());
        effects
    }

    /// What is ours from now on.
    fn decide(&mut self, mine: &[&Seen]) -> Vec<Effect> {
        if self.mine.is_some() {
            return Vec::new();
        }
        let was_well = |one: &Seen| matches!(one.stand, Stand::Serving | Stand::Joining);
        let taken = |one: &&Seen| Taken { place: one.place.clone(), was_well: was_well(one) };
        let taken: Vec<Taken> = mine.iter().map(taken).collect();
        self.mine = Some(taken.clone());
        if self.ask.goal == Goal::Leave { Vec::new() } else { vec![Effect::Keep(taken)] }
    }

    /// Waits for what is in flight.
    fn drain(&mut self, now: Duration, mine: &[&Seen]) -> Vec<Effect> {
        if !self.ask.waits {
            return self.out_at_last("");
        }
        let there: Vec<&Seen> =
            mine.iter().copied().filter(|one| one.stand != Stand::Absent).collect();
        for one in &there {
            // Found so by a machine that began anew: it is as if it had been told just now.
            if one.stand == Stand::Draining {
                self.taken_at.entry(one.place.clone()).or_insert(now);
            }
        }
        let last = self.taken_at.values().max().copied();
        let (floor, bound) = last.map_or((now, now), |last| {
            let drain_max = self.rules.drain_max.max(self.rules.floor);
            (last + self.rules.floor, last + drain_max)
        });
        let in_flight: Option<u64> = there.iter().map(|one| one.in_flight).sum();
        let is_idle = now >= floor && (in_flight == Some(0) || there.is_empty());
        if !is_idle && now < bound {
            let words = match in_flight {
                None => "requests may be in flight".to_owned(),
                Some(0) => "nothing is in flight; the balancer may still send".to_owned(),
                Some(count) => format!("{count} in flight"),
            };
            let mut effects = self.say(words, false);
            let due = if now < floor { floor } else { bound };
            effects.extend(self.again((now + self.rules.poll).min(due)));
            return effects;
        }
        let draining = there.iter().filter(|one| one.stand == Stand::Draining);
        let shut = draining.map(|one| Order::Shut(one.place.clone()));
        self.orders.extend(shut.filter(|_| self.rules.shuts));
        if !self.orders.is_empty() {
            return self.next_order();
        }
        match in_flight.filter(|count| *count > 0) {
            Some(count) => {
                let seconds = self.rules.drain_max.as_secs();
                self.out_at_last(&format!("{count} still in flight after {seconds} s"))
            }
            None => self.out_at_last(""),
        }
    }

    /// It is out. Not before is anybody told that it will not be back: a group that has it in
    /// service again may send to it.
    fn out_at_last(&mut self, words: &str) -> Vec<Effect> {
        if self.ask.for_good && self.rules.excuses && !self.excused {
            self.orders.push_back(Order::Recall);
            return self.next_order();
        }
        self.done(words)
    }

    /// On the way back.
    fn back(&mut self, now: Duration, seen: &[Seen]) -> Vec<Effect> {
        if self.mine.is_none() {
            if seen.is_empty() {
                let reason = "it has no server or target of this host at that port".to_owned();
                return self.fail(FailedKind::Away, reason, "add one there for each of its ports");
            }
            let all = seen.iter();
            let taken = all.map(|one| Taken { place: one.place.clone(), was_well: true });
            self.mine = Some(taken.collect());
        }
        let mine = self.mine.clone().unwrap_or_default();
        let of = |one: &Seen| mine.iter().find(|taken| taken.place == one.place);
        let mine: Vec<(&Seen, &Taken)> =
            seen.iter().filter_map(|one| Some((one, of(one)?))).collect();
        let unwell = mine.iter().find(|(one, taken)| match &one.stand {
            Stand::Serving | Stand::Idle(_) => false,
            Stand::Sick(_) => taken.was_well,
            Stand::Joining | Stand::Draining | Stand::Shut | Stand::Absent => true,
        });
        let Some((one, _)) = unwell else { return self.well(now) };
        self.well_since = None;
        let since = *self.given_at.get_or_insert(now);
        if now.saturating_sub(since) >= self.rules.join_max {
            let seconds = self.rules.join_max.as_secs();
            let words = match &one.stand {
                Stand::Sick(why) => why.clone(),
                Stand::Joining => "it has not found out whether it is well".to_owned(),
                _ => "it does not take it".to_owned(),
            };
            let kind = match one.stand {
                Stand::Sick(_) => FailedKind::Unwell,
                _ => FailedKind::Away,
            };
            let reason = format!("{} is not well after {seconds} s: {words}", one.place);
            return self.fail(kind, reason, "see the balancer's health check and what it is told");
        }
        let is_out = |one: &Seen| !one.stand.is_in();
        let gives = mine.iter().filter(|(one, _)| is_out(one));
        self.orders.extend(gives.map(|(one, _)| Order::Give(one.place.clone())));
        if !self.orders.is_empty() {
            return self.next_order();
        }
        let words = match &one.stand {
            Stand::Sick(why) => format!("{}: {why}", one.place),
            _ => format!("{}: its health check goes on", one.place),
        };
        let mut effects = self.say(words, false);
        effects.extend(self.again(now + self.rules.poll));
        effects
    }

    /// All is well: for how long?
    fn well(&mut self, now: Duration) -> Vec<Effect> {
        // Not before: whoever replaces hosts that are missing looks at how they stand, too.
        if self.rules.excuses && !self.excused {
            self.orders.push_back(Order::Recall);
            return self.next_order();
        }
        let since = *self.well_since.get_or_insert(now);
        let settled = since + self.rules.settle;
        if now < settled {
            return self.again((now + self.rules.poll).min(settled));
        }
        let mut effects = vec![Effect::Keep(Vec::new())];
        effects.extend(self.done(""));
        effects
    }

    fn say(&mut self, words: String, is_stuck: bool) -> Vec<Effect> {
        if self.said == words {
            return Vec::new();
        }
        self.said.clone_from(&words);
        vec![Effect::Say { words, is_stuck }]
    }

    fn done(&mut self, words: &str) -> Vec<Effect> {
        self.end(Outcome::Done(words.to_owned()))
    }

    fn fail(&mut self, kind: FailedKind, reason: String, cure: &str) -> Vec<Effect> {
        self.end(Outcome::Failed(Failed { kind, reason, cure: cure.to_owned() }))
    }

    fn end(&mut self, outcome: Outcome) -> Vec<Effect> {
        self.is_over = true;
        vec![Effect::End(outcome)]
    }
}
