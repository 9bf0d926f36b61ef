//! Descriptors that tasks wait for, for as long as somebody holds them.

use std::cell::OnceCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

/// A descriptor registered with the runtime.
pub type Watched = AsyncFd<OwnedFd>;

/// Registers a non-blocking descriptor.
///
/// # Errors
/// Those of epoll_ctl(2): `EPERM` for a regular file.
#[allow(deprecated)]
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<Watched> {
    // tokio deprecates its safe constructor since a foreign type might change or close its
    // descriptor behind the registration's back (tokio#8587). `OwnedFd` cannot, so the safe one is
    // sound here, and this room has no `unsafe` for the other.
    AsyncFd::with_interest(fd, interest)
}

/// A descriptor in use. Dropping it ends the task that waits for it, and so closes it.
#[derive(Debug)]
pub struct Held {
    watched: Rc<Watched>,
    task: Rc<OnceCell<AbortHandle>>,
}

/// The other half of a [`Held`], for its task.
#[derive(Debug)]
pub struct Ticket {
    /// What to wait for.
    pub watched: Rc<Watched>,
    task: Rc<OnceCell<AbortHandle>>,
}

impl Held {
    /// Registers a non-blocking descriptor to be read.
    ///
    /// # Errors
    /// Those of [`watch`].
    pub fn new(fd: OwnedFd) -> io::Result<(Self, Ticket)> {
        let watched = Rc::new(watch(fd, Interest::READABLE)?);
        let task = Rc::new(OnceCell::new());
        let ticket = Ticket { watched: Rc::clone(&watched), task: Rc::clone(&task) };
        Ok((Self { watched, task }, ticket))
    }

    /// The descriptor itself.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        self.watched.get_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Ticket {
    /// Runs the task that waits, until it ends or the [`Held`] is dropped. Nothing runs if that
    /// has happened already.
    pub fn run(self, wait: impl AsyncFnOnce(&Watched) + 'static) {
        // The task and this ticket are all that is left of it.
        if Rc::strong_count(&self.task) == 1 {
            return;
        }
        let watched = self.watched;
        let task = tokio::task::spawn_local(async move { wait(&watched).await });
        // A ticket runs once, so the cell is empty.
        let _ = self.task.set(task.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe's write end sees EPIPE only when every read end is closed: so the test sees whether
    /// dropping the holder really closes what its task still borrowed.
    #[tokio::test(flavor = "current_thread")]
    async fn dropping_the_holder_closes_the_descriptor() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let pipe = sys::log_pipe::create().expect("pipe");
                let (held, ticket) = Held::new(pipe.read).expect("register");
                ticket.run(async |watched: &Watched| {
                    let _ = watched.readable().await;
                });
                tokio::task::yield_now().await;
                let mut writer = std::fs::File::from(pipe.write);
                drop(held);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                let error = std::io::Write::write(&mut writer, b"x").expect_err("closed");
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            })
            .await;
    }
}
