use super::*;

/// A partition in a folder, and a kernel to write.
struct Stage {
    folder: tempfile::TempDir,
    partition: Partition,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("esp");
        fs::create_dir(&root).expect("a folder");
        Self { folder, partition: Partition { root } }
    }

    fn source(&self, name: &str, content: &str) -> Source {
        let from = self.folder.path().join(name);
        fs::write(&from, content).expect("written");
        Source { name: name.to_owned(), from, bytes: content.len() as u64 }
    }

    fn write(&self, generation: u64, sources: &[Source], kept: &[u64]) -> Removal {
        let entry = Entry {
            linux: format!("/rollinit/{}", sources[0].name),
            version: generation,
            ..Entry::default()
        };
        let name = EntryName::of(generation, 1);
        self.partition.write(&name, &entry, sources, kept, 2).expect("written")
    }

    fn entries(&self) -> Vec<String> {
        let listing = self.partition.list().expect("listed");
        listing.entries.iter().map(|(name, _)| name.to_string()).collect()
    }

    fn files(&self) -> Vec<String> {
        let listing = self.partition.list().expect("listed");
        listing.files.into_iter().map(|(name, _)| name).collect()
    }
}

/// Entry and files are there, whole, with nothing half beside them; written again it is the same;
/// the blessing takes the counter, twice too; what is discarded is gone.
#[test]
fn a_generation_is_written_blessed_and_discarded() {
    let stage = Stage::new();
    let kernel = stage.source("kernel-a", "a kernel");
    for _ in 0..2 {
        assert_eq!(stage.write(7, std::slice::from_ref(&kernel), &[]), Removal::default());
        assert_eq!(
            (stage.entries(), stage.files()),
            (vec!["rollinit-7+1.conf".to_owned()], vec!["kernel-a".to_owned()])
        );
    }
    let file = stage.partition.root.join("rollinit/kernel-a");
    assert_eq!(fs::read_to_string(&file).expect("read"), "a kernel");
    // What a power cut left half is written anew.
    fs::write(&file, "a kerne\0").expect("damaged");
    stage.write(7, &[kernel], &[]);
    assert_eq!(fs::read_to_string(&file).expect("read"), "a kernel");
    for _ in 0..2 {
        stage.partition.bless(&EntryName::of(7, 1)).expect("blessed");
        assert_eq!(stage.entries(), ["rollinit-7.conf"]);
    }
    stage.partition.discard(7).expect("gone");
    assert!(stage.entries().is_empty());
    assert!(stage.partition.bless(&EntryName::of(7, 1)).is_err(), "there is nothing to bless");
}

/// The oldest generation beyond those that stay goes with its files; another's entry stays.
#[test]
fn old_generations_make_room() {
    let stage = Stage::new();
    for generation in 1..4 {
        let kernel = stage.source(&format!("kernel-{generation}"), "a kernel");
        stage.write(generation, &[kernel], &[generation.saturating_sub(1)]);
    }
    fs::write(stage.partition.root.join("loader/entries/other.conf"), "linux /x\n")
        .expect("written");
    assert_eq!(stage.entries(), ["other.conf", "rollinit-2+1.conf", "rollinit-3+1.conf"]);
    assert_eq!(stage.files(), ["kernel-2", "kernel-3"]);
}

/// A partition that is too small is said before anything is touched.
#[test]
fn a_full_partition_is_refused_untouched() {
    let stage = Stage::new();
    stage.write(1, &[stage.source("kernel-1", "a kernel")], &[]);
    let huge = Source { bytes: u64::MAX / 4, ..stage.source("kernel-2", "a kernel") };
    let entry = Entry::default();
    let refused = stage.partition.write(&EntryName::of(2, 1), &entry, &[huge], &[1], 2);
    assert!(matches!(refused, Err(SlotError::Full(_))), "{refused:?}");
    assert_eq!(
        (stage.entries(), stage.files()),
        (vec!["rollinit-1+1.conf".to_owned()], vec!["kernel-1".to_owned()])
    );
}

/// Without the loader's variables there are no slots, and it is said why.
#[test]
fn a_host_without_a_loader_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let slots =
        Slots { variables: folder.path().to_owned(), mount_point: folder.path().join("mount") };
    assert!(slots.counted().expect("read").is_none());
    let error = slots.check().expect_err("no slots").to_string();
    assert!(error.contains("not started by systemd-boot"), "{error}");
    let path = "\\loader\\entries\\rollinit-2+0-1.conf";
    let letters = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(letters).collect();
    fs::write(folder.path().join(format!("LoaderBootCountPath-{VENDOR}")), bytes).expect("written");
    let counted = slots.counted().expect("read").expect("counted");
    assert_eq!((counted.generation(), counted.is_tried_out()), (Some(2), true));
}
