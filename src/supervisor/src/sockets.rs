//! Listening sockets: bound once, then kept by PID 1 over all runs and all supervisors.

use crate::identity::{Identity, Unknown, group_of};
use service::definition::{Address, Listen};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use sys::listen::{ListenError, UnixAccess, tcp, unix};
use sys::user::Accounts;

/// The step in words that name the socket, its address and the cure, and errno (0: there is none).
pub type Failure = (String, i32);

/// Binds a socket of a service with this identity. One that belongs to a group does not listen yet.
///
/// # Errors
/// [`Failure`].
pub fn bind(listen: &Listen, identity: &Identity, accounts: &Accounts) -> Result<OwnedFd, Failure> {
    let step = |what: &str| format!("listen {} ({}){what}", listen.name, address(listen));
    let unknown = |unknown: Unknown| (step(&format!(": who is {}?", unknown.name)), 0);
    let bound = match &listen.address {
        Address::Tcp(address) if listen.grouped => sys::reuseport::tcp(*address),
        Address::Tcp(address) => tcp(*address, listen.backlog),
        Address::Unix { path, mode, user, group } => {
            let user = match user {
                Some(name) => accounts
                    .user(name)
                    .map(|user| user.uid)
                    .ok_or_else(|| unknown(Unknown { step: "user", name: name.clone() }))?,
                None => identity.user,
            };
            let group = match group {
                Some(name) => group_of(accounts, "group", name).map_err(unknown)?,
                None => identity.group,
            };
            unix(Path::new(path), UnixAccess { mode: *mode, user, group }, listen.backlog)
        }
    };
    bound.map_err(|error| {
        let errno = error.error.raw_os_error().unwrap_or(0);
        (step(&cure(&error)), errno)
    })
}

fn cure(error: &ListenError) -> String {
    let cure = match error.error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has it; stop that one (`ss -ltnp` names it) or change the address"
        }
        io::ErrorKind::AddrNotAvailable => "no interface has this address",
        io::ErrorKind::AlreadyExists => "a file that is no socket is in its way",
        io::ErrorKind::NotFound => "its directory is not there",
        _ => return format!(", {}", error.step),
    };
    format!(", {}: {cure}", error.step)
}

/// The address as its definition has it.
#[must_use]
pub fn address(listen: &Listen) -> String {
    match &listen.address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix { path, .. } => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A taken port is told with the socket's name, its address and what to do.
    #[test]
    fn a_taken_port_names_its_cure() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = taken.local_addr().expect("address");
        let listen = Listen {
            name: "http".to_owned(),
            address: Address::Tcp(address),
            backlog: 1,
            grouped: false,
        };
        let (identity, accounts) = (Identity::default(), Accounts::default());
        let (step, errno) = bind(&listen, &identity, &accounts).expect_err("taken");
        assert_eq!(errno, 98);
        assert!(step.starts_with(&format!("listen http ({address}), bind: another")), "{step}");
    }
}
