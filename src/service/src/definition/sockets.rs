//! `[[service.listen]]`.

use super::read::{Fault, File, Section};
use super::sections::{account, integer, path};
use super::values::Mode;
use super::{Address, Listen};
use crate::limits::{LISTEN_MAX, LISTEN_NAME_BYTES_MAX, UNIX_PATH_BYTES_MAX};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use toml::Spanned;

pub(super) fn listen(file: &mut File, service: &mut Section) -> Vec<Listen> {
    let sections = service.sections(file, "listen");
    if sections.len() > LISTEN_MAX {
        let message = format!("{} listening sockets", sections.len());
        let cure = format!("write at most {LISTEN_MAX}");
        file.fault(sections[LISTEN_MAX].span(), Fault::new(message, cure));
    }
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for mut section in sections {
        let span = section.span().clone();
        let name = listen_name(file, &mut section);
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            let message = format!("a second socket is named {name:?}");
            file.fault(&span, Fault::new(message, "give each its own name"));
        }
        let address = listen_address(file, &mut section);
        let backlog = integer(file, &mut section, "backlog", 1..=65_535);
        let backlog = backlog.and_then(|number| u32::try_from(number).ok()).unwrap_or(1024);
        section.finish(file);
        if let (Some(name), Some(address)) = (name, address) {
            all.push(Listen { name, address, backlog, grouped: false });
        }
    }
    all
}

/// The name stands in `LISTEN_FDNAMES`, where a colon divides, and in PID 1's fd store.
fn listen_name(file: &mut File, section: &mut Section) -> Option<String> {
    let cure = "write name = \"http\": letters, digits, - and _";
    let Some(name) = section.value::<String>(file, "name", cure) else {
        let span = section.span().clone();
        file.fault(&span, Fault::new("a listening socket needs a sound name", cure));
        return None;
    };
    let text = name.get_ref();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > LISTEN_NAME_BYTES_MAX || !text.chars().all(fine) {
        file.fault(&name.span(), Fault::new(format!("{text:?} cannot name a socket"), cure));
        return None;
    }
    Some(name.into_inner())
}

fn listen_address(file: &mut File, section: &mut Section) -> Option<Address> {
    let cure = "write tcp = \"[::]:8080\" or unix = \"/run/x.sock\"";
    let span = section.span().clone();
    let tcp = section.value::<String>(file, "tcp", cure);
    let unix = path(file, section, "unix");
    let owner_span = unix.is_none().then_some(&span);
    let mode = section.written(file, "mode").map(|mode: Mode| mode.0);
    let user = account(file, section, "user");
    let group = account(file, section, "group");
    match (tcp, unix) {
        (None, Some(path)) if path.len() > UNIX_PATH_BYTES_MAX => {
            let message = format!("{path:?} has {} bytes", path.len());
            let cure = format!("write a path of at most {UNIX_PATH_BYTES_MAX}");
            file.fault(&span, Fault::new(message, cure));
            None
        }
        (None, Some(path)) => {
            Some(Address::Unix { path, mode: mode.unwrap_or(0o666), user, group })
        }
        (Some(tcp), None) => {
            if let Some(span) = owner_span
                && (mode.is_some() || user.is_some() || group.is_some())
            {
                let message = "mode, user and group belong to a unix socket";
                file.fault(span, Fault::new(message, "leave them out beside tcp"));
            }
            tcp_address(file, &tcp)
        }
        _ => {
            let message = "a listening socket needs one of tcp and unix";
            file.fault(&span, Fault::new(message, cure));
            None
        }
    }
}

fn tcp_address(file: &mut File, text: &Spanned<String>) -> Option<Address> {
    let cure = "write \"[::]:8080\" for all addresses, or \"127.0.0.1:8080\"";
    match text.get_ref().parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            let message = "port 0 would be another port at each boot";
            file.fault(&text.span(), Fault::new(message, "write a port from 1 to 65535"));
            None
        }
        Ok(address) => Some(Address::Tcp(address)),
        Err(_) => {
            let message = format!("{:?} is not an address and a port", text.get_ref());
            file.fault(&text.span(), Fault::new(message, cure));
            None
        }
    }
}
