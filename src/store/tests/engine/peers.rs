//! Hosts that fetch from each other: what the caches are spared, and what a bad peer costs.

use super::fetch::path_infos;
use super::fixture::{Cache, Fixture, Host, large, named, options, release, run};
use httpd::{Answer, Handler, Limits, Question};
use qemu_tests::cache::{Fault, Server};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::fetch::peers::Patience;
use store::fetch::{Caches, Cancel, Peers, Source};
use store::serve::{Serve, Served};
use store::{Fault as StoreFault, StorePath};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A host that serves its store.
struct Member {
    host: Host,
    peers: Peers,
    address: String,
    served: Arc<Served>,
    serving: JoinHandle<()>,
}

impl Member {
    async fn new(limits: Limits) -> Self {
        let host = Host::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = Serve::new(host.store.clone(), Arc::new(|_| true));
        let served = serve.served();
        let serving = tokio::spawn(async move {
            httpd::serve(listener, limits, serve, |_| {}).await;
        });
        Self { host, peers: peers(Patience::default()), address, served, serving }
    }

    fn bytes(&self) -> u64 {
        self.served.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn peers(patience: Patience) -> Peers {
    Peers::new(patience).unwrap()
}

/// Short waits, for peers that are meant to fail.
fn impatient() -> Patience {
    let short = Duration::from_millis(300);
    Patience { stall: short, narinfo: short, still: short, ..Patience::default() }
}

/// So many hosts that know each other.
async fn group(count: usize) -> Vec<Member> {
    // Both ends of all connections are in this process.
    sys::process::raise_open_files(8192).unwrap();
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::new(Limits::default()).await);
    }
    let all: Vec<(String, String)> = members
        .iter()
        .enumerate()
        .map(|(index, member)| (format!("host-{index}"), member.address.clone()))
        .collect();
    for (index, member) in members.iter().enumerate() {
        member.peers.set(&all[index].0, all.clone());
    }
    members
}

/// What the caches send for one closure, in bytes of NARs, and how many there are.
async fn closure_bytes(fixture: &Fixture, top: &StorePath) -> (u64, usize) {
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let host = Host::new();
    let fetched = host.fetch(&fixture.caches(&[server.url()]), top).await.unwrap();
    (fetched.downloaded_bytes, fetched.paths)
}

/// Three hosts that begin together, or one after the other: the cache sends each NAR once.
#[tokio::test]
async fn a_group_costs_the_cache_one_closure() {
    let (fixture, top) = (Fixture::get(), release("v1"));
    let (one, paths) = closure_bytes(&fixture, &top).await;
    for skew_ms in [0, 1, 5, 20] {
        let cache = fixture.cache("zstd");
        let server = Server::start(cache.path()).unwrap();
        let members = group(3).await;
        let fetch = async |index: usize| {
            let member: &Member = &members[index];
            let skew = Duration::from_millis(skew_ms * index as u64);
            // Not waiting for anything: hosts hear of a release at different times.
            tokio::time::sleep(skew).await;
            let caches = fixture.caches(&[server.url()]).with_peers(member.peers.clone());
            member.host.fetch(&caches, &top).await.unwrap()
        };
        let (first, second, third) = tokio::join!(fetch(0), fetch(1), fetch(2));
        let from_peers: u64 = [&first, &second, &third].iter().map(|one| one.peer_bytes).sum();
        let bans: u64 = members.iter().map(|member| member.peers.bans()).sum();
        println!(
            "skew {skew_ms} ms: {} of {one} bytes from the cache, {from_peers} from peers",
            [&first, &second, &third]
                .iter()
                .map(|one| one.downloaded_bytes - one.peer_bytes)
                .sum::<u64>()
        );
        assert_eq!((server.repeated("nar/"), bans), (Vec::new(), 0), "skew {skew_ms} ms");
        assert_eq!(server.requests("nar/"), paths, "skew {skew_ms} ms");
        assert!(from_peers > 0 && members.iter().map(Member::bytes).sum::<u64>() >= from_peers);
        members.iter().for_each(|member| member.host.verify());
    }
}

