//! What every engine owes: one suite, on a folder and on Debian's etcd; on etcd also behind a proxy
//! that loses requests and answers, and with three members whose leader is killed in the middle.
//!
//! The claim is about the real engine, so the tests start one. `LEDGER_SEED=N` replays the proxy.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "conformance/cluster.rs"]
mod cluster;
#[path = "conformance/proxy.rs"]
mod proxy;

use cluster::Cluster;
use ledger::{Address, Engine};
use proxy::Proxy;
use rollout::{Cas, Ledger, Token};
use std::collections::BTreeSet;

/// Clients that want the same entry at once.
const RACERS: usize = 12;

fn engine(address: &str) -> Engine {
    Engine::open(&address.parse::<Address>().unwrap(), None).unwrap()
}

async fn applied(engine: &Engine, key: &str, expected: Option<&Token>, value: &[u8]) -> Token {
    match engine.cas(key, expected, value).await.unwrap() {
        Cas::Applied(token) => token,
        other => panic!("{key}: {other:?}"),
    }
}

/// One entry from its first write on.
async fn entries(engine: &Engine) {
    let key = "groups/prod/web";
    assert_eq!(engine.get(key).await.unwrap(), None);
    let first = applied(engine, key, None, b"one").await;
    assert_eq!(engine.cas(key, None, b"two").await.unwrap(), Cas::Lost, "it is there already");
    let entry = engine.get(key).await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), &entry.token), (&b"one"[..], &first));
    let second = applied(engine, key, Some(&first), b"two").await;
    assert_ne!(first, second);
    assert_eq!(engine.cas(key, Some(&first), b"three").await.unwrap(), Cas::Lost, "it is newer");
    // The same bytes again are a write like others: who read before must lose.
    let third = applied(engine, key, Some(&second), b"two").await;
    assert_eq!(engine.cas(key, Some(&second), b"three").await.unwrap(), Cas::Lost);
    assert_eq!(engine.get(key).await.unwrap().unwrap().token, third);
    let none = engine.cas("groups/prod/none", Some(&third), b"x").await.unwrap();
    assert_eq!(none, Cas::Lost, "there is no entry to have that version");
    assert_eq!(engine.get("groups/prod/none").await.unwrap(), None);
}

async fn values(engine: &Engine) {
    let large = vec![0x2F_u8; 300 * 1024];
    for (name, value) in [("empty", &b""[..]), ("bytes", &[0, 10, 255, 0][..]), ("large", &large)] {
        let key = format!("values/{name}");
        applied(engine, &key, None, value).await;
        assert_eq!(engine.get(&key).await.unwrap().unwrap().value, value, "{name}");
    }
    let huge = vec![0_u8; 500 * 1024];
    let error = engine.cas("values/huge", None, &huge).await.unwrap_err().to_string();
    assert!(error.contains("write values/huge") && error.contains("is the most"), "{error}");
    for key in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a b", "a\0", "ä", &"a".repeat(600)] {
        assert!(engine.get(key).await.is_err(), "{key:?}");
        assert!(engine.cas(key, None, b"").await.is_err(), "{key:?}");
    }
}

async fn listings(engine: &Engine) {
    for key in ["hosts/web/b", "hosts/web/a", "hosts/web/a.b", "hosts/web2/c", "hosts/web/d/e"] {
        applied(engine, key, None, key.as_bytes()).await;
    }
    let listed = engine.list("hosts/web/").await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["hosts/web/a", "hosts/web/a.b", "hosts/web/b", "hosts/web/d/e"]);
    for (key, entry) in &listed {
        assert_eq!(engine.get(key).await.unwrap().as_ref(), Some(entry));
    }
    assert_eq!(engine.list("nobody/").await.unwrap(), []);
    assert!(engine.list("hosts/web").await.is_err(), "a folder ends in a slash");
}

