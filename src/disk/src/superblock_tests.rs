//! Superblocks as the file systems' own tools write them, with blkid as the judge.

use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1024 * 1024;
const UUID: &str = "c12a7328-f81f-41d2-ba4b-00a0c93ec93b";

/// Runs a tool of the system on `image`; `PATH` of an ordinary user lacks where they are.
fn run(tool: &[&str], image: &Path) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(tool[0]).args(&tool[1..]).arg(image).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{tool:?}: {error}; cargo xtask setup"));
    assert!(output.status.success(), "{tool:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What blkid says of an image: kind, label, UUID.
fn judged(image: &Path) -> [Option<String>; 3] {
    let text = run(&["blkid", "-p", "-o", "export"], image);
    ["TYPE=", "LABEL=", "UUID="].map(|key| {
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        value.map(|value| value.replace('\\', ""))
    })
}

fn probed(image: &Path) -> Vec<Superblock> {
    let file = File::open(image).expect("the image");
    let bytes = file.metadata().expect("its size").len();
    probe(&file, bytes).expect("it can be read")
}

/// Each tool's image is read as blkid reads it; where the size is said, it is the image's.
#[test]
fn images_of_each_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let makers: [(&[&str], u64, &str); 12] = [
        (&["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "root disk", "-U", UUID], 16, "ext4"),
        (&["mke2fs", "-q", "-t", "ext4", "-O", "64bit,metadata_csum", "-b", "1024"], 16, "ext4"),
        (&["mke2fs", "-q", "-t", "ext3", "-L", "three", "-U", UUID], 16, "ext3"),
        (&["mke2fs", "-q", "-t", "ext2", "-L", "sixteen-letters!", "-U", UUID], 16, "ext2"),
        (&["mke2fs", "-q", "-O", "journal_dev"], 16, "jbd"),
        (
            &[
                "mkfs.xfs",
                "-q",
                "-L",
                "twelveletter",
                "-m",
                "uuid=c12a7328-f81f-41d2-ba4b-00a0c93ec93b",
            ],
            320,
            "xfs",
        ),
        (&["mkfs.btrfs", "-q", "-L", "tree", "-U", UUID], 128, "btrfs"),
        (&["mkfs.vfat", "-F", "32", "-n", "ESP", "-i", "1A2B3C4D"], 64, "vfat"),
        (&["mkfs.vfat", "-F", "16", "-n", "SIXTEEN"], 16, "vfat"),
        (&["mkfs.vfat", "-F", "12"], 2, "vfat"),
        (&["mkswap", "-q", "-L", "room", "-U", UUID], 1, "swap"),
        (&["mkswap", "-q", "-p", "65536", "-L", "pages"], 1, "swap"),
    ];
    for (maker, mib, kind) in makers {
        let image = folder.path().join("image");
        File::create(&image).and_then(|file| file.set_len(mib * MIB)).expect("an image");
        run(maker, &image);
        let found = probed(&image);
        assert_eq!(found.len(), 1, "{maker:?}: {found:?}");
        let found = &found[0];
        assert_eq!(found.kind, kind, "{maker:?}");
        let [judged_kind, judged_label, judged_uuid] = judged(&image);
        assert_eq!(judged_kind.as_deref(), Some(kind), "{maker:?}");
        assert_eq!(found.label, judged_label, "{maker:?}");
        assert_eq!(found.uuid, judged_uuid.map(|uuid| uuid.to_lowercase()), "{maker:?}");
        assert!(!found.has_errors);
        if !["swap", "jbd", "vfat"].contains(&kind) {
            assert_eq!(found.bytes, Some(mib * MIB), "{maker:?}");
        }
    }
}

/// A file system that noted errors says so.
#[test]
fn recorded_errors_are_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    File::create(&image).and_then(|file| file.set_len(8 * MIB)).expect("an image");
    run(&["mke2fs", "-q", "-t", "ext4"], &image);
    run(&["debugfs", "-w", "-R", "ssv state 2"], &image);
    assert!(probed(&image)[0].has_errors);
    assert!(probed(&image)[0].to_string().ends_with("(errors recorded)"));
}

/// An image of 1 MiB with bytes at places.
fn with(places: &[(usize, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; 1024 * 1024];
    for (at, bytes) in places {
        image[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    image
}

fn of(image: &[u8]) -> Vec<Superblock> {
    probe(image, image.len() as u64).expect("memory can be read")
}

/// Kinds whose tools are not everywhere, by the bytes that their formats prescribe.
#[test]
fn kinds_by_their_prescribed_bytes() {
    let uuid: [u8; 16] = [0x11; 16];
    let dashed = "11111111-1111-1111-1111-111111111111";
    let mirror = MIRROR_MAGIC.to_le_bytes();
    let version_one = [&mirror[..], &1_u32.to_le_bytes()].concat();
    let at_end = 1024 * 1024 - 16 * 512;
    type Case<'a> = (Vec<u8>, &'a str, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 12] = [
        (
            with(&[(0, b"LUKS\xba\xbe\0\x02"), (24, b"secret"), (168, dashed.as_bytes())]),
            "crypto_LUKS",
            Some("secret"),
            Some(dashed),
        ),
        (with(&[(512, b"LABELONE"), (536, b"LVM2 001")]), "LVM2_member", None, None),
        (with(&[(4096, &version_one)]), "linux_raid_member", None, None),
        (with(&[(0, &version_one)]), "linux_raid_member", None, None),
        (with(&[(at_end, &mirror)]), "linux_raid_member", None, None),
        (with(&[(1024 * 1024 - 64 * 1024, &mirror)]), "linux_raid_member", None, None),
        (with(&[(0, b"hsqs"), (28, &[4, 0])]), "squashfs", None, None),
        (
            with(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1072, &uuid), (1088, b"store")]),
            "erofs",
            Some("store"),
            Some(dashed),
        ),
        (
            with(&[(32769, b"CD001"), (32808, b"DISC                            ")]),
            "iso9660",
            Some("DISC"),
            None,
        ),
        (with(&[(1024, &[0x10, 0x20, 0xf5, 0xf2]), (1132, &uuid)]), "f2fs", None, Some(dashed)),
        (
            with(&[(3, b"EXFAT   "), (100, &[0x4d, 0x3c, 0x2b, 0x1a])]),
            "exfat",
            None,
            Some("1a2b-3c4d"),
        ),
        (
            with(&[(3, b"NTFS    "), (0x48, &[1, 0, 0, 0, 0, 0, 0, 0xab])]),
            "ntfs",
            None,
            Some("ab00000000000001"),
        ),
    ];
    for (image, kind, label, uuid) in cases {
        let found = of(&image);
        assert_eq!(found.len(), 1, "{kind}: {found:?}");
        assert_eq!((found[0].kind, found[0].label.as_deref()), (kind, label));
        assert_eq!(found[0].uuid.as_deref(), uuid, "{kind}");
    }
}

/// What was not wiped is told beside what came later; a blank device holds nothing.
#[test]
fn stale_superblocks_are_not_hidden() {
    let both = with(&[(0, b"XFSB"), (1024 + 0x38, &[0x53, 0xef])]);
    let kinds: Vec<&str> = of(&both).iter().map(|found| found.kind).collect();
    assert_eq!(kinds, ["ext2", "xfs"]);
    assert!(of(&with(&[])).is_empty());
    // A boot loader's sector is no file system, though it ends like one.
    assert!(of(&with(&[(510, &[0x55, 0xaa]), (54, b"FAT16   ")])).is_empty());
}

/// A stranger's label cannot steer the console.
#[test]
fn labels_are_shown_without_control_characters() {
    let image = with(&[(0, b"XFSB"), (108, b"\x1b[2J")]);
    assert_eq!(of(&image)[0].to_string(), "xfs LABEL=\\u{1b}[2J");
}

proptest! {
    /// Any bytes after any magic number, of any length, are answered.
    #[test]
    fn total(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..80_000),
        place in 0..9_usize,
    ) {
        let places: [(usize, &[u8]); 9] = [
            (0x438, &[0x53, 0xef]), (0, b"XFSB"), (65600, b"_BHRfS_M"), (510, &[0x55, 0xaa]),
            (82, b"FAT32   "), (0, b"LUKS\xba\xbe"), (4086, b"SWAPSPACE2"), (0, b"hsqs"),
            (32769, b"CD001"),
        ];
        let (at, magic) = places[place];
        if let Some(room) = bytes.get_mut(at..at + magic.len()) {
            room.copy_from_slice(magic);
        }
        let _ = of(&bytes);
    }
}
