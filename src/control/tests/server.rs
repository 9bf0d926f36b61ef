//! The server half over a real socket, with our own client: what is answered, what is refused,
//! what happens to streams, floods and broken peers.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod fake;

use control::Error;
use control::client::{CallError, Client};
use control::limits::{CALL_BYTES_MAX, CONNECTIONS_PER_UID_MAX, RECORDS_PER_REPLY_MAX};
use control::server::Batch;
use control::types::{LogRecord, ShutdownKind};
use fake::{Fake, NOW_NS, listen, on_one_thread, reader, root};
use std::path::PathBuf;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Stage {
    directory: tempfile::TempDir,
    fake: Rc<Fake>,
}

impl Stage {
    fn new(peer: control::roles::Peer) -> Stage {
        let stage = Stage { directory: tempfile::tempdir().unwrap(), fake: Rc::default() };
        listen(&stage.socket(), peer, Rc::clone(&stage.fake));
        stage
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("supervisor")
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }
}

fn answered(error: CallError) -> Error {
    match error {
        CallError::Answered(error) => error,
        other => panic!("not an answer: {other}"),
    }
}

/// Each method reaches the backend and its reply comes back whole; the orders are recorded.
#[test]
fn calls_reach_the_backend() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let status = client.status(None).await.unwrap();
        assert_eq!(status.services, fake::services());
        assert_eq!(status.now_ns, NOW_NS);
        assert_eq!(client.status(Some("web")).await.unwrap().services.len(), 1);
        assert_eq!(client.processes().await.unwrap().services[1].pid, Some(1234));
        assert_eq!(client.timeline().await.unwrap(), fake::timeline());
        assert!(!client.start("web").await.unwrap().changed);
        assert!(client.stop("web").await.unwrap().changed);
        assert_eq!(client.restart("web").await.unwrap().pid, Some(1234));
        assert_eq!(client.reload(true).await.unwrap(), fake::reload(true));
        assert_eq!(client.reload(false).await.unwrap(), fake::reload(false));
        client.shutdown(ShutdownKind::Reboot).await.unwrap();
        let reloads = ["Reload dry_run=true", "Reload dry_run=false"];
        let orders = ["Start web", "Stop web", "Restart web"].into_iter().chain(reloads);
        let expected: Vec<&str> = orders.chain(["Shutdown reboot"]).collect();
        assert_eq!(*stage.fake.orders.borrow(), expected);
    });
}

/// Errors come back as the values they were.
#[test]
fn errors_come_back() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let error = answered(client.stop("wbe").await.unwrap_err());
        assert_eq!(error, Error::NoSuchService { name: "wbe".into(), nearest: None });
        let error = answered(client.status(Some("wen")).await.unwrap_err());
        assert!(error.to_string().contains("did you mean \"web\"?"), "{error}");
        assert!(matches!(answered(client.start("mail").await.unwrap_err()), Error::Failed { .. }));
    });
}

/// A reader looks and changes nothing: the backend never hears of what is refused.
#[test]
fn roles_are_checked_first() {
    on_one_thread(async {
        let stage = Stage::new(reader());
        let mut client = stage.client().await;
        client.status(None).await.unwrap();
        let error = answered(client.stop("web").await.unwrap_err());
        let Error::NotPermitted { method, needs, has, reason } = error else { panic!("{error}") };
        assert_eq!((&*method, &*needs, &*has), ("Stop", "operate", "read"));
        assert!(reason.contains("rollinit-read"), "{reason}");
        let error = answered(client.shutdown(ShutdownKind::Halt).await.unwrap_err());
        assert!(matches!(error, Error::NotPermitted { .. }));
        assert!(stage.fake.orders.borrow().is_empty());

        let nobody = Stage::new(control::roles::Peer { groups: Vec::new(), ..reader() });
        let mut client = nobody.client().await;
        let mut logs = client.logs(None, 1, false).await.unwrap();
        let error = answered(logs.next().await.unwrap_err());
        assert!(matches!(error, Error::NotPermitted { .. }));
    });
}

