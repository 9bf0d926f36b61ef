//! The calls against a foreign implementation of AWS, signatures and policies included.
//!
//! Proof: moto answers each call as AWS documents it; with its checks on, botocore's own code finds
//! our signatures right and a wrong secret's wrong, and says which action a policy lacks.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

use cloud::auto_scaling::{HookResult, TERMINATING};
use cloud::dynamodb::{Attribute, Condition, Item, Prefix};
use cloud::ec2::Filter;
use cloud::s3::{Found, ObjectAddress, Put, PutCondition};
use cloud::{Aws, Credentials, Endpoints, Fault, Imds, Options, Source};
use qemu_tests::aws::{Moto, REGION};
use std::time::Duration;

fn aws(moto: &Moto, credentials: Source) -> Aws {
    let options = Options {
        region: Some(REGION.to_owned()),
        endpoints: Endpoints { any: Some(moto.url()), ..Endpoints::default() },
        credentials,
        tries: Some(2),
        ..Options::default()
    };
    Aws::new(options, Imds::new(cloud::imds::Options::default()).unwrap())
}

fn fixed(id: &str, secret: &str) -> Source {
    Source::Fixed(Credentials::new(id, secret, None, None, "test"))
}

#[tokio::test]
async fn objects_and_parameters() {
    let moto = Moto::start().unwrap();
    moto.python(
        "s3 = client('s3')\n\
         s3.create_bucket(Bucket='releases', \
         CreateBucketConfiguration=dict(LocationConstraint='eu-central-1'))\n\
         s3.put_object(Bucket='releases', Key='web/a b+c.toml', Body=b'x' * 1000)\n\
         ssm = client('ssm')\n\
         for n in range(23): ssm.put_parameter(Name=f'/web/{n}', Value=f'v{n}', Type='SecureString')\n\
         ssm.put_parameter(Name='/web/0', Value='v0 again', Type='SecureString', Overwrite=True)",
    )
    .unwrap();
    let aws = aws(&moto, fixed("AKIA", "secret"));

    let address = ObjectAddress::parse("s3://releases/web/a b+c.toml").unwrap();
    let Found::Object(object) = aws.s3().get(&address, 1_000, None).await.unwrap() else {
        panic!("the object is there");
    };
    assert_eq!((object.bytes.len(), object.size_bytes), (1_000, Some(1_000)));
    let known = object.etag.as_deref();
    assert_eq!(aws.s3().get(&address, 1_000, known).await.unwrap(), Found::Unchanged);
    let head = aws.s3().head(&address).await.unwrap();
    assert!(
        matches!(head, Found::Object(head) if head.etag == object.etag && head.bytes.is_empty())
    );
    let large = aws.s3().get(&address, 999, None).await.unwrap_err();
    assert!(matches!(large.fault, Fault::TooLarge(999)), "{large}");
    let missing = ObjectAddress { key: "web/none".to_owned(), ..address.clone() };
    assert_eq!(aws.s3().get(&missing, 1_000, None).await.unwrap(), Found::Missing);
    assert_eq!(aws.s3().head(&missing).await.unwrap(), Found::Missing);

    // More than one call takes, and one that is not there.
    let names: Vec<String> = (0..24).map(|number| format!("/web/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parameters = aws.ssm().parameters(&names, true).await.unwrap();
    assert_eq!(parameters.missing, ["/web/23"]);
    assert_eq!(parameters.found.len(), 23);
    let zero = parameters.found.iter().find(|parameter| parameter.name == "/web/0").unwrap();
    assert_eq!((zero.value.expose(), zero.version), ("v0 again", 2));
    let sealed = aws.ssm().parameters(&["/web/1"], false).await.unwrap();
    assert_ne!(sealed.found[0].value.expose(), "v1", "it was asked for without decryption");
    assert!(!format!("{parameters:?}").contains("v0 again"));
}

/// Writes happen under their condition only, on both services; listings go over all pages.
#[tokio::test]
async fn writes_under_a_condition() {
    let moto = Moto::start().unwrap();
    moto.python(
        "s3 = client('s3')\n\
         s3.create_bucket(Bucket='fleet', \
         CreateBucketConfiguration=dict(LocationConstraint='eu-central-1'))\n\
         for n in range(3): s3.put_object(Bucket='fleet', Key=f'many/{n}', Body=b'')\n\
         key = [dict(AttributeName=n, KeyType=t) for n, t in [('a', 'HASH'), ('b', 'RANGE')]]\n\
         kinds = [dict(AttributeName=n, AttributeType='S') for n in 'ab']\n\
         client('dynamodb').create_table(TableName='fleet', KeySchema=key, \
         AttributeDefinitions=kinds, BillingMode='PAY_PER_REQUEST')",
    )
    .unwrap();
    let aws = aws(&moto, fixed("AKIA", "secret"));

    let address = ObjectAddress::parse("s3://fleet/groups/prod:a@b/record").unwrap();
    let put = async |bytes: &'static [u8], condition: PutCondition<'_>| {
        aws.s3().put(&address, bytes, &condition).await.unwrap()
    };
    assert_eq!(put(b"0", PutCondition::Unchanged("\"1\"")).await, Put::Otherwise);
    let Put::Written(first) = put(b"1", PutCondition::Absent).await else { panic!("it is new") };
    assert_eq!(put(b"2", PutCondition::Absent).await, Put::Otherwise);
    let Put::Written(second) = put(b"2", PutCondition::Unchanged(&first)).await else {
        panic!("it is unchanged")
    };
    assert_eq!(put(b"3", PutCondition::Unchanged(&first)).await, Put::Otherwise);
    let found = aws.s3().get(&address, 10, None).await.unwrap();
    assert!(matches!(found, Found::Object(it) if it.bytes == b"2" && it.etag == Some(second)));
    let many = ObjectAddress { key: "many/".to_owned(), ..address.clone() };
    let listed = aws.s3().list(&many, 3).await.unwrap();
    assert_eq!((listed.len(), listed[2].key.as_str()), (3, "many/2"));
    let error = aws.s3().list(&many, 2).await.unwrap_err().to_string();
    assert!(error.contains("more than 2 objects"), "{error}");
    let nowhere = ObjectAddress { bucket: "nowhere".to_owned(), ..address.clone() };
    let error = aws.s3().put(&nowhere, b"", &PutCondition::Absent).await.unwrap_err();
    assert!(error.is_missing(), "{error}");

    let text = |text: &str| Attribute::Text(text.to_owned());
    let key = |sort: &str| Item::from([("a".to_owned(), text("p")), ("b".to_owned(), text(sort))]);
    let large = Attribute::Bytes(vec![7; 300 * 1024]);
    for number in 0..5 {
        let mut item = key(&format!("x/{number}"));
        item.insert("value".to_owned(), large.clone());
        item.insert("version".to_owned(), text("1"));
        assert!(aws.dynamodb().put("fleet", &item, &Condition::Absent("b")).await.unwrap());
        assert!(!aws.dynamodb().put("fleet", &item, &Condition::Absent("b")).await.unwrap());
        let other = Condition::Equals("version", "2");
        assert!(!aws.dynamodb().put("fleet", &item, &other).await.unwrap());
        let same = Condition::Equals("version", "1");
        assert!(aws.dynamodb().put("fleet", &item, &same).await.unwrap());
    }
    let found = aws.dynamodb().get("fleet", &key("x/3")).await.unwrap().unwrap();
    assert_eq!(found["value"], large);
    assert_eq!(aws.dynamodb().get("fleet", &key("y")).await.unwrap(), None);
    // Two pages: one has a mebibyte at most.
    let prefix = Prefix { partition: ("a", "p"), sort: ("b", "x/") };
    assert_eq!(aws.dynamodb().query("fleet", prefix, 5).await.unwrap().len(), 5);
    let error = aws.dynamodb().query("fleet", prefix, 4).await.unwrap_err().to_string();
    assert!(error.contains("more than 4 items"), "{error}");
    let table = aws.dynamodb().table("fleet").await.unwrap();
    assert_eq!((table.status.as_str(), table.key), ("ACTIVE", vec!["a".into(), "b".into()]));
    assert!(aws.dynamodb().get("nowhere", &key("x")).await.unwrap_err().is_missing());
}

#[tokio::test]
async fn instances_volumes_and_groups() {
    let moto = Moto::start().unwrap();
    let scene = moto
        .python(
            "ec2, group = client('ec2'), client('autoscaling')\n\
             subnet = ec2.describe_subnets()['Subnets'][0]\n\
             image = ec2.register_image(Name='rollinit', RootDeviceName='/dev/xvda')['ImageId']\n\
             group.create_launch_configuration(LaunchConfigurationName='c', ImageId=image, \
             InstanceType='t3.small')\n\
             group.create_auto_scaling_group(AutoScalingGroupName='web', \
             LaunchConfigurationName='c', MinSize=1, MaxSize=1, \
             VPCZoneIdentifier=subnet['SubnetId'])\n\
             hook = dict(AutoScalingGroupName='web', HeartbeatTimeout=300)\n\
             group.put_lifecycle_hook(LifecycleHookName='drain', \
             LifecycleTransition='autoscaling:EC2_INSTANCE_TERMINATING', **hook)\n\
             group.put_lifecycle_hook(LifecycleHookName='up', \
             LifecycleTransition='autoscaling:EC2_INSTANCE_LAUNCHING', **hook)\n\
             i = group.describe_auto_scaling_instances()['AutoScalingInstances'][0]\n\
             ec2.create_tags(Resources=[i['InstanceId']], Tags=[dict(Key='a b', Value='<&>')])\n\
             v = ec2.create_volume(AvailabilityZone=i['AvailabilityZone'], Size=7, \
             TagSpecifications=[dict(ResourceType='volume', Tags=[dict(Key='data', Value='web')])])\n\
             ec2.attach_volume(VolumeId=v['VolumeId'], InstanceId=i['InstanceId'], Device='/dev/sdf')\n\
             print(i['InstanceId'], v['VolumeId'])",
        )
        .unwrap();
    let (instance, volume) = scene.split_once(' ').unwrap();
    let aws = aws(&moto, fixed("AKIA", "secret"));

    let volumes = aws.ec2().volumes(&[Filter::tag("data", "web")]).await.unwrap();
    assert_eq!((volumes.len(), volumes[0].volume_id.as_str(), volumes[0].size), (1, volume, 7));
    assert_eq!(volumes[0].serial(), volume.replace('-', ""));
    assert_eq!(volumes[0].attachments[0].instance_id, instance);
    assert!(aws.ec2().volumes(&[Filter::tag("data", "db")]).await.unwrap().is_empty());
    let filters = [Filter::new("instance-state-name", "running"), Filter::tag("a b", "<&>")];
    let instances = aws.ec2().instances(&filters).await.unwrap();
    assert_eq!(instances[0].instance_id, instance);
    assert_eq!(aws.ec2().tags(instance).await.unwrap()["a b"], "<&>");

    let member = aws.auto_scaling().member(instance).await.unwrap().unwrap();
    assert_eq!((member.group.as_str(), member.lifecycle_state.as_str()), ("web", "InService"));
    assert_eq!(aws.auto_scaling().member("i-0123456789abcdef0").await.unwrap(), None);
    let hooks = aws.auto_scaling().hooks("web").await.unwrap();
    let ending: Vec<_> = hooks.iter().filter(|hook| hook.transition == TERMINATING).collect();
    assert_eq!((hooks.len(), ending.len()), (2, 1));
    assert_eq!((ending[0].name.as_str(), ending[0].heartbeat_timeout_s), ("drain", Some(300)));
    aws.auto_scaling().heartbeat("web", "drain", instance).await.unwrap();
    aws.auto_scaling().complete("web", "drain", instance, HookResult::Continue).await.unwrap();
    let told = |_| moto.lifecycle_action(Duration::from_secs(10)).unwrap();
    let told: Vec<String> = (0..2).map(told).collect();
    let actions = ["heartbeat web drain", "complete web drain"];
    assert_eq!(told[0], format!("{} {instance} -", actions[0]));
    assert_eq!(told[1], format!("{} {instance} CONTINUE", actions[1]));
}

#[tokio::test]
async fn signatures_and_policies() {
    let moto = Moto::start().unwrap();
    let keys = moto
        .python(
            "iam = client('iam')\n\
             policy = dict(Version='2012-10-17', Statement=[dict(Effect='Allow', \
             Action=['ssm:GetParameters', 's3:GetObject', 's3:ListBucket'], Resource='*')])\n\
             iam.create_user(UserName='host')\n\
             iam.put_user_policy(UserName='host', PolicyName='host', \
             PolicyDocument=json.dumps(policy))\n\
             client('ssm').put_parameter(Name='/web/key', Value='v', Type='SecureString')\n\
             client('s3', 'a', 'b').create_bucket(Bucket='releases', \
             CreateBucketConfiguration=dict(LocationConstraint='eu-central-1'))\n\
             client('s3').put_object(Bucket='releases', Key='a b/ü+~.toml', Body=b'there')\n\
             key = iam.create_access_key(UserName='host')['AccessKey']\n\
             print(key['AccessKeyId'], key['SecretAccessKey'])",
        )
        .unwrap();
    let (id, secret) = keys.split_once(' ').unwrap();
    moto.enforce().unwrap();
    let aws_of = |secret: &str| aws(&moto, fixed(id, secret));

    let good = aws_of(secret);
    let parameters = good.ssm().parameters(&["/web/key"], true).await.unwrap();
    assert_eq!(parameters.found[0].value.expose(), "v");
    // A key that each side has to encode, and to encode alike.
    let address = ObjectAddress::parse("s3://releases/a b/ü+~.toml").unwrap();
    let found = good.s3().get(&address, 100, None).await.unwrap();
    assert!(matches!(found, Found::Object(object) if object.bytes == b"there"));

    let denied = good.ec2().volumes(&[]).await.unwrap_err();
    assert!(denied.is_denied() && !denied.is_passing(), "{denied}");
    let text = denied.to_string();
    assert!(text.contains("add ec2:DescribeVolumes to the policy"), "{text}");

    let wrong = aws_of("another secret").ssm().parameters(&["/web/key"], true).await.unwrap_err();
    let text = wrong.to_string();
    assert!(text.starts_with("ssm:GetParameters /web/key: refused with"), "{text}");
    assert!(!text.contains("another secret"), "{text}");
}

/// Nobody there: said with the address, after the tries that were allowed.
#[tokio::test]
async fn nobody_answers() {
    let options = Options {
        region: Some(REGION.to_owned()),
        endpoints: Endpoints { any: Some("http://127.0.0.1:9".to_owned()), ..Endpoints::default() },
        credentials: fixed("AKIA", "secret"),
        tries: Some(2),
        ..Options::default()
    };
    let aws = Aws::new(options, Imds::new(cloud::imds::Options::default()).unwrap());
    let error = aws.ec2().volumes(&[]).await.unwrap_err();
    assert!(error.is_passing());
    let text = error.to_string();
    assert!(text.contains("no answer from http://127.0.0.1:9/ in 2 tries"), "{text}");
}
