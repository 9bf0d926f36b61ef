//! The daemon itself against a real server, dnsmasq, over virtual cables between two network
//! namespaces. Needs root, iproute2, util-linux and dnsmasq (`cargo xtask setup`).

use network::state::State;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use sys::clock::{NS_PER_S, monotonic_ns};
use sys::netlink::{Action, Events, Netlink, PROTOCOL_DHCP, Route};
use sys::poll::{PollFd, PollFlags};
use sys::watch::Watch;

/// How long anything may take: a bound against a hang, not a budget.
const PATIENCE_S: u64 = 30;

/// A process that goes with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = (self.0.kill(), self.0.wait());
    }
}

impl Process {
    fn end(mut self, signal: &str) -> Option<i32> {
        ip_or("kill", &["-s", signal, &self.0.id().to_string()]);
        self.0.wait().expect("its end").code()
    }
}

fn ip_or(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status().expect(program);
    assert!(status.success(), "{program} {words:?}: {status}");
}

fn ip(words: &str) {
    ip_or("ip", &words.split(' ').collect::<Vec<_>>());
}

/// A shell in a network namespace of its own, which does what it is told line by line.
struct Elsewhere {
    process: Process,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Elsewhere {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            // In a pid namespace too: what it started goes with it, however the test ends.
            .args(["--net", "--pid", "--fork", "--kill-child", "--", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let input = child.stdin.take().expect("stdin");
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        let mut shell = Self { process: Process(child), input, output };
        shell.tell("ip link set lo up");
        shell
    }

    /// Has it done; what it prints in one line.
    fn tell(&mut self, line: &str) -> String {
        writeln!(self.input, "{{ {line}; }} >&2 && echo done || echo failed").expect("told");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("an answer");
        assert_eq!(answer, "done\n", "{line}");
        answer
    }

    /// Starts dnsmasq on these interfaces, in the background, as the shell's `$server`.
    fn serve(&mut self, folder: &Path, words: &str) {
        let folder = folder.display();
        self.tell(&format!(
            "{{ dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root \
             --pid-file= --no-ping --dhcp-authoritative --log-dhcp --bind-interfaces \
             --dhcp-leasefile={folder}/leases --log-facility={folder}/dnsmasq.log {words} & }}; server=$!"
        ));
    }
}

/// The host under test.
struct Host {
    folder: tempfile::TempDir,
    notify: UnixDatagram,
    netlink: Netlink,
    events: Events,
    watch: Watch,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("network")).expect("folder");
        let notify = UnixDatagram::bind(folder.path().join("notify")).expect("socket");
        notify.set_read_timeout(Some(Duration::from_secs(PATIENCE_S))).expect("timeout");
        let watch = Watch::open(&folder.path().join("network")).expect("watch");
        let (netlink, events) =
            (Netlink::open().expect("netlink"), Events::open().expect("events"));
        Self { folder, notify, netlink, events, watch }
    }

    fn start(&self) -> Process {
        // A name of its own: this machine keeps the one that it has.
        let child = Command::new("unshare")
            .args(["--uts", "--", env!("CARGO_BIN_EXE_rollinit-network")])
            .args(["run", "--host-name", "--interface", "eth0", "--interface", "eth1", "--run"])
            .arg(self.folder.path())
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .spawn()
            .expect("rollinit-network");
        Process(child)
    }

