//! The machine at work on a balancer.

use crate::front::{Front, Scope, Wanted};
use crate::machine::{
    Ask, Effect, Event, Failed, FailedKind, Goal, Machine, Outcome, Rules, Taken, Trouble,
};
use tokio::time::{Instant, sleep_until};

/// Whoever drives: where what was taken is written down, and who listens.
pub trait Driver {
    /// Writes down what is taken out; durable when it returns.
    ///
    /// # Errors
    /// It cannot be written: why.
    fn keep(&self, taken: Vec<Taken>) -> impl Future<Output = Result<(), String>>;

    /// What goes on, for people. `is_stuck`: it waits for somebody who should do something.
    fn say(&self, words: &str, is_stuck: bool);
}

/// Does what is asked, to its end. May be dropped wherever it is, and asked again.
///
/// # Errors
/// [`Failed`] says why it could not be done.
pub async fn drive(
    front: &Front,
    scope: Scope,
    ask: Ask,
    wanted: &Wanted,
    driver: &impl Driver,
) -> Result<String, Failed> {
    if ask.goal == Goal::In && ask.taken.is_empty() {
        return Ok(String::new());
    }
    let began = Instant::now();
    let rules = rules(front, &ask, wanted, driver).await?;
    let taken = ask.taken.clone();
    let (mut machine, mut effects) = Machine::begin(ask, rules);
    loop {
        let mut event = None;
        for effect in effects {
            match effect {
                Effect::Keep(taken) => {
                    if let Err(why) = driver.keep(taken).await {
                        event = Some(Event::Broke(why));
                        break;
                    }
                }
                Effect::Look => event = Some(Event::Looked(front.look(scope, &taken).await)),
                Effect::Tell(order) => event = Some(Event::Told(front.tell(&order).await)),
                Effect::Say { words, is_stuck } => driver.say(&words, is_stuck),
                Effect::End(Outcome::Done(words)) => return Ok(words),
                Effect::End(Outcome::Failed(failed)) => return Err(failed),
            }
        }
        let event = match event {
            Some(event) => event,
            None => {
                // Without an answer due there is a time to wake at.
                let wake = machine.wake().unwrap_or_else(|| began.elapsed());
                sleep_until(began + wake).await;
                Event::Tick
            }
        };
        effects = machine.step(began.elapsed(), event);
    }
}

/// The rules, asked for until there is an answer or patience ends.
async fn rules(
    front: &Front,
    ask: &Ask,
    wanted: &Wanted,
    driver: &impl Driver,
) -> Result<Rules, Failed> {
    let began = Instant::now();
    loop {
        let text = match front.rules(wanted).await {
            Ok(rules) => return Ok(Rules { excuses: rules.excuses && excuses(ask), ..rules }),
            Err(Trouble::Lasting(reason, cure)) => {
                return Err(Failed { kind: FailedKind::Away, reason, cure });
            }
            Err(Trouble::Passing(text)) => text,
        };
        if began.elapsed() >= wanted.patience {
            let cure = "see that it runs and that this host may reach it".to_owned();
            return Err(Failed { kind: FailedKind::Away, reason: text, cure });
        }
        driver.say(&format!("{text}; tried again"), true);
        tokio::time::sleep(crate::limits::AGAIN).await;
    }
}

/// Whether somebody is to know that the host will be missing, or is back: not of a side that makes
/// room for another one, and of a host that goes for good only if it was missing already.
fn excuses(ask: &Ask) -> bool {
    match ask.goal {
        Goal::Out => !ask.in_haste || (ask.for_good && !ask.taken.is_empty()),
        Goal::In => true,
        Goal::Join => !ask.taken.is_empty(),
        Goal::Leave => false,
    }
}
