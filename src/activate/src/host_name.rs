//! Task `host-name`: the name that the system states. One that states none has it of its network.

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use std::io;

/// The kernel's limit on a host name in bytes (`__NEW_UTS_LEN`).
const NAME_BYTES_MAX: u64 = 64;

/// Sets the host's name from the system's `etc/hostname`.
pub fn run(context: &Context, report: &mut Report) {
    let cure = "networking.hostName is 1 to 63 letters, digits and dashes";
    let file = context.toplevel.join("etc/hostname");
    let text = match files::read_in_root(context, &file, NAME_BYTES_MAX + 1) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return report.say("the system states none: the network names this host");
        }
        Err(error) => {
            let message = format!("cannot be read: {error}");
            return report.problem(&Problem::new(file.display(), message, cure));
        }
        Ok(text) => text,
    };
    let Some(name) = parse(&text) else {
        return report.problem(&Problem::new(file.display(), "is not a host name", cure));
    };
    match sys::kernel_mounts::set_hostname(name.as_bytes()) {
        Ok(()) => report.say(name),
        Err(error) => report.problem(&Problem::new(
            name,
            format_args!("cannot be made the host's name: {error}"),
            "it takes CAP_SYS_ADMIN",
        )),
    }
}

/// The first line, if it is a name as hostname(7) has it.
fn parse(text: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(text).ok()?.lines().next()?.trim();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let fine = !line.is_empty() && line.len() as u64 <= NAME_BYTES_MAX && line.bytes().all(letter);
    fine.then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        assert_eq!(parse(b"web-1.example\n"), Some("web-1.example"));
        let long = [b'a'; 65];
        for wrong in [&b""[..], b"\n", b"a b", b"a\0b", b"\xff", &long] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
