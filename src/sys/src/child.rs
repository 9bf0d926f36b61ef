//! The child's side of a spawn: everything between clone3(2) and execve(2).
//!
//! It may run in the memory of its parent (`CLONE_VM`), so it allocates nothing, takes no lock,
//! touches no thread-local (not even `errno`), never panics and never returns: raw system calls
//! on values that the parent laid out. All signals are blocked until dispositions are reset. The
//! first failing step is written as five bytes, step and little-endian errno, to a close-on-exec
//! pipe; a pipe that ends without a byte means that exec succeeded.

use crate::spawn::Step;
use std::arch::{asm, naked_asm};
use std::ffi::CStr;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the spawn engine's entry is written for x86-64; port `clone3_call` and `call`");

/// Bytes of the record on the status pipe: step, then errno.
pub(crate) const RECORD_BYTES: usize = 5;

/// Bytes reserved in the environment for the child's own pid, as `port` has them.
pub(crate) const PID_SLOT_BYTES: usize = 10;

/// Exit status of a child that never became its program; its parent reads the pipe instead.
const EXIT_FAILED: usize = 127;

/// `struct clone_args` (clone(2)), size 88, known since Linux 5.7.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct CloneArguments {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// `struct rlimit64` behind its resource number.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLimit {
    pub soft: u64,
    pub hard: u64,
    pub resource: u32,
}

/// What the child works on. Descriptors are plain numbers: the table may be its own copy.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    /// Write end of the status pipe.
    pub status: i32,
    /// Highest number to keep of a table shared with the parent; none: the table is its own.
    pub unshare_above: Option<i32>,
    /// Working directory; none: "/".
    pub directory: Option<i32>,
    /// What becomes 0, 1, 2, 3, …
    pub sources: &'a mut [i32],
    pub executable: &'a CStr,
    /// Pointers into strings, null-terminated.
    pub arguments: *const *const u8,
    pub environment: *const *const u8,
    /// Where the pid goes; null: nowhere.
    pub pid_slot: *mut u8,
    /// Bit `n - 1`: signal `n` is ignored and must not be.
    pub ignored_signals: u64,
    /// What to write to `oom_score_adj`; empty: it is right already.
    pub oom_score_adjust: &'a [u8],
    pub limits: &'a [RawLimit],
    pub nice: Option<i8>,
    pub umask: u32,
    pub user: u32,
    pub group: u32,
    pub groups: &'a [u32],
}

/// A step and the errno it failed with.
type Outcome = Result<(), (Step, i32)>;

/// Calls clone3; in the child continues at `entry(child)` on an aligned stack and never comes
/// back. Returns the child's pid, or a negated errno. With a null stack the child goes on below
/// the parent's frame in its own copy; with one, it never touches the parent's frame at all,
/// which a call through a C library's wrapper would return on.
///
/// # Safety
/// `arguments` describes either a private copy of memory (no `CLONE_VM`) or a stack that is
/// free and a parent that is suspended meanwhile (`CLONE_VFORK`); `child` lives until exec.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn clone3_call(
    arguments: *const CloneArguments,
    arguments_bytes: usize,
    entry: unsafe extern "C" fn(*mut Child<'_>) -> !,
    child: *mut Child<'_>,
) -> isize {
    naked_asm!(
        "mov r8, rdx",
        "mov r9, rcx", // the system call overwrites rcx and r11 only
        "mov eax, 435",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        "xor ebp, ebp", // the outermost frame, for unwinders
        "and rsp, -16",
        "mov rdi, r9",
        "call r8",
        "ud2",
    )
}

/// One system call of up to four arguments; `Err` is an errno.
///
/// # Safety
/// As the call itself demands.
pub(crate) unsafe fn call(number: libc::c_long, arguments: [usize; 4]) -> Result<usize, i32> {
    let [a, b, c, d] = arguments;
    let result: libc::c_long;
    // SAFETY: the x86-64 convention; rcx and r11 are declared overwritten, memory is not assumed
    // untouched. What the call does is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    match usize::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(i32::try_from(result.wrapping_neg()).unwrap_or(libc::EINVAL)),
    }
}

/// A call whose arguments are numbers only, so that it can touch no memory of ours.
fn number_call(number: libc::c_long, a: i32, b: i32, c: i32) -> Result<usize, i32> {
    let word = |value: i32| (value as isize).cast_unsigned();
    // SAFETY: the callers below pick calls that take no pointer.
    unsafe { call(number, [word(a), word(b), word(c), 0]) }
}

