//! What an account plants in its own directory, and what root does there afterwards.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

/// An account that no test machine has.
const STRANGER: u32 = 64_321;

const PLAIN: Ownership = Ownership { mode: None, uid: None, gid: None };

fn mode(mode: u32) -> Ownership {
    Ownership { mode: Some(mode), ..PLAIN }
}

fn bits(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777
}

/// Directories with all above them, files once and anew, links that stay or are replaced; removed
/// with all below, and removed again.
#[test]
fn made_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for _again in 0..2 {
        directory(&at("a/b"), mode(0o1730)).expect("made");
        assert_eq!((bits(&at("a/b")), bits(&at("a"))), (0o1730, 0o755));
    }
    file(&at("a/b/f"), b"one", false, mode(0o640)).expect("made");
    file(&at("a/b/f"), b"two", false, mode(0o600)).expect("kept");
    assert_eq!(
        (read(&at("a/b/f"), 3).expect("read"), bits(&at("a/b/f"))),
        (b"one".to_vec(), 0o600)
    );
    file(&at("a/b/f"), b"2", true, PLAIN).expect("anew");
    assert_eq!(read(&at("a/b/f"), 3).expect("read"), b"2");
    read(&at("a/b/f"), 0).expect_err("too long");

    let to = |path: &str| std::fs::read_link(at(path)).expect("a link");
    assert!(link(&at("a/l"), Path::new("b"), false).expect("made"));
    assert!(link(&at("a/l"), Path::new("b"), false).expect("there"));
    assert!(!link(&at("a/l"), Path::new("c"), false).expect("stays"));
    assert!(link(&at("a/l"), Path::new("c"), true).expect("replaced"));
    assert_eq!(to("a/l"), Path::new("c"));
    assert_eq!(
        directory(&at("a/l"), PLAIN).expect_err("a link is no directory").raw_os_error(),
        Some(libc::ENOTDIR)
    );

    remove(&at("a/b"), false).expect_err("it is not empty");
    assert!(clear(&at("a/b")).expect("emptied"));
    assert!(remove(&at("a/b"), false).expect("removed"));
    assert!(remove(&at("a"), true).expect("removed"));
    for gone in [remove(&at("a"), true), remove(&at("a"), false), clear(&at("a"))] {
        assert!(!gone.expect("nothing to do"));
    }
    assert!(!own(&at("a/b/c"), PLAIN).expect("nothing to own"));
}

/// Links of root's are followed, in circles only so far; `..` in a path is refused.
#[test]
fn links_on_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("run")).expect("a directory");
    symlink("./x/../run", at("var")).expect("a link");
    std::fs::create_dir(at("x")).expect("a directory");
    directory(&at("var/web"), mode(0o700)).expect("made");
    assert!(at("run/web").is_dir());
    symlink("circle", at("circle")).expect("a link");
    let error = directory(&at("circle/x"), PLAIN).expect_err("a circle");
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    for wrong in [at("run/../x"), "relative".into(), "/".into()] {
        let error = directory(&wrong, PLAIN).expect_err("no such place");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{wrong:?}");
    }
}

/// A tree gets its mode with the execute bits that make sense, and links in it are left.
#[test]
fn a_tree_is_owned() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    file(&at("t/in/script"), b"", false, mode(0o755)).expect("made");
    file(&at("t/in/text"), b"", false, mode(0o644)).expect("made");
    file(&at("outside"), b"", false, mode(0o644)).expect("made");
    symlink(at("outside"), at("t/in/link")).expect("a link");
    assert!(own_tree(&at("t"), mode(0o750)).expect("owned"));
    let found = ["t", "t/in", "t/in/script", "t/in/text", "outside"].map(|name| bits(&at(name)));
    assert_eq!(found, [0o750, 0o750, 0o750, 0o640, 0o644]);
}

/// What an account can do to root: a link out of its directory, a second name of somebody's file,
/// a directory of its own swapped for a link. Each is refused, and the victim is as it was. Needs
/// root, who alone can make such a trap.
#[test]
fn an_accounts_traps_are_not_entered() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let stranger = Ownership { mode: Some(0o755), uid: Some(STRANGER), gid: Some(STRANGER) };
    directory(&at("web"), stranger).expect("its directory");
    directory(&at("victim"), mode(0o700)).expect("somebody's");
    file(&at("victim/shadow"), b"secret", false, mode(0o600)).expect("somebody's");
    symlink(at("victim"), at("web/link")).expect("a trap");
    std::os::unix::fs::lchown(at("web/link"), Some(STRANGER), Some(STRANGER)).expect("its own");
    std::fs::hard_link(at("victim/shadow"), at("web/name")).expect("a trap");
    let refused = |result: io::Result<bool>, what: &str| {
        let error = result.expect_err(what);
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
    };
    let done = |result: io::Result<()>| result.map(|()| true);
    refused(own(&at("web/link/shadow"), stranger), "own through a link");
    refused(done(directory(&at("web/link/new"), stranger)), "make through a link");
    refused(done(file(&at("web/link/shadow"), b"x", true, stranger)), "write through a link");
    refused(remove(&at("web/link/shadow"), true), "remove through a link");
    refused(clear(&at("web/link/deep")), "clear through a link");
    symlink("victim", at("lure")).expect("a trap in a directory that all may write");
    std::os::unix::fs::lchown(at("lure"), Some(STRANGER), Some(STRANGER)).expect("its own");
    refused(own(&at("lure/shadow"), stranger), "own through a link in root's directory");
    refused(own(&at("web/name"), stranger), "own a second name");
    refused(done(file(&at("web/name"), b"x", true, stranger)), "write a second name");
    refused(own_tree(&at("web"), stranger), "own a tree with a second name");
    let status = std::fs::metadata(at("victim/shadow")).expect("there");
    assert_eq!((status.uid(), status.permissions().mode() & 0o7777), (0, 0o600));
    assert_eq!(std::fs::read(at("victim/shadow")).expect("there"), b"secret");
    // Its own things are still root's to look after.
    std::fs::remove_file(at("web/name")).expect("the trap is gone");
    directory(&at("web/cache"), stranger).expect("in its own directory");
    assert!(own_tree(&at("web"), stranger).expect("owned, the link left"));
    assert_eq!(std::fs::metadata(at("web/cache")).expect("there").uid(), STRANGER);
}
