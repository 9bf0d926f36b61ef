//! Effects of the machine, carried out.

use crate::identity::{self, Identity};
use crate::port::PortError;
use crate::shell::{Pending, Shell, Source};
use crate::sockets::{self, Failure};
use crate::spawn::{self, Given, Prepared, log_names, notify_name};
use crate::translate;
use control::types;
use port::Request;
use port::request::{Deadline, Forget, KeepFd, Set, Shutdown, Signal, Stop, TakeFd};
use service::record::{Record, What};
use service::{Definition, Effect, Event, Place};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use sys::user::Accounts;

/// What a run needs before its frame can be built.
#[derive(Debug)]
struct Ready {
    identity: Identity,
    cgroup: String,
    directory: OwnedFd,
    /// `$CREDENTIALS_DIRECTORY`.
    credentials: Option<PathBuf>,
}

fn at(step: &str) -> impl Fn(std::io::Error) -> Failure {
    move |error| match error.raw_os_error() {
        Some(errno) => (step.to_owned(), errno),
        None => (format!("{step}: {error}"), 0),
    }
}

impl Shell {
    /// Carries out one effect. What it causes at once waits in `caused`.
    pub(crate) fn effect(&mut self, effect: Effect) -> Result<(), PortError> {
        match effect {
            Effect::Spawn { key, incarnation } => self.spawn(&key, incarnation)?,
            Effect::Stop { key, incarnation, scope, signal, deadline_ns } => {
                self.groups.spoil(&key);
                let scope = translate::scope(scope);
                let stop = Stop { key: &key, incarnation, scope, signal, deadline_ns };
                self.request("stop", &key, &Request::Stop(stop), Vec::new())?;
            }
            Effect::Signal { key, incarnation, scope, signal } => {
                let scope = translate::scope(scope);
                let request = Request::Signal(Signal { key: &key, incarnation, scope, signal });
                self.request("signal", &key, &request, Vec::new())?;
            }
            Effect::CredentialsSettled { owner } => self.vault.settled(&owner),
            Effect::Forget { key, incarnation } => {
                self.drop_notify(&key, incarnation)?;
                let forget = Forget { key: &key, incarnation: Some(incarnation) };
                self.request("forget", &key, &Request::Forget(forget), Vec::new())?;
            }
            Effect::ForgetKey { key } => self.forget_key(&key)?,
            Effect::Unlisten { key } => self.release_all(&[format!("listen/{key}/")])?,
            Effect::Memo { key, bytes } => {
                let set = Set { key: &key, memo: &bytes };
                self.request("remember", &key, &Request::Set(set), Vec::new())?;
            }
            Effect::Deadline { key, incarnation, deadline_ns } => {
                self.groups.spoil(&key);
                let deadline_ns = Some(deadline_ns);
                let deadline = Deadline { key: &key, incarnation, deadline_ns };
                self.request("limit", &key, &Request::Deadline(deadline), Vec::new())?;
            }
            Effect::Group { app, request, first, program } => {
                self.group(app, request, first, program)?;
            }
            Effect::AwaitEmpty { app, request, side } => self.await_empty(app, request, side),
            Effect::Reply { id, result } => {
                // A caller that went away does not hear it; what was done is done.
                let _ = self.commands.remove(&id).map(|reply| reply.send(result));
            }
            Effect::TaskReply { id, result } => {
                let _ = self.tasks.remove(&id).map(|reply| reply.send(result));
            }
            Effect::Report(record) => self.report(&record),
            Effect::Shutdown { kind } => {
                let kind = translate::shutdown_kind(kind);
                let request = Request::Shutdown(Shutdown { kind });
                self.request("shut down", "the machine", &request, Vec::new())?;
            }
        }
        Ok(())
    }

    /// Sends a request whose answer matters only if it is a refusal.
    pub(crate) fn request(
        &mut self,
        verb: &'static str,
        object: &str,
        request: &Request<'_>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), PortError> {
        let sequence = self.port.send(request, fds)?;
        self.pending.insert(sequence, Pending::Done { verb, object: object.to_owned() });
        Ok(())
    }

    /// Has PID 1 keep a descriptor.
    pub(crate) fn keep(&mut self, name: &str, fd: OwnedFd) -> Result<(), PortError> {
        self.request("keep", name, &Request::KeepFd(KeepFd { name }), vec![fd])?;
        self.kept.insert(name.to_owned());
        Ok(())
    }

