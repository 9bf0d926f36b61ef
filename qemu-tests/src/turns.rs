//! Which tests run side by side, and which have the machine to themselves.

use std::sync::{PoisonError, RwLock};
use std::thread::available_parallelism;

/// Tests that run at the same time: each takes a processor at times, and waits at others.
const AT_ONCE: usize = 2;

/// Held by each test that runs; by one that must be alone as its only writer.
static MACHINE: RwLock<()> = RwLock::new(());

/// How many tests a harness runs at the same time on this machine.
#[must_use]
pub fn at_once() -> usize {
    AT_ONCE.min(available_parallelism().map_or(1, usize::from))
}

/// Runs a test when the machine is free for it: of others, or of those that need it alone.
pub fn take<T>(is_alone: bool, test: impl FnOnce() -> T) -> T {
    if is_alone {
        let _machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        test()
    } else {
        let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        test()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Two that may, meet; one that must be alone meets nobody.
    #[test]
    fn who_meets_whom() {
        let (meeting, inside) = (Barrier::new(2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| take(false, || meeting.wait()));
            }
        });
        let enter = |is_alone| {
            take(is_alone, || {
                let others = inside.fetch_add(1, Ordering::SeqCst);
                assert!(!is_alone || others == 0, "not alone");
                std::thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        };
        std::thread::scope(|scope| {
            for number in 0..200 {
                scope.spawn(move || enter(number % 3 == 0));
            }
        });
    }
}