/// Entry of the child.
///
/// # Safety
/// Only from [`clone3_call`], with a pointer to a live `Child` that nobody else uses.
pub(crate) unsafe extern "C" fn run(child: *mut Child<'_>) -> ! {
    // SAFETY: see above.
    let child = unsafe { &mut *child };
    if let Err((step, errno)) = become_program(child) {
        let mut record = [0; RECORD_BYTES];
        let [head, tail @ ..] = &mut record;
        *head = step as u8;
        *tail = errno.to_le_bytes();
        let pipe = usize::try_from(child.status).unwrap_or(usize::MAX);
        // SAFETY: writes five live bytes. If it fails nobody is left to read it.
        let _ = unsafe { call(libc::SYS_write, [pipe, record.as_ptr() as usize, RECORD_BYTES, 0]) };
    }
    loop {
        // SAFETY: ends this task, touching no memory; not the C library's exit, whose handlers
        // belong to the parent.
        let _ = unsafe { call(libc::SYS_exit_group, [EXIT_FAILED, 0, 0, 0]) };
    }
}

/// All steps in their order; returns only if one failed.
fn become_program(child: &mut Child<'_>) -> Outcome {
    if let Some(last) = child.unshare_above {
        // Own table from here on, of the low numbers only: the cost does not grow with what the
        // parent keeps open.
        let first = last.wrapping_add(1);
        number_call(libc::SYS_close_range, first, -1, CLOSE_RANGE_UNSHARE)
            .map_err(|errno| (Step::Descriptors, errno))?;
    }
    number_call(libc::SYS_setsid, 0, 0, 0).map_err(|errno| (Step::Session, errno))?;
    reset_dispositions(child.ignored_signals)?;
    adjust_oom_score(child.oom_score_adjust)?;
    set_limits(child)?;
    #[allow(clippy::cast_possible_wrap)]
    number_call(libc::SYS_umask, child.umask as i32, 0, 0).map_err(|e| (Step::Umask, e))?;
    take_identity(child)?;
    change_directory(child.directory)?;
    place_descriptors(child)?;
    write_pid(child.pid_slot);
    let mask = 0_u64;
    let empty = [libc::SIG_SETMASK as usize, &raw const mask as usize, 0, size_of::<u64>()];
    // SAFETY: the kernel reads eight live bytes.
    unsafe { call(libc::SYS_rt_sigprocmask, empty) }.map_err(|e| (Step::SignalMask, e))?;
    let program = child.executable.as_ptr() as usize;
    let exec = [program, child.arguments as usize, child.environment as usize, 0];
    // SAFETY: NUL-ended strings and null-ended arrays of them, laid out by the parent.
    unsafe { call(libc::SYS_execve, exec) }.map_err(|errno| (Step::Exec, errno))?;
    Ok(())
}

/// close_range(2): give the task its own table first. linux/close_range.h.
const CLOSE_RANGE_UNSHARE: i32 = 2;

/// close_range(2): mark instead of closing.
const CLOSE_RANGE_CLOEXEC: i32 = 4;

/// `CLONE_CLEAR_SIGHAND` resets handlers but keeps `SIG_IGN`, and a Rust program ignores
/// `SIGPIPE`: without this every service would.
fn reset_dispositions(ignored: u64) -> Outcome {
    // struct sigaction of the kernel: handler SIG_DFL, flags, restorer, mask, all zero.
    let default = [0_u64; 4];
    for signal in 1..=64_usize {
        if ignored >> (signal - 1) & 1 == 1 {
            let set = [signal, default.as_ptr() as usize, 0, size_of::<u64>()];
            // SAFETY: the kernel reads 32 live bytes.
            unsafe { call(libc::SYS_rt_sigaction, set) }
                .map_err(|errno| (Step::SignalDispositions, errno))?;
        }
    }
    Ok(())
}

/// Children must not inherit what protects their parent from the OOM killer.
fn adjust_oom_score(value: &[u8]) -> Outcome {
    if value.is_empty() {
        return Ok(());
    }
    let fail = |errno| (Step::OomScore, errno);
    let here = usize::MAX; // a directory descriptor is not used with an absolute path
    let path = c"/proc/self/oom_score_adj".as_ptr() as usize;
    let open = [here, path, (libc::O_WRONLY | libc::O_CLOEXEC) as usize, 0];
    // SAFETY: a static NUL-ended path.
    let file = unsafe { call(libc::SYS_openat, open) }.map_err(fail)?;
    // SAFETY: the kernel reads live bytes of the parent's making.
    unsafe { call(libc::SYS_write, [file, value.as_ptr() as usize, value.len(), 0]) }
        .map_err(fail)?;
    // SAFETY: the number was opened above and is used no more.
    let _ = unsafe { call(libc::SYS_close, [file, 0, 0, 0]) };
    Ok(())
}

