//! `READY=1`, of a task that stays: sd_notify(3).

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the supervisor that the task has done its work and stays, with a word about it. False if
/// nobody asked to be told: then the task is run by hand.
///
/// # Errors
/// Those of socket(2) and sendto(2).
pub fn say(status: &str) -> io::Result<bool> {
    say_to(std::env::var_os("NOTIFY_SOCKET"), status)
}

/// Tells the supervisor how it goes, before it is ready or when it ends.
///
/// # Errors
/// Those of socket(2) and sendto(2).
pub fn tell(status: &str) -> io::Result<bool> {
    let status = status.replace('\n', " ");
    send(std::env::var_os("NOTIFY_SOCKET"), &format!("STATUS={status}\n"))
}

fn say_to(socket: Option<OsString>, status: &str) -> io::Result<bool> {
    send(socket, &format!("READY=1\nSTATUS={}\n", status.replace('\n', " ")))
}

fn send(socket: Option<OsString>, words: &str) -> io::Result<bool> {
    let Some(path) = socket.filter(|path| !path.is_empty()) else { return Ok(false) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a supervisor reads, and that nobody is told where nobody asked.
    #[test]
    fn a_socket_hears_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        assert!(say_to(Some(path.into()), "two\nlines").expect("sent"));
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("heard");
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=two lines\n");
        assert!(
            !say_to(None, "").expect("nobody") && !say_to(Some("".into()), "").expect("nobody")
        );
    }
}