/// Many want the first write, and each next one: each time one gets it.
async fn races(engine: &Engine) {
    let mut expected = None;
    for round in 0..5 {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (engine, expected) = (engine.clone(), expected.clone());
                tokio::spawn(async move {
                    let value = format!("{round} {racer}");
                    engine.cas("races/one", expected.as_ref(), value.as_bytes()).await.unwrap()
                })
            })
            .collect();
        let mut won = Vec::new();
        for racer in racers {
            match racer.await.unwrap() {
                Cas::Applied(token) => won.push(token),
                Cas::Lost => {}
                Cas::Unknown(reason) => panic!("{reason}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        expected = won.pop();
        assert_eq!(engine.get("races/one").await.unwrap().map(|entry| entry.token), expected);
    }
}

/// Puts a name into the list that an entry is, whatever the engine's answers come to.
async fn enter(engine: &Engine, key: &str, name: &str) {
    loop {
        let Ok(entry) = engine.get(key).await else { continue };
        let (value, token) = entry.map_or((Vec::new(), None), |e| (e.value, Some(e.token)));
        let mut text = String::from_utf8(value).unwrap();
        if text.lines().any(|line| line == name) {
            return;
        }
        text.push_str(name);
        text.push('\n');
        // Whatever it was, the next look tells: that is all there is to an unknown end.
        let _ = engine.cas(key, token.as_ref(), text.as_bytes()).await;
    }
}

/// Names are entered by many at once; none is lost, none is there twice.
async fn lists(engines: &[Engine], key: &'static str) {
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let engine = engines[writer % engines.len()].clone();
            tokio::spawn(async move {
                for number in 0..6 {
                    enter(&engine, key, &format!("{writer}-{number}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let entry = loop {
        if let Ok(Some(entry)) = engines[0].get(key).await {
            break entry;
        }
    };
    let text = String::from_utf8(entry.value).unwrap();
    let names: BTreeSet<&str> = text.lines().collect();
    assert_eq!((names.len(), text.lines().count()), (48, 48), "{text}");
}

async fn suite(engine: &Engine, key: &'static str) {
    entries(engine).await;
    values(engine).await;
    listings(engine).await;
    races(engine).await;
    lists(std::slice::from_ref(engine), key).await;
}

#[tokio::test]
async fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    suite(&engine(&format!("file://{}", folder.path().display())), "lists/folder").await;
}

#[tokio::test]
async fn etcd() {
    let cluster = Cluster::start(1).await;
    suite(&engine(&format!("etcd://{}/fleet", cluster.endpoints())), "lists/etcd").await;
    // Another prefix is another world.
    let other = engine(&format!("etcd://{}/fleet2", cluster.endpoints()));
    assert_eq!(other.get("races/one").await.unwrap(), None);
    assert_eq!(other.list("hosts/").await.unwrap(), []);
}

/// Requests that never arrive, and answers that never come, after the write was applied.
#[tokio::test]
async fn etcd_behind_a_lossy_proxy() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::start(cluster.endpoints()).await;
    let lossy = engine(&format!("etcd://{}", proxy.address()));
    lists(&[lossy], "lists/lossy").await;
    assert!(proxy.lost_answers() > 3, "{} answers were lost", proxy.lost_answers());
    assert!(proxy.lost_requests() > 3, "{} requests were lost", proxy.lost_requests());
}

/// The leader dies in the middle: writes go on with the two that are left, and none is lost.
#[tokio::test]
async fn etcd_whose_leader_is_killed() {
    let mut cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints();
    // Clients begin at different members.
    let engines: Vec<Engine> = (0..3)
        .map(|first| {
            let mut hosts: Vec<&str> = endpoints.split(',').collect();
            hosts.rotate_left(first);
            engine(&format!("etcd://{}", hosts.join(",")))
        })
        .collect();
    enter(&engines[0], "lists/leader", "0-0").await;
    let writers = lists(&engines, "lists/leader");
    let killer = cluster.kill_leader();
    tokio::join!(writers, killer);
}

/// Nobody there: an error that names step, engine and cure, and says that nothing was written.
#[tokio::test]
async fn nobody_there() {
    let gone = engine("etcd://127.0.0.1:9,127.0.0.1:10");
    let error = gone.cas("groups/a", None, b"x").await.unwrap_err().to_string();
    assert!(error.starts_with("write groups/a to etcd http://127.0.0.1:9,"), "{error}");
    assert!(error.contains("refused") && error.contains("see that etcd runs"), "{error}");
}

/// With a user and a password; with the wrong one; and after etcd forgot who we are.
#[tokio::test]
async fn etcd_with_users() {
    let cluster = Cluster::start(1).await;
    cluster.protect("root", "right").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let address = |user: &str| {
        let file = file.display();
        format!("etcd://{}?user={user}&password-file={file}", cluster.endpoints())
    };
    std::fs::write(&file, "right\n").unwrap();
    let known = engine(&address("root"));
    applied(&known, "groups/a", None, b"x").await;
    std::fs::write(&file, "wrong\n").unwrap();
    let error = engine(&address("root")).get("groups/a").await.unwrap_err().to_string();
    assert!(error.contains("user root") && error.contains("password"), "{error}");
    let nobody = engine(&format!("etcd://{}", cluster.endpoints()));
    assert!(nobody.get("groups/a").await.is_err());
    // Whoever is in stays in, until etcd starts anew with other passes.
    assert_eq!(known.get("groups/a").await.unwrap().unwrap().value, b"x");
}
