//! Groups whose ledger is DynamoDB or S3, as on EC2: the agents ask as the role of their instance,
//! which a metadata service tells them; the person with the laptop has keys of his own.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, Release};
use qemu_tests::aws::{Moto, REGION};
use qemu_tests::fleet::{Fleet, GROUP};
use serde_json::Value;

/// Short, so that a test takes seconds; the way is the same.
const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\n";

/// As docs/ledger.md says to make them.
const SCENE: &str = "\
names = ['ledger', 'key']
client('dynamodb').create_table(TableName='rollinit', BillingMode='PAY_PER_REQUEST',
    KeySchema=[dict(AttributeName=n, KeyType=t) for n, t in zip(names, ['HASH', 'RANGE'])],
    AttributeDefinitions=[dict(AttributeName=n, AttributeType='S') for n in names])
client('s3').create_bucket(Bucket='rollinit-fleet',
    CreateBucketConfiguration=dict(LocationConstraint='eu-central-1'))
";

/// Proof: on either engine a release reaches all hosts and is blessed; what they wrote is found on
/// the engine by another's client.
pub fn dynamodb_and_s3() -> Result<()> {
    let moto = Moto::start()?;
    moto.python(SCENE)?;
    rolls(&moto, "dynamodb://rollinit", 2)?;
    rolls(&moto, "s3://rollinit-fleet", 1)?;
    let found = moto.python(
        "item = client('dynamodb').get_item(TableName='rollinit', ConsistentRead=True, \
         Key=dict(ledger=dict(S='rollinit'), key=dict(S='groups/prod/record')))\n\
         print(item['Item']['value']['B'].decode())\n\
         body = client('s3').get_object(Bucket='rollinit-fleet', \
         Key='rollinit/groups/prod/record')['Body'].read()\n\
         print(body.decode().split('\\n', 1)[1])",
    )?;
    for record in found.lines() {
        let record: Value = serde_json::from_str(record).context("a record is JSON")?;
        let blessed = record["apps"][APP]["blessed"]["path"].as_str();
        ensure!(blessed.is_some_and(|path| path.ends_with("-web-2")), "{record}");
    }
    ensure!(found.lines().count() == 2, "{found}");
    Ok(())
}

fn rolls(moto: &Moto, ledger: &str, hosts: usize) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder for the metadata service")?;
    let state = folder.path().join("imds.json");
    imds::Instance::default().state().save(&state)?;
    let metadata = imds::listen("127.0.0.1:0".parse()?, &state)?;
    // The agents are told of moto in [cloud]; the region is the address's.
    let address = format!("{ledger}?region={REGION}");
    let cloud = format!(
        "[cloud]\nregion = \"us-west-1\"\nendpoint = \"{}\"\nmetadata = \"{}\"\n",
        moto.url(),
        metadata.url()
    );
    let fleet = Fleet::start_with(hosts, QUICK, Some(&address), |_| cloud.clone())?;
    let release = Release { name: "web-2", serve: &[], programs: &[] };
    let second = fleet.hosts[0].release(&release)?;
    let words = ["rollout", "start", APP, &second, "--new-group", "--wait"];
    let output = fleet.hosts[0]
        .host
        .command()?
        .args(words)
        .args(["--ledger", &address, "--group", GROUP])
        .env("AWS_ACCESS_KEY_ID", "laptop")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL", moto.url())
        .output()
        .context("run rollinit")?;
    ensure!(output.status.success(), "{ledger}: {output:?}\n{}", fleet.said());
    let versions = fleet.versions()?;
    ensure!(versions == vec!["web-2"; hosts], "{ledger}: {versions:?}\n{}", fleet.said());
    Ok(())
}
