//! `rollinit rollout pause`, `resume`, `abort` and `forget`.

use super::change::change;
use super::place::Fleet;
use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable};
use crate::times::now_ms;
use rollout::fleet::{Group, Pause, keys};
use serde::Serialize;

/// What was done. The form with `--json`.
#[derive(Debug, Serialize)]
struct Done<'a> {
    group: &'a str,
    app: &'a str,
    done: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rollout: &'a str,
}

/// Lets nobody else begin, saying `why`; or, with none, lets them begin again.
pub async fn pause(
    fleet: &Fleet,
    app: &str,
    why: Option<&str>,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let key = keys::record(&fleet.group)?;
    let by = &fleet.desk.by;
    let pause = why.map(|why| Pause { by: by.clone(), why: why.to_owned() });
    let (_, id) = change(&fleet.desk.engine, &key, by, |group: &mut Group| {
        group.pause(app, pause.clone())?;
        Ok(going(group, app).unwrap_or_default())
    })
    .await?;
    let (done, text) = match why {
        Some(_) => ("paused", "paused: nobody else begins; hosts that have begun go on"),
        None => ("resumed", "goes on"),
    };
    say(&Done { group: &fleet.group, app, done, rollout: &id }, text, screen)
}

/// Ends a rollout where it is.
pub async fn abort(
    fleet: &Fleet,
    app: &str,
    why: &str,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let key = keys::record(&fleet.group)?;
    // The one that is meant is the one that was seen first: if an answer was lost and it is over
    // by the next look, another one that began since stays.
    let mut meant = None;
    let (_, id) = change(&fleet.desk.engine, &key, &fleet.desk.by, |group: &mut Group| {
        let now = going(group, app);
        match (&meant, now) {
            (Some(meant), now) if now.as_ref() != Some(meant) => Ok(String::clone(meant)),
            (_, now) => {
                group.abort(app, why, now_ms())?;
                meant = now;
                Ok(meant.clone().unwrap_or_default())
            }
        }
    })
    .await?;
    let text = "aborted: hosts on their way turn back, those that run it keep it";
    say(&Done { group: &fleet.group, app, done: "aborted", rollout: &id }, text, screen)
}

/// Forgets an app that no host has any more.
pub async fn forget(fleet: &Fleet, app: &str, screen: &mut Screen) -> Result<Code, Failure> {
    let key = keys::record(&fleet.group)?;
    let mut was_there = false;
    change(&fleet.desk.engine, &key, &fleet.desk.by, |group: &mut Group| {
        if was_there && !group.apps.contains_key(app) {
            return Ok(());
        }
        group.forget(app)?;
        was_there = true;
        Ok(())
    })
    .await?;
    let done = Done { group: &fleet.group, app, done: "forgotten", rollout: "" };
    say(&done, "forgotten: what was blessed and what failed", screen)
}

fn going(group: &Group, app: &str) -> Option<String> {
    group.apps.get(app)?.rollout.as_ref().map(|rollout| rollout.id.clone())
}

fn say(done: &Done<'_>, text: &str, screen: &mut Screen) -> Result<Code, Failure> {
    if screen.json {
        screen.json(done)?;
    } else {
        let rollout = match done.rollout {
            "" => String::new(),
            id => format!("rollout {id} "),
        };
        screen.text(&format!("{}\n", printable(&format!("{}: {rollout}{text}", done.app))))?;
    }
    Ok(Code::Done)
}
