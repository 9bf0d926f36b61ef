//! What a release wishes, done: a rollout of the group, or a swap where there is no fleet.

use super::task::Host;
use crate::app;
use crate::fleet::{Fleet, RecordError};
use control::agent::OutcomeKind;
use release::{Applied, Wish};
use rollout::fleet::{Group, How, Refusal, Rollout, Track, Version};

/// Lets the app run that.
pub async fn apply(host: &Host, app: &str, wish: &Wish) -> Applied {
    match host.tools.fleet() {
        Some(fleet) => roll(&fleet, app, wish).await,
        None => swap(host, app, wish).await,
    }
}

/// Begins the group's rollout, unless somebody else did: its id is the same on each host.
async fn roll(fleet: &Fleet, app: &str, wish: &Wish) -> Applied {
    let rollout = Rollout {
        id: wish.id.clone(),
        to: Version { path: wish.path.clone(), serial: wish.serial },
        by: wish.by.clone(),
        began_ms: app::now().wall_ms,
        paused: None,
        forced: false,
    };
    let changed = fleet.change(|group| begin(group, app, wish, &rollout)).await;
    let name = fleet.group();
    let failed = |text: String| Applied::Failed {
        text: format!("{} is not rolled in group {name}: {text}", wish.by),
        cure: "make and sign a new release; `rollinit rollout status` tells more".to_owned(),
    };
    match changed {
        Ok(group) => match ended(&group, app, wish) {
            Some(How::Failed(why)) => failed(format!("it failed there: {why}")),
            _ => Applied::Done,
        },
        Err(RecordError::Refused(Refusal::UnderWay { id, path })) => {
            Applied::Later(format!("{} waits for rollout {id} to {path}", wish.by))
        }
        Err(RecordError::Refused(refusal @ (Refusal::Barred { .. } | Refusal::Older { .. }))) => {
            failed(refusal.to_string())
        }
        Err(error) => {
            let text = format!("{} cannot be told to group {name}: {error}", wish.by);
            Applied::Refused { text, cure: "`rollinit rollout status` tells more".to_owned() }
        }
    }
}

/// Begins it in the group's record, unless the group has seen it before. A host that has just
/// joined has not: what became of the release since (somebody ended it, or rolled another one by
/// hand) is not undone for that.
fn begin(group: &mut Group, app: &str, wish: &Wish, rollout: &Rollout) -> Result<(), Refusal> {
    let is_signed = wish.serial != 0;
    let is_known = |track: &&Track| match is_signed {
        true => track.newest_serial() == wish.serial,
        false => track.document == wish.id,
    };
    if let Some(track) = group.apps.get(app).filter(is_known) {
        return track.admits(&rollout.to);
    }
    let supersede = gives_way(group, app, wish);
    if let Some(track) = group.apps.get_mut(app).filter(|_| !is_signed) {
        // One that comes back after another has the name of its rollout before: it is a new one.
        track.last.take_if(|last| last.id == wish.id);
    }
    group.start(app, rollout.clone(), supersede)?;
    if let Some(track) = group.apps.get_mut(app).filter(|_| !is_signed) {
        track.document.clone_from(&wish.id);
    }
    Ok(())
}

/// Whether the rollout that goes on gives way: one of an older release does, as does the document
/// that is not signed to its own next version. One that a person began does not.
fn gives_way(group: &Group, app: &str, wish: &Wish) -> bool {
    let going = group.apps.get(app).and_then(|track| track.rollout.as_ref());
    going.is_some_and(|going| match (going.to.serial, wish.serial) {
        (0, 0) => going.by == wish.by,
        (0, _) => false,
        (going, wished) => going < wished,
    })
}

fn ended(group: &Group, app: &str, wish: &Wish) -> Option<How> {
    let last = group.apps.get(app)?.last.as_ref()?;
    (last.id == wish.id).then(|| last.how.clone())
}