/// A long backlog comes whole and in order, in replies of bounded size; bytes survive.
#[test]
fn backlog_is_split() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let count = RECORDS_PER_REPLY_MAX * 2 + 1;
        let lines: Vec<Vec<u8>> =
            (0..count).map(|line| [line.to_string().as_bytes(), b" \xff"].concat()).collect();
        *stage.fake.log_lines.borrow_mut() = lines.clone();
        let mut client = stage.client().await;
        let mut replies = client.logs(Some("web"), 100_000, false).await.unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = replies.next().await.unwrap() {
            assert!(batch.records.len() <= RECORDS_PER_REPLY_MAX);
            seen.extend(batch.records.iter().map(|record| record.bytes().unwrap().into_owned()));
        }
        assert_eq!(seen, lines);
        // The connection is good for another call.
        client.status(None).await.unwrap();
    });
}

/// Lines written while a reader follows arrive, and the end of the feed is told.
#[test]
fn following() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let mut replies = client.logs(None, 0, true).await.unwrap();
        assert!(replies.next().await.unwrap().unwrap().records.is_empty());
        let sender = stage.fake.log_senders.borrow_mut().pop().unwrap();
        let record = LogRecord::new("web", 3, NOW_NS, b"hello");
        sender.send(Batch { records: vec![record.clone()], lost: 7 }).await.unwrap();
        let batch = replies.next().await.unwrap().unwrap();
        assert_eq!((batch.records, batch.lost), (vec![record], 7));
        drop(sender);
        assert!(replies.next().await.unwrap().unwrap().records.is_empty());
        assert!(replies.next().await.unwrap().is_none());
        client.status(None).await.unwrap();
    });
}

/// When a following reader goes away while nothing happens, its feed ends: the sender sees the
/// closed channel without having sent anything.
#[test]
fn idle_feed_ends_with_its_reader() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut client = stage.client().await;
        let mut replies = client.logs(None, 0, true).await.unwrap();
        replies.next().await.unwrap();
        drop(client);
        let sender = stage.fake.log_senders.borrow_mut().pop().unwrap();
        sender.closed().await;
    });
}

/// A reader that closed only its sending half keeps its feed.
#[test]
fn half_closed_reader_keeps_its_feed() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut stream = UnixStream::connect(stage.socket()).await.unwrap();
        let call = br#"{"method":"io.rollinit.Supervisor.WatchEvents","more":true}"#;
        stream.write_all(&[call.as_slice(), b"\0"].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).await.unwrap();
        // Backlog, two live batches, and the last, empty one.
        assert_eq!(replies.matches("\"continues\":true").count(), 3, "{replies}");
        assert_eq!(replies.matches("\"continues\":false").count(), 1, "{replies}");
    });
}

/// Follow without `more` is refused with the error every Varlink client knows.
#[test]
fn follow_needs_more() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut stream = UnixStream::connect(stage.socket()).await.unwrap();
        let call = br#"{"method":"io.rollinit.Supervisor.GetLogs","parameters":{"follow":true}}"#;
        stream.write_all(&[call.as_slice(), b"\0"].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.contains("org.varlink.service.ExpectedMore"), "{reply}");
    });
}

/// A call that never ends and bytes that are no Varlink close that connection and no other.
#[test]
fn broken_peers_lose_only_their_connection() {
    on_one_thread(async {
        let stage = Stage::new(root());
        let mut good = stage.client().await;
        let endless = vec![b'['; CALL_BYTES_MAX * 2];
        for garbage in [endless.as_slice(), b"\xff\xfe\0", b"null\0", b"{}\0", b"{\"method\":1}\0"]
        {
            let mut stream = UnixStream::connect(stage.socket()).await.unwrap();
            // The server may close before all is written: a broken pipe is as good.
            let _ = stream.write_all(garbage).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            good.status(None).await.unwrap();
        }
    });
}

/// One user's flood is cut at its quota, is said, and leaves root served.
#[test]
fn floods_are_cut() {
    on_one_thread(async {
        let stage = Stage::new(reader());
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS_PER_UID_MAX {
            let mut client = stage.client().await;
            client.status(None).await.unwrap();
            clients.push(client);
        }
        let error = stage.client().await.status(None).await.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. }), "{error}");
        let said = stage.fake.said.borrow().join("\n");
        assert!(said.contains("too many connections") && said.contains("uid 1000"), "{said}");
    });
}

/// Nobody there: the error names the socket.
#[test]
fn nobody_listens() {
    on_one_thread(async {
        let error = Client::connect("/nonexistent/supervisor".as_ref()).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/supervisor"), "{error}");
    });
}
