//! The interface descriptions that clients are served are those that are checked in.
//!
//! Proof: each text is asked for over a real socket, as any client does, laid out for people, and
//! compared with `docs/io.rollinit.*.varlink` byte by byte.
//! `ROLLINIT_UPDATE=1 cargo test -p control --test description` writes the file anew.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod fake;

use fake::agent::{FakeAgent, listen_agent};
use fake::{Fake, listen, on_one_thread, reader};
use std::path::Path;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Sends one call and returns the parameters of its reply.
async fn ask(socket: &Path, call: serde_json::Value) -> serde_json::Value {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("{call}\0").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let reply: serde_json::Value = serde_json::from_str(reply.trim_end_matches('\0')).unwrap();
    reply["parameters"].clone()
}

/// The description with one field a line: zlink hangs the comments of fields into one long line.
/// White space and line breaks mean nothing in Varlink's language, so it stays the same.
fn lay_out(description: &str) -> String {
    let mut text = String::new();
    for line in description.lines() {
        let line = line.trim_end().replace("#  ", "# ");
        // Lines of zlink's commented lists start with a field and end with the next comment.
        let is_field = line.split_once(": ").is_some_and(|(name, _)| {
            name.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
        });
        let line = match line.strip_suffix(')') {
            Some(fields) if is_field => format!("{fields}\n)"),
            _ => line,
        };
        let line = line.replace("(# ", "(\n\t# ").replace(", # ", ",\n\t# ");
        text.push_str(if is_field { "\t" } else { "" });
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// What is served as `interface` at `socket` is what docs/ has.
async fn compare(socket: &Path, interface: &str) {
    let checked_in =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/{interface}.varlink"));
    let call = serde_json::json!({
        "method": "org.varlink.service.GetInterfaceDescription",
        "parameters": {"interface": interface},
    });
    let served = lay_out(ask(socket, call).await["description"].as_str().unwrap());
    if std::env::var_os("ROLLINIT_UPDATE").is_some() {
        std::fs::write(&checked_in, &served).unwrap();
    }
    let expected = std::fs::read_to_string(&checked_in).unwrap_or_default();
    let differs = served.lines().zip(expected.lines()).find(|(served, there)| served != there);
    assert!(served == expected, "{interface} changed ({differs:?}); see the top of this test");
}

#[test]
fn descriptions_are_checked_in() {
    on_one_thread(async {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("supervisor");
        listen(&socket, reader(), Rc::new(Fake::default()));
        compare(&socket, control::INTERFACE).await;
        let socket = directory.path().join("agent");
        listen_agent(&socket, reader(), Rc::new(FakeAgent::default()));
        compare(&socket, control::agent::INTERFACE).await;
    });
}

/// A caller without a role still learns what there is, and nothing more.
#[test]
fn description_needs_no_role() {
    on_one_thread(async {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("supervisor");
        let nobody = control::roles::Peer { groups: Vec::new(), ..reader() };
        listen(&socket, nobody, Rc::new(Fake::default()));
        let info = ask(&socket, serde_json::json!({"method": "org.varlink.service.GetInfo"})).await;
        let interfaces = info["interfaces"].as_array().unwrap();
        assert!(interfaces.contains(&control::INTERFACE.into()), "{info}");
        let call = serde_json::json!({"method": "io.rollinit.Supervisor.GetStatus"});
        assert_eq!(ask(&socket, call).await["has"], "none");
    });
}