/// Resource limits and niceness, both while the child still has its parent's privilege.
fn set_limits(child: &Child<'_>) -> Outcome {
    for limit in child.limits {
        let set = [0, limit.resource as usize, &raw const *limit as usize, 0];
        // SAFETY: `RawLimit` begins with the two words of struct rlimit64.
        unsafe { call(libc::SYS_prlimit64, set) }.map_err(|errno| (Step::Limits, errno))?;
    }
    if let Some(nice) = child.nice {
        number_call(libc::SYS_setpriority, 0, 0, i32::from(nice))
            .map_err(|errno| (Step::Limits, errno))?;
    }
    Ok(())
}

/// Groups before gid before uid: each needs the privilege that the last one gives up. Raw calls,
/// so that they change this task only and not, through a C library, the parent's threads.
fn take_identity(child: &Child<'_>) -> Outcome {
    let groups = [child.groups.len(), child.groups.as_ptr() as usize, 0, 0];
    // SAFETY: the kernel reads as many live u32.
    unsafe { call(libc::SYS_setgroups, groups) }.map_err(|errno| (Step::Groups, errno))?;
    #[allow(clippy::cast_possible_wrap)]
    let (group, user) = (child.group as i32, child.user as i32);
    number_call(libc::SYS_setgid, group, 0, 0).map_err(|errno| (Step::Group, errno))?;
    number_call(libc::SYS_setuid, user, 0, 0).map_err(|errno| (Step::User, errno))?;
    Ok(())
}

/// By descriptor, since a path could lie on a dead mount. As the new identity, which must be
/// allowed to be there.
fn change_directory(directory: Option<i32>) -> Outcome {
    let result = match directory {
        Some(fd) => number_call(libc::SYS_fchdir, fd, 0, 0),
        // SAFETY: a static NUL-ended path.
        None => unsafe { call(libc::SYS_chdir, [c"/".as_ptr() as usize, 0, 0, 0]) },
    };
    result.map(|_| ()).map_err(|errno| (Step::Directory, errno))
}

/// Makes `sources` the descriptors 0, 1, 2, … and marks all others close-on-exec. Sources that
/// lie where a target will be are moved up first, so no source is overwritten before its turn
/// and none is duplicated onto itself (which would keep its close-on-exec mark).
fn place_descriptors(child: &mut Child<'_>) -> Outcome {
    let fail = |errno| (Step::Descriptors, errno);
    let targets = i32::try_from(child.sources.len()).map_err(|_| fail(libc::E2BIG))?;
    for source in child.sources.iter_mut().chain([&mut child.status]) {
        if *source < targets {
            let moved = number_call(libc::SYS_fcntl, *source, libc::F_DUPFD_CLOEXEC, targets);
            *source = i32::try_from(moved.map_err(fail)?).map_err(|_| fail(libc::EMFILE))?;
        }
    }
    for (target, source) in (0..targets).zip(child.sources.iter()) {
        number_call(libc::SYS_dup3, *source, target, 0).map_err(fail)?;
    }
    number_call(libc::SYS_close_range, targets, -1, CLOSE_RANGE_CLOEXEC).map_err(fail)?;
    Ok(())
}

/// Writes this task's pid in decimal, left-aligned (leading zeros would read as octal), the rest
/// of the slot filled with NUL.
fn write_pid(slot: *mut u8) {
    if slot.is_null() {
        return;
    }
    let mut rest = number_call(libc::SYS_getpid, 0, 0, 0).unwrap_or(0);
    let mut digits = [0_u8; PID_SLOT_BYTES];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let padding = core::iter::repeat_n(0, PID_SLOT_BYTES);
    let text = digits.into_iter().skip(PID_SLOT_BYTES - count).chain(padding);
    for (offset, byte) in text.take(PID_SLOT_BYTES).enumerate() {
        // SAFETY: the parent checked that the slot's bytes lie in its own copy of the
        // environment, which nobody else reads or writes until exec.
        unsafe { slot.add(offset).write(byte) };
    }
}
