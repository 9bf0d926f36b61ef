use super::*;

fn credential(owner: &str, place: &str, present: bool, problem: Option<&str>) -> Credential {
    Credential {
        owner: owner.to_owned(),
        name: "database".to_owned(),
        source: CredentialSource::Ssm,
        place: place.to_owned(),
        present,
        problem: problem.map(str::to_owned),
    }
}

fn values(questions: &Questions) -> Vec<&str> {
    assert!(questions.versions.is_empty(), "{questions:?}");
    questions.values.iter().map(String::as_str).collect()
}

/// Unknown parameters are fetched at once and once each; known ones are polled by version, and
/// fetched again when it differs. What a path brings is nobody's business here.
#[test]
fn a_parameter_is_fetched_polled_and_fetched_again() {
    let mut plan = Plan::new(60_000);
    assert_eq!(plan.due_ms(), None);
    let path =
        Credential { source: CredentialSource::Path, ..credential("web", "/etc/key", false, None) };
    let list = [credential("web", "/a", false, None), credential("job", "/a", false, None), path];
    plan.want(5, &list);
    assert_eq!(values(&plan.questions(5)), ["/a"]);
    let owners: Vec<&str> = plan.takers("/a").map(|want| want.owner.as_str()).collect();
    assert_eq!(owners, ["web", "job"]);
    plan.delivered(5, 0, "/a", 3);
    assert_eq!(plan.due_ms(), Some(60_005));
    assert_eq!(plan.questions(60_004), Questions::default());
    let questions = plan.questions(60_005);
    assert_eq!(
        (questions.values.len(), questions.versions.as_slice()),
        (0, &["/a".to_owned()][..])
    );
    assert!(!plan.seen(60_005, 1_000, "/a", 3));
    assert_eq!(plan.due_ms(), Some(60_005 + 54_000), "up to a tenth early");
    assert!(plan.seen(114_005, 0, "/a", 4));
    assert_eq!(values(&plan.questions(114_005)), ["/a"]);
}

/// Pauses double to their longest and chance takes at most half of one away; what comes after is
/// a fetch with decryption, since the supervisor is to hear that the problem is over.
#[test]
fn failures_are_repeated_ever_more_rarely() {
    let mut plan = Plan::new(60_000);
    plan.want(0, &[credential("web", "/a", false, None)]);
    let mut now_ms = 0;
    for expected_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        plan.failed(now_ms, 0, "/a");
        assert_eq!(plan.due_ms(), Some(now_ms + expected_ms / 2));
        // The same failure once more would be the next one: look at it on a copy of the time.
        now_ms += expected_ms;
        assert_eq!(values(&plan.questions(now_ms)), ["/a"]);
    }
    plan.delivered(now_ms, 0, "/a", 1);
    plan.failed(now_ms, 1_000, "/a");
    assert_eq!(plan.due_ms(), Some(now_ms + 1_000), "a success ends the row");
    assert_eq!(values(&plan.questions(now_ms + 1_000)), ["/a"]);
}

/// A failure that everybody knows of is not hurried by a new list; a supervisor that was replaced
/// has no problem on record and is told anew; a newcomer is not held up by who fails.
#[test]
fn a_new_list_hurries_only_who_must_be() {
    let mut plan = Plan::new(60_000);
    plan.want(0, &[credential("web", "/a", false, None)]);
    plan.failed(0, 1_000, "/a");
    let known = credential("web", "/a", false, Some("denied"));
    plan.want(10, &[known.clone(), credential("job", "/b", false, None)]);
    assert_eq!(values(&plan.questions(10)), ["/b"]);
    plan.delivered(10, 0, "/b", 1);
    plan.want(20, &[known, credential("job", "/b", true, None)]);
    assert_eq!(plan.questions(20), Questions::default());
    plan.want(30, &[credential("web", "/a", false, None), credential("job", "/b", true, None)]);
    assert_eq!(values(&plan.questions(30)), ["/a"]);
}

/// Who lacks a known one has it fetched again: another service that comes from the same parameter,
/// or files that are gone. What nobody wants is forgotten.
#[test]
fn who_lacks_a_known_one_gets_it() {
    let mut plan = Plan::new(60_000);
    plan.want(0, &[credential("web", "/a", false, None)]);
    plan.delivered(0, 0, "/a", 1);
    plan.want(9, &[credential("web", "/a", true, None), credential("job", "/a", false, None)]);
    assert_eq!(values(&plan.questions(9)), ["/a"]);
    plan.want(10, &[]);
    assert_eq!(plan.due_ms(), None);
    assert!(!plan.seen(10, 0, "/a", 1), "an answer that comes too late means nothing");
    plan.failed(10, 0, "/a");
    assert_eq!(plan.due_ms(), None);
}

/// SSM refuses a reference to Secrets Manager without decryption: it is fetched at each poll.
#[test]
fn secrets_manager_is_fetched_each_time() {
    let mut plan = Plan::new(60_000);
    let name = "/aws/reference/secretsmanager/a";
    plan.want(0, &[credential("web", name, false, None)]);
    for now_ms in [0, 60_000, 120_000] {
        assert_eq!(values(&plan.questions(now_ms)), [name]);
        plan.delivered(now_ms, 0, name, 0);
    }
}
