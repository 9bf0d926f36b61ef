//! The journal against torn, damaged and foreign files.

use super::*;

/// On a tmpfs if there is one: thousands of records are synced here.
fn folder() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).expect("a directory")
}

fn record() -> Record {
    let mut record = Record::empty("web", "boot");
    record.book.running = Some("/nix/store/0c1p5z9kda11wa3m5rqzs1pmqdlxfxqd-web-1".to_owned());
    record.book.migrated.push("/nix/store/1c1p5z9kda11wa3m5rqzs1pmqdlxfxqd-web-2".to_owned());
    record
}

/// What was persisted is what is found, the newest alone.
#[test]
fn a_record_comes_back() {
    let folder = folder();
    let journal = Journal::open(folder.path()).expect("open");
    journal.persist("web", &Record::empty("web", "before").encode()).expect("persisted");
    journal.persist("web", &record().encode()).expect("persisted");
    journal.persist("api", &Record::empty("api", "boot").encode()).expect("persisted");
    let found = Journal::open(folder.path()).expect("open").load().expect("loaded");
    assert_eq!(found.records, [Record::empty("api", "boot"), record()]);
    assert_eq!(found.said, [""; 0]);
}

/// Each possible cut of a record, and each single bit of it turned over, is set aside and said,
/// never read as something else: the journal's answer is compared with the one record that was
/// written.
#[test]
fn every_cut_and_every_flipped_bit_is_set_aside() {
    let folder = folder();
    let journal = Journal::open(folder.path()).expect("open");
    let bytes = record().encode();
    let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let flips = (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    let mut longer = bytes.clone();
    longer.push(0);
    for damaged in cuts.chain(flips).chain([longer]) {
        std::fs::write(folder.path().join("swaps/web.swaps"), &damaged).expect("written");
        let found = journal.load().expect("loaded");
        assert_eq!(found.records, [], "{damaged:?}");
        assert_eq!(found.said.len(), 1);
    }
    let names = std::fs::read_dir(folder.path().join("aside")).expect("list").count();
    assert_eq!(names, ASIDE_MAX, "what is set aside is bounded");
}

/// What is not ours is moved away whole; a half-written file is gone; the good record stays.
#[test]
fn foreign_files_are_set_aside_and_halves_are_forgotten() {
    let folder = folder();
    let journal = Journal::open(folder.path()).expect("open");
    journal.persist("web", &record().encode()).expect("persisted");
    let swaps = folder.path().join("swaps");
    std::fs::write(swaps.join("web.swaps.part"), "half").expect("written");
    std::fs::write(swaps.join("notes.txt"), "precious").expect("written");
    std::fs::write(swaps.join("api.swaps"), record().encode()).expect("written");
    std::fs::create_dir(swaps.join("dir.swaps")).expect("a directory");
    std::fs::create_dir(swaps.join("dir.part")).expect("a directory");
    let found = journal.load().expect("loaded");
    assert_eq!(found.records, [record()]);
    let said = found.said.join("\n");
    for part in ["notes.txt: its name", "api.swaps: it is the record of \"web\"", "is no file"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(found.said.len(), 4);
    let kept = std::fs::read_to_string(folder.path().join("aside/notes.txt.0")).expect("read");
    assert_eq!(kept, "precious");
    assert_eq!(std::fs::read_dir(&swaps).expect("list").count(), 1);
}
