//! `rollinit-agent`: the restartable shell around the pure room `rollout`.
//!
//! Is: the swap journal, the fetch of closures, probes, the profile link, and the control socket
//! `io.rollinit.Agent`. May touch: its own state directory, the store and Nix's state directory
//! (through `store`), the network (caches and probes), the supervisor's socket. Never: decides a
//! swap (`rollout` does), starts or stops a process (the supervisor and PID 1 do), holds anything
//! that its death would lose: each state of a swap is on disk before its effect.
//!
//! One thread, and others only for files that may be slow. It ends on SIGTERM; whoever starts it
//! again has every swap go on where the journal says.

mod agent;
mod app;
mod balancers;
mod boards;
mod causes;
mod closures;
mod config;
mod console;
mod convert;
mod credentials;
mod desired;
mod disk;
mod ec2;
mod events;
mod fleet;
mod ids;
mod journal;
mod limits;
mod metrics;
mod notices;
mod options;
mod peers;
mod prober;
mod sharing;
mod standing;
mod supervisor;
mod system;
mod userdata;
mod volumes;
mod webhook;

use control::agent::Level;
use control::types::ServiceStatus;
use notices::Watch;
use options::{Asked, Options};
use std::cell::{OnceCell, RefCell};
use std::error::Error;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use sys::namespace::Writable;
use tokio::signal::unix::{SignalKind, signal};

/// The exit codes of sysexits.h, where they fit: `EX_USAGE`, `EX_OSERR`.
const EXIT_USAGE: u8 = 64;
const EXIT_SYSTEM: u8 = 71;

/// Connections that wait for us while we are away: as many as the supervisor's socket holds.
const BACKLOG: u32 = 128;

/// The subject in `rollinit status` of a configuration that cannot be used.
const CONFIG_SUBJECT: &str = "agent.toml";

const HELP: &str = "\
rollinit-agent: swaps the apps of this host, and takes swaps back.

  --config FILE   caches and keys, read at each swap   [/etc/rollinit/agent.toml]
  --root DIR      where nix/store and nix/var are      [/]
  --state DIR     the swap journal                     [/var/lib/rollinit/agent]
  --run DIR       the supervisor's socket, and ours    [/run/rollinit]
  --help, --version

