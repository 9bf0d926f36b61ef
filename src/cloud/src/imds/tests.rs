//! The client against the service of room `imds`.

use super::*;
use crate::error::Fault;
use ::imds::{Instance, Server, State, listen};
use std::net::SocketAddr;

struct Stage {
    server: Server,
    imds: Imds,
    _folder: tempfile::TempDir,
}

fn stage(instance: &Instance) -> Stage {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("imds.json");
    instance.state().save(&path).expect("written");
    let server = listen(SocketAddr::from(([127, 0, 0, 1], 0)), &path).expect("listens");
    let imds = Imds::new(Options { tries: 2, ..Options::at(&server.url()) }).expect("a client");
    Stage { server, imds, _folder: folder }
}

impl Stage {
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.server.change(change).expect("changed");
    }
}

#[tokio::test]
async fn an_instance_is_read() {
    let instance = Instance {
        tags: Some(vec![("Name".into(), "web 1".into()), ("team:x".into(), "a".into())]),
        user_data: Some("rollinit = 1\n".into()),
        ..Instance::default()
    };
    let stage = stage(&instance);
    let identity = stage.imds.identity().await.expect("read");
    assert_eq!(identity.instance_id, instance.id);
    assert_eq!(
        (identity.region.as_str(), identity.account_id.as_str()),
        ("eu-central-1", "123456789012")
    );
    assert_eq!(
        stage.imds.user_data().await.expect("read").as_deref(),
        Some(&b"rollinit = 1\n"[..])
    );
    let tags = stage.imds.tags().await.expect("read").expect("told");
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), instance.tags.expect("tags"));
    assert_eq!(stage.imds.tag("none").await.expect("read"), None);
    assert_eq!(
        stage.imds.get("placement/region").await.expect("read").as_deref(),
        Some("eu-central-1")
    );
}

/// What is not there is no error, and costs no second try.
#[tokio::test]
async fn what_is_missing_is_missing() {
    let stage = stage(&Instance { role: None, tags: None, ..Instance::default() });
    assert_eq!(stage.imds.user_data().await.expect("read"), None);
    assert_eq!(stage.imds.tags().await.expect("read"), None);
    assert!(stage.imds.role_keys().await.expect("read").is_none());
    assert_eq!(stage.imds.spot_notice().await.expect("read"), None);
    assert_eq!(stage.imds.rebalance_notice().await.expect("read"), None);
    assert_eq!(stage.imds.lifecycle_state().await.expect("read"), None);
}

/// A service that forgot its tokens (it was restarted) answers 401: a new one, and on.
#[tokio::test]
async fn a_forgotten_token_is_replaced() {
    let stage = stage(&Instance::default());
    for _ in 0..3 {
        assert!(stage.imds.get("instance-id").await.expect("read").is_some());
        stage.server.forget_tokens();
    }
}

#[tokio::test]
async fn notices_are_read() {
    let stage = stage(&Instance::default());
    stage.change(|state| {
        state.set(
            "meta-data/spot/instance-action",
            serde_json::json!({ "action": "stop", "time": "${now+120}" }),
        );
        let notice = serde_json::json!({ "noticeTime": "2026-11-21T10:00:00Z" });
        state.set("meta-data/events/recommendations/rebalance", notice);
        state.set("meta-data/autoscaling/target-lifecycle-state", "Terminated\n");
    });
    let notice = stage.imds.spot_notice().await.expect("read").expect("there");
    assert_eq!(notice.action, SpotAction::Stop);
    assert!((118..=120).contains(&notice.remaining.as_secs()), "{notice:?}");
    let rebalance = stage.imds.rebalance_notice().await.expect("read").expect("there");
    assert_eq!(crate::time::format_rfc3339(rebalance), "2026-11-21T10:00:00Z");
    let state = stage.imds.lifecycle_state().await.expect("read");
    assert_eq!(state, Some(LifecycleState::Terminated));
    stage.change(|state| {
        state.set("meta-data/autoscaling/target-lifecycle-state", "Warmed:Stopped");
        state.set("meta-data/spot/instance-action", "nonsense");
    });
    let state = stage.imds.lifecycle_state().await.expect("read");
    assert_eq!(state, Some(LifecycleState::Other("Warmed:Stopped".to_owned())));
    let error = stage.imds.spot_notice().await.expect_err("nonsense");
    assert!(matches!(error.fault, Fault::Answer(_)), "{error}");
}

#[tokio::test]
async fn keys_last_by_the_clock_of_the_service() {
    let stage = stage(&Instance::default());
    let keys = stage.imds.role_keys().await.expect("read").expect("there");
    assert_eq!(keys.credentials.access_key_id(), "ASIAIMDS");
    assert_eq!(keys.credentials.session_token(), Some("token-of-ASIAIMDS"));
    assert!((21_590..=21_600).contains(&keys.remaining.as_secs()), "{keys:?}");
    assert!(!format!("{keys:?}").contains("secret-of"), "{keys:?}");
    stage.change(|state| {
        let none = serde_json::json!({ "Code": "Failed", "Message": "no permission" });
        state.set("meta-data/iam/security-credentials/host", none);
    });
    let error = stage.imds.role_keys().await.expect_err("refused").to_string();
    assert!(error.contains("Failed: no permission; attach an instance profile"), "{error}");
}

/// What passes is waited out; what does not says what to do.
#[tokio::test]
async fn a_service_in_trouble_is_asked_again() {
    let stage = stage(&Instance::default());
    stage.change(|state| drop(state.set("!status", 503).clone()));
    let error = stage.imds.get("instance-id").await.expect_err("503");
    assert!(error.is_passing(), "{error}");
    assert!(error.to_string().contains("in 2 tries: it answers 503"), "{error}");
    stage.change(|state| drop(state.set("!status", 403).clone()));
    let error = stage.imds.get("instance-id").await.expect_err("403").to_string();
    assert!(error.contains("--http-endpoint enabled"), "{error}");
    stage.change(|state| drop(state.remove("!status").set("!away", true).clone()));
    let error = stage.imds.get("instance-id").await.expect_err("away");
    assert!(error.is_passing(), "{error}");
    stage.change(|state| drop(state.remove("!away").clone()));
    assert!(stage.imds.get("instance-id").await.expect("back").is_some());
}

/// An instance with IPv6 alone: the first endpoint does not answer, the second does, and is then
/// asked first.
#[tokio::test]
async fn the_endpoint_that_answers_is_kept() {
    let stage = stage(&Instance::default());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = format!("http://{}", nobody.local_addr().expect("its address"));
    drop(nobody);
    let options = Options { endpoints: vec![closed, stage.server.url()], tries: 2 };
    let imds = Imds::new(options).expect("a client");
    assert!(imds.get("instance-id").await.expect("by the second").is_some());
    assert_eq!(imds.endpoint(), stage.server.url());
    assert!(imds.identity().await.is_ok());
}

#[tokio::test]
async fn what_is_no_such_service_is_said() {
    // A web server that knows neither the token's path nor PUT.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let server = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
        }
    };
    let imds = Imds::new(Options::at(&url)).expect("a client");
    tokio::select! {
        answer = imds.user_data() => {
            let error = answer.expect_err("no service").to_string();
            assert!(error.contains("is this machine an EC2 instance?"), "{error}");
        }
        () = server => unreachable!(),
    }
}
