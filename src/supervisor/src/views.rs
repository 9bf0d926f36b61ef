//! What `status` and `ps` show: views of the machine in the words of `control`.

use crate::shell::Shell;
use crate::sockets;
use control::roles::Role;
use control::types::{
    End, EndCause, FirstWay, Host, HostState, Init, Listen, Problem, ProcessList, ServiceProcesses,
    ServiceState, ServiceStatus, ShutdownKind, Status, Supervisor, Timeline, WayState,
};
use service::problem::Severity;
use service::view::{LastEnd, View};
use service::{Cause, PowerKind, State};
use sys::clock::monotonic_ns;

/// How the machine ends.
#[must_use]
pub fn shutdown_kind(kind: PowerKind) -> ShutdownKind {
    match kind {
        PowerKind::PowerOff => ShutdownKind::Poweroff,
        PowerKind::Reboot => ShutdownKind::Reboot,
        PowerKind::Halt => ShutdownKind::Halt,
    }
}

/// How the machine shall end.
#[must_use]
pub fn power_kind(kind: ShutdownKind) -> PowerKind {
    match kind {
        ShutdownKind::Poweroff => PowerKind::PowerOff,
        ShutdownKind::Reboot => PowerKind::Reboot,
        ShutdownKind::Halt => PowerKind::Halt,
    }
}

/// How a service is.
#[must_use]
pub fn state(state: State) -> ServiceState {
    match state {
        State::Waiting => ServiceState::Waiting,
        State::Blocked => ServiceState::Blocked,
        State::Starting => ServiceState::Starting,
        State::Running => ServiceState::Running,
        State::Stopping => ServiceState::Stopping,
        State::Backoff => ServiceState::Backoff,
        State::Stopped => ServiceState::Stopped,
        State::Done => ServiceState::Done,
        State::Failed => ServiceState::Failed,
        State::Broken => ServiceState::Broken,
    }
}

fn last_end(last: LastEnd) -> End {
    End {
        incarnation: last.incarnation,
        at_ns: last.at_ns,
        cause: match last.end.map(|end| end.cause) {
            None => EndCause::NotStarted,
            Some(Cause::Own) => EndCause::Own,
            Some(Cause::Asked) => EndCause::Asked,
            Some(Cause::Deadline) => EndCause::Deadline,
            Some(Cause::OutOfMemory) => EndCause::OutOfMemory,
            Some(Cause::Shutdown) => EndCause::Shutdown,
        },
        exit_code: last.end.and_then(|end| end.code()),
        signal: last.end.and_then(|end| end.signal()),
        text: last.text,
    }
}

impl Shell {
    /// Answers `GetStatus`; with a name, for that service alone. `None`: there is none of it.
    #[must_use]
    pub fn status(&self, name: Option<&str>) -> Option<Status> {
        let now_ns = monotonic_ns();
        let mut services: Vec<ServiceStatus> =
            self.machine.views().into_iter().map(|view| self.service_status(view)).collect();
        let problems = self.problems();
        let shutdown = self.machine.power().map(|power| shutdown_kind(power.kind));
        let state = HostState::of(shutdown, &services, problems.is_empty());
        if let Some(name) = name {
            services.retain(|service| service.name == name);
            if services.is_empty() {
                return None;
            }
        }
        let supervisor = Supervisor {
            pid: std::process::id(),
            uptime_ns: now_ns.saturating_sub(self.host.started_ns),
        };
        let init = Init { pid: self.host.init_pid, started_ns: self.host.init_started_ns };
        let host = Host { state, shutdown, init, supervisor };
        Some(Status { now_ns, host, services, problems })
    }

