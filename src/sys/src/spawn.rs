//! The parent's side of a spawn: one clone3(2) straight into the child's cgroup.
//!
//! Two ways. *Copy* duplicates the address space, copy-on-write, and never waits for the child.
//! *Suspend* (`CLONE_VM | CLONE_VFORK`) is several times cheaper, but the parent sleeps until the
//! child has called exec: only for a child that nothing can hold up, see [`Way`]. In both the
//! outcome of exec comes back on a non-blocking pipe: [`StatusPipe`].
//!
//! A child whose table is a copy pays for each descriptor its parent keeps. On the suspend way
//! the table is shared and the child unshares only its low part, so the parent places what the
//! child needs on low numbers reserved for that, for as long as it sleeps anyway.

use crate::child::{self, Child, CloneArguments, PID_SLOT_BYTES, RECORD_BYTES, RawLimit};
use crate::memory::Stack;
use crate::process::Limit;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Descriptors passed to one child after 0–2. The port allows as many.
const PASSED_MAX: usize = 64;

/// Low numbers reserved for the suspend way: streams, passed ones, directory, status pipe.
const SLOTS: usize = 3 + PASSED_MAX + 2;

/// Stack of a child on the suspend way, in bytes. It needs a few hundred; debug builds more.
const CHILD_STACK_BYTES: usize = 64 * 1024;

/// clone3 flags beyond 32 bits, which libc has as zero on some targets (linux/sched.h).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_VM: u64 = 0x100;
const CLONE_FILES: u64 = 0x400;
const CLONE_VFORK: u64 = 0x4000;

/// What was being done when a spawn failed, in the order in which it is done. The numbers are
/// what the child writes into its status pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Laying out arguments, making the status pipe.
    Prepare = 0,
    /// clone3(2), the way into the cgroup included.
    Clone = 1,
    /// setsid(2).
    Session = 2,
    /// rt_sigaction(2).
    SignalDispositions = 3,
    /// `/proc/self/oom_score_adj`.
    OomScore = 4,
    /// prlimit(2) and setpriority(2).
    Limits = 5,
    /// umask(2).
    Umask = 6,
    /// setgroups(2).
    Groups = 7,
    /// setgid(2).
    Group = 8,
    /// setuid(2).
    User = 9,
    /// fchdir(2).
    Directory = 10,
    /// dup3(2), close_range(2).
    Descriptors = 11,
    /// rt_sigprocmask(2).
    SignalMask = 12,
    /// execve(2).
    Exec = 13,
}

/// All steps, by their numbers.
const STEPS: [Step; 14] = [
    Step::Prepare,
    Step::Clone,
    Step::Session,
    Step::SignalDispositions,
    Step::OomScore,
    Step::Limits,
    Step::Umask,
    Step::Groups,
    Step::Group,
    Step::User,
    Step::Directory,
    Step::Descriptors,
    Step::SignalMask,
    Step::Exec,
];

/// A spawn that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// `errno` of it.
    pub errno: i32,
}

/// How to clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `CLONE_VM | CLONE_VFORK`. Only if nothing can hold the child before its exec: no path but
    /// the program's, on a file system that answers; a cgroup that is not frozen; no identity
    /// whose other processes could stop it meanwhile.
    Suspend,
    /// Copy-on-write: dearer by the page tables, and the child's troubles are its own.
    Copy,
}

/// What to run, and as what.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Path of the program, without NUL.
    pub executable: &'a [u8],
    /// argv: strings each ended by a NUL.
    pub arguments: &'a [u8],
    /// The whole environment, in the same form.
    pub environment: &'a [u8],
    /// Offset in `environment` of ten bytes for the child's pid.
    pub pid_slot: Option<usize>,
    /// The group to be born in; none: the parent's.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Working directory; none: "/".
    pub directory: Option<BorrowedFd<'a>>,
    /// Standard input, output, error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// What becomes 3, 4, …
    pub passed: &'a [BorrowedFd<'a>],
    /// Limits to set.
    pub limits: &'a [Limit],
    /// Niceness; none: the parent's.
    pub nice: Option<i8>,
    /// `umask(2)`.
    pub umask: u32,
    /// User.
    pub user: u32,
    /// Primary group.
    pub group: u32,
    /// All supplementary groups.
    pub groups: &'a [u32],
    /// `oom_score_adj`.
    pub oom_score_adjust: i16,
    /// How to clone.
    pub way: Way,
}

