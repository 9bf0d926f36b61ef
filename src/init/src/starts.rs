//! Starts: of runs, as a spawn asks, and of the owner; and how exec went.

use crate::console::Console;
use crate::deaths::OWNER_CGROUP;
use crate::kept::Kept;
use crate::options::Mode;
use crate::outbox::Outbox;
use crate::owner::Verdict;
use crate::turn::{Connection, Init, Starting, Whose};
use port::event::{Answer, Failed, Started, Step};
use port::request::{Spawn, Stdio};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use sys::clock::{NS_PER_MS, monotonic_ns};
use sys::kmsg::Priority;
use sys::process::Limit;
use sys::spawn::{self, Failure, Plan, Spawned, Status, Way};
use sys::{rendezvous, seqpacket};

const ENOENT: i32 = 2;
const EIO: i32 = 5;

/// For what an owner left behind.
const SIGKILL: u8 = 9;

/// `umask(2)` of the owner, as of PID 1.
pub(crate) const UMASK: u32 = 0o022;

/// What failed before or at the clone.
type StepFailed = (Step, i32);

impl Init {
    /// Starts a run whose intent is in the table.
    pub(crate) fn start_run(
        &mut self,
        slot: usize,
        sequence: u64,
        spawn: &Spawn<'_>,
        attached: &[OwnedFd],
    ) {
        let now_ns = monotonic_ns();
        match self.clone_run(spawn, attached) {
            Ok(spawned) => {
                self.children.cloned(slot, spawned.pid, now_ns);
                let connection = self.connections;
                let whose = Whose::Run { slot, connection, sequence };
                self.starting.push(Starting { pid: spawned.pid, pipe: spawned.status, whose });
                // A suspended clone has its outcome already.
                self.resolve_start_of(spawned.pid);
            }
            Err((step, errno)) => {
                self.children.not_cloned(slot);
                self.answer(sequence, Answer::Failed(Failed { step, errno }));
            }
        }
    }

    /// Gathers what the spawn names and clones.
    fn clone_run(
        &mut self,
        spawn: &Spawn<'_>,
        attached: &[OwnedFd],
    ) -> Result<Spawned, StepFailed> {
        let group = match (&self.root, spawn.cgroup) {
            (_, "") => None,
            (None, _) => return Err((Step::Cgroup, ENOENT)),
            (Some(root), path) => Some(root.group(path).map_err(|e| failed(Step::Cgroup, &e))?),
        };
        let mut attached = attached.iter().map(AsFd::as_fd);
        let mut next = || attached.next().ok_or((Step::Descriptors, ENOENT));
        let directory = if spawn.directory_attached { Some(next()?) } else { None };
        let mut stdio = [self.null.as_fd(); 3];
        for (stream, wanted) in stdio.iter_mut().zip(&spawn.stdio) {
            *stream = match wanted {
                Stdio::Null => self.null.as_fd(),
                Stdio::Attached => next()?,
                Stdio::Kept(name) => self.kept.get(name).ok_or((Step::KeptFd, ENOENT))?,
            };
        }
        let passed = passed(&self.kept, &self.console, spawn)?;
        let named: Vec<Limit> = spawn.limits.iter().map(limit_of).collect();
        let unnamed = |limit: &&Limit| named.iter().all(|named| named.resource != limit.resource);
        let limits: Vec<Limit> =
            named.iter().chain(self.limits.iter().filter(unnamed)).copied().collect();
        let groups: Vec<u32> = spawn.groups.iter().collect();
        let frozen = group.as_ref().is_some_and(|group| group.frozen().unwrap_or(true));
        // Another user's processes could stop the child before its exec, a frozen group would
        // hold it: PID 1 does not suspend itself for either, whatever the owner has seen.
        let suspend = spawn.vfork_safe && spawn.user == 0 && !frozen;
        let plan = Plan {
            executable: spawn.executable,
            arguments: spawn.arguments.as_bytes(),
            environment: spawn.environment.as_bytes(),
            pid_slot: spawn.pid_slot.map(|at| at as usize),
            cgroup: group.as_ref().map(AsFd::as_fd),
            directory,
            stdio,
            passed: &passed,
            limits: &limits,
            nice: self.nice,
            umask: spawn.umask,
            user: spawn.user,
            group: spawn.group,
            groups: &groups,
            oom_score_adjust: spawn.oom_score_adjust,
            way: if suspend { Way::Suspend } else { Way::Copy },
        };
        self.spawner.spawn(&plan).map_err(|failure| (step_of(failure.step), failure.errno))
    }