    /// Has PID 1 drop a descriptor, if it has it.
    fn release(&mut self, name: &str) -> Result<(), PortError> {
        self.listeners.drop_socket(name);
        if self.kept.remove(name) {
            let take = TakeFd { name, drop_entry: true };
            self.request("drop", name, &Request::TakeFd(take), Vec::new())?;
        }
        Ok(())
    }

    /// Drops a run's notify socket.
    pub(crate) fn drop_notify(&mut self, key: &str, incarnation: u64) -> Result<(), PortError> {
        self.notify.remove(key, incarnation);
        self.release(&notify_name(key, incarnation))
    }

    /// Has PID 1 drop all descriptors whose names begin so.
    fn release_all(&mut self, prefixes: &[String]) -> Result<(), PortError> {
        let ours = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        for name in self.kept.iter().filter(ours).cloned().collect::<Vec<_>>() {
            self.release(&name)?;
        }
        Ok(())
    }

    fn forget_key(&mut self, key: &str) -> Result<(), PortError> {
        self.release_all(&["listen", "log", "notify"].map(|kind| format!("{kind}/{key}/")))?;
        if let Some(group) = self.listeners.forget_app(key) {
            let forget = Forget { key: &group, incarnation: None };
            self.request("forget", &group, &Request::Forget(forget), Vec::new())?;
        }
        if self.logs.has(key) {
            self.logs.remove(key);
        }
        self.forget_credentials(key);
        let forget = Forget { key, incarnation: None };
        self.request("forget", key, &Request::Forget(forget), Vec::new())
    }

    /// Asks PID 1 for a run; what stands in the way becomes `SpawnFailed`.
    fn spawn(&mut self, key: &str, incarnation: u64) -> Result<(), PortError> {
        if let Err((step, errno)) = self.try_spawn(key, incarnation)? {
            self.drop_notify(key, incarnation)?;
            let key = key.to_owned();
            self.caused.push_back(Event::SpawnFailed { key, incarnation, step, errno });
        }
        Ok(())
    }

    /// Everything a run needs, in the order in which it can fail; then the frame itself.
    fn try_spawn(&mut self, key: &str, incarnation: u64) -> Result<Result<(), Failure>, PortError> {
        let Some(definition) = self.machine.definition(key).cloned() else {
            return Ok(Err(("definition: there is none".to_owned(), 0)));
        };
        let ready = self.make_ready(key, incarnation, &definition)?;
        let Ready { identity, cgroup, directory, credentials } = match ready {
            Ok(ready) => ready,
            Err(failure) => return Ok(Err(failure)),
        };
        let socket = spawn::notifies(&definition).then(|| self.notify.path(key, incarnation));
        let sockets = spawn::listen_names(key, self.machine.place(key), &definition);
        let given = Given { notify_socket: socket.as_deref(), credentials: credentials.as_deref() };
        let prepared = Prepared::new(key, &sockets, &definition, &identity, given);
        let spawn = match prepared.spawn((key, incarnation), &cgroup, &definition, &identity) {
            Ok(spawn) => spawn,
            Err(error) => return Ok(Err((error.to_string(), 0))),
        };
        self.logs.begin_run(key, incarnation);
        match self.port.send_spawn(&spawn, vec![directory])? {
            Ok(sequence) => {
                let key = key.to_owned();
                self.pending.insert(sequence, Pending::Spawn { key, incarnation });
                Ok(Ok(()))
            }
            Err(step) => Ok(Err((step, 0))),
        }
    }

