//! Signals of a process that must not die of one: all but faults are read from a signalfd; faults
//! say one line and end the machine or the process, in a handler that makes raw calls only.

use crate::memory::Stack;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Stack of the fault handlers in bytes: they also run when the ordinary one has overflowed.
const FAULT_STACK_BYTES: usize = 64 * 1024;

/// One line of a fault in bytes; longer is cut.
const LINE_BYTES_MAX: usize = 256;

/// Exit status of a contained PID 1 that crashed (`EX_SOFTWARE`).
const EXIT_CRASHED: i32 = 70;

/// The faults: raised by the processor, or by abort(3).
const FAULTS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];

/// Where fault lines go; -1 before the handlers are installed.
static FAULT_LOG: AtomicI32 = AtomicI32::new(-1);

/// 1: reboot(2) after a crash. 0: exit.
static REBOOT_AFTER_CRASH: AtomicI32 = AtomicI32::new(0);

/// What becomes of the process after a fault or a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterCrash {
    /// The kernel's PID 1: restart the machine at once.
    Reboot,
    /// Contained: `_exit`.
    Exit,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: u8,
    /// Who sent it; 0 for the kernel or another pid namespace.
    pub sender_pid: u32,
}

/// All signals but faults, blocked and read one by one.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks everything but faults in this thread, gives `SIGCHLD` back its default disposition
    /// (ignored, it would reap by itself and lose statuses), and opens the signalfd.
    ///
    /// # Errors
    /// Those of sigaction(2), pthread_sigmask(3), signalfd(2).
    pub fn take_all() -> io::Result<Self> {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(Signal::SIGCHLD, &default)? };
        let mut mask = SigSet::all();
        FAULTS.iter().for_each(|fault| mask.remove(*fault));
        mask.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { fd: SignalFd::with_flags(&mask, flags)? })
    }

    /// The next signal; none if there is none now.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn take(&mut self) -> io::Result<Option<Arrived>> {
        let info = self.fd.read_signal()?;
        Ok(info.map(|info| Arrived {
            signal: u8::try_from(info.ssi_signo).unwrap_or(0),
            sender_pid: info.ssi_pid,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which signals this process ignores: bit `n - 1` for signal `n`. By raw calls, since the C
/// library hides the two real-time signals it uses itself, and they too may come in ignored.
#[must_use]
pub fn ignored() -> u64 {
    (1..=64_u32).fold(0, |ignored, signal| {
        // struct sigaction of the kernel: handler, flags, restorer, mask.
        let mut action = [0_usize; 4];
        // SAFETY: a null new action only asks; the old one is written to 32 live bytes.
        let result = unsafe {
            let none = std::ptr::null::<u8>();
            libc::syscall(libc::SYS_rt_sigaction, signal, none, action.as_mut_ptr(), 8_usize)
        };
        let is_ignored = result == 0 && action[0] == libc::SIG_IGN;
        ignored | u64::from(is_ignored) << (signal - 1)
    })
}

/// Installs the fault handlers on their own guard-paged stack. `log` (kmsg, or standard error when
/// contained) is kept for the life of the process.
///
/// # Errors
/// Those of mmap(2), sigaltstack(2), sigaction(2).
pub fn install_fault_handlers(log: OwnedFd, after: AfterCrash) -> io::Result<()> {
    let stack = Stack::new(FAULT_STACK_BYTES)?;
    let alternate =
        libc::stack_t { ss_sp: stack.base().as_ptr(), ss_flags: 0, ss_size: stack.bytes() };
    // SAFETY: the stack is mapped, ours alone, and never unmapped: it is forgotten below.
    if unsafe { libc::sigaltstack(&raw const alternate, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    std::mem::forget(stack);
    FAULT_LOG.store(log.as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(log);
    REBOOT_AFTER_CRASH.store(i32::from(after == AfterCrash::Reboot), Ordering::Relaxed);
    // The other faults wait while one is handled; a fault inside the handler then ends PID 1,
    // which the kernel answers with kernel.panic.
    let mask = SigSet::from_iter(FAULTS);
    let flags = SaFlags::SA_ONSTACK | SaFlags::SA_SIGINFO;
    let action = SigAction::new(SigHandler::SigAction(on_fault), flags, mask);
    for fault in FAULTS {
        // SAFETY: the handler makes only raw system calls on its own stack and statics.
        unsafe { sigaction(fault, &action)? };
    }
    Ok(())
}

/// Where crash lines go: the kernel's log, or this process's standard error when contained.
///
/// # Errors
/// Those of open(2) and dup(2).
pub fn open_crash_log(after: AfterCrash) -> io::Result<OwnedFd> {
    match after {
        AfterCrash::Exit => crate::process::duplicate(io::stderr().as_fd()),
        AfterCrash::Reboot => {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            Ok(rustix::fs::open("/dev/kmsg", flags, Mode::empty())?)
        }
    }
}

/// Text on the stack, cut at its end: formatting without an allocation.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    length: usize,
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(text.bytes()) {
            *to = from;
            self.length += 1;
        }
        Ok(())
    }
}

/// Says one line of a crash where the fault handlers were told to, in one raw write.
pub fn say_crash(text: std::fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_BYTES_MAX], length: 0 };
    // kmsg takes the level from the front of the line (dev-kmsg ABI); elsewhere it is noise.
    let level = if REBOOT_AFTER_CRASH.load(Ordering::Relaxed) == 1 { "<2>" } else { "" };
    let _ = writeln!(line, "{level}rollinit-init: {text}");
    let log = FAULT_LOG.load(Ordering::Relaxed);
    // SAFETY: writes live bytes; a descriptor that is not open is the kernel's EBADF.
    let _ = unsafe { libc::write(log, line.bytes.as_ptr().cast(), line.length) };
}

/// Ends the machine, or the process when contained. Unbuffered, without exit handlers.
pub fn end_after_crash() -> ! {
    if REBOOT_AFTER_CRASH.load(Ordering::Relaxed) == 1 {
        // SAFETY: reboot(2) with its two magic numbers takes no memory of ours.
        unsafe {
            libc::syscall(
                libc::SYS_reboot,
                libc::LINUX_REBOOT_MAGIC1,
                libc::LINUX_REBOOT_MAGIC2,
                libc::LINUX_REBOOT_CMD_RESTART,
                0,
            );
        }
    }
    // Also if the reboot was refused: the kernel then panics, and kernel.panic restarts it.
    // SAFETY: ends the process without running any code of it.
    unsafe { libc::_exit(EXIT_CRASHED) }
}

/// Faults. One that another process sent is no fault of ours: said, and ignored.
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over a live siginfo.
    let (code, sender, address) = unsafe { ((*info).si_code, (*info).si_pid(), (*info).si_addr()) };
    // SAFETY: getpid(2) takes nothing and cannot fail.
    let own = unsafe { libc::getpid() };
    if code <= 0 && sender != own {
        say_crash(format_args!("ignored signal {signal} sent by process {sender}"));
        return;
    }
    if code <= 0 {
        say_crash(format_args!("raised signal {signal}; cannot go on"));
    } else {
        say_crash(format_args!("fault {signal} (code {code}) at {address:p}; cannot go on"));
    }
    end_after_crash();
}