    /// Looks at all clones under way.
    pub(crate) fn resolve_starts(&mut self) {
        let pids: Vec<u32> = self.starting.iter().map(|starting| starting.pid).collect();
        pids.into_iter().for_each(|pid| self.resolve_start_of(pid));
    }

    /// Looks at one; nothing happens while its outcome is open, or if it has none to give.
    pub(crate) fn resolve_start_of(&mut self, pid: u32) {
        let Some(at) = self.starting.iter().position(|starting| starting.pid == pid) else {
            return;
        };
        let outcome = match self.starting[at].pipe.read() {
            Status::Pending => return,
            Status::Running => Ok(()),
            Status::Failed(failure) => Err(failure),
        };
        let starting = self.starting.swap_remove(at);
        match starting.whose {
            Whose::Owner => self.owner_resolved(outcome),
            Whose::Run { slot, connection, sequence } => {
                let asker_there = self.is_connected(connection);
                self.run_resolved(slot, outcome, asker_there, sequence);
            }
        }
    }

    fn run_resolved(
        &mut self,
        slot: usize,
        outcome: Result<(), Failure>,
        asker_there: bool,
        sequence: u64,
    ) {
        let answer = match outcome {
            Ok(()) => {
                self.children.executed(slot);
                let run = self.children.table().run(slot);
                Answer::Started(Started { pid: run.pid, started_ns: run.started_ns })
            }
            Err(failure) => {
                self.children.not_executed(slot, !asker_there);
                let step = step_of(failure.step);
                if !asker_there {
                    let key = self.children.key_of(slot);
                    self.say(
                        Priority::Warning,
                        format_args!("{key}: start failed at {step:?}, errno {}", failure.errno),
                    );
                }
                Answer::Failed(Failed { step, errno: failure.errno })
            }
        };
        if asker_there {
            self.answer(sequence, answer);
        }
    }

    fn is_connected(&self, number: u64) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.number == number)
    }

    /// Starts the owner on a fresh pair of sockets.
    pub(crate) fn start_owner(&mut self, now_ns: u64) {
        match self.clone_owner() {
            Ok((spawned, socket)) => {
                self.owner.started(spawned.pid, now_ns);
                self.connections += 1;
                let number = self.connections;
                let outbox = Outbox::default();
                self.connection = Some(Connection { socket, number, attached: false, outbox });
                let whose = Whose::Owner;
                self.starting.push(Starting { pid: spawned.pid, pipe: spawned.status, whose });
            }
            Err((step, errno)) => {
                let verdict = self.owner.not_started(now_ns);
                let path = self.supervisor.display();
                self.say(
                    Priority::Error,
                    format_args!("start supervisor {path}: {step:?} failed, errno {errno}"),
                );
                self.say_if_loud(verdict);
            }
        }
    }

    /// The copy-on-write way, always: a root disk that died must not hold PID 1.
    fn clone_owner(&mut self) -> Result<(Spawned, OwnedFd), StepFailed> {
        let (ours, theirs) = seqpacket::pair().map_err(|error| failed(Step::Prepare, &error))?;
        let group = self.root.as_ref().and_then(|root| root.make(OWNER_CGROUP).ok());
        if let Some(group) = &group {
            // What the last owner left behind; nobody is there the first time. One by one and not
            // by `cgroup.kill`, which would kill the next owner too (see `Group::kill`).
            let _ = group.signal(SIGKILL);
        }
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let null = self.null.as_fd();
        let stdio = match self.options.mode {
            Mode::Kernel => [null; 3],
            Mode::Contained => [null, stdout.as_fd(), stderr.as_fd()],
        };
        let executable = self.supervisor.as_os_str().as_bytes();
        let plan = Plan {
            executable,
            arguments: &[executable, b"\0"].concat(),
            environment: &self.owner_environment(),
            pid_slot: None,
            cgroup: group.as_ref().map(AsFd::as_fd),
            directory: None,
            stdio,
            passed: &[theirs.as_fd()],
            limits: &[],
            nice: None,
            umask: UMASK,
            user: 0,
            group: 0,
            groups: &[],
            oom_score_adjust: 0,
            way: Way::Copy,
        };
        let spawned = self.spawner.spawn(&plan);
        let spawned = spawned.map_err(|failure| (step_of(failure.step), failure.errno))?;
        Ok((spawned, ours))
    }

    /// All that the owner needs to know.
    fn owner_environment(&self) -> Vec<u8> {
        let cgroup = self.root.as_ref().map(|root| root.path().as_os_str().as_bytes());
        let entries: [(&[u8], &[u8]); 5] = [
            (b"ROLLINIT_PORT_FD", b"3"),
            (b"ROLLINIT_RUN", self.options.run.as_os_str().as_bytes()),
            (b"ROLLINIT_DEFINITIONS", self.options.definitions.as_os_str().as_bytes()),
            (b"ROLLINIT_PROFILES", self.options.profiles.as_os_str().as_bytes()),
            (b"ROLLINIT_CGROUP", cgroup.unwrap_or_default()),
        ];
        entries.iter().flat_map(|(name, value)| [*name, b"=", value, b"\0"].concat()).collect()
    }

    fn owner_resolved(&mut self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            let (path, step) = (self.supervisor.display(), step_of(failure.step));
            self.say(
                Priority::Error,
                format_args!("start supervisor {path}: {step:?} failed, errno {}", failure.errno),
            );
        }
    }

    /// The one loud line of a crash loop.
    pub(crate) fn say_if_loud(&self, verdict: Verdict) {
        if verdict.loud {
            let path = self.supervisor.display();
            self.say(
                Priority::Error,
                format_args!(
                    "SUPERVISOR DOES NOT COME UP: {path} ended {} times before it attached; \
                     services keep running, nothing is restarted until it does; \
                     next try in {} ms",
                    verdict.failures,
                    verdict.pause_ns / NS_PER_MS
                ),
            );
        }
    }
}

