//! Words of the port as words of `service`, and back. Neither crate knows the other.

use port::event::{Cause, End, Event, PowerSource, Step};
use port::request::{Scope, ShutdownKind};
use port::snapshot::{KeyEntry, RunEntry, RunState};
use service::PowerKind;

/// An event.
#[must_use]
pub fn event(event: &Event<'_>) -> service::Event {
    match *event {
        Event::Exited { key, incarnation, end: ended, emptied } => {
            let (key, end) = (key.to_owned(), end(&ended));
            service::Event::Exited { key, incarnation, end, emptied }
        }
        Event::Emptied { key, incarnation } => {
            service::Event::Emptied { key: key.to_owned(), incarnation }
        }
        Event::Stuck { key, incarnation, pids, wchan } => service::Event::Stuck {
            key: key.to_owned(),
            incarnation,
            pids: pids.iter().collect(),
            wchan: wchan.to_owned(),
        },
        Event::Power { kind, source } => {
            tracing::warn!("{} asked for by {}", power_kind(kind), power_source(source));
            service::Event::Power { kind: power_kind(kind), within_ms: None }
        }
    }
}

/// How a leader ended.
#[must_use]
pub fn end(end: &End) -> service::End {
    service::End {
        status: end.status,
        cause: match end.cause {
            Cause::Own => service::Cause::Own,
            Cause::Asked => service::Cause::Asked,
            Cause::Deadline => service::Cause::Deadline,
            Cause::OutOfMemory => service::Cause::OutOfMemory,
            Cause::Shutdown => service::Cause::Shutdown,
        },
        ended_ns: end.ended_ns,
        user_us: end.user_us,
        system_us: end.system_us,
        resident_max_kib: end.resident_max_kib,
    }
}

/// A key of the snapshot.
#[must_use]
pub fn key(entry: &KeyEntry<'_>) -> service::snapshot::Key {
    service::snapshot::Key {
        key: entry.key.to_owned(),
        incarnation_last: entry.incarnation_last,
        memo: entry.memo.to_vec(),
    }
}

/// A run of the snapshot.
#[must_use]
pub fn run(entry: &RunEntry<'_>) -> service::snapshot::Run {
    service::snapshot::Run {
        key: entry.key.to_owned(),
        incarnation: entry.incarnation,
        pid: entry.pid,
        started_ns: entry.started_ns,
        stop_deadline_ns: entry.stop_deadline_ns,
        state: match entry.state {
            RunState::Starting => service::snapshot::RunState::Starting,
            RunState::Running => service::snapshot::RunState::Running,
            RunState::Ended { end: ended, emptied } => {
                service::snapshot::RunState::Ended { end: end(&ended), emptied }
            }
        },
    }
}

/// Who gets a signal.
#[must_use]
pub fn scope(scope: service::definition::Scope) -> Scope {
    match scope {
        service::definition::Scope::Leader => Scope::Leader,
        service::definition::Scope::Group => Scope::Group,
        service::definition::Scope::Cgroup => Scope::Cgroup,
    }
}

/// How the machine ends, from PID 1.
#[must_use]
pub fn power_kind(kind: ShutdownKind) -> PowerKind {
    match kind {
        ShutdownKind::PowerOff => PowerKind::PowerOff,
        ShutdownKind::Reboot => PowerKind::Reboot,
        ShutdownKind::Halt => PowerKind::Halt,
    }
}

/// How the machine ends, to PID 1.
#[must_use]
pub fn shutdown_kind(kind: PowerKind) -> ShutdownKind {
    match kind {
        PowerKind::PowerOff => ShutdownKind::PowerOff,
        PowerKind::Reboot => ShutdownKind::Reboot,
        PowerKind::Halt => ShutdownKind::Halt,
    }
}

/// What a power request came in by, in words.
fn power_source(source: PowerSource) -> String {
    match source {
        PowerSource::PowerButton => "the power button".to_owned(),
        PowerSource::CtrlAltDel => "ctrl-alt-del".to_owned(),
        PowerSource::Signal(number) => format!("signal {number} to PID 1"),
        PowerSource::Trial => "the end of a trial".to_owned(),
    }
}

/// A step of PID 1's in the words `service` and people know.
#[must_use]
pub fn step(step: Step) -> &'static str {
    match step {
        Step::Prepare => "prepare",
        Step::Cgroup => "cgroup",
        Step::KeptFd => "kept descriptor",
        Step::Listen => "listen",
        Step::Clone => "clone",
        Step::Session => "setsid",
        Step::SignalDispositions => "signal dispositions",
        Step::OomScore => "oom score",
        Step::Limits => "limits",
        Step::Umask => "umask",
        Step::Groups => "groups",
        Step::Group => "group",
        Step::User => "user",
        Step::Directory => "directory",
        Step::Descriptors => "descriptors",
        Step::SignalMask => "signal mask",
        Step::Exec => "exec",
    }
}