It is a service like others; talk to it with `rollinit swap` and the verbs beside it.
";

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os().skip(1)) {
        Ok(Asked::Serve(options)) => options,
        Ok(Asked::Help) => return say(HELP),
        Ok(Asked::Version) => {
            return say(concat!("rollinit-agent ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Err(error) => {
            eprintln!("rollinit-agent: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    // Set once, here: nothing else in this process sets a subscriber.
    let _ = tracing::subscriber::set_global_default(logging::Lines::new(
        // As a service its stderr is its log, which names it already.
        sys::log_sink::LogSink::choose("rollinit-agent").unnamed_on_stderr(),
        &["rollinit_agent", "store"],
    ));
    // Credentials pass through this process's memory.
    if let Err(error) = sys::process::forbid_dumps() {
        tracing::warn!("core dumps of this process cannot be forbidden: {error}");
    }
    // Before the first thread: each keeps the mounts it was born with.
    match sys::namespace::writable_alone(&options.root.join("nix/store")) {
        Ok(Writable::Already) => {}
        Ok(Writable::Remounted) => tracing::info!("the store is writable here, and here alone"),
        Err(error) => {
            tracing::error!("the store cannot be made writable, so nothing can be fetched: {error}")
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(Box::from).and_then(|runtime| {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, serve(options))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// Until SIGTERM, or an error.
async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = listener(&options)?;
    let (watch, known) = (OnceCell::new(), OnceCell::new());
    let (agent, limits) = tokio::select! {
        started = start(&options, &known, &watch) => started?,
        _ = terminate.recv() => {
            farewell(&known, &watch).await;
            return Ok(());
        }
    };
    let identify: Rc<control::server::Identify> =
        Rc::new(move |stream| peers::identify(stream, &limits.borrow()));
    let backend: Rc<dyn control::agent::server::Backend> = agent;
    let control = control::agent::server::run(listener, peers::policy(), identify, backend);
    tokio::select! {
        ended = control => Err(format!("the control socket: {:?}", ended.err()).into()),
        _ = terminate.recv() => {
            tracing::info!("SIGTERM: ends; swaps under way go on when it is started again");
            farewell(&known, &watch).await;
            Ok(())
        }
    }
}

/// The swaps of all apps, and how far services' processes may go.
type Started = (Rc<agent::Agent>, Rc<RefCell<peers::Limits>>);

/// Begins everything; swaps that were under way go on.
async fn start(
    options: &Options,
    known: &OnceCell<Rc<app::Tools>>,
    watch: &OnceCell<Rc<Watch>>,
) -> Result<Started, Box<dyn Error>> {
    let journal = journal::Journal::open(&options.state)?;
    let found = journal.load()?;
    for said in &found.said {
        tracing::error!("{said}");
    }
    let (config, unread) = match config::Config::load(&options.config) {
        Ok(config) => (config, None),
        Err(error) => (config::Config::default(), Some(error.to_string())),
    };
    let tools = Rc::new(tools(options, &config, journal)?);
    if let Some(error) = unread {
        let cure = "until it is right this host fetches nothing, is in no group and leaves no \
            balancer; correct it, then `rollinit restart rollinit-agent`";
        tools.standing.set(&tools.console, CONFIG_SUBJECT, Level::Error, &error, Some(cure));
    }
    // Set here alone.
    let _ = known.set(Rc::clone(&tools));
    let settings = match config.user_data {
        Some(_) => userdata::kept(&config.fleet, &options.run),
        None => config.fleet.clone(),
    };
    let metrics = tools.events.metrics().clone();
    if let Some(fleet) = fleet::Fleet::new(&settings, tools.ec2.clone(), metrics.clone()) {
        // Set here first, and before any swap goes on.
        let _ = tools.fleet.set(Rc::new(fleet));
        tools.sharing.join();
    }
    let learner = Rc::clone(&tools);
    tokio::task::spawn_local(async move { learner.balancers.learn(&learner).await });
    tell_others(&tools, metrics, config.metrics, config.webhook.clone());
    // Before all that waits: services wait for their secrets.
    tokio::task::spawn_local(credentials::run(Rc::clone(&tools), config.credentials.poll));
    let (config_file, run) = (options.config.clone(), options.run.clone());
    tokio::task::spawn_local(volumes::run(Rc::clone(&tools), config_file, run));
    begin_on_ec2(&tools, watch);
    let limits = Rc::new(RefCell::new(limits_of(&tools.supervisor).await));
    tokio::task::spawn_local(follow_limits(Rc::clone(&tools), Rc::clone(&limits)));
    let (root, run, state) = (&options.root, &options.run, &options.state);
    let system = system::System::start(&tools, root, run, state, config.system.clone()).await;
    let agent = agent::Agent::start(Rc::clone(&tools), system, found.records).await;
    let agent = Rc::new(agent);
    follow(&agent, &tools, config, run);
    Ok((agent, limits))
}

/// What all of the agent works with, as the configuration says.
fn tools(
    options: &Options,
    config: &config::Config,
    journal: journal::Journal,
) -> Result<app::Tools, Box<dyn Error>> {
    let ec2 = config.cloud.as_ref().map(ec2::Ec2::new).transpose()?;
    let settings = config.balancers.clone();
    let balancers = balancers::Balancers::open(settings, &options.state, ec2.as_ref())?;
    let (boot, metrics) = (random_name(BOOT)?, metrics::Metrics::default());
    let (is_posted, life) = (config.webhook.is_some(), random_name(LIFE)?);
    let events = events::Events::new(metrics.clone(), is_posted, &life, &fleet::host_name());
    let sharing = Rc::new(sharing::Sharing::new(config.peers.clone()));
    Ok(app::Tools {
        closures: closures::Closures::new(
            options.root.clone(),
            options.config.clone(),
            options.run.join(userdata::CACHES_FILE),
            Rc::clone(&sharing),
            metrics,
        ),
        journal,
        prober: prober::Prober::new()?,
        supervisor: supervisor::Supervisor::new(options.supervisor()),
        boards: boards::Boards::default(),
        console: console::Console::new(options.is_host()),
        standing: standing::Standing::new(events.clone()),
        events,
        sharing,
        balancers,
        ec2,
        fleet: OnceCell::new(),
        moved: tokio::sync::Notify::new(),
        releases: desired::Releases::new(desired::Kept::new(&options.state), &config.desired),
        boot,
    })
}

/// Does what others want of this host: its group, who tells of releases, its user-data.
fn follow(agent: &Rc<agent::Agent>, tools: &Rc<app::Tools>, config: config::Config, run: &Path) {
    if let Some(fleet) = tools.fleet() {
        let (agent, tools) = (Rc::clone(agent), Rc::clone(tools));
        tokio::task::spawn_local(fleet::run(fleet, agent, tools, run.to_owned()));
    }
    desired::begin(agent, tools, config.fleet.is_due, config.desired);
    if let Some(settings) = config.user_data {
        let (agent, tools) = (Rc::clone(agent), Rc::clone(tools));
        let host = userdata::Host::new(agent, tools, settings, config.fleet, run.to_owned());
        tokio::task::spawn_local(userdata::run(Rc::new(host)));
    }
}

/// What is for those who are not on this host: its store, its numbers, what happens here.
fn tell_others(
    tools: &Rc<app::Tools>,
    metrics: metrics::Metrics,
    listen: Option<SocketAddr>,
    webhook: Option<config::webhook::Webhook>,
) {
    tokio::task::spawn_local(sharing::run(Rc::clone(tools)));
    if let Some(listen) = listen {
        tokio::task::spawn_local(metrics::serve(metrics, listen));
    }
    if let Some(settings) = webhook {
        tokio::task::spawn_local(webhook::run(Rc::clone(tools), settings));
    }
}

/// What an instance of EC2 has going on beside everything else.
fn begin_on_ec2(tools: &Rc<app::Tools>, watch: &OnceCell<Rc<Watch>>) {
    if let Some(ec2) = tools.ec2.clone() {
        tokio::task::spawn_local(ec2::run(ec2.clone(), Rc::clone(tools)));
        let notices = watch.get_or_init(|| Rc::new(Watch::new(ec2, Rc::clone(tools))));
        let notices = Rc::clone(notices);
        tokio::task::spawn_local(async move { notices.run().await });
    }
}

/// What is left to be done for others before this process ends.
async fn farewell(known: &OnceCell<Rc<app::Tools>>, watch: &OnceCell<Rc<Watch>>) {
    if let Some(tools) = known.get()
        && let Some(fleet) = tools.fleet()
    {
        fleet.farewell(&tools.supervisor).await;
    }
    if let Some(watch) = watch.get() {
        watch.farewell().await;
    }
}

/// Learns of limits that a reload changed.
async fn follow_limits(tools: Rc<app::Tools>, limits: Rc<RefCell<peers::Limits>>) {
    let tell = async |services: Vec<ServiceStatus>| {
        *limits.borrow_mut() = limits_in(services);
    };
    tools.supervisor.watch_services(tell).await;
}

fn limits_in(services: Vec<ServiceStatus>) -> peers::Limits {
    services.into_iter().map(|service| (service.name, service.control)).collect()
}

/// How far services' processes may go.
async fn limits_of(supervisor: &supervisor::Supervisor) -> peers::Limits {
    match supervisor.ask(async |client| client.status(None).await).await {
        Ok(status) => limits_in(status.services),
        Err(error) => {
            tracing::error!("the supervisor does not tell of its services: {error}");
            peers::Limits::new()
        }
    }
}

/// The socket that PID 1 keeps for us (sd_listen_fds(3)), else one of our own.
fn listener(options: &Options) -> Result<UnixListener, Box<dyn Error>> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") == Some(std::process::id()) && number("LISTEN_FDS") >= Some(1) {
        let first = sys::inherit::LISTEN_FDS_START;
        let socket = sys::inherit::take(first)
            .map_err(|error| format!("the socket of LISTEN_FDS, descriptor {first}: {error}"))?;
        return Ok(UnixListener::from(socket));
    }
    let path = options.socket();
    let own = std::fs::metadata("/proc/self")?;
    use std::os::unix::fs::MetadataExt;
    // Open to everybody, as the supervisor's: the role decides.
    let access = sys::listen::UnixAccess { mode: 0o666, user: own.uid(), group: own.gid() };
    let socket = sys::listen::unix(&path, access, BACKLOG)
        .map_err(|error| format!("listen on {}: {error}", path.display()))?;
    Ok(UnixListener::from(socket))
}

/// Where the kernel tells this boot's name.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Where it tells a new one each time: this process's.
const LIFE: &str = "/proc/sys/kernel/random/uuid";

/// A name that the kernel made up.
fn random_name(path: &str) -> Result<String, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(text.trim().to_owned())
}
