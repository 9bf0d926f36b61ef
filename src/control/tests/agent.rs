//! The agent's server half over a real socket, with our own client: what is told of a swap, how
//! much of it, and to whom.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod fake;

use control::agent::client::{CallError, Client, SwapRequest};
use control::agent::{Error, NoticeList, OutcomeKind, Progress, Reboot, Step, StepState};
use control::roles::Peer;
use fake::agent::{FakeAgent, listen_agent, progress};
use fake::apps::NEW;
use fake::{on_one_thread, reader, root};
use std::path::PathBuf;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Stage {
    directory: tempfile::TempDir,
    agent: Rc<FakeAgent>,
}

impl Stage {
    fn new(peer: Peer) -> Stage {
        Stage::with(peer, FakeAgent::default())
    }

    fn with(peer: Peer, agent: FakeAgent) -> Stage {
        let stage = Stage { directory: tempfile::tempdir().unwrap(), agent: Rc::new(agent) };
        listen_agent(&stage.socket(), peer, Rc::clone(&stage.agent));
        stage
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }

    /// All replies to one call, as they are on the wire.
    async fn raw(&self, call: serde_json::Value) -> Vec<serde_json::Value> {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(format!("{call}\0").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).await.unwrap();
        let replies = replies.split_terminator('\0');
        replies.map(|reply| serde_json::from_str(reply).unwrap()).collect()
    }
}

fn request<'a>(app: &'a str, path: &'a str) -> SwapRequest<'a> {
    SwapRequest {
        app,
        path,
        test: true,
        confirm_within_ms: Some(9000),
        dry_run: false,
        force: true,
        detach: false,
        reboot: Some(Reboot::Never),
    }
}

fn answered<T: std::fmt::Debug>(result: Result<T, CallError>) -> Error {
    match result {
        Err(CallError::Answered(error)) => error,
        other => panic!("not an error of the interface: {other:?}"),
    }
}

async fn all(
    replies: &mut control::agent::client::Replies<'_, control::agent::SwapReply>,
) -> Vec<Progress> {
    let mut said = Vec::new();
    while let Some(reply) = replies.next().await.unwrap() {
        said.push(reply.progress);
    }
    said
}

/// Every step's last word arrives in order, the last carries the outcome; the request arrives
/// whole.
#[test]
fn swap_is_told() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let mut replies = client.swap(&request("web", NEW)).await.unwrap();
        let said = all(&mut replies).await;
        let finals = fake::agent::script(NEW).into_iter().filter(|line| line.state.is_final());
        assert_eq!(said, finals.collect::<Vec<_>>());
        let (last, before) = said.split_last().unwrap();
        assert_eq!(last.outcome.as_ref().unwrap().kind, OutcomeKind::Committed);
        assert!(before.iter().all(|line| line.outcome.is_none()));
        let orders = stage.agent.orders.borrow().join("\n");
        for field in
            ["test: true", "confirm_within_ms: Some(9000)", "force: true", "reboot: Never", NEW]
        {
            assert!(orders.contains(field), "{orders}");
        }
    });
}

/// A swap that goes on is told as it goes: what is posted later arrives later.
#[test]
fn told_as_it_goes() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let mut replies = client.swap(&request("web", "/nix/store/x-slow")).await.unwrap();
        loop {
            let line = replies.next().await.unwrap().unwrap().progress;
            if line.step == Step::Gate {
                break;
            }
        }
        let board = stage.agent.boards.borrow_mut().pop().unwrap();
        board.post(progress(Step::Gate, StepState::Ok, 9, "good"));
        assert_eq!(replies.next().await.unwrap().unwrap().progress.text, "good");
        // An agent that ends without an outcome says so instead of falling silent.
        drop(board);
        let error = answered(replies.next().await);
        assert!(error.to_string().contains("goes on when the agent is back"), "{error}");
    });
}

/// Without more there is one reply: the end. With detach it is the beginning, with or without.
#[test]
fn one_reply() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let call = |path: &str, detach: bool, more: bool| {
            let parameters = serde_json::json!({"app": "web", "path": path, "detach": detach});
            serde_json::json!({
                "method": "io.rollinit.Agent.Swap", "parameters": parameters, "more": more,
            })
        };
        let replies = stage.raw(call("/nix/store/x-bad", false, false)).await;
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0]["parameters"]["progress"]["outcome"]["kind"], "rolled_back");
        for more in [false, true] {
            let replies = stage.raw(call("/nix/store/x-slow", true, more)).await;
            assert_eq!(replies.len(), 1, "{replies:?}");
            assert_eq!(replies[0]["parameters"]["progress"]["step"], "plan");
            assert_ne!(replies[0]["continues"], true);
        }
    });
}

