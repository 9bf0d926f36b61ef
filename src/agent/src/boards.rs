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
