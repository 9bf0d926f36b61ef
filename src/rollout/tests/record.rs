//! The record's bytes: what is written is read, and nothing else is taken for it.

use proptest::prelude::*;
use rollout::record::{FailedPath, Summary};
use rollout::{Book, Origin, Outcome, OutcomeKind, Record, RecordError, Release, Step, limits};

fn release() -> impl Strategy<Value = Release> {
    ("[a-z0-9/.-]{0,60}", proptest::option::of(any::<u64>()))
        .prop_map(|(path, generation)| Release { path, generation })
}

fn book() -> impl Strategy<Value = Book> {
    let failed = ("[a-z]{0,9}", "\\PC{0,40}").prop_map(|(path, reason)| FailedPath {
        path,
        swap: "7H2K".to_owned(),
        step: Step::Gate,
        reason,
    });
    let summary = (release(), proptest::option::of(release()), any::<u64>()).prop_map(
        |(to, from, began_ms)| Summary {
            id: "7H2K".to_owned(),
            origin: Origin::Watch("7H2J".to_owned()),
            from,
            to,
            began_ms,
            ended_ms: 0,
            outcome: Some(Outcome::plain(OutcomeKind::RolledBack)),
        },
    );
    (
        proptest::option::of("[a-z]{0,9}"),
        proptest::option::of(release()),
        proptest::collection::vec(failed, 0..4),
        proptest::collection::vec("[a-z]{0,9}", 0..4),
        proptest::collection::vec(summary, 0..4),
    )
        .prop_map(|(running, previous, failed, migrated, history)| Book {
            running,
            previous,
            failed,
            migrated,
            history,
        })
}

fn record() -> impl Strategy<Value = Record> {
    ("[a-z-]{1,20}", "[a-f0-9-]{36}", book())
        .prop_map(|(app, boot, book)| Record { book, ..Record::empty(&app, &boot) })
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn one_changed_byte_is_noticed(record in record(), at: usize, flip in 1_u8..) {
        let mut bytes = record.encode();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn a_torn_record_is_noticed(record in record(), keep: usize) {
        let bytes = record.encode();
        prop_assert!(Record::decode(&bytes[..keep % bytes.len()]).is_err());
    }

    #[test]
    fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Record::decode(&bytes).is_err());
    }
}

#[test]
fn a_later_version_is_told_as_such() {
    let mut bytes = Record::empty("web", "boot").encode();
    bytes[8] = 2;
    let error = Record::decode(&bytes).expect_err("a later version");
    assert_eq!(error, RecordError::Version { found: 2 });
    assert!(error.to_string().contains("start a newer agent"), "{error}");
}

#[test]
fn a_record_that_is_too_long_is_not_read() {
    let bytes = vec![0; limits::RECORD_BYTES_MAX + 1];
    assert!(matches!(Record::decode(&bytes), Err(RecordError::Form("it is too long"))));
}

/// The bounds of the parts keep the whole below its bound, by far.
#[test]
fn the_fullest_record_fits() {
    let path = format!("/nix/store/{}", "x".repeat(211));
    let text = "x".repeat(limits::TEXT_BYTES_MAX);
    let release = Release { path: path.clone(), generation: Some(u64::MAX) };
    let outcome = Outcome {
        reason: Some(text.clone()),
        cure: vec![text.clone()],
        ..Outcome::plain(OutcomeKind::FailedBack)
    };
    let failed = FailedPath {
        path: path.clone(),
        swap: "7H2K-back".to_owned(),
        step: Step::Gate,
        reason: text,
    };
    let summary = Summary {
        id: "7H2K-back".to_owned(),
        origin: Origin::Swap,
        from: Some(release.clone()),
        to: release,
        began_ms: u64::MAX,
        ended_ms: u64::MAX,
        outcome: Some(outcome),
    };
    let mut record = Record::empty("web", "boot");
    record.book.failed = vec![failed; limits::FAILED_MAX];
    record.book.migrated = vec![path; limits::MIGRATED_MAX];
    record.book.history = vec![summary; limits::HISTORY_MAX];
    let bytes = record.encode().len();
    assert!(bytes < limits::RECORD_BYTES_MAX / 2, "{bytes}");
}
