//! Target groups and an Auto Scaling group as a foreign implementation of AWS has them, with the
//! times of AWS put in (qemu-tests/src/aws/balancers.py).

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

use balancer::alb::{Absence, Alb};
use balancer::machine::{Ask, Failed, FailedKind, Goal, Seen, Stand, Taken};
use balancer::{Driver, Front, Scope, Wanted, drive};
use cloud::{Aws, Credentials, Endpoints, Imds, Options, Source};
use imds::Instance;
use qemu_tests::aws::{BALANCED_GROUP, Moto, REGION};
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

/// A load balancer with one target group, `web`, and two instances of an Auto Scaling group in it.
/// The deregistration delay is longer than anybody wants to wait. Prints the instances, and the keys
/// of a user who may do what docs/balancers.md says.
const SCENE: &str = "
iam, balanced = client('iam'), BalancedGroup(4000, 120)
balanced.register(*(dict(Id=one) for one in balanced.instances))
iam.create_user(UserName='host')
iam.put_user_policy(UserName='host', PolicyName='host', PolicyDocument=POLICY)
key = iam.create_access_key(UserName='host')['AccessKey']
print(*balanced.instances, key['AccessKeyId'], key['SecretAccessKey'])
";

/// The policy that docs/balancers.md tells people to give their hosts; for all resources, since moto
/// compares actions alone.
fn policy() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/balancers.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once("```json\n").expect("docs/balancers.md has a policy");
    let mut policy: serde_json::Value =
        serde_json::from_str(rest.split_once("```").unwrap().0).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Resource"] = "*".into();
    }
    policy.to_string()
}

struct Scene {
    moto: Moto,
    aws: Aws,
    imds: Imds,
    own: String,
    other: String,
    folder: tempfile::TempDir,
    _metadata: imds::Server,
}

/// What a driver wrote down.
#[derive(Default)]
struct Clerk {
    kept: RefCell<Vec<Taken>>,
    said: RefCell<Vec<String>>,
    says: Notify,
}

impl Clerk {
    async fn until_said(&self, words: &str) {
        // One permit is kept, so nothing that is said between a look and the wait is missed.
        while !self.said.borrow().iter().any(|said| said == words) {
            self.says.notified().await;
        }
    }
}

impl Driver for Clerk {
    async fn keep(&self, taken: Vec<Taken>) -> Result<(), String> {
        *self.kept.borrow_mut() = taken;
        Ok(())
    }

    fn say(&self, words: &str, _is_stuck: bool) {
        self.said.borrow_mut().push(words.to_owned());
        self.says.notify_one();
    }
}

impl Scene {
    fn set() -> Self {
        let moto = Moto::start().unwrap();
        let policy = serde_json::to_string(&policy()).unwrap();
        let printed =
            moto.python(&format!("{BALANCED_GROUP}\nPOLICY = {policy}\n{SCENE}")).unwrap();
        let words: Vec<&str> = printed.split(' ').collect();
        let [own, other, id, secret] = words[..] else { panic!("{printed}") };
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("imds.json");
        Instance { id: own.to_owned(), ..Instance::default() }.state().save(&state).unwrap();
        let metadata = imds::listen("127.0.0.1:0".parse().unwrap(), &state).unwrap();
        let imds = Imds::new(cloud::imds::Options::at(&metadata.url())).unwrap();
        let options = Options {
            region: Some(REGION.to_owned()),
            endpoints: Endpoints { any: Some(moto.url()), ..Endpoints::default() },
            credentials: Source::Fixed(Credentials::new(id, secret, None, None, "test")),
            tries: Some(2),
            ..Options::default()
        };
        moto.enforce().unwrap();
        let aws = Aws::new(options, imds.clone());
        let (own, other) = (own.to_owned(), other.to_owned());
        Self { moto, aws, imds, own, other, folder, _metadata: metadata }
    }

    fn front(&self, absence: Absence) -> Front {
        let (aws, imds) = (self.aws.clone(), self.imds.clone());
        let alb = Alb::new(aws, imds, vec!["web".to_owned()], None, absence);
        Front::Alb(alb.with_tables(self.folder.path().to_owned()))
    }

    /// So many connections to port 4000, by the kernel's table.
    fn connect(&self, count: u32) {
        let line = |number| format!(" {number}: 0B4D0A0A:0FA0 014D0A0A:D43{number} 01 x\n");
        let text: String =
            std::iter::once("head\n".to_owned()).chain((0..count).map(line)).collect();
        std::fs::write(self.folder.path().join("tcp"), text).unwrap();
    }

    async fn own_stand(&self, front: &Front) -> Seen {
        let seen = front.look(Scope::default(), &[]).await.unwrap();
        let [own] = &seen[..] else { panic!("{seen:?}") };
        assert!(own.place.contains(&self.own), "{own:?}");
        own.clone()
    }

