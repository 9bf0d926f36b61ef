//! `rollinit check` over real directories, with the real loader.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

use std::path::Path;
use std::process::{Command, Output};

const SOUND: &str = "[service]\nexec = [\"/bin/sleep\", \"9\"]\n";

fn check(directory: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollinit"));
    command.arg("check").arg(directory).args(json.then_some("--json"));
    // No supervisor is needed: one that cannot be reached changes nothing.
    command.env("ROLLINIT_SOCKET", "/nonexistent/supervisor").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn sound_definitions() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("web.toml"), SOUND).unwrap();
    std::fs::write(directory.path().join("README"), "not a definition").unwrap();
    let output = check(directory.path(), false);
    assert_eq!(text(&output.stdout), "1 sound definition, no problems\n");
    assert_eq!(output.status.code(), Some(0));
}

/// Place, problem and cure of each; sound ones are still counted; bytes that are not text too.
#[test]
fn problems() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(directory.path().join(name), text);
    write("web.toml", SOUND.as_bytes()).unwrap();
    write("mail.toml", format!("{SOUND}usr = \"mail\"\n").as_bytes()).unwrap();
    write("binary.toml", b"[service]\n\xff\n").unwrap();
    let output = check(directory.path(), false);
    assert_eq!(output.status.code(), Some(1));
    let out = text(&output.stdout);
    let mail = out.lines().find(|line| line.contains("mail.toml:3:1: ")).expect(&out);
    assert!(mail.contains("usr") && mail.contains("user"), "{out}");
    assert!(out.contains("binary.toml: cannot be read: line 2 is not UTF-8"), "{out}");
    assert!(out.ends_with("1 sound definition, 2 problems\n"), "{out}");

    let output = check(directory.path(), true);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["services"], serde_json::json!(["web"]));
    assert_eq!(report["problems"][1]["line"], 3);
    assert_eq!(report["problems"][1]["severity"], "error");
}

/// Not a directory: the path and why, exit code 1, in both forms.
#[test]
fn no_directory() {
    let output = check("/nonexistent/services".as_ref(), false);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonexistent/services: No such file"));
    let output = check("/nonexistent/services".as_ref(), true);
    assert_eq!(output.status.code(), Some(1));
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"], "local");
}

/// Apps are judged with the services, and what is only worth knowing is no problem.
#[test]
fn apps() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
    write("web.toml", "[app]\n[app.listen]\nhttp = \"[::]:80\"\n").unwrap();
    write("db.toml", SOUND).unwrap();
    let output = check(directory.path(), false);
    let out = text(&output.stdout);
    assert!(out.contains("web.toml: note: its gate only connects"), "{out}");
    assert!(out.ends_with("2 sound definitions, no problems\n"), "{out}");
    assert_eq!(output.status.code(), Some(0));

    let output = check(directory.path(), true);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["apps"], &report["services"]), (&["web"][..].into(), &["db"][..].into()));
    assert!(report["notes"][0]["suggestion"].as_str().unwrap().contains("/up"));

    write("web.toml", "[app]\n[app.swap]\nstrategy = \"sudden\"\n").unwrap();
    let output = check(directory.path(), false);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("web.toml:3:"), "{}", text(&output.stdout));
}

/// Two ports by turns need somebody who knows whose turn it is: said unless the agent's file, beside
/// the directory, has a balancer of that app.
#[test]
fn ports_and_the_agents_balancers() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("services");
    std::fs::create_dir(&directory).unwrap();
    let app = "[app]\nports = [4000, 4001]\n[app.health]\nhttp = { path = \"/up\" }\n";
    std::fs::write(directory.join("web.toml"), app).unwrap();
    let agent = folder.path().join("agent.toml");
    let is_told = || text(&check(&directory, false).stdout).contains("port 4000 and 4001 by turns");
    assert!(is_told(), "there is no agent's file");
    std::fs::write(&agent, "[balancer.front]\nkind = \"haproxy\"\napp = \"shop\"\n").unwrap();
    assert!(is_told(), "a balancer of another app");
    std::fs::write(&agent, "keys = []\n[balancer.front]\napp = \"web\"\n").unwrap();
    assert!(!is_told());
    std::fs::write(&agent, "no TOML").unwrap();
    assert!(is_told(), "what is wrong with it the agent says");
}
