//! The migration lock on real engines, which lose what they can.
//!
//! Four hosts want to migrate to one release. Their clocks begin anywhere and run at different
//! speeds; their wall clocks say anything at all. The first to get the lock dies with its
//! migration half done: nobody hears of it again. What is proven: never two at once, the others
//! wait for the lease to end and do it once, under a greater fence, and all are told the same.

use crate::cluster::Cluster;
use crate::proxy::{Fault, Proxy};
use crate::{cloud_engines, engine};
use ledger::Engine;
use rollout::fleet::{Lock, LockEffect, LockEvent, Migrations, Verdict, Wish};
use rollout::{Cas, Ledger, Now};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep_until, timeout_at};

const HOSTS: u64 = 4;

/// Short, so that the test is; a third of it is what a crowded machine may be late.
const LEASE_MS: u64 = 4_500;

/// How long a migration that ends by itself takes: three heartbeats have to be written meanwhile.
const WORK: Duration = Duration::from_millis(3_200);

const KEY: &str = "groups/prod/migrations/web";

#[derive(Default)]
struct World {
    /// Who migrates at this moment.
    running: Option<u64>,
    /// Fences of all runs, in their order.
    begun: Vec<u64>,
    ended: u64,
}

type Shared = Arc<Mutex<World>>;

/// One host's clocks.
struct Clock {
    start: Instant,
    origin_ns: u64,
    /// How fast it runs, in percent.
    rate: u64,
    reads: u64,
}

impl Clock {
    fn now(&mut self) -> Now {
        self.reads += 1;
        let gone = u64::try_from(self.start.elapsed().as_nanos()).unwrap() / 100 * self.rate;
        // Back and forth by decades.
        let wall_ms = self.reads.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        Now { clock_ns: self.origin_ns + gone, wall_ms }
    }

    fn instant(&self, clock_ns: u64) -> tokio::time::Instant {
        let gone = Duration::from_nanos(clock_ns.saturating_sub(self.origin_ns) / self.rate * 100);
        // A machine that waits for nothing asks for the end of time.
        (self.start + gone.min(Duration::from_secs(3_600))).into()
    }
}

/// A migration under PID 1's eyes.
struct Run {
    /// When PID 1 ends it.
    until: watch::Sender<tokio::time::Instant>,
    /// Whether it ended by itself.
    ended: oneshot::Receiver<bool>,
}

/// PID 1: whatever the agent does or waits for, a migration ends at its deadline.
async fn watch_over(
    mut until: watch::Receiver<tokio::time::Instant>,
    ended: oneshot::Sender<bool>,
    world: Shared,
) {
    let done = tokio::time::Instant::now() + WORK;
    loop {
        let deadline = *until.borrow_and_update();
        tokio::select! {
            biased;
            () = sleep_until(deadline.min(done)) => {
                let is_done = done < deadline;
                let mut world = world.lock().unwrap();
                world.running = None;
                world.ended += u64::from(is_done);
                // Nobody listens where the agent died.
                let _ = ended.send(is_done);
                return;
            }
            Ok(()) = until.changed() => {}
        }
    }
}

struct Host {
    number: u64,
    engine: Engine,
    lock: Lock,
    clock: Clock,
    run: Option<Run>,
    world: Shared,
}

impl Host {
    fn new(number: u64, engine: Engine, world: &Shared) -> Self {
        let rate = 90 + 7 * number;
        let mut clock =
            Clock { start: Instant::now(), origin_ns: number * 1_000_000_000_000, rate, reads: 0 };
        let wish = Wish {
            host: format!("i-{number}"),
            swap: format!("swap-{number}"),
            path: "release".to_owned(),
            lease_ms: LEASE_MS,
            force: false,
        };
        let lock = Lock::new(wish, clock.now());
        Self { number, engine, lock, clock, run: None, world: Arc::clone(world) }
    }

    /// Until there is a verdict; none if this host died.
    async fn live(mut self) -> Option<Verdict> {
        let mut event = LockEvent::Tick;
        loop {
            let now = self.clock.now();
            let mut answer = None;
            for effect in self.lock.step(now, event) {
                match effect {
                    LockEffect::Look => answer = Some(self.look().await),
                    LockEffect::Write { expected, record } => {
                        let bytes = record.write().unwrap();
                        let cas = self.engine.cas(KEY, expected.as_ref(), &bytes).await;
                        answer = Some(match cas {
                            Ok(cas) => LockEvent::Wrote(cas),
                            Err(error) => LockEvent::WriteFailed(error.to_string()),
                        });
                    }
                    LockEffect::Run { fence, until_ns } => {
                        if !self.begin(fence, until_ns) {
                            return None;
                        }
                    }
                    LockEffect::Renew { until_ns } => {
                        if let Some(run) = &self.run {
                            // It may have ended meanwhile.
                            let _ = run.until.send(self.clock.instant(until_ns));
                        }
                    }
                    LockEffect::Stop | LockEffect::Waits(_) => {}
                    LockEffect::Over(verdict) => return Some(verdict),
                }
            }
            event = match answer {
                Some(answer) => answer,
                None => self.rest().await,
            };
        }
    }

