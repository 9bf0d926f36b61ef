//! The kernel's command line: the words that stage 1 obeys. Pure: bytes in, [`CommandLine`] out.
//!
//! Words are separated by white space, `"` keeps white space inside a word, the last of several
//! wins, and what follows `--` is for init (Documentation/admin-guide/kernel-parameters.rst).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Time for the root device to appear, in seconds. A cloud volume takes seconds; a person at a
/// console should not wait a minute to learn of a typing error.
pub const ROOT_WAIT_S: u64 = 30;

/// Longest wait that is obeyed, in seconds: above it a mistake would look like a hang.
const ROOT_WAIT_S_MAX: u64 = 3600;

/// Where NixOS keeps the link to the running system's generation.
const SYSTEM_PROFILE: &str = "/nix/var/nix/profiles/system";

/// Which device is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// By its name below `/dev`: `vda1`.
    Name(String),
    /// By its partition's UUID, in lower case.
    PartitionUuid(String),
}

/// Where the next program's path was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// The path, inside the new root.
    pub path: PathBuf,
    /// The word that says so.
    pub source: &'static str,
}

/// What the command line asks of stage 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The whole of it, for people.
    pub text: String,
    /// `root=`, or why it cannot be obeyed.
    pub root: Result<Root, String>,
    /// `rootfstype=`: kinds to try, in order; none: all that the kernel knows.
    pub root_kinds: Vec<String>,
    /// `rootflags=`.
    pub root_flags: Vec<u8>,
    /// The last of `ro` and `rw` is `ro`. Without either the root is mounted writable, as PID 1
    /// would make it at once: nothing in between needs it read-only.
    pub read_only: bool,
    /// How long to wait for the root device, in seconds.
    pub root_wait_s: u64,
    /// What to start there.
    pub init: Init,
    /// `panic=` is there, so its choice is not ours.
    pub has_panic: bool,
}

impl CommandLine {
    /// Reads `/proc/cmdline`'s bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let words = words(bytes);
        let last = |name: &str| {
            let value = |word: &Vec<u8>| {
                let rest = word.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(unquote(rest).to_vec())
            };
            words.iter().rev().find_map(value)
        };
        let text = |name| last(name).map(|value| String::from_utf8_lossy(&value).into_owned());
        let access = words.iter().rev().find(|word| matches!(word.as_slice(), b"ro" | b"rw"));
        let kinds = text("rootfstype").unwrap_or_default();
        let wait = text("rollinit.rootwait").or_else(|| text("rootwait"));
        Self {
            text: String::from_utf8_lossy(bytes.trim_ascii()).into_owned(),
            root: root_of(text("root")),
            root_kinds: kinds.split(',').filter(|kind| !kind.is_empty()).map(Into::into).collect(),
            root_flags: last("rootflags").unwrap_or_default(),
            read_only: access.is_some_and(|word| word == b"ro"),
            root_wait_s: wait
                .and_then(|seconds| seconds.parse().ok())
                .map_or(ROOT_WAIT_S, |seconds: u64| seconds.min(ROOT_WAIT_S_MAX)),
            init: init_of(last("init"), last("rollinit.system")),
            has_panic: last("panic").is_some(),
        }
    }
}

fn root_of(text: Option<String>) -> Result<Root, String> {
    let Some(text) = text else {
        return Err("the kernel command line has no root=".to_owned());
    };
    if let Some(uuid) = text.strip_prefix("PARTUUID=") {
        if uuid.contains('/') {
            return Err(format!("root={text}: a distance from a partition is not understood"));
        }
        return Ok(Root::PartitionUuid(uuid.to_ascii_lowercase()));
    }
    match text.strip_prefix("/dev/") {
        // What lies in a directory of /dev is a link that udev makes, and there is no udev.
        Some(name) if !name.is_empty() && !name.contains('/') => Ok(Root::Name(name.to_owned())),
        _ => Err(format!("root={text}: only root=/dev/NAME and root=PARTUUID=UUID are understood")),
    }
}

