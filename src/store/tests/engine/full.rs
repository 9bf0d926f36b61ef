//! Disks that are full, on file systems of the test's own: in a mount namespace, in a child process.

use super::fixture::{Fixture, Host, named, release};
use qemu_tests::cache::Server;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use store::fetch::{self, Cancel};
use store::{Fault, Step, Store};

/// Tells the child which file system it stands on; without it the inner tests are not run.
const VARIABLE: &str = "ROLLINIT_TEST_SMALL_DISK";

/// Runs `inner` of this test program in a mount namespace with a tmpfs with these `options`.
fn on_small_disk(inner: &str, options: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o \"$2\" tmpfs \"$1\" && exec \"$3\" --exact --ignored \"$4\"";
    // Root needs no user namespace, which it does not get in a chroot.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let rights = if is_root { "--mount" } else { "--mount --map-root-user" };
    let output = Command::new("unshare")
        .args(rights.split(' '))
        .args(["sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(options)
        .arg(program)
        .arg(inner)
        .env(VARIABLE, folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// A host on the small disk, and a place beside the store to fill it.
fn host() -> (Host, PathBuf) {
    let disk = std::env::var(VARIABLE).unwrap();
    let root = tempfile::tempdir_in(&disk).unwrap();
    let store = Store::create(root.path()).unwrap();
    (Host { root, store }, Path::new(&disk).join("filler"))
}

#[test]
fn too_few_blocks_or_inodes_are_said_before_the_first_byte() {
    on_small_disk("full::inner_blocks", "size=12m");
    on_small_disk("full::inner_inodes", "size=200m,nr_inodes=60");
}

#[test]
fn a_disk_that_becomes_full_in_the_middle_is_said_and_nothing_stays() {
    on_small_disk("full::inner_middle", "size=40m");
}

async fn refused_in_plan(judge: impl FnOnce(&Fault) -> bool) {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, _) = host();
    let caches = fixture.caches(&[server.url()]);
    let error = host.fetch(&caches, &release("v1")).await.unwrap_err();
    assert!(judge(&error.fault), "{error}");
    assert_eq!(error.step, Step::Plan);
    assert_eq!(server.requests(".nar.zst"), 0);
    assert!(host.names().is_empty());
    // A small path of the same cache still fits.
    host.fetch(&caches, &named("edge-cases")).await.map(drop).unwrap_or(());
}

/// Not a test: what `too_few_blocks_or_inodes_are_said_before_the_first_byte` runs.
#[tokio::test]
#[ignore = "needs a small disk, on which the test named above starts it; so it does run"]
async fn inner_blocks() {
    refused_in_plan(|fault| matches!(fault, Fault::Space { .. })).await;
}

/// Not a test: what `too_few_blocks_or_inodes_are_said_before_the_first_byte` runs.
#[tokio::test]
#[ignore = "needs a small disk, on which the test named above starts it; so it does run"]
async fn inner_inodes() {
    refused_in_plan(|fault| matches!(fault, Fault::Inodes { .. })).await;
}

/// Not a test: what `a_disk_that_becomes_full_in_the_middle_is_said_and_nothing_stays` runs.
#[tokio::test]
#[ignore = "needs a small disk, on which the test named above starts it; so it does run"]
async fn inner_middle() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, filler) = host();
    let caches = fixture.caches(&[server.url()]);
    let plan = host.plan(&caches, &release("v1")).await.unwrap();
    // Somebody else takes the room between the plan and the fetch, but for a megabyte.
    let free = sys::files::free(host.root.path()).unwrap().bytes;
    fs::write(&filler, vec![1; usize::try_from(free - (1 << 20)).unwrap()]).unwrap();
    let report = Arc::new(|_| {});
    let error = fetch::fetch(&host.store, &caches, plan, report, &Cancel::new()).await;
    let error = error.unwrap_err();
    assert!(matches!(error.fault, Fault::Full), "{error}");
    assert!(host.names().is_empty(), "{:?}", host.names());
    fs::remove_file(filler).unwrap();
    host.fetch(&caches, &release("v1")).await.unwrap();
    host.verify();
}
