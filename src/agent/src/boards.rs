//! What is said of each swap, for those who follow it: now, late, or after it is over.

use crate::limits::FOLLOWED_MAX;
use control::agent::Progress;
use control::agent::board::{Board, Reader};
use std::cell::RefCell;
use std::collections::VecDeque;

/// The boards of the swaps under way and of the last ones that ended.
#[derive(Debug, Default)]
pub struct Boards {
    /// By id, oldest first.
    boards: RefCell<VecDeque<(String, Board)>>,
}

impl Boards {
    /// Puts a line on the board of its swap, which is made if there is none.
    pub fn post(&self, progress: Progress) {
        self.with(&progress.swap.clone(), |board| board.post(progress));
    }

    /// Reads the board of a swap from its beginning; makes one for a swap that says nothing yet.
    #[must_use]
    pub fn reader(&self, swap: &str) -> Reader {
        self.with(swap, Board::reader)
    }

    /// Reads the board of a swap, if it still has one.
    #[must_use]
    pub fn find(&self, swap: &str) -> Option<Reader> {
        let boards = self.boards.borrow();
        boards.iter().find(|(id, _)| id == swap).map(|(_, board)| board.reader())
    }

    /// The newest line of a swap.
    #[must_use]
    pub fn newest(&self, swap: &str) -> Option<Progress> {
        let boards = self.boards.borrow();
        boards.iter().find(|(id, _)| id == swap).and_then(|(_, board)| board.newest())
    }

    fn with<T>(&self, swap: &str, act: impl FnOnce(&Board) -> T) -> T {
        let mut boards = self.boards.borrow_mut();
        if !boards.iter().any(|(id, _)| id == swap) {
            if boards.len() >= FOLLOWED_MAX {
                // One that is under way stays, however old: somebody may follow it.
                let over = boards.iter().position(|(_, board)| is_over(board));
                boards.remove(over.unwrap_or(0));
            }
            boards.push_back((swap.to_owned(), Board::new()));
        }
        let found = boards.iter().find(|(id, _)| id == swap);
        let (_, board) = found.unwrap_or(&boards[boards.len() - 1]);
        act(board)
    }
}

fn is_over(board: &Board) -> bool {
    board.newest().is_some_and(|line| line.outcome.is_some())
}

/// Reads a board that has one line, and that the last.
#[must_use]
pub fn single(progress: Progress) -> Reader {
    let board = Board::new();
    board.post(progress);
    board.reader()
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::agent::{Outcome, OutcomeKind, Release, Step, StepState};

    fn line(swap: &str, outcome: Option<OutcomeKind>) -> Progress {
        let outcome = outcome.map(|kind| Outcome {
            kind,
            serving: None,
            failed_at: None,
            reason: None,
            details: Vec::new(),
            cures: Vec::new(),
        });
        Progress {
            swap: swap.to_owned(),
            app: "web".to_owned(),
            from: None,
            to: Release::of_path("/nix/store/x-web", None),
            step: Step::Plan,
            state: StepState::Running,
            text: String::new(),
            elapsed_ms: 0,
            bytes_done: None,
            bytes_total: None,
            paths_done: None,
            paths_total: None,
            outcome,
        }
    }

    /// Boards are bounded, and it is those of swaps that are over that go, oldest first.
    #[test]
    fn the_oldest_that_is_over_goes_first() {
        let boards = Boards::default();
        boards.post(line("goes-on", None));
        for number in 0..FOLLOWED_MAX {
            boards.post(line(&format!("over-{number}"), Some(OutcomeKind::Committed)));
        }
        assert!(boards.find("goes-on").is_some());
        assert!(boards.find("over-0").is_none());
        assert!(boards.find("over-1").is_some());
        assert_eq!(boards.boards.borrow().len(), FOLLOWED_MAX);
    }

    /// Who follows before the first word hears it, and a board of one line ends with it.
    #[tokio::test]
    async fn a_reader_may_come_first() {
        let boards = Boards::default();
        let mut reader = boards.reader("7H2K");
        boards.post(line("7H2K", None));
        assert_eq!(reader.next().await, Some(line("7H2K", None)));
        let last = line("", Some(OutcomeKind::Refused));
        let mut reader = single(last.clone());
        assert_eq!(reader.next().await, Some(last));
        assert_eq!(reader.next().await, None, "the board is gone");
    }
}