/// A caller that goes away lets go of the board; the swap itself is not told of it.
#[test]
fn caller_goes_away() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let mut replies = client.swap(&request("web", "/nix/store/x-slow")).await.unwrap();
        replies.next().await.unwrap();
        let board = stage.agent.boards.borrow_mut().pop().unwrap();
        assert!(board.is_read());
        drop(client);
        board.unread().await;
        let orders = stage.agent.orders.borrow();
        assert_eq!(orders.len(), 1, "the swap, and nothing about its end: {orders:?}");
    });
}

#[test]
fn other_methods() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let mut replies = client.rollback("web", None, false).await.unwrap();
        assert!(all(&mut replies).await.last().unwrap().outcome.is_some());
        let mut replies = client.rollback("web", Some(7), false).await.unwrap();
        let error = answered(replies.next().await);
        assert_eq!(error, Error::NoSuchGeneration { app: "web".into(), generation: Some(7) });
        let mut replies = client.follow("7H2K").await.unwrap();
        assert!(all(&mut replies).await.len() > 1);
        let mut replies = client.follow("0000").await.unwrap();
        assert!(matches!(answered(replies.next().await), Error::NoSuchSwap { .. }));
        client.confirm("web").await.unwrap();
        assert!(matches!(answered(client.confirm("jobs").await), Error::Refused { .. }));
        let generations = client.generations("web").await.unwrap().generations;
        assert_eq!(generations.iter().filter(|each| each.current).count(), 1);
        assert_eq!(client.swaps(None).await.unwrap().swaps.len(), 5);
        let error = answered(client.swaps(Some("wbe")).await);
        assert!(error.to_string().contains("wbe"), "{error}");
    });
}

/// A reader looks and follows; nothing it asks to change reaches the backend.
#[test]
fn roles() {
    on_one_thread(async {
        let stage = Stage::new(reader());
        let mut client = stage.client().await;
        let mut replies = client.swap(&request("web", NEW)).await.unwrap();
        let Error::NotPermitted { method, needs, has, .. } = answered(replies.next().await) else {
            panic!("a reader swaps");
        };
        assert_eq!((&*method, &*needs, &*has), ("Swap", "operate", "read"));
        let mut replies = client.rollback("web", None, false).await.unwrap();
        assert!(matches!(answered(replies.next().await), Error::NotPermitted { .. }));
        assert!(matches!(answered(client.confirm("web").await), Error::NotPermitted { .. }));
        assert!(stage.agent.orders.borrow().is_empty());
        client.generations("web").await.unwrap();
        client.follow("7H2K").await.unwrap().next().await.unwrap();

        let nobody = Stage::new(Peer { groups: Vec::new(), ..reader() });
        let mut client = nobody.client().await;
        assert!(matches!(answered(client.swaps(None).await), Error::NotPermitted { .. }));
    });
}

/// What holds on the host is for everybody who may look, whole; the system itself is root's alone.
#[test]
fn notices_are_read_and_the_system_is_roots() {
    on_one_thread(async {
        let notices = vec![fake::agent::notice()];
        let agent = FakeAgent { notices: notices.clone(), ..FakeAgent::default() };
        let operator = Peer { gid: fake::POLICY.operate_gid.unwrap(), ..reader() };
        let stage = Stage::with(operator, agent);
        let mut client = stage.client().await;
        assert_eq!(client.standing().await.unwrap(), NoticeList { notices });
        let swap = request(control::agent::SYSTEM, NEW);
        let mut replies = client.swap(&swap).await.unwrap();
        let error = answered(replies.next().await);
        assert!(matches!(&error, Error::NotPermitted { needs, .. } if needs == "admin"), "{error}");
        let error = answered(client.leave_balancers().await);
        assert!(matches!(&error, Error::NotPermitted { needs, .. } if needs == "admin"), "{error}");
        assert!(stage.agent.orders.borrow().is_empty());

        let root = Peer { uid: 0, ..reader() };
        let stage = Stage::with(root, FakeAgent::default());
        stage.client().await.leave_balancers().await.unwrap();
        assert_eq!(*stage.agent.orders.borrow(), ["leave balancers"]);
    });
}