/// A child on its way to exec.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid, exact until the caller reaps it.
    pub pid: u32,
    /// Tells how exec went.
    pub status: StatusPipe,
}

/// The read end of the status pipe.
#[derive(Debug)]
pub struct StatusPipe(OwnedFd);

/// What a status pipe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not there yet.
    Pending,
    /// exec succeeded (or the child was killed before: it will be reaped).
    Running,
    /// It did not; the child exits by itself.
    Failed(Failure),
}

impl StatusPipe {
    /// Looks without waiting.
    #[must_use]
    pub fn read(&self) -> Status {
        let mut record = [0; RECORD_BYTES];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut record)) {
            Err(rustix::io::Errno::AGAIN) => Status::Pending,
            Ok(RECORD_BYTES) => {
                let [step, errno @ ..] = record;
                let step = STEPS.get(usize::from(step)).copied().unwrap_or(Step::Prepare);
                Status::Failed(Failure { step, errno: i32::from_le_bytes(errno) })
            }
            Ok(_) | Err(_) => Status::Running,
        }
    }
}

impl AsFd for StatusPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The spawn engine: its stack, its reserved numbers, and buffers that are used again.
#[derive(Debug)]
pub struct Spawner {
    stack: Stack,
    placeholder: OwnedFd,
    slots: Vec<OwnedFd>,
    ignored_signals: u64,
    oom_score_adjust: i16,
    pointers: Vec<*const u8>,
    environment: Vec<u8>,
    limits: Vec<RawLimit>,
}

impl Spawner {
    /// Sets the engine up. Call it early, so that the reserved numbers are low, and after signal
    /// dispositions are final: it notes which signals are ignored.
    ///
    /// # Errors
    /// Those of mmap(2) and open(2).
    pub fn new() -> io::Result<Self> {
        let placeholder = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let slot = |_| rustix::io::fcntl_dupfd_cloexec(&placeholder, 3);
        let slots = (0..SLOTS).map(slot).collect::<Result<Vec<_>, _>>()?;
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        Ok(Self {
            stack: Stack::new(CHILD_STACK_BYTES)?,
            slots,
            placeholder,
            ignored_signals: crate::signal::ignored(),
            oom_score_adjust: own.trim_ascii().parse().unwrap_or(0),
            pointers: Vec::new(),
            environment: Vec::new(),
            limits: Vec::new(),
        })
    }

    /// Starts a child. On the suspend way its status can be read when this returns.
    ///
    /// # Errors
    /// [`Failure`] with `Prepare` or `Clone`; later steps come through the status pipe.
    pub fn spawn(&mut self, plan: &Plan<'_>) -> Result<Spawned, Failure> {
        let prepare = |errno| Failure { step: Step::Prepare, errno };
        let executable = CString::new(plan.executable).map_err(|_| prepare(libc::EINVAL))?;
        let (arguments, environment) = self.lay_out(plan)?;
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (reader, writer) = pipe_with(flags).map_err(|error| prepare(error.raw_os_error()))?;
        let way = if plan.passed.len() > PASSED_MAX { Way::Copy } else { plan.way };
        let mut sources: Vec<RawFd> =
            plan.stdio.iter().chain(plan.passed).map(AsRawFd::as_raw_fd).collect();
        let mut directory = plan.directory.map(|fd| fd.as_raw_fd());
        let mut status = writer.as_raw_fd();
        let mut unshare_above = None;
        if way == Way::Suspend {
            let wanted = sources.iter_mut().chain(directory.as_mut()).chain([&mut status]);
            for (number, slot) in wanted.zip(&self.slots) {
                replace(*number, slot).map_err(prepare)?;
                *number = slot.as_raw_fd();
            }
            unshare_above = self.slots.iter().map(AsRawFd::as_raw_fd).max();
        }
        let used = sources.len() + 2;
        let oom = plan.oom_score_adjust.to_string();
        let unchanged = plan.oom_score_adjust == self.oom_score_adjust;
        let pid_slot = plan.pid_slot.map(|at| self.environment[at..].as_mut_ptr());
        let mut child = Child {
            status,
            unshare_above,
            directory,
            sources: &mut sources,
            executable: &executable,
            arguments: self.pointers[arguments..].as_ptr(),
            environment: self.pointers[environment..].as_ptr(),
            pid_slot: pid_slot.unwrap_or(std::ptr::null_mut()),
            ignored_signals: self.ignored_signals,
            oom_score_adjust: if unchanged { b"" } else { oom.as_bytes() },
            limits: &self.limits,
            nice: plan.nice,
            umask: plan.umask,
            user: plan.user,
            group: plan.group,
            groups: plan.groups,
        };
        let cloned = clone(&mut child, plan.cgroup, (way == Way::Suspend).then_some(&self.stack));
        if way == Way::Suspend {
            // The placeholder goes back, so that nothing of this child stays open here.
            for slot in self.slots.iter().take(used) {
                let _ = replace(self.placeholder.as_raw_fd(), slot);
            }
        }
        let pid = cloned.map_err(|errno| Failure { step: Step::Clone, errno })?;
        Ok(Spawned { pid, status: StatusPipe(reader) })
    }