    /// Identity, cgroup and directory; pipe and sockets are bound and kept.
    fn make_ready(
        &mut self,
        key: &str,
        incarnation: u64,
        definition: &Definition,
    ) -> Result<Result<Ready, Failure>, PortError> {
        let accounts = match identity::accounts_for(definition) {
            Ok(accounts) => accounts,
            Err(error) => return Ok(Err(at("accounts")(error))),
        };
        let identity = match identity::resolve(definition, &accounts) {
            Ok(identity) => identity,
            Err(unknown) => {
                let (step, name) = (unknown.step, &unknown.name);
                tracing::error!("{key}: its {step} {name:?} is in no file of /etc");
                return Ok(Err((step.to_owned(), 0)));
            }
        };
        // Before anything of it runs: from its first packet on it may.
        if definition.imds {
            self.guard.allow(identity.user);
        } else {
            self.guard.ensure();
        }
        let place = self.machine.place(key);
        let cgroup = self.groups.prepare(key, place, &definition.limits).map_err(at("cgroup"));
        let found = cgroup.and_then(|cgroup| {
            let directory = spawn::directory(definition).map_err(at("directory"))?;
            Ok((cgroup, directory))
        });
        let (cgroup, directory) = match found {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Err(failure) = self.make_sockets(key, definition, &identity, &accounts)? {
            return Ok(Err(failure));
        }
        let credentials = match self.prepare_credentials(key, definition, &identity) {
            Ok(credentials) => credentials,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Err(failure) = self.make_log(key, incarnation)? {
            return Ok(Err(failure));
        }
        if spawn::notifies(definition) {
            match self.notify.bind((key, incarnation), identity.user, identity.group) {
                Ok((ticket, kept)) => {
                    self.keep(&notify_name(key, incarnation), kept)?;
                    self.sources.push(Source::Notify(key.to_owned(), incarnation, ticket));
                }
                Err(error) => return Ok(Err(at("notify socket")(error))),
            }
        }
        Ok(Ok(Ready { identity, cgroup, directory, credentials }))
    }

    /// The key's listening sockets, once; those of an app's sides in their order.
    fn make_sockets(
        &mut self,
        key: &str,
        definition: &Definition,
        identity: &Identity,
        accounts: &Accounts,
    ) -> Result<Result<(), Failure>, PortError> {
        let names = spawn::listen_names(key, self.machine.place(key), definition);
        for (listen, name) in definition.listen.iter().zip(&names) {
            let bound = if listen.grouped {
                self.bind(name, listen)?
            } else if self.kept.contains(name) {
                Ok(())
            } else {
                match sockets::bind(listen, identity, accounts) {
                    Ok(socket) => Ok(self.keep(name, socket)?),
                    Err(failure) => Err(failure),
                }
            };
            if bound.is_err() {
                return Ok(bound);
            }
        }
        let Place::Side { app, .. } = self.machine.place(key) else { return Ok(Ok(())) };
        // A tenant may have shut a socket down since: PID 1 would have it listen, but behind the
        // other side's.
        let arranged = self.arrange_app(app)?;
        Ok(arranged.map_err(|failure| (format!("listen: {failure}"), 0)))
    }

    /// The service's log pipe, once.
    fn make_log(&mut self, key: &str, incarnation: u64) -> Result<Result<(), Failure>, PortError> {
        if self.logs.has(key) {
            return Ok(Ok(()));
        }
        let made = sys::log_pipe::create().and_then(|pipe| {
            let kept = pipe.read.try_clone()?;
            let source = self.logs.adopt(key, pipe.read, incarnation)?;
            Ok((kept, pipe.write, source))
        });
        let (read, write, source) = match made {
            Ok(made) => made,
            Err(error) => return Ok(Err(at("log")(error))),
        };
        let (read_name, write_name) = log_names(key);
        // The write end last: where it is kept, a reader can be had too.
        self.keep(&read_name, read)?;
        self.keep(&write_name, write)?;
        self.sources.push(Source::Log(key.to_owned(), source));
        Ok(Ok(()))
    }

    /// Tells those who watch, and the log what an operator wants to find there.
    pub(crate) fn report(&mut self, record: &Record) {
        match &record.what {
            What::Failed { .. }
            | What::Stuck { .. }
            | What::Broken { .. }
            | What::Blocked { .. }
            | What::CredentialMissing { .. }
            | What::MemoLost { .. } => tracing::error!("{record}"),
            What::SpawnFailed { .. } | What::ReadyTimeout { .. } | What::Backoff { .. } => {
                tracing::warn!("{record}");
            }
            What::Exited { end } if !end.is_success() => tracing::warn!("{record}"),
            What::Power { .. } | What::Shutdown { .. } => tracing::warn!("{record}"),
            What::Ready | What::Undefined | What::Command { .. } => tracing::info!("{record}"),
            _ => {}
        }
        let service = match self.machine.place(&record.key) {
            Place::Side { app, .. } | Place::Task { app, .. } => app,
            Place::Service => record.key.as_str(),
        };
        let service = (!service.is_empty()).then(|| service.to_owned());
        let incarnation = (record.incarnation > 0).then_some(record.incarnation);
        self.history.add(types::Event {
            time_ns: record.at_ns,
            what: record.what.word().to_owned(),
            service,
            incarnation,
            text: record.to_string(),
        });
    }
}
