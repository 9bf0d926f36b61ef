//! Refusals as the services word them.

use super::*;
use reqwest::header::HeaderMap;

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
}

fn judged(status: u16, body: &str) -> Verdict {
    judge("ssm:GetParameters", &answer(status, body))
}

const EC2: &str = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>CODE</Code>\
    <Message>MESSAGE</Message></Error></Errors><RequestID>1</RequestID></Response>";
const S3: &str =
    "<Error><Code>CODE</Code><Message>MESSAGE</Message><RequestId>1</RequestId></Error>";
const AUTO_SCALING: &str = "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
    <Error><Type>Sender</Type><Code>CODE</Code><Message>MESSAGE</Message></Error></ErrorResponse>";
const SSM: &str = "{\"__type\":\"com.amazonaws.ssm#CODE\",\"message\":\"MESSAGE\"}";

/// Each service wraps the same two words in its own way.
#[test]
fn words_are_found_in_every_wrapping() {
    for wrapping in [EC2, S3, AUTO_SCALING, SSM] {
        let body = wrapping.replace("CODE", "Odd").replace("MESSAGE", "so it is");
        let fault = Fault::Refused { status: 400, code: "Odd".into(), message: "so it is".into() };
        assert_eq!(judged(400, &body), Verdict::Final(fault), "{body}");
    }
    let escaped = S3.replace("MESSAGE", "a &quot;b&quot; &amp; c");
    let Verdict::Final(Fault::Refused { message, .. }) = judged(400, &escaped) else {
        panic!("it is refused");
    };
    assert_eq!(message, "a \"b\" & c");
}

#[test]
fn what_helps_is_told_by_the_code() {
    let verdict = |code: &str, message: &str| {
        judged(400, &SSM.replace("CODE", code).replace("MESSAGE", message))
    };
    assert!(matches!(verdict("ThrottlingException", "slow"), Verdict::Throttled(_)));
    assert!(matches!(judged(503, ""), Verdict::Broken(_)), "it may have been carried out");
    assert!(matches!(judged(503, &S3.replace("CODE", "SlowDown")), Verdict::Throttled(_)));
    assert!(matches!(judged(429, "x"), Verdict::Throttled(_)));
    assert!(matches!(verdict("ExpiredTokenException", ""), Verdict::Credentials(_)));
    assert!(matches!(verdict("RequestTimeTooSkewed", ""), Verdict::Clock(_)));
    let late = "Signature expired: 20150830T123600Z is now earlier than 20261121T100000Z";
    assert!(matches!(verdict("InvalidSignatureException", late), Verdict::Clock(_)));
    let wrong = "The request signature we calculated does not match";
    assert!(matches!(verdict("InvalidSignatureException", wrong), Verdict::Final(_)));
    let missing = judged(400, &EC2.replace("CODE", "InvalidInstanceID.NotFound"));
    assert!(matches!(missing, Verdict::Final(Fault::Missing { .. })));
}

/// The action that is missing may be another than the call's.
#[test]
fn the_missing_action_is_named() {
    let denied = |message: &str| {
        let body = SSM.replace("CODE", "AccessDeniedException").replace("MESSAGE", message);
        let Verdict::Final(Fault::Denied { action, .. }) = judged(400, &body) else {
            panic!("it is denied: {message}");
        };
        action
    };
    assert_eq!(denied("no"), "ssm:GetParameters");
    let key = "User: arn:aws:sts::1:assumed-role/host/i-1 is not authorized to perform: \
               kms:Decrypt on resource: arn:aws:kms:eu-central-1:1:key/1";
    assert_eq!(denied(key), "kms:Decrypt");
    let bare = judged(403, "");
    assert!(matches!(bare, Verdict::Final(Fault::Denied { .. })), "a HEAD has no words");
}

proptest::proptest! {
    /// Whatever answers, it is judged; no bytes make it panic, no text gets long.
    #[test]
    fn any_answer_is_judged(
        status in 300_u16..600,
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        tagged in "(<[a-zA-Z]{0,7}/?>|&[a-z]{0,4};|<Code>|</Code>|[a-z{}\"]{0,5}){0,20}",
    ) {
        for body in [body, tagged.into_bytes()] {
            let verdict = judge("x", &Answer { status, headers: HeaderMap::new(), body });
            let words = format!("{verdict:?}");
            proptest::prop_assert!(words.len() < 3_000, "{}", words);
        }
    }
}
