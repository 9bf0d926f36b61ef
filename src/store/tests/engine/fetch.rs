//! What is fetched, Nix finds whole; and only what is missing is fetched.

use super::fixture::{Fixture, Host, large, named, options, release, run};
use qemu_tests::cache::{Fault, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use store::fetch::{self, Cancel, Progress};
use store::{Fault as StoreFault, Step};

/// What Nix knows of a closure, by path: all that travels, so not the registration time.
pub fn path_infos(root: &Path, top: &str) -> BTreeMap<String, Value> {
    let (success, said) = run(root, "nix", &["path-info", "-r", "--sigs", "--json", top], "");
    assert!(success, "{said}");
    let infos: Value = serde_json::from_str(&said).unwrap();
    let mut by_path = BTreeMap::new();
    for info in infos.as_array().unwrap() {
        let mut info = info.clone();
        let fields = info.as_object_mut().unwrap();
        fields.remove("registrationTime");
        // Nix's own builds and imports are "ultimate"; nothing fetched is.
        fields.remove("ultimate");
        by_path.insert(fields["path"].as_str().unwrap().to_owned(), info);
    }
    by_path
}

async fn fetched_as_nix_has_it(compression: &str) {
    let fixture = Fixture::get();
    let cache = fixture.cache(compression);
    let server = Server::start(cache.path()).unwrap();
    let (host, top) = (Host::new(), release("v1"));
    let caches = fixture.caches(&[server.url()]);
    let plan = host.plan(&caches, &top).await.unwrap();
    let total = plan.total;
    assert_eq!(plan.missing.len(), total, "the store is empty");
    assert_eq!(plan.sources(&caches), [(server.url(), total)]);
    drop(plan);

    let fetched = host.fetch(&caches, &top).await.unwrap();
    assert_eq!((fetched.paths, fetched.resumed_paths), (total, 0));
    assert_eq!(server.repeated("nar/"), Vec::<String>::new());
    host.verify();
    let theirs = path_infos(&fixture.origin(), &top.to_string());
    let ours = path_infos(host.root.path(), &top.to_string());
    assert_eq!(ours, theirs, "hash, size, references, deriver, signatures");
    assert_eq!(ours.len(), total);
    // Nothing but the paths: no staging name, no lock.
    assert_eq!(host.names().len(), total, "{:?}", host.names());
    assert_eq!(host.store.closure(&top).unwrap().len(), total);
}

#[tokio::test]
async fn a_zstd_cache_of_nix_is_fetched_and_nix_agrees() {
    fetched_as_nix_has_it("zstd").await;
}

/// The way Nix compresses by default, and cache.nixos.org.
#[tokio::test]
async fn an_xz_cache_of_nix_is_fetched_and_nix_agrees() {
    fetched_as_nix_has_it("xz").await;
}

#[tokio::test]
async fn an_uncompressed_cache_of_nix_is_fetched_and_nix_agrees() {
    fetched_as_nix_has_it("none").await;
}

/// Modes and times are not in a NAR's hash, so Nix's verification does not see them.
#[tokio::test]
async fn modes_and_times_are_those_of_a_store() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let host = Host::new();
    host.fetch(&fixture.caches(&[server.url()]), &release("v1")).await.unwrap();
    let mut folders = vec![host.store.layout().store()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            assert_eq!(metadata.mtime(), 1, "{}", entry.path().display());
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                assert_eq!(mode, 0o555, "{}", entry.path().display());
                folders.push(entry.path());
            } else if metadata.is_file() {
                assert!(mode == 0o444 || mode == 0o555, "{}", entry.path().display());
            }
            seen += 1;
        }
    }
    assert!(seen > 250, "{seen}");
}

#[tokio::test]
async fn a_second_release_fetches_only_what_differs() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let first = host.fetch(&caches, &release("v1")).await.unwrap();
    let plan = host.plan(&caches, &release("v2")).await.unwrap();
    assert_eq!((plan.total, plan.missing.len()), (first.paths, 2), "its own library and itself");
    drop(plan);
    let second = host.fetch(&caches, &release("v2")).await.unwrap();
    assert_eq!(second.paths, 2);
    assert_eq!(server.requests("nar/"), first.paths + 2);
    assert_eq!(server.repeated("nar/"), Vec::<String>::new());
    host.verify();
}

#[tokio::test]
async fn what_is_there_needs_no_cache_and_no_key() {
    let fixture = Fixture::get();
    let cache = fixture.cache("none");
    let server = Server::start(cache.path()).unwrap();
    let (host, top) = (Host::new(), release("v1"));
    host.fetch(&fixture.caches(&[server.url()]), &top).await.unwrap();
    drop(server);
    let nobody = fetch::Caches::new(&[], &[], options()).unwrap();
    let plan = host.plan(&nobody, &top).await.unwrap();
    assert!(plan.is_empty() && plan.total > 0);
    drop(plan);
    assert_eq!(host.fetch(&nobody, &top).await.unwrap().paths, 0);
    let error = host.fetch(&nobody, &release("v2")).await.unwrap_err();
    assert!(matches!(error.fault, StoreFault::Nothing("cache")), "{error}");
}

