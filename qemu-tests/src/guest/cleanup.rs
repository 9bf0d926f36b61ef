//! Processes that never outlive us: killed when dropped, and on Ctrl-C.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

/// A process that we started.
#[derive(Clone, Debug)]
pub struct Held {
    child: Arc<Mutex<Child>>,
}

static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

impl Held {
    /// Takes care of `child`.
    #[must_use]
    pub fn new(child: Child) -> Self {
        let held = Self { child: Arc::new(Mutex::new(child)) };
        HELD.lock().unwrap_or_else(PoisonError::into_inner).push(held.clone());
        held
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it, reaps it, forgets it. Only this process: by the handle, never by name.
    pub fn kill(&self) {
        let mut child = self.lock();
        // Both fail only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|other| !Arc::ptr_eq(&other.child, &self.child));
    }
}

/// From now on Ctrl-C (and SIGTERM, SIGHUP) kills what we hold and ends us as the signal would.
///
/// # Errors
/// The handlers cannot be installed.
pub fn on_ctrl_c() -> Result<()> {
    static ONCE: Once = Once::new();
    if ONCE.is_completed() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install signal handlers")?;
    ONCE.call_once(move || {
        std::thread::spawn(move || {
            let signal = signals.forever().next().unwrap_or(SIGTERM);
            let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for process in held {
                process.kill();
            }
            std::process::exit(128 + signal);
        });
    });
    Ok(())
}
