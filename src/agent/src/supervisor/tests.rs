//! Calls to a supervisor that dies, says no, and comes back: a socket that speaks Varlink by hand.

use super::*;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const DONE: &str = r#"{"parameters":{"exit":0,"signal":null,"lease_ended":false}}"#;
const NOTHING: &str = r#"{"parameters":{}}"#;
const GOING_DOWN: &str =
    r#"{"error":"io.rollinit.Supervisor.ShuttingDown","parameters":{"kind":"power_off"}}"#;
const NO_SUCH_APP: &str =
    r#"{"error":"io.rollinit.Supervisor.NoSuchApp","parameters":{"name":"web","nearest":null}}"#;

/// What one connection does with its call: `None` closes it, as a killed supervisor would.
type Answers = Vec<Option<&'static str>>;

/// Methods that were called, in order.
type Called = Arc<Mutex<Vec<String>>>;

/// One Varlink message, without its NUL; none at the end.
async fn message(stream: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        match stream.read_u8().await {
            Ok(0) => return String::from_utf8(bytes).ok(),
            Ok(byte) => bytes.push(byte),
            Err(_) => return None,
        }
    }
}

/// A supervisor that answers its connections in order, and all further ones with nothing.
fn serve(folder: &std::path::Path, answers: Answers) -> (Supervisor, Called) {
    let socket = folder.join("supervisor");
    let listener = UnixListener::bind(&socket).expect("listen");
    let called = Called::default();
    let tell = Arc::clone(&called);
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(call) = message(&mut stream).await else { continue };
            let method = call.split("io.rollinit.Supervisor.").nth(1).unwrap_or_default();
            let method = method.split('"').next().unwrap_or_default().to_owned();
            tell.lock().expect("lock").push(method);
            if let Some(answer) = answers.next().unwrap_or(Some(NOTHING)) {
                let _ = stream.write_all(format!("{answer}\0").as_bytes()).await;
            }
        }
    });
    (Supervisor::new(socket), called)
}

fn run(lease_ms: u64) -> Run {
    Run {
        swap: "7H2K".to_owned(),
        task: Task::Migrate,
        program: vec!["/bin/migrate".to_owned()],
        closure: "/nix/store/x".to_owned(),
        lease_ms,
    }
}

/// Killed in the middle of a call, then going down, then back: the call is made again each time,
/// and its answer is the last one's.
#[tokio::test]
async fn a_call_outlives_its_supervisor() {
    let folder = tempfile::tempdir().expect("a directory");
    let (supervisor, called) = serve(folder.path(), vec![None, Some(GOING_DOWN), Some(DONE)]);
    let end = supervisor.run("web", &run(0)).await.expect("it answers in the end");
    assert!(end.is_success());
    assert_eq!(*called.lock().expect("lock"), ["RunTask"; 3]);
}

/// Nobody listens at first: asked again until somebody does.
#[tokio::test]
async fn a_supervisor_that_is_away_is_waited_for() {
    let folder = tempfile::tempdir().expect("a directory");
    let absent = Supervisor::new(folder.path().join("supervisor"));
    let run = run(0);
    let mut asked = std::pin::pin!(absent.run("web", &run));
    tokio::select! {
        biased;
        end = &mut asked => panic!("nobody was there, and yet: {end:?}"),
        () = tokio::task::yield_now() => {}
    }
    let (_supervisor, called) = serve(folder.path(), vec![Some(DONE)]);
    asked.await.expect("answered");
    assert_eq!(*called.lock().expect("lock"), ["RunTask"]);
}

/// A no is an answer: it is not asked again.
#[tokio::test]
async fn a_no_is_an_answer() {
    let folder = tempfile::tempdir().expect("a directory");
    let (supervisor, called) = serve(folder.path(), vec![Some(NO_SUCH_APP)]);
    let error = supervisor.run("web", &run(0)).await.expect_err("no such app");
    assert!(matches!(error, control::Error::NoSuchApp { .. }), "{error}");
    assert_eq!(*called.lock().expect("lock"), ["RunTask"]);
}

/// While a task runs its lease is renewed, again and again, and no longer than it runs. The run's
/// connection is held open here until three renewals came.
#[tokio::test]
async fn a_lease_is_renewed_while_the_task_runs() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("supervisor");
    let listener = UnixListener::bind(&socket).expect("listen");
    let supervisor = Supervisor::new(socket);
    let (run, renewals) = (run(30), renewals(listener));
    let (end, ()) = tokio::join!(supervisor.run("web", &run), renewals);
    assert!(end.expect("it ended").is_success());
}

/// Answers a run after three renewals of it.
async fn renewals(listener: UnixListener) {
    let (mut first, _) = listener.accept().await.expect("the run");
    assert!(message(&mut first).await.expect("a call").contains("RunTask"));
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().await.expect("a renewal");
        assert!(message(&mut stream).await.expect("a call").contains("RenewTask"));
        stream.write_all(format!("{NOTHING}\0").as_bytes()).await.expect("answered");
    }
    first.write_all(format!("{DONE}\0").as_bytes()).await.expect("answered");
}
