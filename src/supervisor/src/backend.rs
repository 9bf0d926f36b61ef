//! The control socket's answers, from the shell.

use crate::groups;
use crate::logs::Left;
use crate::shell::{Handle, Input};
use crate::views;
use control::Error;
use control::roles::{Peer, Place, Policy, Role};
use control::server::{Answer, Backend, Feed, LogQuery, Verb};
use control::types::{Changed, Event, LogRecord, ProcessList, ShutdownKind, Status};
use service::{CommandError, Outcome};
use std::io;
use std::os::unix::net::UnixStream;
use tokio::sync::oneshot;

/// Groups whose members may look, and may operate.
const READ_GROUP: &str = "rollinit-read";
const OPERATE_GROUP: &str = "rollinit";

/// Answers callers of the control socket.
#[derive(Debug)]
pub struct Control {
    handle: Handle,
}

impl Control {
    /// For this shell.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    fn unknown(&self, name: &str) -> Error {
        let names = self.handle.with(|shell| shell.machine.views());
        Error::no_such_service(name, names.iter().map(|view| view.name.as_str()))
    }

    /// Where a service is after a command.
    fn changed(&self, name: &str, outcome: Outcome) -> Result<Changed, Error> {
        let views = self.handle.with(|shell| shell.machine.views());
        let view = views.into_iter().find(|view| view.name == name);
        let view = view.ok_or_else(|| self.unknown(name))?;
        Ok(Changed {
            changed: outcome == Outcome::Done,
            state: views::state(view.state),
            incarnation: view.incarnation,
            pid: view.pid,
            name: view.name,
        })
    }

    fn error(&self, name: &str, error: &CommandError) -> Error {
        let (name, reason) = (name.to_owned(), error.to_string());
        match error {
            CommandError::Unknown { .. } => self.unknown(&name),
            CommandError::ShuttingDown { kind, .. } => {
                Error::ShuttingDown { kind: views::shutdown_kind(*kind) }
            }
            CommandError::Broken { .. }
            | CommandError::TooMany { .. }
            | CommandError::Refused { .. }
            | CommandError::NoSwap { .. }
            | CommandError::WrongPhase { .. }
            | CommandError::SwapUnderWay { .. } => Error::Refused { name, reason },
            CommandError::NotReady { .. }
            | CommandError::Stuck { .. }
            | CommandError::StartFailed { .. }
            | CommandError::Superseded { .. } => Error::Failed { name, reason },
        }
    }

    async fn command(&self, peer: &Peer, verb: Verb, name: &str) -> Result<Changed, Error> {
        let verb = match verb {
            Verb::Start => service::Verb::Start,
            Verb::Stop => service::Verb::Stop,
            Verb::Restart => service::Verb::Restart,
        };
        tracing::info!("{verb} of {name:?} asked for by uid {}, pid {}", peer.uid, peer.pid);
        let (reply, answer) = oneshot::channel();
        self.handle.input(Input::Command(verb, name.to_owned(), reply));
        match answer.await {
            Ok(Ok(outcome)) => self.changed(name, outcome),
            Ok(Err(error)) => Err(self.error(name, &error)),
            Err(_) => Err(Error::Failed {
                name: name.to_owned(),
                reason: "the supervisor ended before it was done; ask again".to_owned(),
            }),
        }
    }
}

impl Backend for Control {
    fn status<'a>(&'a self, name: Option<&'a str>) -> Answer<'a, Status> {
        let status = self.handle.with(|shell| shell.status(name));
        let answer = status.ok_or_else(|| self.unknown(name.unwrap_or("")));
        Box::pin(std::future::ready(answer))
    }

    fn processes(&self) -> Answer<'_, ProcessList> {
        Box::pin(std::future::ready(Ok(self.handle.with(|shell| shell.processes()))))
    }

    fn change<'a>(&'a self, peer: &'a Peer, verb: Verb, name: &'a str) -> Answer<'a, Changed> {
        Box::pin(self.command(peer, verb, name))
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Feed<LogRecord>> {
        let answer = match &query.service {
            Some(name) if self.handle.with(|shell| shell.status(Some(name)).is_none()) => {
                Err(self.unknown(name))
            }
            _ => {
                // What was printed before the call belongs to its answer.
                let names = self.handle.with(|shell| shell.logs.names(query.service.as_deref()));
                for name in names {
                    let _: Left = self.handle.input(Input::LogReadable(name));
                }
                let feed = self.handle.with(|shell| shell.logs.query(&query));
                feed.map_err(|(name, error)| Error::Failed {
                    name,
                    reason: format!("its log cannot be read: {error}"),
                })
            }
        };
        Box::pin(std::future::ready(answer))
    }

    fn events(&self, follow: bool) -> Answer<'_, Feed<Event>> {
        let feed = self.handle.with(|shell| shell.history.feed(follow));
        Box::pin(std::future::ready(Ok(feed)))
    }

    fn shutdown<'a>(&'a self, peer: &'a Peer, kind: ShutdownKind) -> Answer<'a, ()> {
        tracing::warn!("{kind} asked for by uid {}, pid {}", peer.uid, peer.pid);
        self.handle.input(Input::Power(views::power_kind(kind)));
        Box::pin(std::future::ready(Ok(())))
    }

    fn now_ns(&self) -> u64 {
        sys::clock::monotonic_ns()
    }

    fn say(&self, message: &str) {
        tracing::warn!("{message}");
    }
}

/// Who is at the other end, by the kernel.
///
/// # Errors
/// Those of getsockopt(2).
pub fn identify(stream: &UnixStream) -> io::Result<Peer> {
    let peer = sys::peer::credentials(stream)?;
    let place = match sys::peer::cgroup(peer.pid) {
        Ok(Some(cgroup)) => match groups::service_of(&cgroup) {
            Some(service) => Place::Service { name: service.to_owned(), limit: Role::Read },
            None => Place::Host,
        },
        // No cgroup2 hierarchy: no service can be told from the host by it.
        Ok(None) => Place::Host,
        Err(_) => Place::Unknown,
    };
    Ok(Peer { pid: peer.pid, uid: peer.user, gid: peer.group, groups: peer.groups, place })
}

/// The host's groups, and our own uid.
#[must_use]
pub fn policy() -> Policy {
    use std::os::unix::fs::MetadataExt;
    let accounts = crate::identity::accounts().unwrap_or_default();
    let own_uid = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let group = |name| accounts.group(name);
    Policy { own_uid, read_gid: group(READ_GROUP), operate_gid: group(OPERATE_GROUP) }
}
