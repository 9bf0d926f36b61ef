//! What must be true: at every moment, before each effect, and at rest.

use crate::choice::Choice;
use crate::host::Life;
use crate::world::World;
use rollout::{Effect, HookKind, Origin, OutcomeKind, Record, RootRole, State, Summary, SwapPhase};

/// At every moment.
pub fn always(world: &World) {
    for closure in world.host.live() {
        let is_rooted = world.disk.roots.values().any(|path| path == closure);
        // A boot starts what the profile link holds, before any agent lives.
        let is_linked = [world.seed.as_ref(), world.disk.profile()].contains(&Some(closure));
        assert!(is_rooted || is_linked, "{closure} lives without a root: {:?}", world.disk.roots);
        assert!(world.disk.store.contains(closure), "{closure} lives and was collected");
    }
    users_are_where_they_belong(world);
}

/// Users are sent to no version that did not pass its gate, and at rest to the one that serves.
fn users_are_where_they_belong(world: &World) {
    let (host, record) = (&world.host, world.machine.record());
    if host.ports().is_none() {
        return;
    }
    let candidate = 1 - host.serving;
    let is_sent = host.front.is_in[candidate] && host.sides[candidate].is_live;
    let is_admitted = host.swap.as_ref().is_some_and(|swap| swap.phase == SwapPhase::Admitted);
    let is_gated = record.swap.as_ref().is_some_and(|swap| swap.gated_incarnation > 0);
    assert!(!is_sent || is_admitted || is_gated, "users are sent to a version behind its gate");
}

fn users_rest(world: &World) {
    let host = &world.host;
    if host.ports().is_some() && host.sides[host.serving].is_live {
        let is_right = host.front.is_in[host.serving] && !host.front.is_in[1 - host.serving];
        assert!(is_right, "users are sent elsewhere: {:?}", host.front);
    }
}

/// What is on disk explains an effect: whoever resumes now would come to it again.
pub fn explained(world: &World, effect: &Effect) {
    if world.persists_broke {
        return;
    }
    let state = world.written;
    let is_dry = state.is_none() && matches!(effect, Effect::Plan { .. });
    let is_explained = match effect {
        Effect::Plan { .. } | Effect::Fetch { .. } => state == Some(State::Planned) || is_dry,
        Effect::Root { role: RootRole::Target, .. } => state == Some(State::Fetched),
        Effect::Migrate { .. } => state == Some(State::Rooted),
        Effect::Prepare { .. } => state == Some(State::Migrated),
        Effect::Admit { .. } => state == Some(State::Gated),
        Effect::Retire { .. } => matches!(state, Some(State::Baked | State::Switched)),
        Effect::Commit { .. } => state == Some(State::Retired),
        Effect::Abandon { .. } => matches!(state, Some(State::Abandoning) | None),
        Effect::Hook { hook: HookKind::AfterSwitch, .. } => state == Some(State::Switched),
        Effect::Hook { .. } => matches!(state, Some(State::Telling { .. })),
        Effect::Probe { .. } => matches!(
            state,
            Some(
                State::Started { .. }
                    | State::Switched
                    | State::Baking { .. }
                    | State::Committed { .. }
                    | State::Verifying { .. }
            )
        ),
        _ => true,
    };
    assert!(is_explained, "the record says {state:?}, which does not explain {effect:?}");
}

/// Before the switch: the gate did its work.
pub fn admissible(world: &World) {
    if world.free.is_some() {
        return;
    }
    let candidate = match world.has_two_sides() {
        true => &world.host.sides[1 - world.host.serving],
        false => &world.host.sides[world.host.serving],
    };
    let closure = candidate.closure.as_deref().expect("a candidate");
    let life = world.host.life(closure);
    // READY=1 comes before a loop shows, and a view may come late: then the bake finds it.
    let is_ordinary = matches!(world.choice, Choice::First);
    let is_probed = world.policy.health.kind.is_probed() && is_ordinary;
    let is_bad = matches!(life, Life::NeverStarts | Life::Deaf | Life::Sick)
        || (life == Life::Loops && is_probed);
    assert!(!is_bad, "{closure} is {life:?} and gets users");
}

/// At rest.
pub fn at_rest(world: &World) {
    let record = world.machine.record();
    assert!(record.swap.is_none() && record.next.is_none(), "a swap is left: {:?}", record.swap);
    let bytes = world.disk.record.as_deref();
    let on_disk = bytes.map(|bytes| Record::decode(bytes).expect("whole")).unwrap_or_default();
    assert_eq!(on_disk.swap, None, "the disk knows of a swap that is over");
    assert_eq!(on_disk.book, record.book, "the disk knows less than the machine");
    assert!(world.tasks.is_empty(), "a migration is left running");
    one_incarnation(world);
    users_rest(world);
    roots(world);
    if let Some(last) = record.book.history.last() {
        serves_as_told(world, last);
    }
    migrations(world);
}

