//! Debian's collector in a loop beside fetches: nothing of ours vanishes, its own garbage goes.

use super::fixture::{Fixture, Host, named, release, run};
use qemu_tests::cache::Server;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Fetches beside the collector.
const FETCHES: usize = 50;

/// What Nix 2.8 says when its collector meets an error while its own thread runs, as when a process
/// of the machine goes while it looks through /proc: no round, and no word of ours in it.
const ABORTED: &str = "terminate called without an active exception";

/// So often it may; more is a fault.
const ABORTS_MAX: usize = 20;

/// Collects in a loop until told to stop; returns how often.
struct Collector {
    stop: Arc<AtomicBool>,
    rounds: watch::Receiver<usize>,
    thread: std::thread::JoinHandle<()>,
}

impl Collector {
    fn start(root: PathBuf) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (tell, rounds) = watch::channel(0);
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut aborts = 0;
                while !stop.load(Ordering::SeqCst) {
                    let (success, said) = run(&root, "nix-store", &["--gc"], "");
                    if said.contains(ABORTED) {
                        aborts += 1;
                        assert!(aborts <= ABORTS_MAX, "{said}");
                        continue;
                    }
                    assert!(success, "{said}");
                    tell.send_modify(|rounds| *rounds += 1);
                }
            }
        });
        Self { stop, rounds, thread }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        *self.rounds.borrow()
    }
}

/// Something in the store that nobody needs.
fn litter(root: &Path, index: usize) -> PathBuf {
    let file = root.join(format!("litter-{index}"));
    fs::write(&file, index.to_string().repeat(100)).unwrap();
    let (success, said) = run(root, "nix-store", &["--add", file.to_str().unwrap()], "");
    assert!(success, "{said}");
    let path = said.lines().find(|line| line.starts_with("/nix/store/")).unwrap();
    root.join(path.trim_start_matches('/'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_vanishes_beside_a_collector_in_a_loop() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    // The first collection of a store makes what Nix has beside paths; it is not to be measured.
    host.nix("nix-store", &["--gc"]);
    let mut collector = Collector::start(host.root.path().to_path_buf());
    let mut fetched_paths = 0;
    for index in 0..FETCHES {
        let top = release(if index % 2 == 0 { "v1" } else { "v2" });
        let fetched = host.fetch(&caches, &top).await.unwrap();
        fetched_paths += fetched.paths;
        let closure = host.store.closure(&top).unwrap();
        assert_eq!(closure.len(), 16, "round {index}");
        host.store.add_root("web", &top).unwrap();
        drop(fetched);
        for path in closure {
            let there = fs::symlink_metadata(host.store.real_path(&path));
            assert!(there.is_ok(), "round {index}: {path}: {there:?}");
        }
        // Some fetches run within one collection, some see one end.
        if index % 3 == 0 {
            collector.rounds.changed().await.unwrap();
        }
    }
    let rounds = collector.stop();
    assert!(rounds >= FETCHES / 3, "{rounds} collections");
    // Every second release's own paths went each time its root had moved on, and came again.
    assert!(fetched_paths > 16 + 2, "{fetched_paths}: the collector never took anything");
    host.verify();

    let litter: Vec<PathBuf> = (0..3).map(|index| litter(host.root.path(), index)).collect();
    assert!(litter.iter().all(|path| path.exists()));
    host.nix("nix-store", &["--gc"]);
    assert!(litter.iter().all(|path| !path.exists()), "its own garbage goes");
    let last = release(if FETCHES.is_multiple_of(2) { "v2" } else { "v1" });
    assert_eq!(host.store.closure(&last).unwrap().len(), 16);
    host.store.remove_root("web").unwrap();
    host.nix("nix-store", &["--gc"]);
    assert!(!host.store.is_valid(&last).unwrap(), "without its root it goes too");
}

/// A collection in the middle of a fetch spares what is staged, for its hash part is protected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_paths_are_spared_and_those_of_a_dead_process_are_not() {
    let host = Host::new();
    let (ours, foreign) = (named("lib1-1.0"), named("lib2-1.0"));
    for path in [&ours, &foreign] {
        fs::create_dir(host.store.layout().staged(path)).unwrap();
    }
    let guard = host.store.guard();
    guard.add(std::slice::from_ref(&ours)).unwrap();
    host.nix("nix-store", &["--gc"]);
    assert!(host.store.layout().staged(&ours).exists());
    assert!(!host.store.layout().staged(&foreign).exists(), "the collector does take such names");
    drop(guard);
    host.nix("nix-store", &["--gc"]);
    assert!(!host.store.layout().staged(&ours).exists());
}

/// `nix-collect-garbage -d` takes every generation but the current one; a root of ours keeps it.
#[tokio::test]
async fn a_root_keeps_the_way_back() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let profile = store::profile::Profile::open(host.root.path(), "web").unwrap();
    for version in ["v1", "v2"] {
        let fetched = host.fetch(&caches, &release(version)).await.unwrap();
        profile.commit(&release(version)).unwrap();
        drop(fetched);
    }
    host.store.add_root("web-previous", &release("v1")).unwrap();
    let generation = profile.link().with_file_name("web-1-link");
    fs::remove_file(&generation).unwrap();
    host.nix("nix-store", &["--gc"]);
    assert!(host.store.is_valid(&release("v1")).unwrap());
    assert!(host.store.is_valid(&release("v2")).unwrap(), "the profile keeps the current one");
    host.store.remove_root("web-previous").unwrap();
    host.nix("nix-store", &["--gc"]);
    assert!(!host.store.is_valid(&release("v1")).unwrap());
    assert!(host.store.is_valid(&release("v2")).unwrap());
}

#[tokio::test]
async fn roots_are_listed_replaced_and_only_of_what_is_valid() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let (v1, v2) = (release("v1"), release("v2"));
    let error = host.store.add_root("web", &v1).unwrap_err();
    assert!(matches!(error.fault, store::Fault::NotValid), "{error}");
    host.fetch(&caches, &v1).await.unwrap();
    host.fetch(&caches, &v2).await.unwrap();
    host.store.add_root("web", &v1).unwrap();
    host.store.add_root("web", &v1).unwrap();
    host.store.add_root("api", &v1).unwrap();
    host.store.add_root("web", &v2).unwrap();
    let roots = [("api".to_owned(), v1.clone()), ("web".to_owned(), v2)];
    assert_eq!(host.store.roots().unwrap(), roots);
    host.store.remove_root("web").unwrap();
    host.store.remove_root("web").unwrap();
    assert_eq!(host.store.roots().unwrap(), roots[..1]);
    for name in ["", ".", "..", "../x", "a/b", ".hidden", &"x".repeat(129)] {
        let error = host.store.add_root(name, &v1).unwrap_err();
        assert!(matches!(error.fault, store::Fault::Name { .. }), "{name}: {error}");
    }
}
