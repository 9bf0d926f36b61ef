//! Debian's etcd, one member or three, on loopback ports of this test.

use super::authority::Authority;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a cluster may take until it has a leader. It takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long writers have the leader before it is killed, so that some writes are under way.
const BEFORE_DEATH: Duration = Duration::from_millis(300);

/// Who may speak to a cluster.
#[derive(Clone, Copy)]
pub enum Guard<'a> {
    /// Anybody, in plain text.
    Nobody,
    /// Whom this authority vouches for.
    Mutual(&'a Authority),
}

struct Node {
    child: Child,
    client: String,
    arguments: Vec<String>,
}

pub struct Cluster {
    nodes: Vec<Node>,
    /// The scheme, and who speaks it.
    client: (&'static str, reqwest::Client),
    _folder: TempDir,
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("etcd")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd; `cargo xtask setup` installs it")
}

fn client(guard: Guard<'_>) -> (&'static str, reqwest::Client) {
    // The first to say it wins; the engine says the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    let Guard::Mutual(authority) = guard else { return ("http", builder.build().unwrap()) };
    let read = |name: &str| std::fs::read(authority.folder().join(name)).unwrap();
    let root = reqwest::Certificate::from_pem(&read("ca.pem")).unwrap();
    let pem = [read("client.pem"), read("client.key")].concat();
    let identity = reqwest::Identity::from_pem(&pem).unwrap();
    ("https", builder.tls_certs_only([root]).identity(identity).build().unwrap())
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    pub async fn start(count: usize) -> Self {
        Self::start_guarded(count, Guard::Nobody).await
    }

    pub async fn start_guarded(count: usize, guard: Guard<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let peer = |index: usize| format!("http://127.0.0.1:{}", ports[2 * index + 1]);
        let members: Vec<String> =
            (0..count).map(|index| format!("n{index}={}", peer(index))).collect();
        let nodes = (0..count)
            .map(|index| {
                let client = format!("127.0.0.1:{}", ports[2 * index]);
                let url = match guard {
                    Guard::Nobody => format!("http://{client}"),
                    Guard::Mutual(_) => format!("https://{client}"),
                };
                let data = folder.path().join(index.to_string()).display().to_string();
                let peer = peer(index);
                let mut arguments: Vec<String> = [
                    ["--name", &format!("n{index}")],
                    ["--log-level", "error"],
                    ["--data-dir", &data],
                    ["--listen-client-urls", &url],
                    ["--advertise-client-urls", &url],
                    ["--listen-peer-urls", &peer],
                    ["--initial-advertise-peer-urls", &peer],
                    ["--initial-cluster", &members.join(",")],
                ]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect();
                // A shared machine's disk may be slow; what is proven needs no durability.
                arguments.push("--unsafe-no-fsync".to_owned());
                if let Guard::Mutual(authority) = guard {
                    let file = |name: &str| authority.folder().join(name).display().to_string();
                    arguments.push(format!("--cert-file={}", file("server.pem")));
                    arguments.push(format!("--key-file={}", file("server.key")));
                    arguments.push(format!("--trusted-ca-file={}", file("ca.pem")));
                    arguments.push("--client-cert-auth".to_owned());
                }
                Node { child: spawn(&arguments), client, arguments }
            })
            .collect();
        let cluster = Self { nodes, client: client(guard), _folder: folder };
        cluster.await_leader().await;
        cluster
    }

    /// The first member ends and comes back, with what it has on its disk. One that was killed would
    /// go back to its last commit of some 100 ms ago, do again what came after it, and so know again
    /// the passes that it gave then.
    pub async fn restart(&mut self) {
        let node = &mut self.nodes[0];
        let pid = node.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        node.child.wait().unwrap();
        node.child = spawn(&node.arguments);
        self.await_leader().await;
    }

    /// `HOST:PORT,…` of those that live.
    pub fn endpoints(&self) -> String {
        let clients: Vec<&str> = self.nodes.iter().map(|node| node.client.as_str()).collect();
        clients.join(",")
    }

    async fn post(&self, node: &Node, path: &str, body: String) -> Option<serde_json::Value> {
        let url = format!("{}://{}{path}", self.client.0, node.client);
        let answer = self.client.1.post(url).body(body).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        status.is_success().then(|| serde_json::from_str(&text).ok()).flatten()
    }

    async fn await_leader(&self) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            // Who leads may be asked by anybody, also once there are users.
            let path = "/v3/maintenance/status";
            let status = self.post(&self.nodes[0], path, "{}".to_owned()).await;
            if status.is_some_and(|status| status["leader"].as_str().is_some_and(|id| id != "0")) {
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
