//! The image writer: its bytes, and that others read them.

use initrd::image::{Content, gather};
use initrd::newc::{Archive, PathError};
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

fn small() -> Archive {
    let mut archive = Archive::default();
    archive.file("/bin/tool", true, b"hello".to_vec()).expect("a file");
    archive.link("/init", "bin/tool").expect("a link");
    archive.character_device("/dev/console", 0o600, 5, 1).expect("a device");
    archive
}

/// Every byte of one entry, against the format's description: a mistake in a field that the kernel
/// happens to ignore would show here and nowhere else.
#[test]
fn golden_bytes_of_an_entry() {
    let bytes = small().to_bytes();
    let expected = b"070701\
        00000002\
        0000816D\
        00000000\
        00000000\
        00000001\
        00000000\
        00000005\
        00000000\
        00000000\
        00000000\
        00000000\
        00000009\
        00000000\
        bin/tool\0\0hello\0\0\0";
    // The entry of "bin" comes first: a header of 110 bytes, "bin" and its NUL, padded to 116.
    assert_eq!(&bytes[116..116 + expected.len()], expected);
    assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    assert!(bytes.len().is_multiple_of(4));
}

/// The order in which things are added leaves no trace.
#[test]
fn same_content_same_bytes() {
    let mut other = Archive::default();
    other.character_device("/dev/console", 0o600, 5, 1).expect("a device");
    other.link("init", "bin/tool").expect("a link");
    other.directory("/bin").expect("a directory");
    other.file("/bin/tool", true, b"hello".to_vec()).expect("a file");
    assert_eq!(small().to_bytes(), other.to_bytes());
}

/// Nothing is overwritten and nothing leads out.
#[test]
fn wrong_paths_are_refused() {
    let mut archive = small();
    for path in ["", "/", "a//b", "../x", "a/./b", "x\0y", "TRAILER!!!"] {
        let added = archive.file(path, false, Vec::new());
        assert!(matches!(added, Err(PathError::Malformed(_))), "{path:?}: {added:?}");
    }
    for path in ["/init", "/init/x", "bin"] {
        let added = archive.file(path, false, Vec::new());
        assert!(matches!(added, Err(PathError::Taken(_))), "{path:?}: {added:?}");
    }
}

/// GNU cpio, which is none of ours, lists exactly what was put in. Part of what setup installs.
fn listed_by_cpio(bytes: &[u8]) -> Vec<String> {
    let mut cpio = Command::new("cpio")
        .args(["--list", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cpio is installed; `cargo xtask setup` does it");
    let mut stdin = cpio.stdin.take().expect("a pipe");
    stdin.write_all(bytes).expect("cpio reads all");
    drop(stdin);
    let output = cpio.wait_with_output().expect("cpio ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn cpio_reads_it() {
    let expected = ["bin", "bin/tool", "dev", "dev/console", "init"];
    assert_eq!(listed_by_cpio(&small().to_bytes()), expected);
}

/// An image from a made-up module tree: modules in load order in the list, all files in.
#[test]
fn an_image_holds_its_modules_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let tree = directory.path();
    let write = |name: &str, text: &str| std::fs::write(tree.join(name), text).expect("a file");
    write("modules.dep", "a.ko: b.ko\nb.ko:\nunwanted.ko:\nk/c.ko: b.ko\n");
    write("modules.alias", "alias pci:v1* c\nalias pci:v2* unwanted\n");
    std::fs::create_dir(tree.join("k")).expect("a directory");
    for name in ["a.ko", "b.ko", "k/c.ko", "stage1", "e2fsck"] {
        write(name, name);
    }
    let stage1 = tree.join("stage1");
    let wanted = ["a".to_owned()];
    let (available, checker) = (["c".to_owned()], tree.join("e2fsck"));
    let content = Content {
        stage1: &stage1,
        modules: Some(tree),
        wanted: &wanted,
        available: &available,
        checker: Some(&checker),
    };
    let bytes = gather(&content).expect("all is there").to_bytes();
    let listed = listed_by_cpio(&bytes);
    for path in [
        "init",
        "bin/e2fsck",
        "dev/console",
        "lib/modules/a.ko",
        "lib/modules/c.ko",
        "lib/modules/modules.load",
    ] {
        assert!(listed.iter().any(|listed| listed == path), "{path} in {listed:?}");
    }
    assert!(!listed.iter().any(|path| path.contains("unwanted")));
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("\0b.ko\na.ko\n\0"), "b is loaded before a, and c is not loaded");
    assert!(!holds("unwanted"), "nor is it spoken of");
    assert!(holds("c.ko: b.ko\n") && holds("alias pci:v1* c\n"), "how c is found");
}

proptest! {
    /// Any names and contents: cpio's view of the names is ours.
    #[test]
    fn any_names_round_trip(names in prop::collection::btree_set("[a-z0-9 +~-]{1,12}", 1..12)) {
        let mut archive = Archive::default();
        for name in &names {
            prop_assume!(!name.starts_with('.'));
            archive.file(name, false, name.clone().into_bytes()).expect("a fresh name");
        }
        let listed = listed_by_cpio(&archive.to_bytes());
        prop_assert_eq!(listed, names.into_iter().collect::<Vec<_>>());
    }
}