/// More hosts than are asked for one path, which hear of a release one after the other: those who
/// come first may ask nobody who has it, and there are few of them.
#[tokio::test]
async fn a_larger_group_costs_the_cache_little_more() {
    const HOSTS: usize = 8;
    let (fixture, top) = (Fixture::get(), release("v1"));
    let (one, _) = closure_bytes(&fixture, &top).await;
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let members = group(HOSTS).await;
    let mut fetches = tokio::task::JoinSet::new();
    // Each hears of it when the one before knows what it lacks, and has not begun to fetch it.
    let (first, mut heard) = oneshot::channel();
    first.send(()).unwrap();
    for member in &members {
        let caches = fixture.caches(&[server.url()]).with_peers(member.peers.clone());
        let (store, top) = (member.host.store.clone(), top.clone());
        let (tell_next, next) = oneshot::channel();
        let told = std::mem::replace(&mut heard, next);
        fetches.spawn(async move {
            told.await.unwrap();
            let plan = store::plan::plan(&store, &caches, &top).await.unwrap();
            // Nobody comes after the last one.
            let _ = tell_next.send(());
            let report = Arc::new(|_| {});
            store::fetch::fetch(&store, &caches, plan, report, &Cancel::new()).await.unwrap()
        });
    }
    let fetched = fetches.join_all().await;
    let from_cache: u64 = fetched.iter().map(|one| one.downloaded_bytes - one.peer_bytes).sum();
    println!("{HOSTS} hosts: {from_cache} of {one} bytes from the cache");
    assert!(from_cache <= 3 * one, "{from_cache} bytes of {one}");
    assert_eq!(members.iter().map(|member| member.peers.bans()).sum::<u64>(), 0);
    members.iter().for_each(|member| member.host.verify());
}

/// A cache that is away is not missed by a host whose peer has all of it; and what is registered
/// here is what Nix had at the origin, signatures too.
#[tokio::test]
async fn a_late_host_needs_no_cache() {
    let (fixture, top) = (Fixture::get(), release("v1"));
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let members = group(2).await;
    members[0].host.fetch(&fixture.caches(&[server.url()]), &top).await.unwrap();
    let url = server.url();
    drop(server);
    let caches = fixture.caches(&[url]).with_peers(members[1].peers.clone());
    let fetched = members[1].host.fetch(&caches, &top).await.unwrap();
    assert_eq!(fetched.sources, [(Source::Peer("host-0".to_owned()), fetched.paths)]);
    assert_eq!(fetched.peer_bytes, fetched.downloaded_bytes);
    members[1].host.verify();
    let text = top.to_string();
    let ours = path_infos(members[1].host.root.path(), &text);
    assert_eq!(ours, path_infos(&fixture.origin(), &text));
}

/// To Nix itself we are a cache like others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nix_substitutes_from_us() {
    let (fixture, top) = (Fixture::get(), release("v2"));
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let member = Member::new(Limits::default()).await;
    member.host.fetch(&fixture.caches(&[server.url()]), &top).await.unwrap();
    let nix = Host::new();
    let (root, key) = (nix.root.path().to_owned(), fixture.public_key.clone());
    let (address, text) = (member.address.clone(), top.to_string());
    let copied = tokio::task::spawn_blocking(move || {
        let from = format!("http://{address}");
        run(
            &root,
            "nix",
            &["copy", "--option", "trusted-public-keys", key.trim(), "--from", &from, &text],
            "",
        )
    });
    let (success, said) = copied.await.unwrap();
    assert!(success, "{said}");
    let theirs = path_infos(nix.root.path(), &top.to_string());
    assert_eq!(theirs, path_infos(&fixture.origin(), &top.to_string()));
}

/// What has no signature helps nobody, a path that is asked for with another hash is another one,
/// and who is not of the group gets nothing.
#[tokio::test]
async fn what_is_not_served() {
    let (fixture, top) = (Fixture::get(), release("v1"));
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let member = Member::new(Limits::default()).await;
    member.host.fetch(&fixture.caches(&[server.url()]), &top).await.unwrap();
    let serve = Serve::new(member.host.store.clone(), Arc::new(|address| address.is_ipv6()));
    let ask = async |address: &str, path: &str| {
        let from = address.parse().unwrap();
        let query = String::new();
        match serve.answer(Question { from, path: path.to_owned(), query }).await {
            Answer::Text { status, .. } => status,
            Answer::Stream { .. } => 200,
        }
    };
    let narinfo = member.host.store.info(&large()).unwrap().unwrap();
    let (hash, nar_hash) = (large().hash_part().to_owned(), narinfo.nar_hash.base32());
    assert_eq!(ask("127.0.0.1:1", &format!("/{hash}.narinfo")).await, 403);
    assert_eq!(ask("[::1]:1", &format!("/{hash}.narinfo")).await, 200);
    assert_eq!(ask("[::1]:1", &format!("/nar/{hash}-{nar_hash}.nar")).await, 200);
    let other = top.hash_part();
    assert_eq!(ask("[::1]:1", &format!("/nar/{other}-{nar_hash}.nar")).await, 404);
    let unknown = named("unknown");
    assert_eq!(ask("[::1]:1", &format!("/{}.narinfo", unknown.hash_part())).await, 404);
    let database = member.host.store.layout().database().join("db.sqlite");
    let sql = "update ValidPaths set sigs = null where path = ?1";
    let database = rusqlite::Connection::open(database).unwrap();
    assert_eq!(database.execute(sql, [large().to_string()]).unwrap(), 1);
    assert_eq!(ask("[::1]:1", &format!("/{hash}.narinfo")).await, 404);
    assert_eq!(ask("[::1]:1", &format!("/nar/{hash}-{nar_hash}.nar")).await, 404);
    assert_eq!(serve.served().refused.load(Ordering::Relaxed), 1);
}