fn init_of(init: Option<Vec<u8>>, system: Option<Vec<u8>>) -> Init {
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    match (init, system) {
        (Some(init), _) => Init { path: path(init), source: "init=" },
        (None, Some(system)) => {
            Init { path: path(system).join("init"), source: "rollinit.system=" }
        }
        (None, None) => {
            Init { path: PathBuf::from(SYSTEM_PROFILE).join("init"), source: "the system profile" }
        }
    }
}

/// The kernel's own words, without quotes around a whole word.
fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut quoted = false;
    let words = bytes.split(|byte| {
        quoted ^= *byte == b'"';
        !quoted && byte.is_ascii_whitespace()
    });
    let words = words.filter(|word| !word.is_empty()).map(|word| unquote(word).to_vec());
    words.take_while(|word| word != b"--").collect()
}

fn unquote(word: &[u8]) -> &[u8] {
    match word.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"").unwrap_or(rest),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> CommandLine {
        CommandLine::parse(line.as_bytes())
    }

    /// The line that a NixOS boot loader writes, with words that are not ours around.
    #[test]
    fn nixos_line() {
        let line = parse(
            "BOOT_IMAGE=/kernels/k init=/nix/store/abc-nixos-system-web/init root=/dev/vda1 \
             console=ttyS0 rootfstype=ext4,xfs rootflags=noatime panic=30 loglevel=4\n",
        );
        assert_eq!(line.root, Ok(Root::Name("vda1".to_owned())));
        assert_eq!(line.init.path, PathBuf::from("/nix/store/abc-nixos-system-web/init"));
        assert_eq!(line.init.source, "init=");
        assert_eq!(line.root_kinds, ["ext4", "xfs"]);
        assert_eq!(line.root_flags, b"noatime");
        assert_eq!((line.read_only, line.has_panic, line.root_wait_s), (false, true, 30));
    }

    /// init= goes before rollinit.system=, that before the profile.
    #[test]
    fn what_to_start() {
        assert_eq!(parse("").init.path, PathBuf::from("/nix/var/nix/profiles/system/init"));
        let system = parse("rollinit.system=/nix/store/s");
        assert_eq!(system.init.path, PathBuf::from("/nix/store/s/init"));
        assert_eq!(parse("rollinit.system=/s init=/i").init.path, PathBuf::from("/i"));
        assert_eq!(parse("x -- init=/i").init.source, "the system profile", "it is for init");
    }

    /// A UUID is compared in lower case; what needs udev or a search by label is refused by name.
    #[test]
    fn roots() {
        let root = parse("root=PARTUUID=C12A7328-F81F-11D2-BA4B-00A0C93EC93B").root;
        let uuid = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b".to_owned();
        assert_eq!(root, Ok(Root::PartitionUuid(uuid)));
        let refused =
            ["root=LABEL=nixos", "root=UUID=1", "root=/dev/disk/by-label/nixos", "root=/dev/", ""];
        for line in refused {
            let trouble = parse(line).root.expect_err(line);
            assert!(trouble.contains(line), "{trouble}");
        }
        assert!(parse("root=PARTUUID=1-2/PARTNROFF=1").root.is_err());
    }

    /// The last word counts, quotes keep white space, and numbers are capped.
    #[test]
    fn words_as_the_kernel_reads_them() {
        let line = parse("ro root=/dev/a rw root=/dev/b rollinit.rootwait=999999999 rootwait=2");
        assert_eq!(line.root, Ok(Root::Name("b".to_owned())));
        assert_eq!((line.read_only, line.root_wait_s), (false, ROOT_WAIT_S_MAX));
        assert_eq!(parse("rootwait=2").root_wait_s, 2);
        assert_eq!(parse("rootwait").root_wait_s, ROOT_WAIT_S);
        let line = parse("x=\"a ro b\" \"init=/a b\" rootflags=\"c d\"");
        assert!(!line.read_only && parse("rw ro").read_only);
        assert_eq!(line.init.path, PathBuf::from("/a b"));
        assert_eq!(line.root_flags, b"c d");
    }

    /// Any bytes give an answer.
    #[test]
    fn any_bytes() {
        for bytes in [&b"\""[..], b"\"\"", b"=", b"root=\"", b"\xff\xfe root=\xff", b"-- --"] {
            let _ = CommandLine::parse(bytes);
        }
    }
}
