//! The service as its clients meet it.

use super::*;
use crate::Instance;
use std::io::Read;

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let instance = Instance { user_data: Some("a = 1\n".to_owned()), ..Instance::default() };
        instance.state().save(&folder.path().join("imds.json")).expect("written");
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("imds.json")
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let request = Request { method: method.to_owned(), path: path.to_owned(), headers };
        answer(&request, &self.path(), None, SystemTime::now()).expect("answered")
    }

    fn token(&self) -> String {
        let answer = self.ask("PUT", TOKEN_PATH, &[(TOKEN_TTL_HEADER, "60")]).expect("answered");
        assert_eq!(answer.status, 200);
        answer.body
    }
}

/// Version 1 is not spoken: no token, no answer.
#[test]
fn without_a_token_everything_is_401() {
    let stage = Stage::new();
    let status = |headers: &[(&str, &str)]| {
        stage.ask("GET", "/latest/user-data", headers).expect("answered").status
    };
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&[(TOKEN_HEADER, "mine")]), 401);
    let token = stage.token();
    assert_eq!(status(&[(TOKEN_HEADER, &token)]), 200);
    std::fs::remove_file(stage.path().with_extension("tokens")).expect("removed");
    assert_eq!(status(&[(TOKEN_HEADER, &token)]), 401);
}

#[test]
fn a_token_has_its_rules() {
    let stage = Stage::new();
    let status = |method: &str, headers: &[(&str, &str)]| {
        stage.ask(method, TOKEN_PATH, headers).expect("answered").status
    };
    assert_eq!(status("PUT", &[]), 400);
    assert_eq!(status("PUT", &[(TOKEN_TTL_HEADER, "0")]), 400);
    assert_eq!(status("PUT", &[(TOKEN_TTL_HEADER, "21601")]), 400);
    assert_eq!(status("GET", &[(TOKEN_TTL_HEADER, "60")]), 405);
    assert_eq!(status("PUT", &[(TOKEN_TTL_HEADER, "60"), ("x-forwarded-for", "10.0.0.1")]), 403);
}

#[test]
fn answers_change_while_it_serves() {
    let stage = Stage::new();
    let token = stage.token();
    let path = "/latest/meta-data/spot/instance-action";
    let ask = |path: &str| stage.ask("GET", path, &[(TOKEN_HEADER, &token)]);
    assert_eq!(ask(path).expect("answered").status, 404);
    let mut state = State::load(&stage.path(), None).expect("read");
    let notice = serde_json::json!({ "action": "terminate", "time": "2026-11-21T10:00:00Z" });
    state.set("meta-data/spot/instance-action", notice);
    state.save(&stage.path()).expect("written");
    let found = ask("/2021-07-15/meta-data/spot/instance-action").expect("answered");
    assert!(found.body.contains("terminate"), "{found:?}");
    state.set("!status", 503).save(&stage.path()).expect("written");
    assert_eq!(ask(path).expect("answered").status, 503);
    state.set("!away", true).save(&stage.path()).expect("written");
    assert_eq!(ask(path), None);
}

/// Over a socket, with a kept connection, and gone when it is dropped.
#[test]
fn a_server_listens_until_it_is_dropped() {
    let stage = Stage::new();
    let server = listen(SocketAddr::from(([127, 0, 0, 1], 0)), &stage.path()).expect("listens");
    let mut stream = TcpStream::connect(server.address()).expect("connected");
    let put = format!("PUT {TOKEN_PATH} HTTP/1.1\r\n{TOKEN_TTL_HEADER}: 60\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(put.as_bytes()).expect("sent");
        let mut head = [0; 15];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        let mut rest = [0; 4096];
        let _ = stream.read(&mut rest).expect("the rest");
    }
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}