fn one_incarnation(world: &World) {
    assert_eq!(world.host.swap, None, "the supervisor has a swap left");
    let wanted = world.host.sides.iter().filter(|side| side.is_wanted).count();
    assert!(wanted <= 1, "two incarnations after the end");
}

fn roots(world: &World) {
    let book = &world.machine.record().book;
    assert_eq!(world.disk.roots.get(&RootRole::Target), None, "a root is left");
    if let Some(running) = world.disk.roots.get(&RootRole::Running) {
        let serving = world.host.sides[world.host.serving].closure.as_ref();
        assert_eq!(Some(running), serving, "the root `running` holds something else");
    }
    let previous = book.previous.as_ref().map(|release| &release.path);
    assert_eq!(world.disk.roots.get(&RootRole::Previous), previous, "the root `previous`");
    if let Some(previous) = previous {
        assert!(world.disk.store.contains(previous), "the way back was collected");
    }
}

fn serves_as_told(world: &World, last: &Summary) {
    let outcome = last.outcome.as_ref().expect("history has outcomes");
    let serving = world.host.sides[world.host.serving].closure.as_ref();
    let profile = world.disk.profile();
    let is_well = world.host.is_well(world.now_ns);
    match outcome.kind {
        OutcomeKind::Committed => {
            assert_eq!(serving, Some(&last.to.path), "committed, and something else serves");
            assert_eq!(profile, Some(&last.to.path), "committed, and a boot starts another");
            assert!(is_well || after_watch(world, last), "committed, and not well");
        }
        OutcomeKind::RolledBack | OutcomeKind::Superseded | OutcomeKind::Refused => {
            let from = last.from.as_ref().map(|release| &release.path);
            // A boot after the end starts what is linked, which a failed way back may not be.
            let is_booted = world.rebooted && serving == profile.or(world.seed.as_ref());
            let is_there = from.is_none() || serving == from || is_booted;
            assert!(is_there, "{outcome:?}: {serving:?} serves");
            // One that waited and never began says nothing about what there is.
            let is_linked = profile == Some(&last.to.path);
            assert!(from.is_none() || !is_linked, "{outcome:?}: a boot starts the new version");
            let is_empty = is_booted && serving.is_none();
            let is_fine = from.is_none() || is_well || is_empty || !was_well(world, from);
            assert!(is_fine, "{outcome:?}: not well");
        }
        OutcomeKind::FailedBack => failed_back(world, last),
        OutcomeKind::NothingToDo => {}
        OutcomeKind::Rebooting => panic!("no app reboots a host"),
    }
}

/// It fell sick later than anybody looked. A way back is neither baked nor watched.
fn after_watch(world: &World, last: &Summary) -> bool {
    match world.host.life(&last.to.path) {
        Life::SickAfter(ms) => ms > world.policy.bake_ms || last.origin.is_rollback(),
        _ => false,
    }
}

fn was_well(world: &World, from: Option<&String>) -> bool {
    from.is_some_and(|path| {
        matches!(world.host.life(path), Life::Well | Life::NeverAgain | Life::DiesOnce(_))
    })
}

/// Said only when the previous version is really unwell, or there is none.
fn failed_back(world: &World, last: &Summary) {
    let previous = match last.origin {
        Origin::Watch(_) => Some(&last.to),
        _ => last.from.as_ref(),
    };
    let nature = previous.and_then(|release| world.host.natures.get(&release.path));
    let is_well = nature.is_some_and(|nature| nature.life == Life::Well);
    assert!(
        !is_well || world.faults > 0 || world.free.is_some(),
        "{last:?}: but the previous one is well"
    );
}

fn migrations(world: &World) {
    let book = &world.machine.record().book;
    for summary in &book.history {
        let path = &summary.to.path;
        let nature = world.host.natures.get(path);
        let is_committed =
            summary.outcome.as_ref().is_some_and(|outcome| outcome.kind == OutcomeKind::Committed);
        let (ok, failed) = world.migrations.get(path).copied().unwrap_or_default();
        if nature.and_then(|nature| nature.migration).is_none() || summary.origin.is_rollback() {
            continue;
        }
        if is_committed {
            let is_unconfirmed = world.tests.get(&summary.id) == Some(&false);
            assert!(!is_unconfirmed, "a test that nobody confirmed is committed");
            assert!(ok >= 1, "{path} is committed and was never migrated");
        }
        if world.crashed == 0 && !world.persists_broke {
            assert!(ok <= 1, "{path} was migrated {ok} times without any crash");
        }
        let allowed = 1 + world.forced + u32::try_from(world.crashed).expect("small");
        assert!(failed <= allowed, "a failed migration of {path} was run {failed} times");
    }
}