/// A peer in the shape of files, with faults on purpose.
fn peer_folder(fixture: &Fixture, top: &StorePath, host: &Host) -> Cache {
    let cache = fixture.cache("none");
    for path in host.store.closure(top).unwrap() {
        let narinfo = cache.narinfo(&path);
        let url = format!("nar/{}-{}.nar", path.hash_part(), narinfo.nar_hash.base32());
        fs::rename(cache.path().join(&narinfo.url), cache.path().join(&url)).unwrap();
        cache.change(&path, |narinfo| narinfo.url = url);
    }
    cache
}

/// A host with one peer that does wrong, and a cache that does not.
struct Bad {
    fixture: Fixture,
    _good: Cache,
    good: Server,
    folder: Cache,
    bad: Server,
    peers: Peers,
    host: Host,
}

impl Bad {
    async fn new() -> Self {
        Self::with(Patience::default()).await
    }

    async fn with(patience: Patience) -> Self {
        let fixture = Fixture::get();
        let good_cache = fixture.cache("zstd");
        let good = Server::start(good_cache.path()).unwrap();
        let seed = Host::new();
        seed.fetch(&fixture.caches(&[good.url()]), &release("v1")).await.unwrap();
        let folder = peer_folder(&fixture, &release("v1"), &seed);
        let bad = Server::start(folder.path()).unwrap();
        let peers = peers(patience);
        // Our own name ranks behind: all is asked of the peer first.
        peers.set("", [("bad".to_owned(), bad.address().to_string())]);
        Self { fixture, _good: good_cache, good, folder, bad, peers, host: Host::new() }
    }

    fn caches(&self) -> Caches {
        self.fixture.caches(&[self.good.url()]).with_peers(self.peers.clone())
    }

    /// All comes all the same; why the peer was left out, if it was.
    async fn fetch(&self) -> Option<String> {
        self.host.fetch(&self.caches(), &release("v1")).await.unwrap();
        self.host.verify();
        let mut bans = self.peers.take_bans();
        assert!(bans.len() <= 1, "once is enough: {bans:?}");
        let ban = bans.pop()?;
        assert_eq!(ban.name, "bad");
        Some(ban.why)
    }
}

#[tokio::test]
async fn a_good_peer_in_the_shape_of_files() {
    let bad = Bad::new().await;
    let before = bad.good.requests("");
    assert_eq!(bad.fetch().await, None);
    assert_eq!(bad.good.requests(""), before, "the cache is not asked");
    assert!(bad.bad.repeated("nar/").is_empty());
}

#[tokio::test]
async fn a_peer_that_sends_other_bytes() {
    let bad = Bad::new().await;
    bad.bad.fail("nar/", Fault::Flip(200));
    let why = bad.fetch().await.expect("it is left out");
    assert!(why.contains("NAR"), "{why}");
}

#[tokio::test]
async fn a_peer_that_never_ends() {
    let bad = Bad::new().await;
    let url = bad.folder.narinfo(&large()).url;
    let mut bytes = fs::read(bad.folder.path().join(&url)).unwrap();
    bytes.resize(bytes.len() + (8 << 20), 0);
    bad.bad.fail(&url, Fault::Replace(bytes));
    let why = bad.fetch().await.expect("it is left out");
    assert!(why.contains("larger") || why.contains("more than"), "{why}");
}

#[tokio::test]
async fn a_peer_that_stops_in_the_middle() {
    for fault in [Fault::Hang(1 << 20), Fault::Drop(1 << 20)] {
        let bad = Bad::with(impatient()).await;
        bad.bad.fail(&bad.folder.narinfo(&large()).url, fault.clone());
        let why = bad.fetch().await.unwrap_or_else(|| panic!("{fault:?}: it is left out"));
        assert!(why.contains("did not come"), "{fault:?}: {why}");
    }
}

