//! The kernel's command line: the words that stage 1 obeys. Pure: bytes in, [`CommandLine`] out.
//!
//! Words are separated by white space, `"` keeps white space inside a word, the last of several
//! wins, and what follows `--` is for init (Documentation/admin-guide/kernel-parameters.rst).

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Time for the root device to appear, in seconds. A cloud volume takes seconds; a person at a
/// console should not wait a minute to learn of a typing error.
pub const ROOT_WAIT_S: u64 = 30;

/// Longest wait that is obeyed, in seconds: above it a mistake would look like a hang.
const ROOT_WAIT_S_MAX: u64 = 3600;

/// Directories of udev's links, and the words that mean the same.
const BY_LINK: [(&str, &str); 4] = [
    ("by-label", "LABEL"),
    ("by-uuid", "UUID"),
    ("by-partlabel", "PARTLABEL"),
    ("by-partuuid", "PARTUUID"),
];

/// What can be written.
pub const ROOT_CURE: &str =
    "write root=LABEL=, UUID=, PARTLABEL=, PARTUUID= with a value, or root=/dev/NAME";

/// Where NixOS keeps the link to the running system's generation.
const SYSTEM_PROFILE: &str = "/nix/var/nix/profiles/system";

/// Which device is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// By its name below `/dev`: `vda1`.
    Name(String),
    /// By its partition's UUID, in lower case.
    PartitionUuid(String),
    /// By its partition's name in the table.
    PartitionLabel(String),
    /// By its file system's UUID, in lower case.
    Uuid(String),
    /// By its file system's label.
    Label(String),
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "/dev/{name}"),
            Self::PartitionUuid(uuid) => write!(f, "PARTUUID={uuid}"),
            Self::PartitionLabel(label) => write!(f, "PARTLABEL={label}"),
            Self::Uuid(uuid) => write!(f, "UUID={uuid}"),
            Self::Label(label) => write!(f, "LABEL={label}"),
        }
    }
}

/// When the root's file system is checked before it is mounted; systemd's words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckMode {
    /// `fsck.mode=auto`: when it recorded errors. A journal is replayed by the mount itself.
    Auto,
    /// `fsck.mode=force`: always.
    Force,
    /// `fsck.mode=skip`: never.
    Skip,
}

/// What a check may do; systemd's words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckRepair {
    /// `fsck.repair=preen`: what is safe to mend without a person.
    Preen,
    /// `fsck.repair=yes`: everything, whatever is lost.
    Yes,
    /// `fsck.repair=no`: nothing.
    No,
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
    /// `rollinit.grow`: the last partition and its file system take what room the disk has.
    pub grows: bool,
    /// `fsck.mode=`.
    pub check_mode: CheckMode,
    /// `fsck.repair=`.
    pub check_repair: CheckRepair,
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
            grows: words.iter().any(|word| word == b"rollinit.grow"),
            check_mode: match text("fsck.mode").as_deref() {
                Some("force") => CheckMode::Force,
                Some("skip") => CheckMode::Skip,
                _ => CheckMode::Auto,
            },
            check_repair: match text("fsck.repair").as_deref() {
                Some("yes") => CheckRepair::Yes,
                Some("no") => CheckRepair::No,
                _ => CheckRepair::Preen,
            },
            init: init_of(last("init"), last("rollinit.system")),
            has_panic: last("panic").is_some(),
        }
    }
}

fn root_of(text: Option<String>) -> Result<Root, String> {
    let Some(text) = text else {
        return Err("the kernel command line has no root=".to_owned());
    };
    let (name, value) = match text.strip_prefix("/dev/disk/") {
        // What udev would have made links of.
        Some(link) => {
            let (directory, value) = link.split_once('/').unwrap_or((link, ""));
            let known = BY_LINK.iter().find(|(name, _)| *name == directory);
            (known.map_or("", |(_, word)| *word), unescape(value))
        }
        None => match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => ("", text.strip_prefix("/dev/").unwrap_or_default().to_owned()),
        },
    };
    if value.is_empty() {
        return Err(format!("root={text}: nothing is named; {ROOT_CURE}"));
    }
    match name {
        "PARTUUID" if value.contains('/') => {
            Err(format!("root={text}: a distance from a partition is not understood; {ROOT_CURE}"))
        }
        "PARTUUID" => Ok(Root::PartitionUuid(value.to_ascii_lowercase())),
        "PARTLABEL" => Ok(Root::PartitionLabel(value)),
        "UUID" => Ok(Root::Uuid(value.to_ascii_lowercase())),
        "LABEL" => Ok(Root::Label(value)),
        "" if text.starts_with("/dev/") && !value.contains('/') && !text.contains("/disk/") => {
            Ok(Root::Name(value))
        }
        _ => Err(format!("root={text}: not understood; {ROOT_CURE}")),
    }
}

/// `/dev/disk/by-label/my\x20disk`: what udev writes for bytes that do not fit into a name.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.strip_prefix(b"x").and_then(|digits| digits.get(..2));
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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

    /// UUIDs are compared in lower case; udev's links mean what they are called after; what only a
    /// person or a device mapper could find is refused by name.
    #[test]
    fn roots() {
        let root = |text: &str| parse(&format!("root={text}")).root.map(|root| root.to_string());
        let uuid = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        for (text, meant) in [
            ("PARTUUID=C12A7328-F81F-11D2-BA4B-00A0C93EC93B", format!("PARTUUID={uuid}")),
            ("UUID=C12A7328-F81F-11D2-BA4B-00A0C93EC93B", format!("UUID={uuid}")),
            ("LABEL=NixOS", "LABEL=NixOS".to_owned()),
            ("LABEL=a=b", "LABEL=a=b".to_owned()),
            ("PARTLABEL=root", "PARTLABEL=root".to_owned()),
            ("/dev/disk/by-label/my\\x20disk", "LABEL=my disk".to_owned()),
            ("/dev/disk/by-uuid/1A2B-3C4D", "UUID=1a2b-3c4d".to_owned()),
            ("/dev/disk/by-partlabel/a\\x2fb", "PARTLABEL=a/b".to_owned()),
            ("/dev/disk/by-partuuid/AB", "PARTUUID=ab".to_owned()),
            ("/dev/nvme0n1p1", "/dev/nvme0n1p1".to_owned()),
        ] {
            assert_eq!(root(text), Ok(meant));
        }
        for text in [
            "",
            "/dev/",
            "LABEL=",
            "/dev/mapper/root",
            "/dev/disk/by-id/nvme-1",
            "/dev/disk/by-label/",
            "fstab",
            "8:1",
            "PARTUUID=1-2/PARTNROFF=1",
            "/srv/root",
            "LABELLED=x",
        ] {
            let trouble = root(text).expect_err(text);
            assert!(trouble.starts_with(&format!("root={text}: ")), "{trouble}");
            assert!(trouble.contains("write root="), "{trouble}");
        }
        assert!(parse("").root.is_err());
    }

    /// systemd's words about checks, and growth only where it is asked for.
    #[test]
    fn checks_and_growth() {
        let line = parse("root=LABEL=x");
        assert_eq!((line.check_mode, line.check_repair), (CheckMode::Auto, CheckRepair::Preen));
        assert!(!line.grows);
        let line = parse("fsck.mode=force fsck.repair=yes rollinit.grow");
        assert_eq!((line.check_mode, line.check_repair), (CheckMode::Force, CheckRepair::Yes));
        assert!(line.grows);
        let line = parse("fsck.mode=skip fsck.repair=no");
        assert_eq!((line.check_mode, line.check_repair), (CheckMode::Skip, CheckRepair::No));
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
