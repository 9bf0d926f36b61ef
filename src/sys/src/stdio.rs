//! Descriptors 0 to 2 before anything else runs.
//!
//! The kernel starts PID 1 with no standard streams when it cannot open its console: `console=`
//! names a device that is not there. Rust's runtime then opens `/dev/null` and *aborts* if that is
//! missing too, as it is on a root whose `/dev` is empty, which as PID 1 is a kernel panic. So a
//! constructor fills the gaps before the runtime looks: with `/dev/null`, or else with `/`, opened
//! for reading, on which a write answers `EBADF` (which Rust takes for "nobody listens").
//! Not with `O_PATH`: poll(2), by which the runtime looks, calls such a descriptor closed.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Runs before `main`, and before Rust's runtime checks the streams.
///
/// Only raw calls: no allocation, no Rust runtime yet.
extern "C" fn fill_closed() {
    for number in 0..=2 {
        // SAFETY: F_GETFD takes no pointer; an unknown number answers EBADF.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
            continue;
        }
        // The lowest free number is `number`, since all below it are open.
        // SAFETY: the path is a NUL-terminated literal.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_NOCTTY) };
        if null < 0 {
            // SAFETY: as above. A process always has a root directory.
            unsafe { libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY) };
        }
    }
}

// SAFETY: `.init_array` (System V gABI, "Initialization and Termination Functions") holds function
// pointers that libc calls once, in one thread, before `main`; this one has the right signature.
#[used]
#[unsafe(link_section = ".init_array")]
static FILL_CLOSED: extern "C" fn() = fill_closed;

/// Points 0, 1 and 2 at `/dev/null`, once there is one.
///
/// Whoever holds a console open must do so *before* this: the last close of a serial console waits
/// up to 30 s for its output to drain (`closing_wait`, tty_port_close_start in the kernel).
///
/// # Errors
/// Of `open(2)`: `/dev` is not mounted yet.
pub fn point_at_null() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// What a program with closed streams finds, on a root without `/dev/null`: this test, started
    /// again in an empty root. Without the constructor Rust's runtime aborts before it gets here.
    #[test]
    fn closed_streams_do_not_abort() {
        const AGAIN: &str = "ROLLINIT_TEST_STREAMS_CLOSED";
        if std::env::var_os(AGAIN).is_some() {
            println!("nobody listens, and that is fine");
            return;
        }
        let program = std::env::current_exe().expect("this program");
        let root = tempfile::tempdir().expect("a directory");
        let inside = root.path().join("test");
        std::fs::copy(program, inside).expect("a copy");
        let directory = std::ffi::CString::new(root.path().as_os_str().as_encoded_bytes());
        let directory = directory.expect("a path");
        let mut command = Command::new("/test");
        command.env(AGAIN, "1").args(["--exact", "stdio::tests::closed_streams_do_not_abort"]);
        // SAFETY: between fork and exec only system calls that take no lock and no allocation.
        unsafe {
            command.pre_exec(move || {
                for number in 0..=2 {
                    libc::close(number);
                }
                match libc::chroot(directory.as_ptr()) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        match command.spawn() {
            // Without privilege there is no empty root to be had.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => panic!("{error}"),
            Ok(mut child) => assert!(child.wait().expect("its end").success()),
        }
    }
}
