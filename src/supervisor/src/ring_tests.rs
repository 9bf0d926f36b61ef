//! Proofs of the ring's promises: against a plain model, and against a writer killed anywhere.

use super::*;
use proptest::prelude::*;

fn lines(ring: &Ring) -> Vec<Line> {
    let (mut assembler, mut lines) = (Assembler::default(), Vec::new());
    for chunk in ring.chunks().expect("chunks") {
        assembler.push(&chunk, &mut lines);
    }
    lines.extend(assembler.partial().cloned());
    lines
}

fn texts(ring: &Ring) -> Vec<String> {
    lines(ring).iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

/// A line torn over two reads is one line with the time of its first byte; a run's unfinished last
/// line stays its own; bytes that are no UTF-8 survive.
#[test]
fn lines_are_put_together() {
    let directory = tempfile::tempdir().expect("directory");
    let mut ring = Ring::open(&directory.path().join("web"), RING_BYTES).expect("open");
    ring.append(1, 1, b"one\ntw").expect("append");
    ring.append(2, 1, b"o\n\n\xff\xfe\nlast words").expect("append");
    ring.append(3, 2, b"anew\n").expect("append");
    let found = lines(&ring);
    let expected: [(u64, u64, u64, &[u8]); 6] = [
        (0, 1, 1, b"one"),
        (1, 1, 1, b"two"),
        (2, 1, 2, b""),
        (3, 1, 2, b"\xff\xfe"),
        (4, 1, 2, b"last words"),
        (5, 2, 3, b"anew"),
    ];
    for (line, (number, incarnation, time_ns, bytes)) in found.iter().zip(expected) {
        let bytes = bytes.to_vec();
        assert_eq!(line, &Line { number, incarnation, time_ns, bytes });
    }
    assert_eq!(found.len(), 6);
}

/// `end_run` completes an unfinished line at once, and only then.
#[test]
fn a_run_that_ends_ends_its_line() {
    let directory = tempfile::tempdir().expect("directory");
    let mut ring = Ring::open(&directory.path().join("web"), RING_BYTES).expect("open");
    let (mut assembler, mut lines) = (Assembler::default(), Vec::new());
    for chunk in ring.append(1, 1, b"fatal: no disk").expect("append") {
        assembler.push(&chunk, &mut lines);
    }
    assert!(lines.is_empty());
    let end = ring.end_run(2).expect("end").expect("unfinished");
    assembler.push(&end, &mut lines);
    assert_eq!(lines[0].bytes, b"fatal: no disk");
    assert_eq!(ring.end_run(3).expect("end"), None);
    assert_eq!(texts(&ring), ["fatal: no disk"]);
}

/// A line above the cap comes in pieces that together are the line.
#[test]
fn long_lines_come_in_pieces() {
    let directory = tempfile::tempdir().expect("directory");
    let mut ring = Ring::open(&directory.path().join("web"), RING_BYTES).expect("open");
    let long = vec![b'x'; 3 * LINE_BYTES_MAX / 2 + 40_000];
    ring.append(1, 1, &[&long[..], b"\nshort\n"].concat()).expect("append");
    let found = lines(&ring);
    assert!(found.iter().all(|line| line.bytes.len() <= LINE_BYTES_MAX));
    let joined: Vec<u8> =
        found.iter().filter(|line| line.number == 0).flat_map(|line| line.bytes.clone()).collect();
    assert_eq!(joined, long);
    assert_eq!(found.last().expect("lines").bytes, b"short");
}

/// A file that is no ring, or one of another size, is begun anew instead of being believed.
#[test]
fn foreign_files_are_begun_anew() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("web");
    std::fs::write(&path, vec![0x5a; 100_000]).expect("write");
    let mut ring = Ring::open(&path, 4096).expect("foreign");
    ring.append(1, 1, b"words\n").expect("append");
    assert_eq!(texts(&Ring::open(&path, 4096).expect("again")), ["words"]);
    assert!(texts(&Ring::open(&path, 8192).expect("other size")).is_empty());
}

proptest! {
    /// Model: what a ring gives back is a suffix of what was written to it, without a hole, and
    /// what is missing is counted exactly. Opening it again anywhere changes nothing.
    #[test]
    fn a_ring_is_a_suffix_of_what_was_written(
        lengths in proptest::collection::vec(0_usize..300, 1..120),
        reopen in proptest::collection::vec(any::<bool>(), 120),
    ) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("web");
        let mut ring = Ring::open(&path, 4096).expect("open");
        let mut written = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            let line = format!("{index}:{}", "y".repeat(*length));
            // Torn in the middle of the line, and across chunks of other lines.
            let (head, tail) = line.split_at(line.len() / 2);
            ring.append(1, 1, head.as_bytes()).expect("append");
            if reopen[index] {
                ring = Ring::open(&path, 4096).expect("reopen");
            }
            ring.append(1, 1, format!("{tail}\n").as_bytes()).expect("append");
            written.push(line);
        }
        let found = lines(&ring);
        let start = written.len() - found.len();
        for (line, (number, text)) in found.iter().zip(written.iter().enumerate().skip(start)) {
            prop_assert_eq!(line.number, number as u64);
            prop_assert_eq!(&line.bytes, text.as_bytes());
        }
        // The head of a line may be gone while its number is not.
        prop_assert!(size(ring.lines_lost()) <= start);
        prop_assert!(start <= size(ring.lines_lost()) + 1);
    }

    /// A writer killed inside a write leaves a prefix of the record. Whatever its length, all
    /// earlier lines are there, nothing is made up, and writing goes on.
    #[test]
    fn a_torn_record_harms_only_itself(cut in 0_usize..200, laps in 0_usize..80) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("web");
        let mut ring = Ring::open(&path, 4096).expect("open");
        for index in 0..laps {
            ring.append(1, 1, format!("line {index}\n").as_bytes()).expect("append");
        }
        let before = texts(&ring);
        let (offset, image) = (ring.next, std::fs::read(&path).expect("image"));
        // What eviction does is an own write before; only the record's bytes may be torn.
        ring.append(2, 1, &[b'z'; 100]).expect("append");
        let evicted = ring.first;
        let whole = std::fs::read(&path).expect("whole");
        let mut torn = image.clone();
        torn.resize(whole.len().max(image.len()), 0);
        torn[16..24].copy_from_slice(&evicted.to_le_bytes());
        for index in 0..cut.min(147) as u64 {
            let at = size(HEADER_BYTES + (offset + index) % 4096);
            torn[at] = whole[at];
        }
        std::fs::write(&path, torn).expect("tear");
        let mut ring = Ring::open(&path, 4096).expect("reopen");
        let after = texts(&ring);
        prop_assert!(before.ends_with(&after), "{before:?} {after:?}");
        prop_assert!(evicted > 0 || after.len() == before.len());
        ring.append(3, 1, b"goes on\n").expect("append");
        let last = texts(&ring).pop();
        prop_assert_eq!(last.as_deref(), Some("goes on"));
    }

    /// Opening is total: any bytes behind a right header give a ring or nothing, never a panic.
    #[test]
    fn any_file_can_be_opened(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("web");
        let mut file = [&MAGIC[..], &4096_u64.to_le_bytes()].concat();
        file.extend(bytes);
        std::fs::write(&path, file).expect("write");
        let ring = Ring::open(&path, 4096).expect("open");
        prop_assert!(texts(&ring).is_empty());
    }
}
