//! A definition as a spawn: program, environment, identity, limits, descriptors.

use crate::identity::Identity;
use crate::vfork;
use port::limits::PID_SLOT_BYTES;
use port::request::Stdio;
use port::{DecodeError, Limits, Numbers, ResourceLimit, Spawn, Strings};
use service::definition::{Address, Kind, Listen};
use service::{Definition, Place};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where a NixOS system's programs are; a definition's own `PATH` wins.
pub const PATH_DEFAULT: &str = "/run/current-system/sw/bin";

/// Backlog of a service without sockets, for which nothing listens again.
const BACKLOG_NONE: u32 = 0;

/// What the supervisor alone decides in a service's environment.
const RESERVED: [&str; 5] =
    ["CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET"];

/// The flat bytes that a [`Spawn`] borrows.
#[derive(Debug, Default)]
pub struct Prepared {
    arguments: Vec<u8>,
    environment: Vec<u8>,
    pid_slot: Option<u32>,
    passed: Vec<u8>,
    groups: Vec<u8>,
    limits: Vec<u8>,
    log_write: String,
}

/// What a run is given beside its definition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// Where it speaks sd_notify(3), if it does.
    pub notify_socket: Option<&'a Path>,
    /// Where its credentials are, if it has any.
    pub credentials: Option<&'a Path>,
}

/// The name of a listening socket in the fd store.
#[must_use]
pub fn listen_name(key: &str, socket: &str) -> String {
    format!("listen/{key}/{socket}")
}

/// The names of all sockets of a key in the fd store, in the order of its definition. Sides of an
/// app have a TCP socket each and share Unix sockets, which are the app's.
#[must_use]
pub fn listen_names(key: &str, place: Place<'_>, definition: &Definition) -> Vec<String> {
    let of = |listen: &Listen| match (place, &listen.address) {
        (Place::Side { app, .. }, Address::Unix { .. }) => listen_name(app, &listen.name),
        _ => listen_name(key, &listen.name),
    };
    definition.listen.iter().map(of).collect()
}

/// The names of a log pipe's ends in the fd store.
#[must_use]
pub fn log_names(service: &str) -> (String, String) {
    (format!("log/{service}/read"), format!("log/{service}/write"))
}

/// The name of a notify socket in the fd store.
#[must_use]
pub fn notify_name(service: &str, incarnation: u64) -> String {
    format!("notify/{service}/{incarnation}")
}

fn push(bytes: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.push(0);
}

impl Prepared {
    /// Flattens what the definition says; `sockets` are the names of its kept sockets.
    #[must_use]
    pub fn new(
        key: &str,
        sockets: &[String],
        definition: &Definition,
        identity: &Identity,
        given: Given<'_>,
    ) -> Self {
        let mut prepared = Self { log_write: log_names(key).1, ..Self::default() };
        for argument in &definition.exec {
            push(&mut prepared.arguments, &[argument]);
        }
        for socket in sockets {
            push(&mut prepared.passed, &[socket]);
        }
        for group in &identity.groups {
            prepared.groups.extend_from_slice(&group.to_le_bytes());
        }
        for limit in &definition.limits.resources {
            let service::definition::ResourceLimit { resource, soft, hard } = *limit;
            Limits::push(&mut prepared.limits, ResourceLimit { resource, soft, hard });
        }
        prepared.fill_environment(definition, given);
        prepared
    }

    fn fill_environment(&mut self, definition: &Definition, given: Given<'_>) {
        let bytes = &mut self.environment;
        if !definition.environment.contains_key("PATH") {
            push(bytes, &["PATH=", PATH_DEFAULT]);
        }
        for (name, value) in &definition.environment {
            if !RESERVED.contains(&name.as_str()) {
                push(bytes, &[name, "=", value]);
            }
        }
        if !definition.listen.is_empty() {
            let names: Vec<&str> =
                definition.listen.iter().map(|listen| listen.name.as_str()).collect();
            push(bytes, &["LISTEN_FDS=", &names.len().to_string()]);
            push(bytes, &["LISTEN_FDNAMES=", &names.join(":")]);
            bytes.extend_from_slice(b"LISTEN_PID=");
            self.pid_slot = u32::try_from(bytes.len()).ok();
            bytes.extend_from_slice(&[b'0'; PID_SLOT_BYTES]);
            bytes.push(0);
        }
        for (name, path) in
            [("NOTIFY_SOCKET=", given.notify_socket), ("CREDENTIALS_DIRECTORY=", given.credentials)]
        {
            if let Some(path) = path.and_then(Path::to_str) {
                push(bytes, &[name, path]);
            }
        }
    }

