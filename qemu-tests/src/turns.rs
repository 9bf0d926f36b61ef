//! Which tests run side by side, which have the machine to themselves, and how long each took.

use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// Held by each test that runs; by one that must be alone as its only writer.
static MACHINE: RwLock<()> = RwLock::new(());

/// How many tests a harness runs at the same time on this machine, of tests that keep a processor
/// busy for so many parts of ten of their time.
#[must_use]
pub fn at_once(busy_tenths: usize) -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    (processors * 10 / busy_tenths.max(1)).max(1)
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

/// Lines of the closing table of times: what is not in it is not what makes a run long.
const SLOWEST: usize = 12;

/// How long each test took, once it had its turn.
#[derive(Debug, Default)]
pub struct Times(Mutex<Vec<(&'static str, Duration)>>);

impl Times {
    /// Nothing was timed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Runs `test` and keeps its time.
    pub fn of<T>(&self, name: &'static str, test: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = test();
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.push((name, start.elapsed()));
        result
    }
}

impl fmt::Display for Times {
    fn fmt(&self, screen: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let total: Duration = times.iter().map(|(_, time)| *time).sum();
        writeln!(
            screen,
            "{} tests, {:.0} s in all; the longest:",
            times.len(),
            total.as_secs_f64()
        )?;
        for (name, time) in times.iter().take(SLOWEST) {
            writeln!(screen, "{:8.1} s  {name}", time.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_longest_come_first_and_the_table_has_an_end() {
        let names: Vec<&'static str> = vec!["short"; SLOWEST + 1];
        let times = Times::new();
        assert_eq!(times.of("short", || 7), 7);
        {
            let mut kept = times.0.lock().expect("nobody panicked");
            kept.clear();
            kept.extend(names.iter().map(|name| (*name, Duration::from_millis(100))));
            kept.push(("long", Duration::from_secs(3)));
        }
        let table = times.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 1 + SLOWEST, "{table}");
        assert_eq!(lines[0], format!("{} tests, 4 s in all; the longest:", SLOWEST + 2));
        assert_eq!(lines[1], "     3.0 s  long");
    }

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
