//! `rollinit vm --ec2` against a foreign implementation of EC2.
//!
//! Proof: instances are started with what the documentation promises of them, listed, and ended by
//! name, by id and by age; what somebody else started is never touched.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

use qemu_tests::aws::{Moto, REGION};
use serde_json::Value;
use std::process::{Command, Output};

const SYSTEM: &str = "/nix/store/00000000000000000000000000000000-rollinit-system";

fn rollinit(moto: &Moto, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rollinit"))
        .args(["vm", "--ec2"])
        .args(words)
        .env_clear()
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output()
        .unwrap()
}

/// As JSON; the command has to be done.
fn json(moto: &Moto, words: &[&str]) -> Value {
    let output = rollinit(moto, &[words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text} {output:?}");
    serde_json::from_str(&text).unwrap()
}

fn ids(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// All that is not terminated, ours or not.
fn living(moto: &Moto) -> Vec<String> {
    let script = "print(json.dumps(sorted(i['InstanceId'] \
         for r in client('ec2').describe_instances()['Reservations'] for i in r['Instances'] \
         if i['State']['Name'] not in ('terminated', 'shutting-down'))))";
    serde_json::from_str(&moto.python(script).unwrap()).unwrap()
}

#[test]
fn instances_are_run_listed_and_destroyed() {
    let moto = Moto::start().unwrap();
    let scene = "ec2 = client('ec2')\n\
         image = ec2.register_image(Name='rollinit', RootDeviceName='/dev/xvda')['ImageId']\n\
         other = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)\n\
         print(json.dumps([image, other['Instances'][0]['InstanceId']]))";
    let scene: Vec<String> = serde_json::from_str(&moto.python(scene).unwrap()).unwrap();
    let [image, other] = scene.try_into().unwrap();
    assert_eq!(json(&moto, &["list"]), serde_json::json!([]));

    // Started as documented.
    let dry = json(&moto, &["run", SYSTEM, "--image", &image, "--dry-run"]);
    assert_eq!(ids(&dry["run"]["instances"]), Vec::<String>::new());
    let run = ["run", SYSTEM, "--image", &image, "--name", "web", "--count", "2", "--ttl", "90m"];
    let run = json(&moto, &run);
    let web = ids(&run["run"]["instances"]);
    assert_eq!(web.len(), 2, "{run}");
    let document = run["run"]["user_data"].as_str().unwrap();
    assert_eq!(document, format!("rollinit = 1\nsystem = \"{SYSTEM}\"\nlifetime = \"90m\"\n"));
    let script = format!(
        "import base64\nec2 = client('ec2')\n\
         i = ec2.describe_instances(InstanceIds=['{0}'])['Reservations'][0]['Instances'][0]\n\
         def attribute(name): return ec2.describe_instance_attribute(InstanceId='{0}', Attribute=name)\n\
         print(json.dumps(dict(\n\
         data=base64.b64decode(attribute('userData')['UserData']['Value']).decode(),\n\
         shutdown=attribute('instanceInitiatedShutdownBehavior')['InstanceInitiatedShutdownBehavior']['Value'],\n\
         tokens=i['MetadataOptions']['HttpTokens'], kind=i['InstanceType'],\n\
         tags=dict((t['Key'], t['Value']) for t in i['Tags']))))",
        web[0]
    );
    let found: Value = serde_json::from_str(&moto.python(&script).unwrap()).unwrap();
    assert_eq!(found["data"], document);
    assert_eq!(found["shutdown"], "terminate", "a power-off from within is the end: {found}");
    assert_eq!((&found["tokens"], &found["kind"]), (&"required".into(), &"t3.small".into()));
    assert_eq!(found["tags"]["Name"], "web");
    assert_eq!(found["tags"]["rollinit:vm"], "1");

    // Two more, one of them past its time.
    let old = ids(&json(&moto, &["run", "--image", &image])["run"]["instances"]);
    let single = ids(&json(&moto, &["run", "--image", &image])["run"]["instances"]);
    moto.python(&format!(
        "client('ec2').create_tags(Resources=['{}'], \
         Tags=[dict(Key='rollinit:expires', Value='2020-01-01T00:00:00Z')])",
        old[0]
    ))
    .unwrap();
    let listed = json(&moto, &["list"]);
    let is_old = |row: &Value| row["is_old"] == true;
    assert_eq!(ids(&listed).len(), 4);
    assert!(!ids(&listed).contains(&other), "{listed}");
    let aged: Vec<&Value> = listed.as_array().unwrap().iter().filter(|row| is_old(row)).collect();
    assert_eq!(aged.len(), 1);
    assert_eq!(aged[0]["id"], *old[0]);

    // Ended by age, by id, by name.
    let ended = |words: &[&str]| ids(&json(&moto, words)["destroyed"]["instances"]);
    assert_eq!(ended(&["destroy-old", "--dry-run"]), old);
    assert!(living(&moto).contains(&old[0]), "a dry run ends nothing");
    assert_eq!(ended(&["destroy-old"]), old);
    assert_eq!(ended(&["destroy-old"]), Vec::<String>::new());
    assert_eq!(ended(&["destroy", &single[0]]), single);
    let mut both = ended(&["destroy", "web"]);
    both.sort();
    assert_eq!(both, {
        let mut web = web;
        web.sort();
        web
    });
    assert_eq!(living(&moto), [other.as_str()]);
    let not_ours = rollinit(&moto, &["destroy", &other]);
    assert_eq!(not_ours.status.code(), Some(5), "{not_ours:?}");
    assert_eq!(living(&moto), [other.as_str()]);
}
