//! A cluster: guests on a network of their own, and all that hosts find on one.
//!
//! Everything is in one network namespace, that of the thread which [`within`] starts: the bridge,
//! DHCP, the metadata service, etcd, HAProxy, the cache, QEMU's ends of the cables, and the load.
//! Nothing in it reaches, or is reached by, anything else; it goes with its last process.

pub(crate) mod daemon;
pub mod etcd;
pub mod haproxy;
mod hosts;
pub mod network;
pub mod nginx;
pub mod rollouts;

use crate::aws::Moto;
use crate::guest::swap::Releases;
use crate::guest::{cleanup, image};
use crate::load::request::Kind;
use crate::load::{self, Plan, Running};
use anyhow::{Context, Result, ensure};
use etcd::Etcd;
use haproxy::{Front, Haproxy};
pub use hosts::Host;
use network::Network;
use nginx::Nginx;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The group of all hosts.
pub const GROUP: &str = "prod";

/// An app of each strategy (`guests/cluster.nix`).
pub const WEB: Front = Front { app: "web", port: 8080, ports: &[8080] };
/// Stopped before its successor starts, so it is taken out of the balancer before.
pub const SHOP: Front = Front { app: "shop", port: 8081, ports: &[8081] };
/// It binds by itself: its two sides are two servers.
pub const API: Front = Front { app: "api", port: 8082, ports: &[4000, 4001] };

/// The hosts' own system, which has no front: for those who ask about its rollouts.
pub const SYSTEM: Front = Front { app: "system", port: 0, ports: &[] };

/// All apps.
pub const FRONTS: [Front; 3] = [WEB, SHOP, API];

/// Requests a second on each app.
pub const RATE: u32 = 12;

/// Seconds of load at most; whoever began it stops it earlier.
const SECONDS: u64 = 1800;

/// How a cluster differs from the smallest.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Hosts that boot at the start.
    pub hosts: u8,
    /// Members of etcd.
    pub etcd: usize,
    /// Whether somebody plays AWS: EC2's word on who is alive.
    pub aws: bool,
    /// Whether hosts start by UEFI and the loader on their disks, so that they can be rebooted.
    pub firmware: bool,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its files are in `target/qemu/NAME`.
    name: String,
    folder: PathBuf,
    /// The hosts, by number; those that were killed too.
    pub hosts: Vec<Host>,
    /// Cables, to be cut.
    pub network: Network,
    /// The ledger.
    pub etcd: Etcd,
    /// The balancer.
    pub haproxy: Haproxy,
    /// The cache.
    pub nginx: Nginx,
    /// What can be rolled.
    pub releases: Releases,
    /// AWS, where it was wanted.
    pub moto: Option<Moto>,
    /// Instance ids of all hosts that there can be, by number.
    ids: Vec<String>,
    imds: imds::Server,
    firmware: bool,
}

