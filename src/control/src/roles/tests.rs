//! The decision as a table. Each row names a peer as the kernel would show it.

use super::{Grant, Method, OVERFLOW_UID, Peer, Place, Policy, Role, decide};

const READ_GID: u32 = 4241;
const OPERATE_GID: u32 = 4242;
const POLICY: Policy =
    Policy { own_uid: 0, read_gid: Some(READ_GID), operate_gid: Some(OPERATE_GID) };

fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
    Peer { pid: 77, uid, gid, groups: groups.to_vec(), place: Place::Host }
}

fn role(peer: &Peer) -> Role {
    decide(peer, &POLICY).role
}

#[test]
fn people_on_the_host() {
    assert_eq!(role(&peer(0, 0, &[])), Role::Admin);
    assert_eq!(role(&peer(1000, 1000, &[])), Role::None);
    assert_eq!(role(&peer(1000, READ_GID, &[])), Role::Read);
    assert_eq!(role(&peer(1000, OPERATE_GID, &[])), Role::Operate);
    // Membership by a supplementary group, which SO_PEERCRED alone does not show.
    assert_eq!(role(&peer(1000, 1000, &[7, READ_GID])), Role::Read);
    assert_eq!(role(&peer(1000, 1000, &[OPERATE_GID, READ_GID])), Role::Operate);
    // gid 0 is no key to anything.
    assert_eq!(role(&peer(1000, 0, &[0])), Role::None);
}

/// A service reads at most, even as root, and never gains by being a service.
#[test]
fn services() {
    for (uid, groups, expected) in [
        (0, vec![], Role::Read),
        (1000, vec![OPERATE_GID], Role::Read),
        (1000, vec![READ_GID], Role::Read),
        (1000, vec![], Role::None),
    ] {
        let inside = Peer {
            place: Place::Service { name: "web".into(), limit: Role::Read },
            ..peer(uid, uid, &groups)
        };
        let grant = decide(&inside, &POLICY);
        assert_eq!(grant.role, expected, "uid {uid}, groups {groups:?}");
        assert!(grant.reason.contains("web"), "{}", grant.reason);
    }
}

/// Who comes from another pid or user namespace is nobody, in any group.
#[test]
fn foreign_namespaces() {
    assert_eq!(role(&Peer { pid: 0, ..peer(0, 0, &[OPERATE_GID]) }), Role::None);
    assert_eq!(role(&peer(OVERFLOW_UID, OPERATE_GID, &[OPERATE_GID])), Role::None);
    assert_eq!(role(&peer(u32::MAX, OPERATE_GID, &[OPERATE_GID])), Role::None);
}

/// Where the place cannot be found out, nothing is granted: it might be a service.
#[test]
fn unknown_place() {
    assert_eq!(role(&Peer { place: Place::Unknown, ..peer(0, 0, &[]) }), Role::None);
}

/// Missing groups open nothing, not even to gid 0 or to the "no group" value.
#[test]
fn host_without_groups() {
    let policy = Policy { own_uid: 0, read_gid: None, operate_gid: None };
    for gid in [0, READ_GID, OPERATE_GID, u32::MAX] {
        assert_eq!(decide(&peer(1000, gid, &[gid]), &policy).role, Role::None);
    }
}

/// A developer's own supervisor obeys the developer, and root.
#[test]
fn own_uid() {
    let policy = Policy { own_uid: 1000, ..POLICY };
    assert_eq!(decide(&peer(1000, 1000, &[]), &policy).role, Role::Admin);
    assert_eq!(decide(&peer(0, 0, &[]), &policy).role, Role::Admin);
    assert_eq!(decide(&peer(1001, 1001, &[]), &policy).role, Role::None);
}

/// The whole table of method and role.
#[test]
fn methods() {
    use Method::{GetLogs, GetStatus, ListProcesses, Restart, Shutdown, Start, Stop, WatchEvents};
    let allowed = |role: Role| {
        let grant = Grant { role, reason: "test".into() };
        [GetStatus, ListProcesses, GetLogs, WatchEvents, Start, Stop, Restart, Shutdown]
            .into_iter()
            .filter(|method| grant.check(*method).is_ok())
            .count()
    };
    assert_eq!(allowed(Role::None), 0);
    assert_eq!(allowed(Role::Read), 4);
    assert_eq!(allowed(Role::Operate), 7);
    assert_eq!(allowed(Role::Admin), 8);
    let grant = Grant { role: Role::Operate, reason: "why".into() };
    let error = grant.check(Shutdown).unwrap_err().to_string();
    assert_eq!(error, "Shutdown needs the role admin, yours is operate: why");
}
