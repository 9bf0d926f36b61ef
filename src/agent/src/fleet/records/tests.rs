//! The records of a group on a folder, and on a real etcd.

use super::*;
use crate::config;
use crate::metrics::Metrics;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// Debian's etcd, one member, on loopback ports of this test.
struct Etcd {
    child: Child,
    client: String,
    _folder: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let held = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a port"));
        let [client, peer] = held.map(|held| held.local_addr().expect("bound").to_string());
        let url = |address: &str| format!("http://{address}");
        let child = Command::new("etcd")
            .args(["--name", "n0", "--log-level", "error"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &url(&client), "--advertise-client-urls", &url(&client)])
            .args(["--listen-peer-urls", &url(&peer), "--initial-cluster"])
            .arg(format!("n0={}", url(&peer)))
            .args(["--initial-advertise-peer-urls", &url(&peer)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd; `cargo xtask setup` installs it");
        Self { child, client, _folder: folder }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fleet(ledger: String) -> Fleet {
    let settings = config::fleet::Fleet {
        is_due: true,
        ledger: Some(ledger),
        group: Some("prod".to_owned()),
        host: Some("i-0".to_owned()),
    };
    Fleet::new(&settings, None, Metrics::default()).expect("both are known")
}

fn says(host: &str, beat: u64) -> Status {
    Status { format: 1, host: host.to_owned(), beat, ..Status::default() }
}

async fn hosts(fleet: &Fleet) -> Vec<String> {
    let (_, statuses) = fleet.look().await.expect("an answer");
    statuses.into_iter().map(|status| status.host).collect()
}

/// What a host said that was silent for long is removed; not if it said something since, nor if
/// somebody else was faster.
async fn who_is_gone_is_forgotten(fleet: &Fleet) {
    for host in ["i-0", "i-1", "i-2"] {
        fleet.say(says(host, 7)).await;
    }
    fleet.say(says("i-2", 8)).await;
    fleet.forget("i-1", 7).await;
    fleet.forget("i-2", 7).await;
    assert_eq!(hosts(fleet).await, ["i-0", "i-2"], "i-2 was heard since");
    fleet.forget("i-1", 7).await;
    fleet.say(says("i-1", 1)).await;
    assert_eq!(hosts(fleet).await, ["i-0", "i-1", "i-2"], "it is back");
}

#[tokio::test]
async fn in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(format!("file://{}", folder.path().display()));
    who_is_gone_is_forgotten(&fleet).await;
    // What is none keeps nobody from reading the others.
    let engine = fleet.engine().await.expect("a folder");
    let key = keys::host("prod", "i-9").expect("a key");
    engine.cas(&key, None, b"{").await.expect("written");
    assert_eq!(hosts(&fleet).await, ["i-0", "i-1", "i-2"]);
    assert_eq!(fleet.unread.borrow().iter().collect::<Vec<_>>(), [&key]);
}

#[tokio::test]
async fn on_etcd() {
    let etcd = Etcd::start();
    let fleet = fleet(format!("etcd://{}", etcd.client));
    // Once it leads it answers; a real host waits for that as well.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while let Err(error) = fleet.record().await {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
        // etcd announces nothing: that it leads shows in an answer alone.
        tokio::time::sleep(PAUSE).await;
    }
    who_is_gone_is_forgotten(&fleet).await;
}
