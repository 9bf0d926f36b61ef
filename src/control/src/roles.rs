//! Who may do what: a pure decision from what the kernel says of a peer.
//!
//! The socket is open to everybody (0666); the role decides. In order:
//! 1. A peer the kernel cannot name in our namespaces (pid 0, the overflow uid) has no role.
//! 2. uid 0, and the uid the supervisor itself runs under, is admin.
//! 3. A member of the operate group may operate, a member of the read group may read.
//! 4. A peer inside a service's cgroup keeps at most what that service's definition allows
//!    (`control = "read"` unless it says more), whatever it is otherwise.
//! 5. Everybody else has no role.
//!
//! The uid is that of SO_PEERCRED, the groups are its gid and those of SO_PEERGROUPS
//! (socket(7), unix(7)): both were fixed by the kernel when the peer connected.

use serde::{Deserialize, Serialize};
use std::fmt;
use zlink::introspect::CustomType;

/// The uid that the kernel shows for one it cannot map (/proc/sys/kernel/overflowuid, and what
/// every distribution leaves it at).
pub const OVERFLOW_UID: u32 = 65534;

/// How far a peer may go; each role includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, CustomType,
)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Role {
    /// Nothing but the description of the interface.
    None,
    /// Look.
    Read,
    /// Look, and start, stop and restart services.
    Operate,
    /// Everything, the host's power too.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Role::None => "none",
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        })
    }
}

/// What the kernel says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// pid by SO_PEERCRED; 0 if it has none in our pid namespace.
    pub pid: u32,
    /// uid by SO_PEERCRED.
    pub uid: u32,
    /// Primary gid by SO_PEERCRED.
    pub gid: u32,
    /// Supplementary groups by SO_PEERGROUPS.
    pub groups: Vec<u32>,
    /// Where its process lives.
    pub place: Place,
}

/// Where a peer's process lives, by its cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Outside of every service.
    Host,
    /// In the cgroup of a service.
    Service {
        /// Its name.
        name: String,
        /// What its definition allows its processes at most; [`Role::Read`] if it says nothing.
        limit: Role,
    },
    /// Not to be found out: the process is gone, or its cgroup could not be read.
    Unknown,
}

/// The host's side of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The uid the supervisor itself runs under: 0, or a developer's own.
    pub own_uid: u32,
    /// gid of the group `rollinit-read`, if the host has it.
    pub read_gid: Option<u32>,
    /// gid of the group `rollinit`, if the host has it.
    pub operate_gid: Option<u32>,
}

/// A role and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Why no more than that, for a person.
    pub reason: String,
}

/// The role of `peer` on a host with `policy`.
#[must_use]
pub fn decide(peer: &Peer, policy: &Policy) -> Grant {
    let none = |reason: &str| Grant { role: Role::None, reason: reason.to_owned() };
    if peer.pid == 0 {
        return none("the caller's process is not visible from the supervisor's pid namespace");
    }
    if peer.uid == OVERFLOW_UID || peer.uid == u32::MAX {
        return none("the caller's uid does not exist in the supervisor's user namespace");
    }
    let personal = personal_role(peer, policy);
    match &peer.place {
        Place::Host => Grant { role: personal, reason: host_reason(personal, peer.uid) },
        Place::Service { name, limit } if personal <= *limit => {
            let reason = format!("{}, in the service {name}", host_reason(personal, peer.uid));
            Grant { role: personal, reason }
        }
        Place::Service { name, limit } => Grant {
            role: *limit,
            reason: format!(
                "the caller is part of the service {name}, whose definition allows {limit} at most"
            ),
        },
        Place::Unknown => none("the caller's cgroup could not be read"),
    }
}

fn personal_role(peer: &Peer, policy: &Policy) -> Role {
    let member =
        |gid: Option<u32>| gid.is_some_and(|gid| peer.gid == gid || peer.groups.contains(&gid));
    if peer.uid == 0 || peer.uid == policy.own_uid {
        Role::Admin
    } else if member(policy.operate_gid) {
        Role::Operate
    } else if member(policy.read_gid) {
        Role::Read
    } else {
        Role::None
    }
}

fn host_reason(role: Role, uid: u32) -> String {
    match role {
        Role::None => format!("uid {uid} is in neither of the groups rollinit-read and rollinit"),
        Role::Read => format!("uid {uid} is in the group rollinit-read, not in rollinit"),
        Role::Operate => format!("uid {uid} is in the group rollinit, but is not root"),
        Role::Admin => format!("uid {uid} may do everything"),
    }
}

