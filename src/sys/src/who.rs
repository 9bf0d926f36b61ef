//! Who is there: processes as `/proc` shows them, for the last minute of a machine.

use std::fs;
use std::io;

/// Processes named in one message; the first few tell who it is.
const NAMED_MAX: usize = 16;

/// `struct file` flags in `/proc/PID/fdinfo`: the access mode bits of open(2), in octal there.
const ACCESS_MODE: u32 = 3;

/// Signals every process but PID 1 and the kernel's own threads: kill(-1). To be called by PID 1 of
/// the machine only, since anybody else would hit the whole host. Nobody there is fine.
///
/// # Errors
/// `EPERM` if this process is not PID 1; those of kill(2).
pub fn signal_everything(signal: u8) -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: kill(2) takes numbers only.
    match unsafe { libc::kill(-1, i32::from(signal)) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

/// The pids of this process's children, zombies too (`/proc/PID/task/TID/children`).
///
/// # Errors
/// Those of reading the file: it needs `CONFIG_PROC_CHILDREN`.
pub fn children() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let text = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
    Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Every process but this one and the kernel's threads, as `name (pid)`, the first few.
#[must_use]
pub fn survivors() -> Vec<String> {
    let named = pids().into_iter().filter(|pid| *pid != std::process::id() && !is_kernel(*pid));
    named.take(NAMED_MAX).map(named_pid).collect()
}

/// Processes that hold a file on the root's device open for writing, or a deleted one at all, as
/// `name (pid) path`, at most `count`.
#[must_use]
pub fn writers(count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for pid in pids() {
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let path = target.to_string_lossy().into_owned();
            let number = descriptor.file_name().to_string_lossy().into_owned();
            let in_a_file = path.starts_with('/') && !path.starts_with("/dev/");
            let deleted = path.ends_with(" (deleted)") && !path.starts_with("/memfd:");
            if in_a_file && (deleted || is_writable(pid, &number)) {
                found.push(format!("{} {path}", named_pid(pid)));
                if found.len() >= count {
                    return found;
                }
            }
        }
    }
    found
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn named_pid(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} ({pid})", name.trim_end())
}

/// A kernel thread has no command line and no image.
fn is_kernel(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err()
        && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty())
}

/// Whether a descriptor may write, from the octal `flags:` of proc_pid_fdinfo(5).
fn is_writable(pid: u32, number: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS_MODE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// A child of this process is listed while it lives and, as a zombie, until it is reaped.
    #[test]
    fn children_are_listed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        // The list is per thread, and the test's thread is not the main one.
        let text = fs::read_to_string("/proc/thread-self/children").expect("children");
        assert!(text.split_whitespace().any(|pid| pid == child.id().to_string()));
        assert!(survivors().len() <= NAMED_MAX);
        drop(child.stdin.take());
        child.wait().expect("it ends when its input does");
    }

    /// Only PID 1 may signal everything; a test that got this wrong would end its own host.
    #[test]
    fn an_ordinary_process_may_not_signal_everything() {
        let error = signal_everything(0).expect_err("this is not PID 1");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    /// A file held open for writing is found with its holder's pid and path, one for reading not.
    #[test]
    fn writers_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let written = directory.path().join("written");
        let _held = fs::File::create(&written).expect("a file");
        let number = format!("({})", std::process::id());
        let found = writers(usize::MAX);
        let of_this = |line: &&String| line.contains(&number) && line.contains("/written");
        assert_eq!(found.iter().filter(of_this).count(), 1, "{found:?}");
    }
}
