use super::*;
use proptest::prelude::*;

fn name(text: &str) -> EntryName {
    EntryName::parse(text).expect("a name")
}

/// Names as the loader writes them, and back; what looks only almost like a counter is no counter.
#[test]
fn names_and_counters() {
    let fresh = EntryName::of(7, 1);
    assert_eq!(fresh.to_string(), "rollinit-7+1.conf");
    assert_eq!((fresh.generation(), fresh.is_tried_out()), (Some(7), false));
    let tried = name("rollinit-7+0-1.conf");
    assert_eq!(tried.tries, Some(Tries { left: 0, done: 1 }));
    assert!(tried.is_tried_out());
    assert_eq!(tried.blessed().to_string(), "rollinit-7.conf");
    assert_eq!(name("rollinit-7.conf").tries, None);
    assert_eq!(name("nixos+x.conf").stem, "nixos+x");
    assert_eq!(name("rollinit-07x.conf").generation(), None);
    assert_eq!(name("rollinit-0.conf").generation(), None);
    for wrong in ["rollinit-7", ".conf", ".x.conf", "", "+3.conf.part"] {
        assert_eq!(EntryName::parse(wrong), None, "{wrong}");
    }
    assert_eq!(name("+3.conf").stem, "+3", "a counter of nothing is a name");
}

/// What is written is read back, and foreign keys do no harm.
#[test]
fn entries_are_read_back() {
    let entry = Entry {
        title: "rollinit 7".to_owned(),
        version: 7,
        linux: "/rollinit/kernel-a".to_owned(),
        initrd: vec!["/rollinit/initrd-a".to_owned()],
        options: "init=/nix/store/x/init ro".to_owned(),
    };
    assert_eq!(Entry::parse(entry.text().as_bytes()), entry);
    assert_eq!(entry.files().collect::<Vec<_>>(), ["kernel-a", "initrd-a"]);
    let foreign = b"# linux /x\narchitecture x64\nlinux\t/other/k\r\n\xff\noptions a\noptions b\n";
    let read = Entry::parse(foreign);
    assert_eq!((read.linux.as_str(), read.options.as_str()), ("/other/k", "a b"));
    assert_eq!(read.files().count(), 0);
}

fn variable(path: &str) -> Vec<u8> {
    let letters = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    [6, 0, 0, 0].into_iter().chain(letters).collect()
}

/// The variable as systemd-boot 252 leaves it; nothing else is an entry.
#[test]
fn the_counted_entry_is_found() {
    let bytes = variable("\\loader\\entries\\rollinit-2+2-1.conf");
    assert_eq!(boot_count_path(&bytes), Ok(name("rollinit-2+2-1.conf")));
    for wrong in [
        "\\loader\\entries\\..\\..\\x+1.conf",
        "\\loader\\entries\\rollinit-2.conf",
        "\\EFI\\Linux\\x+1.efi",
        "",
    ] {
        assert_eq!(boot_count_path(&variable(wrong)), Err(VariableError::Path), "{wrong}");
    }
    assert_eq!(boot_count_path(&[6, 0, 0]), Err(VariableError::Length(3)));
    assert_eq!(boot_count_path(&[6, 0]), Err(VariableError::Length(2)));
    assert_eq!(boot_count_path(&vec![0; 4096]), Err(VariableError::Length(4096)));
}

/// A store path's hash is the content's name.
#[test]
fn content_names() {
    let path = "/nix/store/xcajx5cwz0w9q1cxfb5m7zlqnydpxg6k-linux-6.1/bzImage";
    let expected = "kernel-xcajx5cwz0w9q1cxfb5m7zlqnydpxg6k";
    assert_eq!(content_name("kernel", path).as_deref(), Some(expected));
    for wrong in ["/nix/store/x-linux/bzImage", "/boot/vmlinuz", "/nix/store/"] {
        assert_eq!(content_name("kernel", wrong), None, "{wrong}");
    }
}

const MIB: u64 = 1 << 20;

/// Generations with a kernel of 8 MiB and an initramfs of 4 MiB each.
fn listing(generations: &[u64], free_bytes: u64) -> Listing {
    let entry = |generation: &u64| Entry {
        linux: format!("/rollinit/kernel-{generation}"),
        initrd: vec![format!("/rollinit/initrd-{generation}")],
        ..Entry::default()
    };
    let entries = generations.iter().map(|one| (EntryName::of(*one, 1).blessed(), entry(one)));
    let files = generations
        .iter()
        .flat_map(|one| [(format!("kernel-{one}"), 8 * MIB), (format!("initrd-{one}"), 4 * MIB)]);
    Listing { entries: entries.collect(), files: files.collect(), free_bytes, block_bytes: 4096 }
}

