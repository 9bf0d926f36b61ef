//! Between a swap and those who follow it: what each step last said.
//!
//! A swap has at most a dozen steps, so the board keeps the newest [`Progress`] of each instead of
//! a queue of all. Whoever posts never waits, however slow a reader is; a reader that comes late
//! or is slow misses counts in between, and never a step nor the outcome.

use super::{Progress, Step};
use tokio::sync::watch;

/// Where a swap posts; dropped when nothing more will come.
#[derive(Debug)]
pub struct Board {
    lines: watch::Sender<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    /// Posts so far: the version of the newest line.
    version: u64,
    /// The newest of each step with its version, in the order of their first posts.
    steps: Vec<(u64, Progress)>,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new() -> Board {
        Board { lines: watch::Sender::new(Lines::default()) }
    }

    /// Puts `progress` in the place of what its step said before.
    ///
    /// The one with an outcome is the last; what is posted after it is not taken.
    pub fn post(&self, progress: Progress) {
        self.lines.send_if_modified(|lines| {
            if lines.is_over() {
                return false;
            }
            lines.version += 1;
            let version = lines.version;
            match lines.steps.iter_mut().find(|(_, old)| old.step == progress.step) {
                Some(line) => *line = (version, progress),
                None => lines.steps.push((version, progress)),
            }
            true
        });
    }

    /// The newest post of `step`.
    #[must_use]
    pub fn step(&self, step: Step) -> Option<Progress> {
        let lines = self.lines.borrow();
        lines.steps.iter().find(|(_, line)| line.step == step).map(|(_, line)| line.clone())
    }

    /// The newest post of all.
    #[must_use]
    pub fn newest(&self) -> Option<Progress> {
        let lines = self.lines.borrow();
        lines.steps.iter().max_by_key(|(version, _)| *version).map(|(_, line)| line.clone())
    }

    /// Somebody reads it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.lines.receiver_count() > 0
    }

    /// Returns when nobody reads it any more.
    pub async fn unread(&self) {
        self.lines.closed().await;
    }

    /// Somebody who reads from the beginning, and then what comes.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { lines: self.lines.subscribe(), seen: 0 }
    }
}

impl Lines {
    fn is_over(&self) -> bool {
        self.steps.iter().any(|(_, line)| line.outcome.is_some())
    }
}

/// Reads a [`Board`].
#[derive(Debug, Clone)]
pub struct Reader {
    lines: watch::Receiver<Lines>,
    seen: u64,
}

impl Reader {
    /// The oldest post not seen yet, if there is one.
    pub fn take(&mut self) -> Option<Progress> {
        let lines = self.lines.borrow_and_update();
        let next = lines.steps.iter().filter(|(version, _)| *version > self.seen);
        let (version, progress) = next.min_by_key(|(version, _)| *version)?;
        self.seen = *version;
        Some(progress.clone())
    }

    /// The oldest post not seen yet; waits for one. `None` if the board is gone and all is seen.
    pub async fn next(&mut self) -> Option<Progress> {
        loop {
            if let Some(progress) = self.take() {
                return Some(progress);
            }
            if self.lines.changed().await.is_err() {
                // A last post may have come between the look and the end.
                return self.take();
            }
        }
    }

    /// How the swap ended, once it has; waits for that. `None` if the board went without.
    pub async fn end(&mut self) -> Option<Progress> {
        while let Some(progress) = self.next().await {
            if progress.outcome.is_some() {
                return Some(progress);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
