//! A cache that dies in the middle, a process that does: what was finished is not fetched again.

use super::fixture::{Fixture, Host, large, options, release};
use qemu_tests::cache::{Fault, Server};
use std::sync::Arc;
use std::time::Duration;
use store::fetch::{self, Cancel, Options, Progress};
use store::{Fault as StoreFault, Store};
use tokio::sync::mpsc::unbounded_channel;

/// The cache dies after some requests and comes back when the fetch says that it waits. Proof that
/// finished paths are not asked for again: the new server counts requests from nought.
#[tokio::test]
async fn a_cache_that_comes_back_is_asked_only_for_the_rest() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let plan = host.plan(&caches, &release("v1")).await.unwrap();
    let (total, address) = (plan.total, server.address());
    server.die_after(total / 2);
    let (tell, mut told) = unbounded_channel::<Progress>();
    let report = Arc::new(move |progress| drop(tell.send(progress)));
    let cancel = Cancel::new();
    let fetching = fetch::fetch(&host.store, &caches, plan, report, &cancel);
    let healing = async {
        let mut done = 0;
        while let Some(progress) = told.recv().await {
            done = done.max(progress.paths_done);
            if progress.waiting.is_some() {
                break;
            }
        }
        drop(server);
        (done, Server::start_on(cache.path(), address).unwrap())
    };
    let (fetched, (done, again)) = tokio::join!(fetching, healing);
    assert_eq!(fetched.unwrap().paths, total);
    assert!(again.requests("nar/") >= 1 && again.requests("nar/") <= total - done);
    host.verify();
}

/// A large NAR whose connection is cut goes on at the byte it had got to.
#[tokio::test]
async fn a_cut_connection_goes_on_where_it_was() {
    let fixture = Fixture::get();
    for no_range in [false, true] {
        let cache = fixture.cache("none");
        let server = Server::start(cache.path()).unwrap();
        let url = cache.narinfo(&large()).url;
        let whole = std::fs::metadata(cache.nar_file(&large())).unwrap().len();
        server.fail_times(&url, Fault::Drop(1_000_000), 2);
        if no_range {
            server.fail(&url, Fault::NoRange);
        }
        let host = Host::new();
        host.fetch(&fixture.caches(&[server.url()]), &large()).await.unwrap();
        host.verify();
        assert_eq!(server.requests(&url), 3);
        if !no_range {
            // The narinfo apart, each byte was sent once, but for what was in flight at a cut.
            assert!(server.body_bytes() <= whole + 10_000 + 2 * 1_000_000, "{whole}");
        }
    }
}

/// A connection that stalls is given up and made anew.
#[tokio::test]
async fn a_stalled_connection_is_made_anew() {
    let fixture = Fixture::get();
    let cache = fixture.cache("none");
    let server = Server::start(cache.path()).unwrap();
    let url = cache.narinfo(&large()).url;
    server.fail_times(&url, Fault::Hang(1 << 20), 1);
    let impatient = Options { stall_timeout: Duration::from_millis(300), ..options() };
    let host = Host::new();
    host.fetch(&fixture.caches_with(&[server.url()], impatient), &large()).await.unwrap();
    host.verify();
}

/// A restarting cache answers 503 for a while.
#[tokio::test]
async fn passing_refusals_are_asked_again() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    server.fail_times(".narinfo", Fault::Status(503), 2);
    server.fail_times(".nar.zst", Fault::Status(429), 3);
    let host = Host::new();
    host.fetch(&fixture.caches(&[server.url()]), &release("v1")).await.unwrap();
    host.verify();
}

/// Killed in the middle (here: the future is dropped, which leaves what a kill leaves), the next
/// process takes what was whole, after hashing it, and asks only for the rest.
#[tokio::test]
async fn the_next_process_takes_what_was_whole() {
    let fixture = Fixture::get();
    let cache = fixture.cache("none");
    let server = Server::start(cache.path()).unwrap();
    let (host, caches) = (Host::new(), fixture.caches(&[server.url()]));
    let url = cache.narinfo(&large()).url;
    server.fail(&url, Fault::Hang(1 << 20));
    let plan = host.plan(&caches, &release("v1")).await.unwrap();
    let total = plan.total;
    let (tell, mut told) = unbounded_channel::<Progress>();
    let report = Arc::new(move |progress| drop(tell.send(progress)));
    let cancel = Cancel::new();
    tokio::select! {
        ended = fetch::fetch(&host.store, &caches, plan, report, &cancel) => panic!("{ended:?}"),
        () = async {
            while told.recv().await.is_some_and(|progress| progress.paths_done + 1 < total) {}
        } => {}
    }
    // One that was whole is spoiled: its hash is asked, not its name.
    let spoiled = host.store.layout().staged(&release("v1"));
    let target = spoiled.join("share/references");
    std::fs::remove_file(&target).unwrap();
    std::fs::write(&target, "spoiled").unwrap();

    let Host { root, store } = host;
    drop(store);
    server.heal();
    let before = server.requests("nar/");
    let host = Host { store: Store::open(root.path()).unwrap(), root };
    let fetched = host.fetch(&caches, &release("v1")).await.unwrap();
    assert_eq!((fetched.paths, fetched.resumed_paths), (total, total - 2));
    let after = server.requests("nar/");
    assert_eq!(after - before, 2, "the hanging one and the spoiled one");
    host.verify();
}

#[tokio::test]
async fn a_cache_that_stays_away_ends_the_fetch_with_words_and_leaves_nothing() {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let brief = Options { give_up_after: Duration::from_millis(400), ..options() };
    let (host, caches) = (Host::new(), fixture.caches_with(&[server.url()], brief));
    let plan = host.plan(&caches, &release("v1")).await.unwrap();
    server.die_after(plan.total / 2);
    let report = Arc::new(|_| {});
    let error = fetch::fetch(&host.store, &caches, plan, report, &Cancel::new()).await;
    let error = error.unwrap_err();
    assert!(matches!(error.fault, StoreFault::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("the cache gave nothing for"), "{error}");
    assert!(host.names().is_empty(), "{:?}", host.names());
    // And from the beginning.
    let error = host.fetch(&caches, &release("v1")).await.unwrap_err();
    assert!(matches!(error.fault, StoreFault::Unreachable { .. }), "{error}");
}