    fn service_status(&self, view: View) -> ServiceStatus {
        let app = self.machine.app(&view.name).map(|app| &app.template);
        let definition = app.or(self.machine.definition(&view.name));
        let sockets = definition.map_or(&[][..], |definition| definition.listen.as_slice());
        let listen = |socket| sockets::address(socket);
        ServiceStatus {
            source: view.source,
            kind: view.kind.to_owned(),
            state: state(view.state),
            since_ns: view.since_ns,
            wanted: view.desired_up,
            incarnation: view.incarnation,
            pid: view.pid,
            main_pid: view.main_pid,
            restarts: u64::from(view.restarts),
            restart_at_ns: view.next_start_ns,
            stop_deadline_ns: view.stop_deadline_ns,
            last_end: view.last_end.map(last_end),
            status_text: (!view.status.is_empty()).then_some(view.status),
            problems: view.problems,
            listen: sockets
                .iter()
                .map(|socket| Listen { name: socket.name.clone(), address: listen(socket) })
                .collect(),
            definition: self.host.hashes.get(&view.name).cloned(),
            control: definition.map_or(Role::Read, |definition| role(definition.control)),
            name: view.name,
        }
    }

    /// What is wrong with the files of definitions.
    fn problems(&self) -> Vec<Problem> {
        problems(&self.machine.loaded().problems, &self.host.unread)
    }

    /// Answers `Timeline`.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let services = self.machine.timeline().into_iter().map(|way| FirstWay {
            name: way.name,
            state: match way.state {
                service::view::WayState::Ready => WayState::Ready,
                service::view::WayState::Coming => WayState::Coming,
                service::view::WayState::Failed => WayState::Failed,
            },
            after: way.after,
            waiting_ns: way.waiting_ns,
            starting_ns: way.starting_ns,
            started_ns: way.started_ns,
            ready_ns: way.ready_ns,
        });
        Timeline {
            now_ns: monotonic_ns(),
            init_ns: self.host.init_started_ns,
            services: services.collect(),
        }
    }

    /// Answers `ListProcesses`: the services that have a run, and the sides of apps by their keys.
    #[must_use]
    pub fn processes(&self) -> ProcessList {
        let services = self.machine.views().into_iter();
        let services = services.filter(|view| self.machine.app(&view.name).is_none());
        let apps = self.machine.apps().into_iter();
        let runs = apps.flat_map(|app| [Some(app.serving), app.candidate]).flatten();
        let views = services.chain(runs.map(|run| run.view));
        let views = views.filter(|view| view.pid.is_some() || view.state == State::Stopping);
        let services = views.map(|view| {
            let cgroup = self.group_path(&view.name);
            let cost = self.groups.cost(&cgroup);
            ServiceProcesses {
                cgroup,
                incarnation: view.incarnation,
                pid: view.pid,
                processes: cost.processes,
                memory_bytes: cost.memory_bytes,
                cpu_ns: cost.cpu_ns,
                name: view.name,
            }
        });
        ProcessList { now_ns: monotonic_ns(), services: services.collect() }
    }
}

/// How far a service's processes may go.
#[must_use]
pub fn role(control: service::definition::Control) -> Role {
    use service::definition::Control;
    match control {
        Control::Read => Role::Read,
        Control::Operate => Role::Operate,
        Control::Admin => Role::Admin,
    }
}

/// Problems of definitions, and lines about what could not be read, as they travel.
#[must_use]
pub fn problems(of_files: &[service::Problem], unread: &[String]) -> Vec<Problem> {
    let of_files = of_files.iter().map(|problem| {
        let place = match (problem.line, problem.column) {
            (0, _) => problem.file.clone(),
            (line, column) => format!("{}:{line}:{column}", problem.file),
        };
        let message = match problem.severity {
            Severity::Error => problem.message.clone(),
            Severity::Warning => format!("warning: {}", problem.message),
        };
        Problem { about: place, message, cure: problem.suggestion.clone() }
    });
    let unread = unread.iter().map(|line| {
        let (about, message) = line.split_once(": ").unwrap_or(("host", line));
        Problem { about: about.to_owned(), message: message.to_owned(), cure: None }
    });
    of_files.chain(unread).collect()
}
