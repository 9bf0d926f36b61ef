//! Debian's etcd, one member or three, on loopback ports of this test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a cluster may take until it has a leader. It takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long writers have the leader before it is killed, so that some writes are under way.
const BEFORE_DEATH: Duration = Duration::from_millis(300);

struct Node {
    child: Child,
    client: String,
}

pub struct Cluster {
    nodes: Vec<Node>,
    _folder: TempDir,
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    pub async fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let peer = |index: usize| format!("http://127.0.0.1:{}", ports[2 * index + 1]);
        let members: Vec<String> =
            (0..count).map(|index| format!("n{index}={}", peer(index))).collect();
        let nodes = (0..count)
            .map(|index| {
                let client = format!("127.0.0.1:{}", ports[2 * index]);
                let url = format!("http://{client}");
                let child = Command::new("etcd")
                    .args(["--name", &format!("n{index}"), "--log-level", "error"])
                    .args([
                        "--data-dir".as_ref(),
                        folder.path().join(index.to_string()).as_os_str(),
                    ])
                    .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
                    .args(["--listen-peer-urls", &peer(index)])
                    .args(["--initial-advertise-peer-urls", &peer(index)])
                    .args(["--initial-cluster", &members.join(",")])
                    // A shared machine's disk may be slow; what is proven needs no durability.
                    .args(["--unsafe-no-fsync"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("etcd; `cargo xtask setup` installs it");
                Node { child, client }
            })
            .collect();
        let cluster = Self { nodes, _folder: folder };
        cluster.await_leader().await;
        cluster
    }

    /// `HOST:PORT,…` of those that live.
    pub fn endpoints(&self) -> String {
        let clients: Vec<&str> = self.nodes.iter().map(|node| node.client.as_str()).collect();
        clients.join(",")
    }

    async fn post(&self, node: &Node, path: &str, body: String) -> Option<serde_json::Value> {
        // The first to say it wins; the engine says the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", node.client);
        let answer = client.post(url).body(body).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        status.is_success().then(|| serde_json::from_str(&text).ok()).flatten()
    }

    async fn await_leader(&self) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let probe = self.post(&self.nodes[0], "/v3/kv/range", r#"{"key":"AA=="}"#.to_owned());
            if probe.await.is_some() {
                return;
            }
            assert!(Instant::now() < give_up, "etcd has no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets writes begin, then kills whoever leads.
    pub async fn kill_leader(&mut self) {
        tokio::time::sleep(BEFORE_DEATH).await;
        let mut leader = None;
        for (index, node) in self.nodes.iter().enumerate() {
            let status = self.post(node, "/v3/maintenance/status", "{}".to_owned()).await;
            let Some(status) = status else { continue };
            if status["leader"] == status["header"]["member_id"] {
                leader = Some(index);
            }
        }
        let leader = leader.expect("one leads");
        self.nodes[leader].child.kill().unwrap();
    }

    /// From now on only this user may read and write.
    pub async fn protect(&self, user: &str, password: &str) {
        let node = &self.nodes[0];
        let body = format!(r#"{{"name":"{user}","password":"{password}"}}"#);
        self.post(node, "/v3/auth/user/add", body).await.expect("a user");
        let body = format!(r#"{{"name":"{user}"}}"#);
        self.post(node, "/v3/auth/role/add", body).await.expect("a role");
        let body = format!(r#"{{"user":"{user}","role":"{user}"}}"#);
        self.post(node, "/v3/auth/user/grant", body).await.expect("a grant");
        self.post(node, "/v3/auth/enable", "{}".to_owned()).await.expect("guarded");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // One may be dead already.
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
    }
}
