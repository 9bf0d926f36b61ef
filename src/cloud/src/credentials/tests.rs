//! Credentials of a role that go on working while everything around them changes.

use super::*;
use crate::imds::Options;
use ::imds::{Instance, credentials, listen};
use std::net::SocketAddr;

const PATH: &str = "meta-data/iam/security-credentials/host";

#[test]
fn keys_are_renewed_before_their_end_and_not_all_the_time() {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    assert_eq!(renewal(hours(6)), hours(6) - CREDENTIALS_MARGIN);
    assert_eq!(renewal(CREDENTIALS_MARGIN), CREDENTIALS_RETRY);
    assert_eq!(renewal(Duration::ZERO), CREDENTIALS_RETRY);
}

#[tokio::test]
async fn keys_are_kept_renewed_and_used_while_nobody_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("imds.json");
    Instance::default().state().save(&path).expect("written");
    let server = listen(SocketAddr::from(([127, 0, 0, 1], 0)), &path).expect("listens");
    let imds = Imds::new(Options { tries: 1, ..Options::at(&server.url()) }).expect("a client");
    let keeper = Keeper::new(Source::Instance, imds);
    let id = async || keeper.get().await.expect("keys").access_key_id().to_owned();
    assert_eq!(id().await, "ASIAIMDS");

    // New ones are there, and nobody needs them yet.
    server.change(|state| drop(state.set(PATH, credentials("NEW", 3_600)).clone())).expect("set");
    assert_eq!(id().await, "ASIAIMDS");
    // AWS says that the old ones are over.
    keeper.expire();
    assert_eq!(id().await, "NEW");
    let due = keeper.renew().await.expect("fresh").expect("ours to renew");
    assert!(due <= Duration::from_secs(3_600) - CREDENTIALS_MARGIN, "{due:?}");

    // The service is gone: what there was is used, and it is not asked at each call.
    server.change(|state| drop(state.set("!away", true).clone())).expect("set");
    keeper.expire();
    assert_eq!(id().await, "NEW");
    assert!(keeper.fresh().is_some(), "asked again only after a while");
    keeper.expire();
    assert!(keeper.renew().await.is_err(), "whoever keeps them fresh is told");

    let fixed = Keeper::new(
        Source::Fixed(Credentials::new("ME", "s", None, None, "test")),
        Imds::new(Options::default()).expect("a client"),
    );
    assert_eq!(fixed.get().await.expect("mine").access_key_id(), "ME");
    assert_eq!(fixed.renew().await.expect("nothing to do"), None);
}

#[tokio::test]
async fn an_instance_without_a_role_is_told_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("imds.json");
    Instance { role: None, ..Instance::default() }.state().save(&path).expect("written");
    let server = listen(SocketAddr::from(([127, 0, 0, 1], 0)), &path).expect("listens");
    let imds = Imds::new(Options::at(&server.url())).expect("a client");
    let error = Keeper::new(Source::Instance, imds).get().await.expect_err("no role").to_string();
    assert!(error.contains("the instance has no role; attach an instance profile"), "{error}");
}
