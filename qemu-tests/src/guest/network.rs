//! The network of a guest: QEMU's own, from which only what is named here can be reached.

use super::image::target;
use crate::cluster::network::Cable;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a guest finds its cache, on port 80 (`guests/cache.nix`).
pub const CACHE: &str = "10.0.2.100";

/// Where a guest on EC2 finds it.
pub const CACHE_ON_EC2: &str = "169.254.0.100";

/// Where a guest on EC2 finds AWS: all services, on port 80.
pub const AWS: &str = "169.254.0.101";

/// Where EC2 has its metadata service.
const IMDS: &str = "169.254.169.254";

/// What a guest finds that is an instance of EC2. The network is link-local as a whole, since
/// QEMU answers for no address outside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2 {
    /// The answers of the metadata service: the file that `rollinit-imds` reads at each request.
    pub imds: PathBuf,
    /// Who plays AWS, at [`AWS`].
    pub aws: Option<SocketAddr>,
}

/// A folder's worth of programs that QEMU starts, one for each connection.
fn program(name: &str) -> String {
    target().join("out/test-apps/bin").join(name).display().to_string()
}

/// Commas part QEMU's words.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// QEMU's `-netdev` word: `ports` of the guest are reached from here, `cache` is a server of this
/// machine that the guest reaches.
pub(super) fn netdev(ports: &[u16], cache: Option<SocketAddr>, ec2: Option<&Ec2>) -> String {
    let mut word = "user,id=net,restrict=on".to_owned();
    if ec2.is_some() {
        word.push_str(",net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3");
        word.push_str(",dhcpstart=169.254.0.15");
    }
    for port in ports {
        word.push_str(&format!(",hostfwd=tcp:127.0.0.1:0-:{port}"));
    }
    let mut reached = |at: &str, command: &str| {
        // A command a connection: a character device would be one connection for all time.
        word.push_str(&format!(",guestfwd=tcp:{at}:80-cmd:{command}"));
    };
    let carried = |address: SocketAddr| format!("{} stdio {address}", program("rollinit-testapp"));
    if let Some(cache) = cache {
        reached(if ec2.is_some() { CACHE_ON_EC2 } else { CACHE }, &carried(cache));
    }
    if let Some(Ec2 { imds, aws }) = ec2 {
        reached(IMDS, &format!("{} {} --stdio", program("rollinit-imds"), escaped(imds)));
        if let Some(aws) = aws {
            reached(AWS, &carried(*aws));
        }
    }
    word
}

/// QEMU's `-netdev` word for a cable, and what its device is told beside.
pub(super) fn tap(cable: &Cable) -> (String, String) {
    let Cable { interface, mac, .. } = cable;
    (format!("tap,id=net,ifname={interface},script=no,downscript=no"), format!(",mac={mac}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_reached() {
        let server = SocketAddr::from(([127, 0, 0, 1], 5000));
        assert_eq!(netdev(&[], None, None), "user,id=net,restrict=on");
        let plain = netdev(&[8080], Some(server), None);
        assert!(plain.contains(",hostfwd=tcp:127.0.0.1:0-:8080,"), "{plain}");
        assert!(plain.contains(",guestfwd=tcp:10.0.2.100:80-cmd:"), "{plain}");
        let ec2 = Ec2 { imds: "/a,b.json".into(), aws: Some(server) };
        let word = netdev(&[], Some(server), Some(&ec2));
        assert!(word.contains("rollinit-imds /a,,b.json --stdio,guestfwd=tcp:169.254.0.101:80-"));
        assert!(word.contains(",guestfwd=tcp:169.254.0.100:80-cmd:"), "{word}");
    }
}