fn wanted(names: &[&str]) -> Wanted {
    Wanted { files: names.iter().map(|name| ((*name).to_owned(), 8 * MIB)).collect() }
}

/// With room nothing goes but what is beyond the newest; what is shared is not written again.
#[test]
fn room_that_is_there_is_taken() {
    let full = wanted(&["kernel-9", "initrd-9"]);
    assert_eq!(make_room(&listing(&[1], 64 * MIB), &full, &[1], 3), Ok(Removal::default()));
    let removal = make_room(&listing(&[1, 2, 3, 4], 64 * MIB), &full, &[4], 3).expect("room");
    assert_eq!(removal.entries, [name("rollinit-1.conf"), name("rollinit-2.conf")]);
    assert_eq!(removal.files, ["kernel-1", "initrd-1", "kernel-2", "initrd-2"]);
    let shared = wanted(&["kernel-1", "initrd-1"]);
    assert_eq!(make_room(&listing(&[1], MIB), &shared, &[1], 3), Ok(Removal::default()));
}

/// Without room the oldest that nobody needs go first; those kept never do, and then it is said.
#[test]
fn room_is_made_and_a_full_partition_is_said() {
    let full = wanted(&["kernel-9", "initrd-9"]);
    let removal = make_room(&listing(&[1, 2, 3], 6 * MIB), &full, &[2, 3], 5).expect("room");
    assert_eq!(removal.entries, [name("rollinit-1.conf")]);
    let error = make_room(&listing(&[1, 2], 6 * MIB), &full, &[1, 2], 5).expect_err("full");
    assert_eq!((error.free_bytes, error.freed_bytes), (6 * MIB, 0));
    assert!(error.to_string().contains("is full"), "{error}");
    // Left by a power cut: no entry ever named it.
    let mut listing = listing(&[1, 2], 6 * MIB);
    listing.files.push(("kernel-cut".to_owned(), 20 * MIB));
    let removal = make_room(&listing, &full, &[1, 2], 5).expect("room");
    assert_eq!(removal, Removal { entries: Vec::new(), files: vec!["kernel-cut".to_owned()] });
}

/// The fuzzer's corpus: what is understood comes back from our own writing.
#[test]
fn the_corpus() {
    let understood = replay::understood("boot_slot", |bytes| {
        let _ = Entry::parse(bytes);
        let named = std::str::from_utf8(bytes).ok().and_then(EntryName::parse);
        let Some(name) = boot_count_path(bytes).ok().or(named) else { return false };
        assert_eq!(EntryName::parse(&name.to_string()), Some(name));
        true
    });
    assert!(understood.len() >= 3, "two variables and a name: {understood:?}");
}

proptest! {
    /// Any bytes are read without harm, and a name that is read is written back as one that reads
    /// the same.
    #[test]
    fn foreign_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,40}") {
        let _ = boot_count_path(&bytes);
        let _ = Entry::parse(&bytes);
        if let Some(name) = EntryName::parse(&format!("{text}.conf")) {
            prop_assert_eq!(EntryName::parse(&name.to_string()), Some(name));
        }
    }

    /// Whatever there is: what is kept stays with its files, what is wanted is not removed, and a
    /// plan that is made fits.
    #[test]
    fn room_is_never_made_of_what_is_kept(
        generations in proptest::collection::btree_set(1_u64..12, 0..8),
        kept in proptest::collection::vec(1_u64..12, 0..3),
        free in 0_u64..64,
        keep in 1_usize..5,
    ) {
        let generations: Vec<u64> = generations.into_iter().collect();
        let listing = listing(&generations, free * MIB);
        let wanted = wanted(&["kernel-20", "initrd-20"]);
        if let Ok(removal) = make_room(&listing, &wanted, &kept, keep) {
            for name in &removal.entries {
                prop_assert!(!kept.contains(&name.generation().unwrap_or(0)));
            }
            let gone: Vec<u64> = removal.entries.iter().filter_map(EntryName::generation).collect();
            for generation in generations.iter().filter(|one| !gone.contains(one)) {
                let file = format!("kernel-{generation}");
                prop_assert!(!removal.files.contains(&file));
            }
            let freed = removal.files.len() as u64 / 2 * 12 * MIB;
            prop_assert!(free * MIB + freed >= 16 * MIB);
        }
    }
}