    /// The spawn, to be sent with the descriptor of [`directory`].
    ///
    /// # Errors
    /// `Field` if something is above the port's caps.
    pub fn spawn<'a>(
        &'a self,
        (service, incarnation): (&'a str, u64),
        cgroup: &'a str,
        definition: &'a Definition,
        identity: &Identity,
    ) -> Result<Spawn<'a>, DecodeError> {
        let executable = definition.exec.first().map_or("", String::as_str);
        // One number for all of a service's sockets: the port has no list of them.
        let backlog = definition.listen.iter().map(|listen| listen.backlog).max();
        Ok(Spawn {
            key: service,
            incarnation,
            cgroup,
            executable: executable.as_bytes(),
            arguments: Strings::new(&self.arguments, "arguments")?,
            environment: Strings::new(&self.environment, "environment")?,
            pid_slot: self.pid_slot,
            directory_attached: true,
            stdio: [Stdio::Null, Stdio::Kept(&self.log_write), Stdio::Kept(&self.log_write)],
            passed: Strings::new(&self.passed, "passed")?,
            listen_backlog: backlog.unwrap_or(BACKLOG_NONE),
            user: identity.user,
            group: identity.group,
            groups: Numbers::new(&self.groups, "groups")?,
            limits: Limits::new(&self.limits, "limits")?,
            umask: definition.umask,
            oom_score_adjust: definition.oom_score_adjust,
            vfork_safe: vfork::is_safe(Path::new(executable)),
        })
    }
}

/// Opens a service's working directory, so that the child need not walk a path.
///
/// # Errors
/// Those of open(2): `ENOTDIR` if it is none.
pub fn directory(definition: &Definition) -> io::Result<OwnedFd> {
    sys::files::open_directory(Path::new(&definition.directory))
}

/// Whether the service speaks sd_notify(3): then it gets a socket for it.
#[must_use]
pub fn notifies(definition: &Definition) -> bool {
    definition.kind == Kind::Notify
}

#[cfg(test)]
mod tests {
    use super::*;
    use port::Request;

    fn definition(lines: &str) -> Definition {
        let text = format!("[service]\nexec = [\"/bin/true\", \"a b\"]\n{lines}\n");
        service::definition::parse("test.toml", &text).expect("definition")
    }

    fn prepared(definition: &Definition) -> (Prepared, Identity) {
        let identity = Identity { user: 1, group: 2, groups: vec![3, 4] };
        let socket = Path::new("/run/rollinit/notify/web.7");
        let sockets = listen_names("web", Place::Service, definition);
        let credentials = Some(Path::new("/run/rollinit/credentials/web"));
        let given = Given { notify_socket: Some(socket), credentials };
        (Prepared::new("web", &sockets, definition, &identity, given), identity)
    }

    /// The whole spawn passes the port's own checks in both directions; the slot of LISTEN_PID
    /// lies where its ten zeros are.
    #[test]
    fn a_definition_becomes_a_frame() {
        let definition = definition(
            "environment = { LANG = \"C\", PATH = \"/bin\" }\n\
             [[service.listen]]\nname = \"http\"\ntcp = \"127.0.0.1:80\"\n\
             [[service.listen]]\nname = \"admin\"\nunix = \"/run/admin\"\n",
        );
        let (prepared, identity) = prepared(&definition);
        let spawn = prepared.spawn(("web", 7), "services/web.0", &definition, &identity);
        let spawn = spawn.expect("spawn");
        let environment: Vec<String> = spawn
            .environment
            .iter()
            .map(|variable| String::from_utf8_lossy(variable).into_owned())
            .collect();
        assert_eq!(
            environment,
            [
                "LANG=C",
                "PATH=/bin",
                "LISTEN_FDS=2",
                "LISTEN_FDNAMES=http:admin",
                "LISTEN_PID=0000000000",
                "NOTIFY_SOCKET=/run/rollinit/notify/web.7",
                "CREDENTIALS_DIRECTORY=/run/rollinit/credentials/web",
            ]
        );
        let passed: Vec<&[u8]> = spawn.passed.iter().collect();
        assert_eq!(passed, [&b"listen/web/http"[..], b"listen/web/admin"]);
        let mut buffer = vec![0; 65536];
        let length = Request::Spawn(spawn).encode(1, &mut buffer).expect("encode");
        let header = port::Header::decode(&buffer[..length]).expect("header");
        let body = header.body(&buffer[..length]).expect("body");
        assert_eq!(Request::decode(&header, body), Ok(Request::Spawn(spawn)));
    }

    /// A side has a TCP socket of its own and shares the Unix socket with the other.
    #[test]
    fn sides_share_what_cannot_be_grouped() {
        let definition = definition(
            "[[service.listen]]\nname = \"http\"\ntcp = \"127.0.0.1:80\"\n\
             [[service.listen]]\nname = \"admin\"\nunix = \"/run/admin\"\n",
        );
        let side = Place::Side { app: "web", side: service::Side::One };
        let names = listen_names("web.1", side, &definition);
        assert_eq!(names, ["listen/web.1/http", "listen/web/admin"]);
    }

    /// A spawn above a frame comes back from its memfd body as it was.
    #[test]
    fn a_large_definition_travels_apart() {
        let mut definition = definition("");
        definition.exec.extend(vec!["x".repeat(4000); 30]);
        let (prepared, identity) = prepared(&definition);
        let spawn = prepared.spawn(("web", 7), "", &definition, &identity).expect("spawn");
        let mut buffer = vec![0; 1 << 20];
        Request::Spawn(spawn).encode(1, &mut buffer).expect_err("above a frame");
        let (frame, length) = spawn.encode_apart(9, &mut buffer).expect("apart");
        let header = port::Header::decode(&frame).expect("header");
        assert_eq!((header.sequence, header.length as usize), (9, length));
        assert_eq!(Request::decode(&header, &buffer[..length]), Ok(Request::Spawn(spawn)));
    }
}