#[tokio::test]
async fn a_path_that_is_missing_is_asked_for_again_and_may_come_from_the_next_cache() {
    let fixture = Fixture::get();
    let (cache, other) = (fixture.cache("zstd"), fixture.cache("none"));
    let lacks = named("lib3-1.0");
    let narinfo = fs::read(cache.narinfo_file(&lacks)).unwrap();
    fs::remove_file(cache.narinfo_file(&lacks)).unwrap();
    let (server, second) =
        (Server::start(cache.path()).unwrap(), Server::start(other.path()).unwrap());
    let (host, top) = (Host::new(), release("v1"));
    let caches = fixture.caches(&[server.url()]);
    let error = host.fetch(&caches, &top).await.unwrap_err();
    assert!(matches!(error.fault, StoreFault::NotFound { caches: 1 }), "{error}");
    assert_eq!((error.step, error.object), (Step::Plan, lacks.to_string()));

    let both = fixture.caches(&[server.url(), second.url()]);
    let plan = host.plan(&both, &top).await.unwrap();
    assert_eq!(plan.sources(&both)[1], (second.url(), 1), "the one path");
    drop(plan);

    // The upload comes later: the same handle sees it at once.
    fs::write(cache.narinfo_file(&lacks), narinfo).unwrap();
    host.fetch(&caches, &top).await.unwrap();
    host.verify();
}

#[tokio::test]
async fn two_fetches_at_once_share_what_both_want() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let (v1, v2) = (release("v1"), release("v2"));
    let (one, other, same) =
        tokio::join!(host.fetch(&caches, &v1), host.fetch(&caches, &v2), host.fetch(&caches, &v1));
    let paths = [one.unwrap().paths, other.unwrap().paths, same.unwrap().paths];
    let all = host.names().len();
    assert_eq!(paths.iter().sum::<usize>(), all, "{paths:?}: each path by one of them");
    assert_eq!(server.repeated("nar/"), Vec::<String>::new());
    host.verify();
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_nothing() {
    let fixture = Fixture::get();
    let cache = fixture.cache("none");
    let server = Server::start(cache.path()).unwrap();
    let url = cache.narinfo(&large()).url;
    server.fail(&url, Fault::Hang(1 << 20));
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let plan = host.plan(&caches, &release("v1")).await.unwrap();
    let (cancel, total) = (Cancel::new(), plan.total);
    // All but the hanging one are done when somebody cancels.
    let report = {
        let cancel = cancel.clone();
        Arc::new(move |progress: Progress| {
            if progress.paths_done + 1 == total {
                cancel.cancel();
            }
        })
    };
    let error = fetch::fetch(&host.store, &caches, plan, report, &cancel).await.unwrap_err();
    assert!(matches!(error.fault, StoreFault::Cancelled), "{error}");
    assert!(host.names().is_empty(), "{:?}", host.names());
    server.heal();
    host.fetch(&caches, &release("v1")).await.unwrap();
    host.verify();
}

#[tokio::test]
async fn progress_counts_up_to_all() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let plan = host.plan(&caches, &release("v1")).await.unwrap();
    let (total, expected) = (plan.total, plan.download_bytes);
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let report = {
        let told = Arc::clone(&told);
        Arc::new(move |progress| told.lock().unwrap().push(progress))
    };
    fetch::fetch(&host.store, &caches, plan, report, &Cancel::new()).await.unwrap();
    let told = told.lock().unwrap();
    let last = told.iter().max_by_key(|progress| progress.paths_done).unwrap();
    assert_eq!((last.paths_done, last.paths_total), (total, total));
    let most = told.iter().map(|progress| progress.downloaded_bytes).max().unwrap();
    assert_eq!((most, last.download_bytes), (expected, expected), "FileSize is right here");
    assert!(told.iter().all(|progress| progress.waiting.is_none()));
}

/// What has a path's name and is not valid is of somebody who was killed.
#[tokio::test]
async fn garbage_under_a_final_or_a_staging_name_gives_way() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, top) = (Host::new(), release("v1"));
    let folder = host.store.real_path(&named("lib1-1.0"));
    fs::create_dir_all(folder.join("half")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    fs::write(host.store.real_path(&named("lib2-1.0")), "half").unwrap();
    fs::write(host.store.layout().staged(&large()), "half").unwrap();
    let stray = host.store.layout().staged(&named("of-another-closure"));
    fs::create_dir_all(stray.join("half")).unwrap();
    host.fetch(&fixture.caches(&[server.url()]), &top).await.unwrap();
    host.verify();
    assert!(!stray.exists(), "a staging name that nobody wants goes");
    assert_eq!(host.names().len(), host.store.closure(&top).unwrap().len());
}