    /// Fills the reused buffers: pointers of argv and of the environment (returns where each
    /// begins), an own copy of the environment for the pid slot, limits as the kernel takes them.
    fn lay_out(&mut self, plan: &Plan<'_>) -> Result<(usize, usize), Failure> {
        let bad = Failure { step: Step::Prepare, errno: libc::EINVAL };
        let ended = |strings: &[u8]| strings.last().is_none_or(|byte| *byte == 0);
        let slot_fits = plan.pid_slot.is_none_or(|at| {
            at.checked_add(PID_SLOT_BYTES).is_some_and(|end| end < plan.environment.len())
        });
        if !ended(plan.arguments) || !ended(plan.environment) || !slot_fits {
            return Err(bad);
        }
        self.environment.clear();
        self.environment.extend_from_slice(plan.environment);
        self.pointers.clear();
        let mut begin_of = |strings: &[u8]| {
            let begin = self.pointers.len();
            let each = strings.split_inclusive(|byte| *byte == 0).map(<[u8]>::as_ptr);
            self.pointers.extend(each.chain([std::ptr::null()]));
            begin
        };
        let begins = (begin_of(plan.arguments), begin_of(&self.environment));
        self.limits.clear();
        self.limits.extend(plan.limits.iter().map(|limit| RawLimit {
            soft: limit.soft,
            hard: limit.hard,
            resource: u32::from(limit.resource),
        }));
        Ok(begins)
    }
}

/// Makes `slot` a duplicate of `number`, close-on-exec.
fn replace(number: RawFd, slot: &OwnedFd) -> Result<(), i32> {
    let word = |fd: RawFd| usize::try_from(fd).unwrap_or(usize::MAX);
    let arguments = [word(number), word(slot.as_raw_fd()), libc::O_CLOEXEC as usize, 0];
    // SAFETY: takes numbers only; the slot stays an open descriptor that we own.
    unsafe { child::call(libc::SYS_dup3, arguments) }.map(|_| ())
}

/// The one clone3. All signals are blocked around it, so that no handler runs in a child that
/// shares our memory; the child empties its own mask when its dispositions are reset.
fn clone(
    child: &mut Child<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    stack: Option<&Stack>,
) -> Result<u32, i32> {
    let mut arguments = CloneArguments {
        flags: CLONE_CLEAR_SIGHAND,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    if let Some(stack) = stack {
        arguments.flags |= CLONE_VM | CLONE_VFORK | CLONE_FILES;
        arguments.stack = stack.base().as_ptr() as u64;
        arguments.stack_size = stack.bytes() as u64;
    }
    let before = swap_mask(u64::MAX)?;
    // SAFETY: without a stack the memory is a private copy; with one, the stack is ours alone
    // (`&mut Spawner`) and `CLONE_VFORK` suspends us until exec or exit. `child` and all it
    // points to outlive the call, and so outlive the child's use of it.
    let result = unsafe {
        child::clone3_call(&raw const arguments, size_of::<CloneArguments>(), child::run, child)
    };
    swap_mask(before)?;
    match u32::try_from(result) {
        Ok(pid) => Ok(pid),
        Err(_) => Err(i32::try_from(result.wrapping_neg()).unwrap_or(libc::EINVAL)),
    }
}

/// Sets this thread's signal mask, C library's own signals included; returns the one before.
fn swap_mask(mask: u64) -> Result<u64, i32> {
    let mut before = 0_u64;
    let pointers = (&raw const mask as usize, &raw mut before as usize);
    let set = [libc::SIG_SETMASK as usize, pointers.0, pointers.1, size_of::<u64>()];
    // SAFETY: the kernel reads and writes eight live bytes.
    unsafe { child::call(libc::SYS_rt_sigprocmask, set) }?;
    Ok(before)
}
