//! Who is at the other end of our socket, and how far it may go: the supervisor's rules, which the
//! room `control` decides by.

use control::roles::{Peer, Place, Policy, Role};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Groups whose members may look, and may operate.
const READ_GROUP: &str = "rollinit-read";
const OPERATE_GROUP: &str = "rollinit";

/// What the definitions of services allow their processes at most, by service.
pub type Limits = BTreeMap<String, Role>;

/// Who is at the other end, by the kernel.
///
/// # Errors
/// Those of getsockopt(2).
pub fn identify(stream: &UnixStream, limits: &Limits) -> io::Result<Peer> {
    let peer = sys::peer::credentials(stream)?;
    let place = match sys::peer::cgroup(peer.pid) {
        Ok(Some(cgroup)) => match service_of(&cgroup, limits) {
            Some((name, limit)) => Place::Service { name, limit },
            None => Place::Host,
        },
        // No cgroup2 hierarchy: no service can be told from the host by it.
        Ok(None) => Place::Host,
        Err(_) => Place::Unknown,
    };
    Ok(Peer { pid: peer.pid, uid: peer.user, gid: peer.group, groups: peer.groups, place })
}

/// The service whose cgroup this is or is below: `…/services/NAME.0`, `…/services/APP.TASK.0`.
fn service_of(cgroup: &str, limits: &Limits) -> Option<(String, Role)> {
    let mut parts = cgroup.split('/');
    parts.by_ref().find(|part| *part == "services")?;
    let (key, _) = parts.next()?.rsplit_once('.')?;
    // A task of an app counts as the app.
    let name = match key.rsplit_once('.') {
        Some((app, _)) if !limits.contains_key(key) && limits.contains_key(app) => app,
        _ => key,
    };
    Some((name.to_owned(), limits.get(name).copied().unwrap_or(Role::Read)))
}

/// The host's groups, and our own uid.
#[must_use]
pub fn policy() -> Policy {
    use std::os::unix::fs::MetadataExt;
    let accounts = sys::user::Accounts::read(Path::new("/etc")).unwrap_or_default();
    let own_uid = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let group = |name| accounts.group(name);
    Policy { own_uid, read_gid: group(READ_GROUP), operate_gid: group(OPERATE_GROUP) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sides and tasks of an app are the app; what is in no service's group is the host; a service
    /// that nobody knows may read.
    #[test]
    fn cgroups_name_services() {
        let limits = Limits::from([
            ("web".to_owned(), Role::Operate),
            ("a.b".to_owned(), Role::Admin),
            ("sshd".to_owned(), Role::Admin),
        ]);
        let of = |cgroup: &str| service_of(cgroup, &limits);
        let is = |name: &str, role| Some((name.to_owned(), role));
        assert_eq!(of("/services/web.1"), is("web", Role::Operate));
        assert_eq!(of("/services/web.migrate.0"), is("web", Role::Operate));
        assert_eq!(of("/x/services/a.b.0/session"), is("a.b", Role::Admin));
        assert_eq!(of("/services/other.0"), is("other", Role::Read));
        for host in ["/", "", "/rollinit/supervisor", "/services", "/services/web"] {
            assert_eq!(of(host), None, "{host}");
        }
    }
}
