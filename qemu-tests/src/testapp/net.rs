//! `net`: gives a guest its address. QEMU's user network is always the same, so no DHCP is needed.

use super::arguments::Arguments;
use super::signals::nanoseconds;
use super::{Failure, Outcome, at};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use sys::network::Interfaces;
use sys::poll::{PollFd, PollFlags};
use sys::uevent::{EVENT_BYTES_MAX, Listener};

/// How long an Ethernet interface may take to appear.
const APPEARANCE_MAX: Duration = Duration::from_secs(20);

/// `ARPHRD_ETHER` (if_arp.h), as `/sys/class/net/NAME/type` has it.
const ETHERNET: &str = "1";

pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let address: String = arguments.needed("ADDRESS/PREFIX")?;
    let gateway: Option<Ipv4Addr> =
        arguments.word().map(|word| word.parse().map_err(at("GATEWAY"))).transpose()?;
    arguments.finish()?;
    let (address, prefix_bits) = address
        .split_once('/')
        .and_then(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)))
        .ok_or_else(|| Failure("write ADDRESS/PREFIX as 10.0.2.15/24".to_owned()))?;
    sys::link::bring_up("lo").map_err(at("bring lo up"))?;
    let name = await_ethernet()?;
    let interfaces = Interfaces::open().map_err(at("open a socket"))?;
    interfaces
        .set_address(&name, address, prefix_bits)
        .map_err(at(format!("give {name} its address")))?;
    sys::link::bring_up(&name).map_err(at(format!("bring {name} up")))?;
    if let Some(gateway) = gateway {
        interfaces.add_default_route(gateway).map_err(at(format!("route to {gateway}")))?;
    }
    println!("{name}: {address}/{prefix_bits}");
    Ok(ExitCode::SUCCESS)
}

/// The first Ethernet interface by name, once there is one.
fn await_ethernet() -> Result<String, Failure> {
    // Listening comes first: what appears after the look is heard.
    let events = Listener::open().map_err(at("listen for uevents"))?;
    let deadline_ns = sys::clock::monotonic_ns() + nanoseconds(APPEARANCE_MAX);
    let mut buffer = [0; EVENT_BYTES_MAX];
    while sys::clock::monotonic_ns() < deadline_ns {
        if let Some(name) = find_ethernet(Path::new("/sys/class/net"))? {
            return Ok(name);
        }
        let mut fds = [PollFd::new(&events, PollFlags::IN)];
        sys::poll::until(&mut fds, Some(deadline_ns)).map_err(at("poll"))?;
        while events.hear(&mut buffer).map_err(at("hear uevents"))?.is_some() {}
    }
    let seconds = APPEARANCE_MAX.as_secs();
    Err(Failure(format!("no Ethernet interface in /sys/class/net after {seconds} s")))
}

fn find_ethernet(folder: &Path) -> Result<Option<String>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(at(format!("read {}", folder.display())))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            let kind = std::fs::read_to_string(entry.path().join("type")).unwrap_or_default();
            kind.trim() == ETHERNET
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names.into_iter().next())
}