    async fn look(&self) -> LockEvent {
        match self.engine.get(KEY).await {
            Ok(entry) => LockEvent::Looked(
                entry.map(|entry| (Migrations::read(&entry.value).unwrap(), entry.token)),
            ),
            Err(error) => LockEvent::LookFailed(error.to_string()),
        }
    }

    /// Until the lock wants to be woken, or the migration ends.
    async fn rest(&mut self) -> LockEvent {
        let wake = self.clock.instant(self.lock.wake_ns());
        let Some(run) = &mut self.run else {
            sleep_until(wake).await;
            return LockEvent::Tick;
        };
        tokio::select! {
            biased;
            ended = &mut run.ended => {
                self.run = None;
                if ended.unwrap() { LockEvent::Ended(Ok(())) } else { LockEvent::Interrupted }
            }
            () = sleep_until(wake) => LockEvent::Tick,
        }
    }

    /// False: the agent dies of it.
    fn begin(&mut self, fence: u64, until_ns: u64) -> bool {
        let mut world = self.world.lock().unwrap();
        assert_eq!(world.running, None, "two migrations at once: {:?}", world.begun);
        world.running = Some(self.number);
        world.begun.push(fence);
        let (until, deadline) = watch::channel(self.clock.instant(until_ns));
        let (end, ended) = oneshot::channel();
        tokio::spawn(watch_over(deadline, end, Arc::clone(&self.world)));
        self.run = Some(Run { until, ended });
        world.begun.len() > 1
    }
}

async fn migrate_once(what: &str, engine: Engine) {
    let world = Shared::default();
    let hosts: Vec<_> = (0..HOSTS)
        .map(|number| tokio::spawn(Host::new(number, engine.clone(), &world).live()))
        .collect();
    let give_up = tokio::time::Instant::now() + Duration::from_secs(120);
    let mut verdicts = Vec::new();
    for host in hosts {
        let verdict = timeout_at(give_up, host).await;
        verdicts.push(verdict.unwrap_or_else(|_| panic!("{what}: no verdict")).unwrap());
    }
    let told: Vec<&Verdict> = verdicts.iter().flatten().collect();
    assert_eq!(told.len(), 3, "{what}: one host died: {verdicts:?}");
    for verdict in told {
        assert!(matches!(verdict, Verdict::Migrated | Verdict::Done { .. }), "{what}: {verdict:?}");
    }
    {
        let world = world.lock().unwrap();
        assert!(world.begun.is_sorted() && world.begun.first() < world.begun.last(), "{what}");
        assert!(world.ended >= 1, "{what}");
    }
    let entry = loop {
        if let Ok(Some(entry)) = engine.get(KEY).await {
            break entry;
        }
    };
    let record = Migrations::read(&entry.value).unwrap();
    assert!(record.holder.is_none() && record.fence >= 2, "{what}: {record:?}");
    let outcome = record.outcome("release").unwrap();
    assert_eq!(outcome.failed, None, "{what}");
    let stale = engine.cas(KEY, None, b"").await;
    assert!(!matches!(stale, Ok(Cas::Applied(_))), "{what}");
}

#[tokio::test]
async fn one_host_at_a_time_migrates_on_every_engine() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1).await;
    let etcd = Proxy::start(cluster.endpoints(), Fault::Spared).await;
    let aws = Proxy::start(cloud_engines::at(), Fault::Spared).await;
    let engines = [
        ("a folder", engine(&format!("file://{}", folder.path().display()))),
        ("etcd", engine(&format!("etcd://{}", etcd.address()))),
        ("dynamodb", cloud_engines::engine("dynamodb://rollinit/lock", &aws.address())),
        ("s3", cloud_engines::engine("s3://rollinit-fleet/lock", &aws.address())),
    ];
    let all = engines.map(|(what, engine)| tokio::spawn(migrate_once(what, engine)));
    for one in all {
        one.await.unwrap();
    }
}
