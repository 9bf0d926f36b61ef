//! What every engine owes: one suite, on a folder, on Debian's etcd, and on moto's DynamoDB and S3;
//! on each of the three also behind a proxy that loses requests and answers, on etcd also with three
//! members whose leader is killed in the middle. At last the migration lock on all of them at once.
//!
//! The claim is about real engines (moto is a foreign implementation of AWS's), so the tests start
//! them; a test whose engine is missing fails and says how to get it.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "conformance/authority.rs"]
mod authority;
#[path = "conformance/cloud.rs"]
mod cloud_engines;
#[path = "conformance/cluster.rs"]
mod cluster;
#[path = "conformance/migration.rs"]
mod migration;
#[path = "conformance/proxy.rs"]
mod proxy;
#[path = "conformance/suite.rs"]
mod suite;

use authority::Authority;
use cluster::{Cluster, Guard};
use ledger::{Address, Engine};
use proxy::{Fault, Proxy};
use rollout::Ledger;
use suite::{applied, enter, lists, suite};

fn engine(address: &str) -> Engine {
    Engine::open(&address.parse::<Address>().unwrap(), None).unwrap()
}

#[tokio::test]
async fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&format!("file://{}", folder.path().display()));
    suite(&engine, "lists/folder").await;
    assert!(engine.probe().await.unwrap().contains("for one host"));
}

#[tokio::test]
async fn etcd() {
    let cluster = Cluster::start(1).await;
    let one = engine(&format!("etcd://{}/fleet", cluster.endpoints()));
    suite(&one, "lists/etcd").await;
    assert!(one.probe().await.unwrap().contains("answers with a quorum"));
    // Another prefix is another world.
    let other = engine(&format!("etcd://{}/fleet2", cluster.endpoints()));
    assert_eq!(other.get("races/one").await.unwrap(), None);
    assert_eq!(other.list("hosts/").await.unwrap(), []);
}

/// Requests that never arrive or come late, and answers that never come, after the write was
/// applied.
#[tokio::test]
async fn etcd_behind_a_lossy_proxy() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::start(cluster.endpoints(), Fault::Lossy).await;
    let lossy = engine(&format!("etcd://{}", proxy.address()));
    lists(&[lossy], "lists/lossy").await;
    proxy.assert_lossy();
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

/// With a user and a password; with the wrong one; and after etcd forgot who we are: the pass that
/// it gave counts no more, and another is got for the password, by many calls at once.
#[tokio::test]
async fn etcd_with_users() {
    let mut cluster = Cluster::start(1).await;
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
    let error = nobody.get("groups/a").await.unwrap_err().to_string();
    assert!(error.contains("user=") && error.contains("password-file="), "{error}");
    // Whoever is in stays in, until etcd starts anew and knows no pass.
    assert_eq!(known.get("groups/a").await.unwrap().unwrap().value, b"x");
    cluster.restart().await;
    let error = known.get("groups/a").await.unwrap_err().to_string();
    assert!(error.contains("user root"), "the old pass counts no more: {error}");
    std::fs::write(&file, "right\n").unwrap();
    lists(&[known], "lists/users").await;
    // A member that is dead does not keep the others from saying who we are.
    let file = file.display();
    let some_dead =
        format!("etcd://127.0.0.1:9,{}?user=root&password-file={file}", cluster.endpoints());
    assert_eq!(engine(&some_dead).get("groups/a").await.unwrap().unwrap().value, b"x");
    let all_dead = format!("etcd://127.0.0.1:9?user=root&password-file={file}");
    let error = engine(&all_dead).get("groups/a").await.unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains("see that etcd runs"), "{error}");
}

/// TLS: only to whom the right authority vouches for, and only as one whom it vouches for.
#[tokio::test]
async fn etcd_behind_tls() {
    let authority = Authority::new();
    let cluster = Cluster::start_guarded(1, Guard::Mutual(&authority)).await;
    let at = cluster.endpoints();
    let folder = authority.folder().display();
    let identity = format!("cert={folder}/client.pem&key={folder}/client.key");
    let good = engine(&format!("etcds://{at}?ca={folder}/ca.pem&{identity}"));
    lists(&[good], "lists/tls").await;
    let other = Authority::new();
    let wrong = other.folder().display();
    for (query, cause) in [
        (format!("ca={wrong}/ca.pem&{identity}"), "certificate"),
        (format!("ca={folder}/ca.pem"), "ertificate"),
        (
            format!("ca={folder}/ca.pem&cert={wrong}/client.pem&key={wrong}/client.key"),
            "ertificate",
        ),
    ] {
        let error = engine(&format!("etcds://{at}?{query}")).get("groups/a").await.unwrap_err();
        assert!(error.to_string().contains(cause), "{query}: {error}");
    }
    // A certificate that was renewed counts without a new start, once the old one was refused.
    let renewed = tempfile::tempdir().unwrap();
    let put = |from: &std::path::Path| {
        for name in ["client.pem", "client.key"] {
            std::fs::copy(from.join(name), renewed.path().join(name)).unwrap();
        }
    };
    put(other.folder());
    let path = renewed.path().display();
    let query = format!("ca={folder}/ca.pem&cert={path}/client.pem&key={path}/client.key");
    let known = engine(&format!("etcds://{at}?{query}"));
    known.get("groups/a").await.unwrap_err();
    put(authority.folder());
    assert_eq!(known.get("groups/a").await.unwrap(), None);

    let plain = engine(&format!("etcd://{at}")).get("groups/a").await.unwrap_err().to_string();
    assert!(plain.contains("etcds://"), "{plain}");
    let address = format!("etcds://{at}?ca={folder}/none.pem").parse().unwrap();
    let error = Engine::open(&address, None).unwrap_err().to_string();
    assert!(error.contains("/none.pem: No such file") && error.contains("PEM"), "{error}");
}
