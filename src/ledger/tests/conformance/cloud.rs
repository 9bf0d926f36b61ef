//! DynamoDB and S3, as moto has them.

use crate::proxy::{Fault, Proxy};
use crate::suite::{applied, enter, lists_of, suite};
use cloud::{Aws, Credentials, Imds, Options, Source};
use ledger::{Address, Engine};
use qemu_tests::aws::{Moto, REGION};
use rollout::{Cas, Ledger};
use std::sync::{LazyLock, Mutex};

/// One for all tests but that of the policies; it ends with this process.
static MOTO: LazyLock<Mutex<Moto>> = LazyLock::new(|| Mutex::new(moto()));

/// A moto with a table and a bucket, made as docs/ledger.md says.
fn moto() -> Moto {
    let moto = Moto::start().unwrap();
    let made = "key = [dict(AttributeName=n, KeyType=t) for n, t in \
         [('ledger', 'HASH'), ('key', 'RANGE')]]\n\
         kinds = [dict(AttributeName=n, AttributeType='S') for n in ['ledger', 'key']]\n\
         client('dynamodb').create_table(TableName='rollinit', KeySchema=key, \
         AttributeDefinitions=kinds, BillingMode='PAY_PER_REQUEST')\n\
         client('s3').create_bucket(Bucket='rollinit-fleet', \
         CreateBucketConfiguration=dict(LocationConstraint='eu-central-1'))\n";
    moto.python(made).unwrap();
    moto
}

fn aws(id: &str, secret: &str) -> Aws {
    let options = Options {
        region: Some("us-west-1".to_owned()),
        credentials: Source::Fixed(Credentials::new(id, secret, None, None, "test")),
        // What is lost on purpose is soon asked again.
        tries: Some(2),
        ..Options::default()
    };
    Aws::new(options, Imds::new(cloud::imds::Options::default()).unwrap())
}

/// The engine of `address` where `at` is AWS. The address says the region, not who asks.
pub fn engine_of(address: &str, at: &str, aws: &Aws) -> Engine {
    let text = format!("{address}?region={REGION}&endpoint=http://{at}");
    Engine::open(&text.parse::<Address>().unwrap(), Some(aws)).unwrap()
}

pub fn engine(address: &str, at: &str) -> Engine {
    engine_of(address, at, &aws("AKIA", "secret"))
}

/// Where moto is.
pub fn at() -> String {
    MOTO.lock().unwrap().address().to_string()
}

/// One test, since each costs a moto where tests have processes of their own.
#[tokio::test]
async fn dynamodb_and_s3() {
    let (table, bucket) = (dynamodb(), s3());
    let lossy = async { tokio::join!(dynamodb_behind_a_lossy_proxy(), s3_behind_a_lossy_proxy()) };
    tokio::join!(table, bucket, lossy, s3_that_ignores_conditions_is_refused());
}

async fn dynamodb() {
    let one = engine("dynamodb://rollinit", &at());
    suite(&one, "lists/dynamodb").await;
    let other = engine("dynamodb://rollinit/other", &at());
    assert_eq!(other.list("hosts/").await.unwrap(), [], "another prefix is another world");
    assert_eq!(one.probe().await.unwrap(), "the DynamoDB table rollinit is active");
    let error = engine("dynamodb://nowhere", &at()).probe().await.unwrap_err().to_string();
    assert!(
        error.contains("dynamodb:DescribeTable") && error.contains("make the table"),
        "{error}"
    );
    MOTO.lock()
        .unwrap()
        .python(
            "client('dynamodb').create_table(TableName='keyed', \
         KeySchema=[dict(AttributeName='id', KeyType='HASH')], \
         AttributeDefinitions=[dict(AttributeName='id', AttributeType='S')], \
         BillingMode='PAY_PER_REQUEST')\n\
         client('dynamodb').put_item(TableName='rollinit', Item=dict(ledger=dict(S='rollinit'), \
         key=dict(S='hand/made'), version=dict(N='1')))",
        )
        .unwrap();
    let error = engine("dynamodb://keyed", &at()).probe().await.unwrap_err().to_string();
    assert!(error.contains("its key is id, not ledger, key"), "{error}");
    let error = one.get("hand/made").await.unwrap_err().to_string();
    assert!(error.contains("hand/made") && error.contains("remove it"), "{error}");
}

async fn dynamodb_behind_a_lossy_proxy() {
    let proxy = Proxy::start(at(), Fault::Lossy).await;
    lists_of(3, &[engine("dynamodb://rollinit", &proxy.address())], "lists/lossy").await;
    proxy.assert_lossy();
}

async fn s3() {
    let one = engine("s3://rollinit-fleet/one", &at());
    suite(&one, "lists/s3").await;
    let other = engine("s3://rollinit-fleet/one2", &at());
    assert_eq!(other.list("hosts/").await.unwrap(), [], "another prefix is another world");
    assert!(one.probe().await.unwrap().ends_with("keeps If-None-Match and If-Match"));
    let error = engine("s3://nowhere", &at()).cas("a", None, b"").await.unwrap_err().to_string();
    assert!(
        error.contains("NoSuchBucket") && error.contains("make the table or the bucket"),
        "{error}"
    );
    MOTO.lock()
        .unwrap()
        .python(
            "for key in ['hand/made', 'hand/a b']: \
         client('s3').put_object(Bucket='rollinit-fleet', Key='one/' + key, Body=b'text')",
        )
        .unwrap();
    let error = one.list("hand/").await.unwrap_err().to_string();
    assert!(error.contains("s3://rollinit-fleet/one/hand/made") && error.contains("remove it"));
}