/// It costs one wait and not one for each path.
#[tokio::test]
async fn a_peer_that_does_not_answer() {
    let bad = Bad::with(impatient()).await;
    bad.bad.fail("narinfo", Fault::Hang(0));
    let why = bad.fetch().await.expect("it is left out");
    assert!(why.contains("in time") || why.contains("timed out"), "{why}");
    assert!(bad.bad.requests("nar/") == 0, "nothing more is asked of it");

    let bad = Bad::with(impatient()).await;
    let Bad { fixture, _good, good, bad: server, peers, host, .. } = bad;
    drop(server);
    let caches = fixture.caches(&[good.url()]).with_peers(peers.clone());
    host.fetch(&caches, &release("v1")).await.unwrap();
    assert_eq!(peers.take_bans().len(), 1);
}

#[tokio::test]
async fn a_peer_whose_narinfos_are_forged() {
    let bad = Bad::new().await;
    for path in [release("v1"), large()] {
        bad.folder.change(&path, |narinfo| narinfo.nar_size += 1);
    }
    let why = bad.fetch().await.expect("it is left out");
    assert!(why.contains("signature") || why.contains("narinfo"), "{why}");
    let bad = Bad::new().await;
    bad.bad.fail("narinfo", Fault::Replace(b"nonsense".to_vec()));
    bad.fetch().await.expect("it is left out");
}

/// That a peer lacks a path, is busy, or does not serve us, is nobody's fault.
#[tokio::test]
async fn a_peer_that_has_nothing_for_us() {
    for status in [404, 403, 503, 429] {
        for text in ["narinfo", "nar/"] {
            let bad = Bad::new().await;
            bad.bad.fail(text, Fault::Status(status));
            assert_eq!(bad.fetch().await, None, "{status} to {text}");
        }
    }
}

/// A peer says that all is coming, for ever.
#[derive(Clone, Default)]
struct Promising {
    asked: Arc<AtomicU64>,
    /// Whether it claims that bytes come to it.
    grows: bool,
}

impl Handler for Promising {
    async fn answer(&self, question: Question) -> Answer {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if !question.path.starts_with("/nar/") {
            return Answer::missing();
        }
        let bytes = if self.grows { asked } else { 0 };
        let fields = vec![("rollinit-coming-bytes", bytes.to_string())];
        Answer::Text { status: 503, kind: "text/plain", fields, text: String::new() }
    }
}

#[tokio::test]
async fn a_peer_that_only_promises() {
    for grows in [false, true] {
        let fixture = Fixture::get();
        let cache = fixture.cache("zstd");
        let server = Server::start(cache.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let promising = Promising { grows, ..Promising::default() };
        let serving = tokio::spawn(async move {
            httpd::serve(listener, Limits::default(), promising, |_| {}).await;
        });
        let patience = Patience { path: Duration::from_secs(1), ..impatient() };
        let peers = peers(patience);
        peers.set("", [("promising".to_owned(), address)]);
        let caches = fixture.caches(&[server.url()]).with_peers(peers.clone());
        let host = Host::new();
        let fetched = host.fetch(&caches, &release("v1")).await.unwrap();
        assert_eq!(fetched.peer_bytes, 0);
        assert_eq!(peers.take_bans().len(), usize::from(!grows), "grows: {grows}");
        serving.abort();
    }
}

/// A disk that rots, at the peer: what it has is never sent whole, and the cache has it.
#[tokio::test]
async fn a_tree_that_changed_is_not_sent() {
    let (fixture, top) = (Fixture::get(), release("v1"));
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let members = group(2).await;
    let caches = fixture.caches(&[server.url()]);
    members[0].host.fetch(&caches, &top).await.unwrap();
    let file = members[0].host.store.real_path(&large());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let caches = caches.with_peers(members[1].peers.clone());
    members[1].host.fetch(&caches, &top).await.unwrap();
    members[1].host.verify();
    assert_eq!(members[1].peers.take_bans().len(), 1);
}

/// A group in which nobody can reach a cache says so, and waits for nobody in a circle.
#[tokio::test]
async fn nobody_has_it() {
    let fixture = Fixture::get();
    let members = group(3).await;
    let fetch = async |index: usize| {
        let member: &Member = &members[index];
        let caches = Caches::new(&[], std::slice::from_ref(&fixture.public_key), options());
        let caches = caches.unwrap().with_peers(member.peers.clone());
        member.host.fetch(&caches, &release("v1")).await.unwrap_err()
    };
    let (first, second, third) = tokio::join!(fetch(0), fetch(1), fetch(2));
    for error in [first, second, third] {
        assert!(matches!(error.fault, StoreFault::Nothing("cache")), "{error}");
    }
}