/// The methods of the interface, for the question who may call them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GetStatus`
    GetStatus,
    /// `ListProcesses`
    ListProcesses,
    /// `GetLogs`
    GetLogs,
    /// `WatchEvents`
    WatchEvents,
    /// `Timeline`
    Timeline,
    /// `Start`
    Start,
    /// `Stop`
    Stop,
    /// `Restart`
    Restart,
    /// `Reload`
    Reload,
    /// `Reload` with `dry_run`
    ReloadDryRun,
    /// `Shutdown`
    Shutdown,
    /// `Apps`
    Apps,
    /// `WatchApp`
    WatchApp,
    /// `Prepare`
    Prepare,
    /// `Admit`
    Admit,
    /// `Retire`
    Retire,
    /// `Abandon`
    Abandon,
    /// `RunTask`
    RunTask,
    /// `RenewTask`
    RenewTask,
    /// `WatchCredentials`
    WatchCredentials,
    /// `PutCredentials`
    PutCredentials,
    /// `Swap` of the agent
    Swap,
    /// `Rollback` of the agent
    Rollback,
    /// `Follow` of the agent
    Follow,
    /// `Confirm` of the agent
    Confirm,
    /// `Generations` of the agent
    Generations,
    /// `Swaps` of the agent
    Swaps,
    /// `Swap` and `Rollback` of the agent, of the system itself
    SwapSystem,
    /// `Standing` of the agent
    Standing,
    /// `LeaveBalancers` of the agent
    LeaveBalancers,
}

impl Method {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::GetStatus => "GetStatus",
            Method::ListProcesses => "ListProcesses",
            Method::GetLogs => "GetLogs",
            Method::WatchEvents => "WatchEvents",
            Method::Timeline => "Timeline",
            Method::Start => "Start",
            Method::Stop => "Stop",
            Method::Restart => "Restart",
            Method::Reload | Method::ReloadDryRun => "Reload",
            Method::Shutdown => "Shutdown",
            Method::Apps => "Apps",
            Method::WatchApp => "WatchApp",
            Method::Prepare => "Prepare",
            Method::Admit => "Admit",
            Method::Retire => "Retire",
            Method::Abandon => "Abandon",
            Method::RunTask => "RunTask",
            Method::RenewTask => "RenewTask",
            Method::WatchCredentials => "WatchCredentials",
            Method::PutCredentials => "PutCredentials",
            Method::Swap => "Swap",
            Method::Rollback => "Rollback",
            Method::Follow => "Follow",
            Method::Confirm => "Confirm",
            Method::Generations => "Generations",
            Method::Swaps => "Swaps",
            Method::SwapSystem => "Swap (of the system)",
            Method::Standing => "Standing",
            Method::LeaveBalancers => "LeaveBalancers",
        }
    }

    /// The least role that may call it.
    #[must_use]
    pub fn needs(self) -> Role {
        match self {
            Method::GetStatus | Method::ListProcesses => Role::Read,
            Method::GetLogs | Method::WatchEvents | Method::Timeline => Role::Read,
            Method::Start | Method::Stop | Method::Restart | Method::Reload => Role::Operate,
            Method::ReloadDryRun => Role::Read,
            Method::Shutdown => Role::Admin,
            Method::Apps | Method::WatchApp => Role::Read,
            // A swap's steps one by one are the agent's business: out of order they lose requests.
            Method::Prepare | Method::Admit | Method::Retire | Method::Abandon => Role::Admin,
            Method::RunTask | Method::RenewTask => Role::Admin,
            Method::WatchCredentials => Role::Read,
            Method::PutCredentials => Role::Admin,
            Method::Swap | Method::Rollback | Method::Confirm => Role::Operate,
            // It brings another kernel, and the host's power with it.
            Method::SwapSystem => Role::Admin,
            Method::Follow | Method::Generations | Method::Swaps => Role::Read,
            Method::Standing => Role::Read,
            // Nobody brings the host back before its next boot.
            Method::LeaveBalancers => Role::Admin,
        }
    }
}

impl Grant {
    /// Says whether the holder may call `method`.
    ///
    /// # Errors
    /// [`crate::Error::NotPermitted`] with the role it would take.
    pub fn check(&self, method: Method) -> Result<(), crate::Error> {
        if self.role >= method.needs() {
            return Ok(());
        }
        Err(crate::Error::NotPermitted {
            method: method.name().to_owned(),
            needs: method.needs().to_string(),
            has: self.role.to_string(),
            reason: self.reason.clone(),
        })
    }

    /// Says whether the holder may call `method` of the agent.
    ///
    /// # Errors
    /// [`crate::agent::Error::NotPermitted`] with the role it would take.
    pub fn check_agent(&self, method: Method) -> Result<(), crate::agent::Error> {
        if self.role >= method.needs() {
            return Ok(());
        }
        Err(crate::agent::Error::NotPermitted {
            method: method.name().to_owned(),
            needs: method.needs().to_string(),
            has: self.role.to_string(),
            reason: self.reason.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