    /// Until a target stands so.
    async fn until(&self, front: &Front, stand: &Stand) {
        for _ in 0..200 {
            if self.own_stand(front).await.stand == *stand {
                return;
            }
            // AWS announces nothing: how a target stands is asked for, as `drive` does.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {stand:?}: {:?}", self.own_stand(front).await);
    }

    async fn lifecycle(&self) -> String {
        let member = self.aws.auto_scaling().member(&self.own).await.unwrap().unwrap();
        member.lifecycle_state
    }

    /// The health checks of an instance find that; nothing: that it is well.
    fn tag(&self, instance: &str, sick: &str) {
        let script = format!(
            "client('ec2').create_tags(Resources=['{instance}'], \
             Tags=[dict(Key='sick', Value='{sick}')])"
        );
        // The setter of scenes may do what the host may not.
        self.moto.python_unchecked(&script).unwrap();
    }
}

fn wanted() -> Wanted {
    Wanted {
        floor: SECOND,
        drain_max: None,
        join_max: None,
        settle: SECOND,
        min_healthy: 1,
        patience: 3 * SECOND,
    }
}

async fn go(front: &Front, goal: Goal, wanted: &Wanted, clerk: &Clerk) -> Result<String, Failed> {
    let taken = clerk.kept.borrow().clone();
    let ask = Ask { goal, in_haste: false, for_good: false, waits: true, taken };
    drive(front, Scope::default(), ask, wanted, clerk).await
}

/// Out: in standby, deregistered, until the last connection is gone and not until the delay is over;
/// back: healthy, in service, nothing written down. With no more rights than the documents give.
#[tokio::test]
async fn out_and_back() {
    let scene = Scene::set();
    let (front, clerk) = (scene.front(Absence::Standby), Clerk::default());
    scene.until(&front, &Stand::Serving).await;
    scene.connect(2);
    let began = Instant::now();
    let closes = async {
        let in_flight = clerk.until_said("2 in flight");
        timeout(60 * SECOND, in_flight).await.expect("it sees the two connections");
        assert_eq!(clerk.kept.borrow().len(), 1, "written down");
        scene.connect(0);
    };
    let wanted = wanted();
    let (out, ()) = tokio::join!(go(&front, Goal::Out, &wanted, &clerk), closes);
    assert_eq!(out.unwrap(), "");
    assert!(began.elapsed() >= SECOND, "the floor was held");
    let own = scene.own_stand(&front).await;
    assert_eq!(own.stand, Stand::Draining, "nobody waited for the delay");
    assert_eq!(own.others_healthy, 1);
    assert_eq!(scene.lifecycle().await, "Standby");

    let taken = clerk.kept.borrow().clone();
    assert!(taken[0].was_well, "{taken:?}");
    assert_eq!(go(&front, Goal::In, &wanted, &clerk).await.unwrap(), "");
    assert_eq!(scene.own_stand(&front).await.stand, Stand::Serving);
    assert_eq!(scene.lifecycle().await, "InService");
    assert!(clerk.kept.borrow().is_empty());
}

/// A host that is needed stays in; a version that the health check refuses is told with AWS's words.
#[tokio::test]
async fn needed_and_unwell() {
    let scene = Scene::set();
    let (front, clerk) = (scene.front(Absence::Suspend), Clerk::default());
    scene.until(&front, &Stand::Serving).await;
    scene.connect(0);
    scene.tag(&scene.other, "Target.Timeout");
    let failed = go(&front, Goal::Out, &wanted(), &clerk).await.unwrap_err();
    assert_eq!(failed.kind, FailedKind::Needed, "{failed:?}");
    assert_eq!(scene.own_stand(&front).await.stand, Stand::Serving);
    assert!(clerk.kept.borrow().is_empty());

    scene.tag(&scene.other, "");
    go(&front, Goal::Out, &wanted(), &clerk).await.unwrap();
    scene.tag(&scene.own, "Target.ResponseCodeMismatch");
    let hasty = Wanted { join_max: Some(2 * SECOND), ..wanted() };
    let failed = go(&front, Goal::In, &hasty, &clerk).await.unwrap_err();
    assert_eq!(failed.kind, FailedKind::Unwell, "{failed:?}");
    assert!(failed.reason.contains("Target.ResponseCodeMismatch"), "{}", failed.reason);
    assert_eq!(clerk.kept.borrow().len(), 1, "it is tried on");
    scene.tag(&scene.own, "");
    go(&front, Goal::In, &wanted(), &clerk).await.unwrap();
}

/// Two ports of one instance are two targets: one joins, then the other one leaves.
#[tokio::test]
async fn two_ports_of_one_host() {
    let scene = Scene::set();
    let (front, clerk) = (scene.front(Absence::None), Clerk::default());
    scene.until(&front, &Stand::Serving).await;
    let at = Scope::At;
    let (in_haste, for_good, waits) = (false, false, true);
    let ask = |goal| Ask { goal, in_haste, for_good, waits, taken: Vec::new() };
    drive(&front, at(4001), ask(Goal::Join), &wanted(), &clerk).await.unwrap();
    let seen = front.look(Scope::default(), &[]).await.unwrap();
    assert!(seen.iter().all(|one| one.stand == Stand::Serving) && seen.len() == 2, "{seen:?}");
    drive(&front, at(4000), ask(Goal::Leave), &wanted(), &clerk).await.unwrap();
    let seen = front.look(Scope::default(), &[]).await.unwrap();
    let stands: Vec<&Stand> = seen.iter().map(|one| &one.stand).collect();
    assert_eq!(stands, [&Stand::Draining, &Stand::Serving]);
    assert!(clerk.kept.borrow().is_empty(), "nobody gives it back");
}