    fn until_ready(&self) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).expect("READY=1 in time");
            if buffer[..length].starts_with(b"READY=1\n") {
                return;
            }
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn state(&self) -> State {
        serde_json::from_str(&self.read("network/state.json")).unwrap_or_default()
    }

    /// Until something is so; looks again when the kernel or the daemon's files change.
    fn until<T>(&mut self, what: &str, look: impl Fn(&mut Self) -> Option<T>) -> T {
        let deadline_ns = monotonic_ns() + PATIENCE_S * NS_PER_S;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(monotonic_ns() < deadline_ns, "{what}: never\n{:#?}", self.state());
            let mut fds = [
                PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.watch.as_fd(), PollFlags::IN),
            ];
            sys::poll::until(&mut fds, Some(deadline_ns)).expect("poll");
            let _ = self.events.hear().expect("events");
            let _ = self.watch.heard().expect("watch");
        }
    }

    /// Addresses of the daemon's make that can be used.
    fn addresses(&mut self) -> BTreeSet<IpAddr> {
        let found = self.netlink.addresses().expect("addresses");
        let ours = found.iter().filter(|one| one.protocol == PROTOCOL_DHCP && one.is_usable);
        ours.map(|one| one.address).collect()
    }

    fn routes(&mut self) -> Vec<Route> {
        let mut routes = self.netlink.routes().expect("routes");
        routes.retain(|route| route.protocol == PROTOCOL_DHCP);
        routes
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const FIRST: &str = "--interface=srv0 --interface=srv1 \
    --dhcp-range=10.7.0.5,10.7.0.5,2m --dhcp-range=10.8.0.5,10.8.0.5,2m \
    --dhcp-option=option:T1,3 --dhcp-option=option:mtu,1400 \
    --dhcp-option=option:dns-server,10.7.0.53 --dhcp-option-force=12,ip-10-7-0-5.ec2.internal \
    --dhcp-option=option:domain-search,ec2.internal,example.org \
    --dhcp-option=tag:srv0,121,0.0.0.0/0,10.7.0.1,192.0.2.0/24,10.7.0.2 \
    --dhcp-option=option6:dns-server,[fd07::53] \
    --enable-ra --ra-param=srv0,4 --dhcp-range=fd07::100,fd07::100,64,5m";

/// Proof, one life of a host: it comes online with all that the server says, and says so once; its
/// second interface answers by its own way; leases are renewed; a killed daemon costs no address; what
/// somebody removes comes back; a network that changes is followed and nothing of the old one stays;
/// SIGTERM leaves everything.
#[test]
fn a_life_on_a_network() {
    let thread = std::thread::spawn(|| match sys::network::enter_own_namespace() {
        Ok(()) => life(),
        Err(error) => eprintln!("skipped: no network namespace: {error}"),
    });
    thread.join().expect("the test's thread");
}

fn life() {
    let mut host = Host::new();
    let mut server = Elsewhere::new();
    let log = tempfile::tempdir().expect("folder");
    for n in [0, 1] {
        ip(&format!("link add eth{n} type veth peer name srv{n}"));
        ip(&format!("link set srv{n} netns {}", server.process.0.id()));
        server.tell(&format!("ip address add 10.{}.0.1/24 dev srv{n}", 7 + n));
    }
    server.tell("ip address add fd07::1/64 dev srv0 nodad");
    server.tell("ip link set srv0 up && ip link set srv1 up");
    server.serve(log.path(), FIRST);

    let daemon = host.start();
    host.until_ready();
    comes_online(&mut host);
    let pid = daemon.0.id().to_string();
    let name = Command::new("nsenter").args(["--uts", "--target", &pid, "uname", "-n"]).output();
    assert_eq!(name.expect("nsenter").stdout, b"ip-10-7-0-5\n");
    is_renewed(&mut host);
    outlives_its_daemon(&mut host, daemon);
    let daemon = host.start();
    host.until_ready();
    removed_things_come_back(&mut host);

    // Another network behind the same cable.
    server.tell(
        "kill $server && { wait $server; ip link set srv0 down; } && ip address flush dev srv0",
    );
    server.tell("ip address add 10.9.0.1/24 dev srv0 && ip link set srv0 up");
    let second = "--interface=srv0 --interface=srv1 --dhcp-range=10.9.0.7,10.9.0.7,2m \
                  --dhcp-range=10.8.0.5,10.8.0.5,2m";
    server.serve(log.path(), second);
    let wanted = [address("10.9.0.7"), address("10.8.0.5")];
    host.until("the new network", |host| {
        let found: Vec<_> = host.addresses().into_iter().filter(IpAddr::is_ipv4).collect();
        (found.len() == 2 && wanted.iter().all(|one| found.contains(one))).then_some(())
    });
    host.until("nothing of the old one", |host| {
        let is_old = |route: &Route| route.gateway == Some(address("10.7.0.1"));
        (!host.routes().iter().any(is_old)).then_some(())
    });
    let left = host.addresses();
    assert_eq!(daemon.end("TERM"), Some(0));
    assert_eq!(host.addresses(), left, "SIGTERM takes nothing away");
}

fn comes_online(host: &mut Host) {
    let wanted = [address("10.7.0.5"), address("10.8.0.5"), address("fd07::100")];
    host.until("all three leases", |host| {
        let found = host.addresses();
        wanted.iter().all(|one| found.contains(one)).then_some(())
    });
    let state = host.until("state.json", |host| {
        let state = host.state();
        let whole = state.interfaces.iter().map(|one| one.addresses.len()).sum::<usize>() >= 3;
        whole.then_some(state)
    });
    assert!(state.online, "{state:#?}");
    assert_eq!(state.host_name.as_deref(), Some("ip-10-7-0-5.ec2.internal"));
    assert_eq!(state.search, ["ec2.internal", "example.org"]);
    let eth0 = &state.interfaces[0];
    assert_eq!((eth0.name.as_str(), eth0.gateway), ("eth0", Some(address("10.7.0.1"))));
    assert_eq!(eth0.mtu_bytes, 1400, "{state:#?}");
    let resolv = host.read("resolv.conf");
    assert!(resolv.contains("nameserver 10.7.0.53\nnameserver fd07::53\n"), "{resolv}");
    assert!(resolv.contains("search ec2.internal example.org\n"), "{resolv}");

    let routes = host.routes();
    let to = |destination: &str, table| {
        let same =
            |route: &&Route| (route.destination, route.table) == (address(destination), table);
        routes.iter().filter(same).map(|route| route.gateway).collect::<Vec<_>>()
    };
    assert_eq!(to("192.0.2.0", Route::MAIN), [Some(address("10.7.0.2"))]);
    // The first interface's way is the better one; dnsmasq is eth1's router by itself.
    let mut defaults: Vec<&Route> = routes
        .iter()
        .filter(|route| (route.prefix_bits, route.table) == (0, Route::MAIN))
        .collect();
    defaults.sort_by_key(|route| route.metric);
    let gateways: Vec<_> = defaults.iter().map(|route| route.gateway).collect();
    assert_eq!(gateways, ["10.7.0.1", "10.8.0.1"].map(|text| Some(address(text))));
    let rules = host.netlink.rules().expect("rules");
    let rule = rules.iter().find(|rule| rule.from == Some((address("10.8.0.5"), 32)));
    let Some(Action::Table(table)) = rule.map(|rule| rule.action) else { panic!("{rules:?}") };
    assert_eq!(to("0.0.0.0", table), [Some(address("10.8.0.1"))]);
    assert_eq!(to("10.8.0.0", table), [None]);
}

/// T1 is three seconds.
fn is_renewed(host: &mut Host) {
    let since = |host: &Host| {
        let text = host.read("network/eth0.lease.json");
        let leases: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        leases["ipv4"]["since-ns"].as_u64()
    };
    let first = since(host).expect("a lease that is remembered");
    host.until("a renewal", |host| since(host).filter(|renewed| *renewed > first));
}

fn outlives_its_daemon(host: &mut Host, daemon: Process) {
    let before = (host.addresses(), host.routes());
    daemon.end("KILL");
    assert_eq!((host.addresses(), host.routes()), before);
}

fn removed_things_come_back(host: &mut Host) {
    let before = host.addresses();
    let found = host.netlink.addresses().expect("addresses");
    let own = found.iter().find(|one| one.address == address("10.7.0.5")).expect("the address");
    host.netlink.remove_address(own).expect("removed");
    host.until("the address and its routes", |host| {
        let gateway = |route: &Route| route.gateway == Some(address("10.7.0.1"));
        (host.addresses() == before && host.routes().iter().any(gateway)).then_some(())
    });
}