/// Does `work` on a thread that is in a network namespace of its own.
///
/// # Errors
/// Those of `work`; and without the right to make a namespace.
pub fn within<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // Before the thread: a handler is the process's.
    cleanup::on_ctrl_c()?;
    let isolated = || {
        sys::network::enter_own_namespace().context(
            "a network namespace of its own; run as root, or by `unshare --map-root-user --net`",
        )?;
        work()
    };
    std::thread::scope(|scope| match scope.spawn(isolated).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Cluster {
    /// Starts everything and waits until every host serves every app through the balancer.
    /// [`within`] must be around it.
    ///
    /// # Errors
    /// Something does not come up; the text has its words.
    pub fn start(name: &str, options: Options) -> Result<Self> {
        let folder = image::target().join("qemu").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let releases = Releases::open()?;
        let network = Network::start(&folder)?;
        let moto = options.aws.then(|| Moto::start_on((network::AWS, 80).into())).transpose()?;
        let etcd = Etcd::start(&folder, options.etcd)?;
        let nginx = Nginx::start(&folder, &releases.files())?;
        let ids = moto.as_ref().map_or_else(|| Ok(hosts::ids()), hosts::launched)?;
        let addresses = (1..=network::HOSTS_MAX).map(|number| network::cable(number).address);
        let servers: Vec<_> = ids.iter().cloned().zip(addresses).collect();
        let haproxy = Haproxy::start(&folder, &FRONTS, &servers)?;
        let imds = hosts::metadata(&folder, &ids, &etcd.url())?;
        let (name, hosts, firmware) = (name.to_owned(), Vec::new(), options.firmware);
        let mut cluster = Self {
            name,
            folder,
            hosts,
            network,
            etcd,
            haproxy,
            nginx,
            releases,
            moto,
            ids,
            imds,
            firmware,
        };
        for _ in 0..options.hosts {
            cluster.join()?;
        }
        for number in 1..=options.hosts {
            cluster.host(number)?.settled()?;
        }
        cluster.until_serving(options.hosts)?;
        Ok(cluster)
    }

    /// The instance id of host `number`, from 1 on; also before it is booted.
    ///
    /// # Errors
    /// There is no room for so many.
    pub fn id(&self, number: u8) -> Result<&str> {
        let index = usize::from(number).checked_sub(1);
        let id = index.and_then(|index| self.ids.get(index));
        id.map(String::as_str).with_context(|| format!("there is no place for host {number}"))
    }

    /// What HAProxy calls an app on host `number`: the first side of one that has two.
    ///
    /// # Errors
    /// There is no room for so many.
    pub fn server(&self, front: Front, number: u8) -> Result<String> {
        let server = haproxy::server_name(self.id(number)?, front.ports[0], front.ports);
        Ok(format!("{}/{server}", front.app))
    }

    /// Boots one more host.
    ///
    /// # Errors
    /// It does not start.
    pub fn join(&mut self) -> Result<u8> {
        let number = u8::try_from(self.hosts.len() + 1)?;
        let id = self.id(number)?.to_owned();
        self.hosts.push(Host::boot(&self.name, number, id, self.firmware)?);
        Ok(number)
    }

    /// Host `number`, from 1 on.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&mut self, number: u8) -> Result<&mut Host> {
        let index = usize::from(number).checked_sub(1);
        let host = index.and_then(|index| self.hosts.get_mut(index));
        host.with_context(|| format!("there is no host {number}"))
    }

    /// EC2 ends the instance of host `number`: from now on that is what it says of it.
    ///
    /// # Errors
    /// Nobody plays AWS.
    pub fn terminate(&self, number: u8) -> Result<()> {
        let moto = self.moto.as_ref().context("nobody plays AWS here")?;
        let id = self.id(number)?;
        let script = format!("client('ec2').terminate_instances(InstanceIds=[{id:?}])");
        moto.python(&script).map(drop)
    }

    /// Waits until the balancer finds the first `count` hosts' apps well.
    ///
    /// # Errors
    /// One is not.
    pub fn until_serving(&self, count: u8) -> Result<()> {
        let of = |front: Front| (1..=count).map(move |number| self.server(front, number));
        let wanted: Result<Vec<String>> = FRONTS.into_iter().flat_map(of).collect();
        self.haproxy.until(&wanted?, "UP")
    }

    /// Begins the honest load on an app, through the balancer. Its ids begin with `name`, which no
    /// other load of this cluster has.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn load(&self, front: Front, name: &str) -> Result<Running> {
        let plan = Plan::new(front.address(), name, RATE, SECONDS).patient();
        Ok(load::start(Plan { mix: Kind::ALL.to_vec(), ..plan })?)
    }

    /// Runs `rollinit WORDS` here, as on a laptop that has nothing but the ledger's address and the
    /// group's name.
    ///
    /// # Errors
    /// It was not built.
    pub fn attempt(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.command(words);
        command.output().context("run target/out/bin/rollinit; `cargo xtask build` makes it")
    }

    /// The same for a command that must succeed; what it printed.
    ///
    /// # Errors
    /// It fails; the text has its words.
    pub fn rollinit(&self, words: &[&str]) -> Result<String> {
        let output = self.attempt(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rollinit {words:?}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The command, not yet run.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(image::target().join("out/bin/rollinit"));
        command.args(words).stdin(Stdio::null());
        command.env("ROLLINIT_LEDGER", self.etcd.url()).env("ROLLINIT_GROUP", GROUP);
        command
    }

    /// Changes what the metadata service tells host `number`.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub fn tell(&self, number: u8, path: &str, document: impl Into<Value>) -> Result<()> {
        let file = hosts::metadata_file(&self.folder, number);
        let mut state = imds::State::load(&file, None)?;
        state.set(path, document).save(&file)?;
        Ok(())
    }

    /// Where the metadata service listens.
    #[must_use]
    pub fn metadata(&self) -> String {
        self.imds.url()
    }
}