/// Swaps, and waits for how that ends.
async fn swap(host: &Host, app: &str, wish: &Wish) -> Applied {
    if host.is_fleet_due {
        return Applied::Later(format!("{} waits for user-data to say the fleet", wish.by));
    }
    let cure = format!("`rollinit swaps {app}` tells more");
    match host.tools.closures.profile(app).await {
        Ok(Some(generation)) if generation.path == wish.path => return Applied::Done,
        Ok(_) => {}
        Err(failure) => return Applied::Refused { text: failure.reason, cure },
    }
    let mut reader = match host.agent.wish(app, &wish.path, false).await {
        Ok(reader) => reader,
        Err(error) => return Applied::Refused { text: format!("{}: {error}", wish.by), cure },
    };
    let outcome = reader.end().await.and_then(|progress| progress.outcome);
    let Some(outcome) = outcome else {
        return Applied::Refused { text: format!("{}: the swap said no word", wish.by), cure };
    };
    let reason = outcome.reason.unwrap_or_else(|| "no reason was given".to_owned());
    let text = format!("{}: {reason}", wish.by);
    let cure = outcome.cures.into_iter().next().unwrap_or(cure);
    match outcome.kind {
        OutcomeKind::Committed | OutcomeKind::NothingToDo | OutcomeKind::Rebooting => Applied::Done,
        OutcomeKind::RolledBack | OutcomeKind::FailedBack => Applied::Failed { text, cure },
        OutcomeKind::Superseded | OutcomeKind::Planned => Applied::Later(text),
        // It failed here before: that does not pass by itself.
        OutcomeKind::Refused if host.agent.has_failed(app, &wish.path) => {
            Applied::Failed { text, cure }
        }
        OutcomeKind::Refused => Applied::Refused { text, cure },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::fleet::Failed;

    fn wish(serial: u64) -> Wish {
        let (path, by) = (format!("/nix/store/x-{serial}"), "the release document".to_owned());
        Wish { path, serial, id: format!("release-{serial}"), by, expires: None }
    }

    fn rollout(wish: &Wish) -> Rollout {
        Rollout {
            id: wish.id.clone(),
            to: Version { path: wish.path.clone(), serial: wish.serial },
            by: wish.by.clone(),
            began_ms: 0,
            paused: None,
            forced: false,
        }
    }

    /// A host that has just joined begins nothing again that the group has seen: neither after a
    /// rollout by hand, nor after an abort. What failed is told to it, too.
    #[test]
    fn what_the_group_has_seen_is_not_begun_again() {
        let mut group = Group::new();
        let (signed, newer) = (wish(42), wish(43));
        let begin = |group: &mut Group, wish: &Wish| begin(group, "web", wish, &rollout(wish));
        begin(&mut group, &signed).expect("the first to see it");
        group.abort("web", "no", 1).expect("it goes on");
        let by_hand = Wish { id: "HAND".to_owned(), ..wish(0) };
        group.start("web", rollout(&by_hand), false).expect("nothing goes on");
        for is_over in [false, true] {
            if is_over {
                group.abort("web", "no", 2).expect("it goes on");
            }
            let before = group.clone();
            begin(&mut group, &signed).expect("seen before");
            assert_eq!(group, before);
        }
        begin(&mut group, &newer).expect("a newer one");
        assert_eq!(group.apps["web"].rollout.as_ref().map(|going| going.to.serial), Some(43));
        let failed = Failed {
            path: newer.path.clone(),
            host: "a".to_owned(),
            reason: "gate".to_owned(),
            wall_ms: 1,
        };
        group.apps.get_mut("web").expect("known").failed.push(failed);
        assert!(matches!(begin(&mut group, &newer), Err(Refusal::Barred { .. })));
    }

    /// The same for a document without signatures; one that comes back after another is new.
    #[test]
    fn a_document_that_the_group_has_seen_is_not_begun_again() {
        let mut group = Group::new();
        let document = |name: &str| Wish {
            path: format!("/nix/store/{name}"),
            id: format!("path-{name}"),
            ..wish(0)
        };
        let (first, second) = (document("a"), document("b"));
        let begin = |group: &mut Group, wish: &Wish| begin(group, "web", wish, &rollout(wish));
        for wish in [&first, &second, &first] {
            begin(&mut group, wish).expect("a new one");
            let going = group.apps["web"].rollout.as_ref().map(|going| going.to.path.clone());
            assert_eq!(going.as_ref(), Some(&wish.path));
        }
        let by_hand = Wish { id: "HAND".to_owned(), by: "anna".to_owned(), ..document("c") };
        group.start("web", rollout(&by_hand), true).expect("in its place");
        let before = group.clone();
        begin(&mut group, &first).expect("seen before");
        assert_eq!(group, before);
        let waits = begin(&mut group, &second);
        assert!(matches!(waits, Err(Refusal::UnderWay { .. })), "{waits:?}");
        group.abort("web", "no", 1).expect("it goes on");
        begin(&mut group, &second).expect("it was only waiting");
        assert!(group.apps["web"].rollout.is_some());
    }

    /// Older releases give way to newer ones, a person's rollout to nobody.
    #[test]
    fn who_gives_way() {
        for (going, by, wished, gives) in [
            (41, "release 41", 42, true),
            (43, "release 43", 42, false),
            (0, "anna", 42, false),
            (0, "anna", 0, false),
            (0, "the release document", 0, true),
        ] {
            let mut group = Group::new();
            let rollout = Rollout {
                id: "r1".to_owned(),
                to: Version { path: "/nix/store/y".to_owned(), serial: going },
                by: by.to_owned(),
                began_ms: 0,
                paused: None,
                forced: false,
            };
            group.start("web", rollout, false).expect("it begins");
            assert_eq!(gives_way(&group, "web", &wish(wished)), gives, "{going} {by} {wished}");
        }
        assert!(!gives_way(&Group::new(), "web", &wish(1)));
    }
}
