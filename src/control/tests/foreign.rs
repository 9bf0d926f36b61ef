//! A client that is not ours: the Python package `varlink`, which knows the interface only from
//! what the server says of itself.
//!
//! Proof: `foreign.py` fails on the first answer that is not as expected, and its last line, which
//! only a complete run prints, is compared. The server runs on a thread of this process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is the test's verdict.

mod fake;

use fake::agent::{FakeAgent, listen_agent};
use fake::{Fake, listen, on_one_thread, reader};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

/// The interpreter named by `ROLLINIT_PYTHON`, else the one that `cargo xtask setup` made, else
/// `python3`: the first that has the module.
fn python() -> String {
    let of_setup = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/venv/bin/python3");
    let has_module = |python: &String| {
        let output = Command::new(python).args(["-c", "import varlink"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let named = std::env::var("ROLLINIT_PYTHON").ok();
    let mut candidates = named.into_iter().chain([of_setup.to_owned(), "python3".to_owned()]);
    candidates.find(has_module).expect(
        "no Python with the module `varlink`: `cargo xtask setup` installs one for the tests \
         (or set ROLLINIT_PYTHON to an interpreter that has it)",
    )
}

#[test]
fn python_varlink_client() {
    let python = python();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("supervisor");
    let agent = directory.path().join("agent");
    let address = format!("unix:{}", socket.display());
    let agent_address = format!("unix:{}", agent.display());
    let (bound, is_bound) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        on_one_thread(async {
            let fake = Fake::default();
            *fake.log_lines.borrow_mut() = vec![b"hello".to_vec(), b"\xff\xfe".to_vec()];
            listen(&socket, reader(), Rc::new(fake));
            listen_agent(&agent, reader(), Rc::new(FakeAgent::default()));
            bound.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_bound.recv().unwrap();
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let description = room.join("../../docs/io.rollinit.Supervisor.varlink");
    let agent_description = room.join("../../docs/io.rollinit.Agent.varlink");
    let mut command = Command::new(python);
    command.arg(room.join("tests/foreign.py")).arg(address).arg(description);
    command.arg(agent_address).arg(agent_description);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all answers were as expected\n");
}
