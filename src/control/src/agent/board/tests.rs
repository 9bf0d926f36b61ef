//! A reader sees every step's newest post in order of time, whatever it missed in between.
//!
//! Proof: what is taken is compared with what was posted, value by value.

use super::Board;
use crate::agent::{Outcome, OutcomeKind, Progress, Release, Step, StepState};

fn progress(step: Step, state: StepState, text: &str) -> Progress {
    Progress {
        swap: "7H2K".into(),
        app: "web".into(),
        from: None,
        to: Release::of_path("/nix/store/9q1c-storefront-1.9.3", Some(43)),
        step,
        state,
        text: text.into(),
        elapsed_ms: 0,
        bytes_done: None,
        bytes_total: None,
        paths_done: None,
        paths_total: None,
        outcome: None,
    }
}

fn end(kind: OutcomeKind) -> Progress {
    let outcome = Outcome {
        kind,
        serving: None,
        failed_at: None,
        reason: None,
        details: Vec::new(),
        cures: Vec::new(),
    };
    Progress { outcome: Some(outcome), ..progress(Step::Commit, StepState::Ok, "end") }
}

fn all(reader: &mut super::Reader) -> Vec<String> {
    std::iter::from_fn(|| reader.take()).map(|line| line.text).collect()
}

/// Counts are overwritten, steps are not, and each reader has its own place.
#[test]
fn newest_of_each_step() {
    let board = Board::new();
    let mut early = board.reader();
    board.post(progress(Step::Plan, StepState::Ok, "11 of 214"));
    board.post(progress(Step::Fetch, StepState::Running, "1"));
    assert_eq!(all(&mut early), ["11 of 214", "1"]);
    board.post(progress(Step::Fetch, StepState::Running, "2"));
    board.post(progress(Step::Fetch, StepState::Ok, "11"));
    assert_eq!(all(&mut early), ["11"]);
    assert_eq!(all(&mut board.reader()), ["11 of 214", "11"]);
    assert_eq!(board.step(Step::Plan).unwrap().text, "11 of 214");
    assert_eq!(board.newest().unwrap().text, "11");
}

/// The outcome is the last that is said, also to those who come after it and after the board.
#[test]
fn outcome_is_last() {
    let board = Board::new();
    board.post(progress(Step::Plan, StepState::Ok, "plan"));
    board.post(end(OutcomeKind::Committed));
    board.post(progress(Step::Drain, StepState::Ok, "too late"));
    let mut late = board.reader();
    drop(board);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ended = late.clone().end().await.unwrap();
        assert_eq!(ended.outcome.unwrap().kind, OutcomeKind::Committed);
        assert_eq!(late.next().await.unwrap().text, "plan");
        assert_eq!(late.next().await.unwrap().text, "end");
        assert!(late.next().await.is_none());
    });
}

/// A board that goes without an outcome ends its readers instead of holding them.
#[test]
fn gone_board() {
    let board = Board::new();
    let mut reader = board.reader();
    board.post(progress(Step::Plan, StepState::Running, "plan"));
    drop(board);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(reader.end()).is_none());
}
