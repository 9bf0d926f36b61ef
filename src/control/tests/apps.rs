//! The steps of a swap over a real socket: what reaches the supervisor, what comes back, who may.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod fake;

use control::Error;
use control::client::{CallError, Client, TaskRequest};
use control::roles::{Peer, Place, Role};
use control::types::{SwapPhase, Task};
use fake::apps::{NEW, quiet, swapping};
use fake::{Fake, NOW_NS, listen, on_one_thread, reader, root};
use std::rc::Rc;

/// A client of `fake`, as `peer`; the directory holds the socket.
async fn stage(peer: Peer, fake: &Rc<Fake>) -> (tempfile::TempDir, Client) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("supervisor");
    listen(&socket, peer, Rc::clone(fake));
    let client = Client::connect(&socket).await.unwrap();
    (directory, client)
}

fn answered<T: std::fmt::Debug>(result: Result<T, CallError>) -> Error {
    match result {
        Err(CallError::Answered(error)) => error,
        other => panic!("not an error of the interface: {other:?}"),
    }
}

/// Each step arrives with its app, swap and closure, and the app comes back as it then is.
#[test]
fn steps_reach_the_backend() {
    on_one_thread(async {
        let fake = Rc::new(Fake::default());
        let (_directory, mut client) = stage(root(), &fake).await;
        assert_eq!(client.apps().await.unwrap().apps, fake::apps::apps());
        let view = client.prepare("web", NEW, "7H2K").await.unwrap();
        assert_eq!(view.app, swapping("7H2K", SwapPhase::Prepared));
        assert_eq!(view.now_ns, NOW_NS);
        let admitted = client.admit("web", "7H2K").await.unwrap();
        assert_eq!(admitted.app.swap.unwrap().phase, SwapPhase::Admitted);
        let error = answered(client.retire("web", "7H2K").await);
        assert_eq!(error, Error::NoSuchSwap { app: "web".into(), swap: "7H2K".into() });
        assert_eq!(client.abandon("web", "7H2K").await.unwrap().app, quiet());
        let orders = fake.orders.borrow();
        let prepare = format!("Prepare {{ closure: \"{NEW}\" }} web 7H2K");
        let rest = ["Admit web 7H2K", "Retire web 7H2K", "Abandon web 7H2K"];
        assert_eq!(orders[0], prepare);
        assert_eq!(orders[1..], rest);
    });
}

/// The errors that an agent has to tell apart come back as the values they were.
#[test]
fn errors_come_back() {
    on_one_thread(async {
        let fake = Rc::new(Fake::default());
        let (_directory, mut client) = stage(root(), &fake).await;
        let error = answered(client.prepare("web", NEW, "OTHR").await);
        assert_eq!(error, Error::SwapUnderWay { app: "web".into(), swap: "7H2K".into() });
        let error = answered(client.prepare("web", "/nix/store/x-never-starts", "7H2K").await);
        assert!(matches!(error, Error::StartFailed { .. }), "{error}");
        let error = answered(client.admit("wen", "7H2K").await);
        assert!(error.to_string().contains("did you mean \"web\"?"), "{error}");
    });
}

/// A task's program, lease and end travel whole; so does a renewal.
#[test]
fn tasks() {
    on_one_thread(async {
        let fake = Rc::new(Fake::default());
        let (_directory, mut client) = stage(root(), &fake).await;
        let program = ["${closure}/bin/migrate".to_owned(), "a b".to_owned()];
        let request = TaskRequest {
            app: "web",
            swap: "7H2K",
            task: Task::Migrate,
            program: &program,
            closure: NEW,
            lease_ms: 60_000,
            until_ns: None,
            fence: Some(7),
        };
        let end = client.run_task(request).await.unwrap();
        assert_eq!((end.exit, end.is_success()), (Some(3), false));
        client.renew_task("web", "7H2K", Task::AfterSwitch, 5, Some(9)).await.unwrap();
        let orders = fake.orders.borrow();
        assert!(orders[0].contains("\"a b\"") && orders[0].contains("60000"), "{orders:?}");
        assert!(orders[0].contains("fence: Some(7)"), "{orders:?}");
        assert_eq!(orders[1], "Renew web 7H2K AfterSwitch 5 Some(9)");
    });
}

/// Now, then each change, the newest only; and the end when nobody changes it any more.
#[test]
fn watching() {
    on_one_thread(async {
        let fake = Rc::new(Fake::default());
        let (_directory, mut client) = stage(reader(), &fake).await;
        let mut replies = client.watch_app("web", true).await.unwrap();
        assert_eq!(replies.next().await.unwrap().unwrap().app, quiet());
        let sender = fake.web.borrow_mut().take().unwrap();
        // Both before the server's task runs: the first is overtaken.
        sender.send_replace(swapping("7H2K", SwapPhase::Preparing));
        sender.send_replace(swapping("7H2K", SwapPhase::Prepared));
        let view = replies.next().await.unwrap().unwrap();
        assert_eq!(view.app.swap.unwrap().phase, SwapPhase::Prepared);
        drop(sender);
        assert!(replies.next().await.unwrap().is_some());
        assert!(replies.next().await.unwrap().is_none());
        // The connection is good for another call, and one without more has one reply.
        let mut replies = client.watch_app("web", false).await.unwrap();
        assert!(replies.next().await.unwrap().is_some());
        assert!(replies.next().await.unwrap().is_none());
        let mut replies = client.watch_app("wen", true).await.unwrap();
        assert!(matches!(answered(replies.next().await), Error::NoSuchApp { .. }));
    });
}

/// A watcher that goes away while nothing happens is let go: the sender sees no receiver left.
#[test]
fn idle_watch_ends_with_its_reader() {
    on_one_thread(async {
        let fake = Rc::new(Fake::default());
        let (_directory, mut client) = stage(reader(), &fake).await;
        let mut replies = client.watch_app("web", true).await.unwrap();
        replies.next().await.unwrap();
        drop(client);
        let sender = fake.web.borrow_mut().take().unwrap();
        sender.closed().await;
    });
}

/// The steps are for root outside of services, and for root's service whose definition allows it:
/// no other peer reaches the backend with one.
#[test]
fn steps_need_admin() {
    on_one_thread(async {
        let inside = |limit| Peer {
            place: Place::Service { name: "rollinit-agent".into(), limit },
            ..root()
        };
        for (peer, may) in [
            (root(), true),
            (inside(Role::Admin), true),
            (inside(Role::Operate), false),
            (inside(Role::Read), false),
            (reader(), false),
            (Peer { place: inside(Role::Admin).place, ..reader() }, false),
        ] {
            let fake = Rc::new(Fake::default());
            let (_directory, mut client) = stage(peer.clone(), &fake).await;
            let result = client.admit("web", "7H2K").await;
            assert_eq!(result.is_ok(), may, "{peer:?}");
            if !may {
                assert!(matches!(answered(result), Error::NotPermitted { .. }), "{peer:?}");
            }
            assert_eq!(fake.orders.borrow().len(), usize::from(may), "{peer:?}");
        }
    });
}
