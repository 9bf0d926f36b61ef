//! `[[service.listen]]` and `[app.listen]`.

use super::read::{Fault, File, Section};
use super::sections::{account, integer, path};
use super::values::Mode;
use super::{Address, Listen};
use crate::limits::{LISTEN_MAX, LISTEN_NAME_BYTES_MAX, UNIX_PATH_BYTES_MAX};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Connections that wait to be accepted, of a socket that says nothing.
const BACKLOG_DEFAULT: u32 = 1024;

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
        if let (Some((address, backlog)), Some(name)) = (rest(file, section), name) {
            all.push(Listen { name, address, backlog, grouped: false });
        }
    }
    all
}

/// `[app.listen]`: a line a socket, `NAME = "ADDRESS:PORT"`, `"unix:/PATH"` or a table. What stands
/// where is added to `spans`.
pub(super) fn named(
    file: &mut File,
    app: &mut Section,
    spans: &mut Vec<Range<usize>>,
) -> Vec<Listen> {
    let Some(value) = app.raw("listen") else { return Vec::new() };
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        let cure = "write [app.listen] and http = \"[::]:443\" below it";
        file.fault(&span, Fault::new("listen is not a table", cure));
        return Vec::new();
    };
    if table.len() > LISTEN_MAX {
        let message = format!("{} listening sockets", table.len());
        file.fault(&span, Fault::new(message, format!("write at most {LISTEN_MAX}")));
    }
    let mut all = Vec::new();
    for (key, value) in table {
        let sound = check_name(file, &key.span(), key.get_ref());
        if let Some((address, backlog)) = named_one(file, key.get_ref(), value)
            && sound
        {
            all.push(Listen { name: key.get_ref().to_string(), address, backlog, grouped: false });
            spans.push(key.span());
        }
    }
    all
}

fn named_one(file: &mut File, name: &str, value: Spanned<DeValue>) -> Option<(Address, u32)> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => {
            rest(file, Section::new(format!("app.listen.{name}"), span, table))
        }
        DeValue::String(text) => {
            let address = match text.strip_prefix("unix:") {
                None => tcp_address(file, &Spanned::new(span, text.into_owned())),
                Some(path) if path.starts_with('/') => {
                    unix_address(file, &span, path.to_owned(), None, None, None)
                }
                Some(path) => {
                    let message = format!("{path:?} is not an absolute path");
                    file.fault(&span, Fault::new(message, "write \"unix:/run/x.sock\""));
                    None
                }
            };
            Some((address?, BACKLOG_DEFAULT))
        }
        _ => {
            let cure = format!("write {name} = \"[::]:443\" or \"unix:/run/x.sock\"");
            file.fault(&span, Fault::new(format!("{name} is no address"), cure));
            None
        }
    }
}

/// A socket's table but for its name.
fn rest(file: &mut File, mut section: Section) -> Option<(Address, u32)> {
    let address = listen_address(file, &mut section);
    let backlog = integer(file, &mut section, "backlog", 1..=65_535);
    let backlog = backlog.and_then(|number| u32::try_from(number).ok());
    section.finish(file);
    Some((address?, backlog.unwrap_or(BACKLOG_DEFAULT)))
}

/// The name stands in `LISTEN_FDNAMES`, where a colon divides, and in PID 1's fd store.
fn listen_name(file: &mut File, section: &mut Section) -> Option<String> {
    let cure = "write name = \"http\": letters, digits, - and _";
    let Some(name) = section.value::<String>(file, "name", cure) else {
        let span = section.span().clone();
        file.fault(&span, Fault::new("a listening socket needs a sound name", cure));
        return None;
    };
    check_name(file, &name.span(), name.get_ref()).then(|| name.into_inner())
}

fn check_name(file: &mut File, span: &Range<usize>, text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sound = (1..=LISTEN_NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(fine);
    if !sound {
        let cure = "write a name such as http: letters, digits, - and _";
        file.fault(span, Fault::new(format!("{text:?} cannot name a socket"), cure));
    }
    sound
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
        (None, Some(path)) => unix_address(file, &span, path, mode, user, group),
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

fn unix_address(
    file: &mut File,
    span: &Range<usize>,
    path: String,
    mode: Option<u32>,
    user: Option<String>,
    group: Option<String>,
) -> Option<Address> {
    if path.len() > UNIX_PATH_BYTES_MAX {
        let message = format!("{path:?} has {} bytes", path.len());
        let cure = format!("write a path of at most {UNIX_PATH_BYTES_MAX}");
        file.fault(span, Fault::new(message, cure));
        return None;
    }
    Some(Address::Unix { path, mode: mode.unwrap_or(0o666), user, group })
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
