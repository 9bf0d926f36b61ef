//! The interface description that clients are served is the one that is checked in.
//!
//! Proof: the text is asked for over a real socket, as any client does, laid out for people, and
//! compared with `docs/io.rollinit.Supervisor.varlink` byte by byte.
//! `ROLLINIT_UPDATE=1 cargo test -p control --test description` writes the file anew.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod fake;

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

#[test]
fn description_is_checked_in() {
    let checked_in =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/io.rollinit.Supervisor.varlink");
    let served = on_one_thread(async {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("supervisor");
        listen(&socket, reader(), Rc::new(Fake::default()));
        let call = serde_json::json!({
            "method": "org.varlink.service.GetInterfaceDescription",
            "parameters": {"interface": control::INTERFACE},
        });
        lay_out(ask(&socket, call).await["description"].as_str().unwrap())
    });
    if std::env::var_os("ROLLINIT_UPDATE").is_some() {
        std::fs::write(&checked_in, &served).unwrap();
    }
    let expected = std::fs::read_to_string(&checked_in).unwrap_or_default();
    assert_eq!(served, expected, "the interface changed; see the top of this test");
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