/// The kept descriptors a spawn passes; listeners that are new, or shut down by a tenant, listen.
fn passed<'a>(
    kept: &'a Kept,
    console: &Console,
    spawn: &Spawn<'_>,
) -> Result<Vec<BorrowedFd<'a>>, StepFailed> {
    let mut passed = Vec::with_capacity(spawn.passed.count());
    for name in spawn.passed.iter() {
        let name = std::str::from_utf8(name).map_err(|_| (Step::KeptFd, ENOENT))?;
        let fd = kept.get(name).ok_or((Step::KeptFd, ENOENT))?;
        match rendezvous::listen_again(fd, spawn.listen_backlog) {
            Ok(false) => {}
            Ok(true) => console.say(
                Priority::Notice,
                format_args!(
                    "{name} does not listen (new, or shut down by its tenant): it does now"
                ),
            ),
            Err(error) => return Err(failed(Step::Listen, &error)),
        }
        passed.push(fd);
    }
    Ok(passed)
}

/// A step of PID 1's own with the errno of an error.
fn failed(step: Step, error: &std::io::Error) -> StepFailed {
    (step, error.raw_os_error().unwrap_or(EIO))
}

fn limit_of(limit: port::ResourceLimit) -> Limit {
    Limit { resource: limit.resource, soft: limit.soft, hard: limit.hard }
}

/// The port's word for a step of the spawn engine.
fn step_of(step: spawn::Step) -> Step {
    match step {
        spawn::Step::Prepare => Step::Prepare,
        spawn::Step::Clone => Step::Clone,
        spawn::Step::Session => Step::Session,
        spawn::Step::SignalDispositions => Step::SignalDispositions,
        spawn::Step::OomScore => Step::OomScore,
        spawn::Step::Limits => Step::Limits,
        spawn::Step::Umask => Step::Umask,
        spawn::Step::Groups => Step::Groups,
        spawn::Step::Group => Step::Group,
        spawn::Step::User => Step::User,
        spawn::Step::Directory => Step::Directory,
        spawn::Step::Descriptors => Step::Descriptors,
        spawn::Step::SignalMask => Step::SignalMask,
        spawn::Step::Exec => Step::Exec,
    }
}