async fn s3_behind_a_lossy_proxy() {
    let proxy = Proxy::start(at(), Fault::Lossy).await;
    lists_of(3, &[engine("s3://rollinit-fleet/lossy", &proxy.address())], "lists/lossy").await;
    proxy.assert_lossy();
}

/// Rewrites the head of a request.
type Edit = fn(&str) -> String;

fn without(head: &str, is_dropped: impl Fn(&str) -> bool) -> String {
    let kept = head.split_inclusive("\r\n").filter(|line| !is_dropped(&line.to_lowercase()));
    kept.collect()
}

/// Endpoints that take a condition and ignore it are refused by name, before the first write of
/// an entry; reading goes on.
async fn s3_that_ignores_conditions_is_refused() {
    let edits: [(&str, Edit, &str); 3] = [
        (
            "absent",
            |head| without(head, |line| line.starts_with("if-none-match:")),
            "If-None-Match",
        ),
        ("match", |head| without(head, |line| line.starts_with("if-match:")), "another ETag"),
        // As one that looks first and writes then: it knows a wrong ETag, and lets all others win.
        (
            "racy",
            |head| {
                let is_right =
                    |line: &str| line.starts_with("if-match:") && !line.contains("\"0\"");
                without(head, is_right)
            },
            "of 4 writes at once 4 won",
        ),
    ];
    for (prefix, edit, reason) in edits {
        let proxy = Proxy::start(at(), Fault::Edit(edit)).await;
        let engine = engine(&format!("s3://rollinit-fleet/{prefix}"), &proxy.address());
        let text = engine.cas("groups/a", None, b"x").await.unwrap_err().to_string();
        let start = format!("probe the bucket s3://rollinit-fleet/{prefix}: this endpoint ignores");
        assert!(text.starts_with(&start) && text.contains(reason), "{text}");
        assert!(text.contains("take AWS S3 itself"), "{text}");
        assert_eq!(engine.get("groups/a").await.unwrap(), None, "nothing was written");
        assert!(engine.probe().await.is_err(), "it is not forgotten");
    }
    // A removal is a matter of its own: the endpoint is good for all else.
    let edit: Edit = |head| {
        let is_removal = head.starts_with("DELETE ");
        without(head, |line| is_removal && line.starts_with("if-match:"))
    };
    let proxy = Proxy::start(at(), Fault::Edit(edit)).await;
    let engine_ = engine("s3://rollinit-fleet/removal", &proxy.address());
    let token = applied(&engine_, "groups/a", None, b"x").await;
    let text = engine_.remove("groups/a", &token).await.unwrap_err().to_string();
    assert!(text.contains("ignores If-Match") && text.contains("was removed"), "{text}");
    assert_eq!(engine_.get("groups/a").await.unwrap().unwrap().token, token);
    // One that keeps them is found good, once; and what did not change is listed by one request.
    let proxy = Proxy::start(at(), Fault::Edit(str::to_owned)).await;
    let good = engine("s3://rollinit-fleet/good", &proxy.address());
    let token = applied(&good, "groups/a", None, b"x").await;
    let before = proxy.messages();
    applied(&good, "groups/a", Some(&token), b"y").await;
    assert_eq!(proxy.messages(), before + 1, "it is not probed again");
    let listed = good.list("groups/").await.unwrap();
    assert_eq!(proxy.messages(), before + 3);
    assert_eq!(good.list("groups/").await.unwrap(), listed);
    assert_eq!(proxy.messages(), before + 4, "it is not read again");
}

/// The policies of docs/ledger.md are enough, and without them the error says what is missing.
#[tokio::test]
async fn the_documented_policies_are_enough() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ledger.md");
    let page = std::fs::read_to_string(page).unwrap();
    let policies: Vec<&str> = page
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .filter(|block| block.contains("\"Statement\""))
        .collect();
    assert_eq!(policies.len(), 2, "one for each engine");
    // moto judges DynamoDB by the action alone, and takes no table's name for it.
    let table = policies[0].replace("\"arn:aws:dynamodb:*:*:table/rollinit\"", "\"*\"");
    assert_ne!(table, policies[0]);
    let users = format!(
        "iam = client('iam')\n\
         for name, policy in zip(['table', 'bucket'], [{:?}, {:?}]):\n    \
         iam.create_user(UserName=name)\n    \
         iam.put_user_policy(UserName=name, PolicyName='p', PolicyDocument=policy)\n    \
         key = iam.create_access_key(UserName=name)['AccessKey']\n    \
         print(key['AccessKeyId'], key['SecretAccessKey'])\n",
        table, policies[1]
    );
    let moto = moto();
    let keys = moto.python(&users).unwrap();
    let keys: Vec<Aws> = keys
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(id, secret)| aws(id, secret))
        .collect();
    moto.enforce().unwrap();
    let at = moto.address().to_string();
    for (address, own, other) in [
        ("dynamodb://rollinit", &keys[0], &keys[1]),
        ("s3://rollinit-fleet/rollinit", &keys[1], &keys[0]),
    ] {
        let engine = engine_of(address, &at, own);
        assert_eq!(engine.get("groups/a").await.unwrap(), None, "a missing one is known");
        enter(&engine, "groups/a", "one").await;
        assert_eq!(engine.list("groups/").await.unwrap().len(), 1);
        let entry = engine.get("groups/a").await.unwrap().unwrap();
        assert!(matches!(engine.remove("groups/a", &entry.token).await, Ok(Cas::Applied(_))));
        engine.probe().await.unwrap();
        let denied = engine_of(address, &at, other);
        for error in [
            denied.get("groups/a").await.unwrap_err(),
            denied.cas("groups/a", None, b"").await.unwrap_err(),
            denied.list("groups/").await.unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("docs/ledger.md has the policy"), "{text}");
        }
    }
}
