//! Task `machine-id`: `/etc/machine-id`, one per instance and never two alike.
//!
//! An image that carries an id gives it to every host made of it. So it is tied to what tells one
//! instance from another, which the firmware says (DMI) before there is a network:
//!
//! - On EC2 it is worked out of the instance's id: the same at each boot, also from a replaced root
//!   disk, and another on a host made from this one's image.
//! - Elsewhere it is random, kept in `/var/lib/rollinit/machine-id` with the machine's UUID beside
//!   it; on a machine of another UUID (a copied disk) a new one is made.
//!
//! Format: machine-id(5). The instance's id is on Nitro the board's asset tag and on Xen, whose
//! machine UUID begins with `ec2`, that UUID (docs.aws.amazon.com: "identify EC2 instances").

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use sha2::{Digest, Sha256};
use std::io;

/// Where it is kept: the id, and on a second line what it is tied to.
const KEPT: &str = "/var/lib/rollinit/machine-id";

/// What the firmware says.
const DMI: &str = "/sys/class/dmi/id";

/// A value of DMI, or the kept file, in bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// Hexadecimal digits of an id.
const DIGITS: usize = 32;

/// Mixed into the hash, so that the id is of no use to find the instance's and the other way round.
const DOMAIN: &str = "rollinit machine-id 1\0";

/// What tells this machine from others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    /// The cloud vouches that nobody else has it.
    Instance(String),
    /// The machine's UUID, which copies of a virtual machine may share; empty if it has none.
    Machine(String),
}

/// What was kept of an earlier boot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    id: String,
    tied_to: String,
}

/// Writes `/etc/machine-id`.
pub fn run(context: &Context, report: &mut Report) {
    match write(context) {
        Ok(summary) => report.say(summary),
        Err(problem) => report.problem(&problem),
    }
}

fn write(context: &Context) -> Result<String, Problem> {
    let identity = identity(context);
    let kept = files::read(&context.path(KEPT), TEXT_BYTES_MAX).ok();
    let kept = kept.and_then(|bytes| parse_kept(&String::from_utf8_lossy(&bytes)));
    let (id, is_new) = match &identity {
        Identity::Instance(instance) => (of_instance(instance), false),
        Identity::Machine(uuid) => match kept {
            Some(kept) if kept.tied_to == *uuid => (kept.id, false),
            _ => (random_id()?, true),
        },
    };
    let line = format!("{id}\n");
    if let (true, Identity::Machine(uuid)) = (is_new, &identity) {
        // First where it is kept: an id that was shown and then lost would be two.
        let text = format!("{line}{uuid}\n");
        let written = files::replace_for_good(&context.path(KEPT), text.as_bytes(), 0o644);
        written.map_err(|error| unwritten(KEPT, &error))?;
    }
    let etc = context.path("/etc/machine-id");
    // It is read by who may be told, and written by nobody.
    files::replace(&etc, line.as_bytes(), 0o444, None)
        .map_err(|error| unwritten("/etc/machine-id", &error))?;
    Ok(match identity {
        Identity::Instance(instance) => format!("{id}, of instance {instance}"),
        Identity::Machine(_) if is_new => format!("{id}, made now"),
        Identity::Machine(_) => format!("{id}, kept"),
    })
}

fn unwritten(path: &str, error: &io::Error) -> Problem {
    let message = format!("cannot be written: {error}");
    Problem::new(path, message, "see whether its directory is writable and its disk full")
}

fn identity(context: &Context) -> Identity {
    let value = |name: &str| {
        let bytes = files::read(&context.path(DMI).join(name), TEXT_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    judge(&value("sys_vendor"), &value("board_asset_tag"), &value("product_uuid"))
}

fn judge(vendor: &str, asset_tag: &str, uuid: &str) -> Identity {
    let uuid = uuid.to_ascii_lowercase();
    if vendor == "Amazon EC2" && is_instance_id(asset_tag) {
        Identity::Instance(asset_tag.to_owned())
    } else if uuid.starts_with("ec2") && vendor == "Xen" {
        Identity::Instance(uuid)
    } else {
        Identity::Machine(uuid)
    }
}

/// `i-` and 8 or 17 hexadecimal digits.
fn is_instance_id(text: &str) -> bool {
    let digits = text.strip_prefix("i-").unwrap_or_default();
    matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn of_instance(instance: &str) -> String {
    let hash = Sha256::digest(format!("{DOMAIN}{instance}"));
    hex(&hash[..DIGITS / 2])
}

fn random_id() -> Result<String, Problem> {
    let bytes = sys::entropy::random().map_err(|error| {
        Problem::new("getrandom(2)", format_args!("fails: {error}"), "boot a kernel since 5.6")
    })?;
    Ok(hex(&Sha256::digest(bytes.0)[..DIGITS / 2]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// None if the file is not what we write: then there is nothing to keep.
fn parse_kept(text: &str) -> Option<Kept> {
    let (id, rest) = text.split_once('\n')?;
    let fine = id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let tied_to = rest.strip_suffix('\n')?;
    fine.then(|| Kept { id: id.to_owned(), tied_to: tied_to.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn machine(root: &Path, values: &[(&str, &str)]) -> String {
        let dmi = root.join("sys/class/dmi/id");
        std::fs::create_dir_all(&dmi).expect("dmi");
        for (name, value) in values {
            std::fs::write(dmi.join(name), format!("{value}\n")).expect("a value");
        }
        std::fs::create_dir_all(root.join("etc")).expect("etc");
        let context = Context {
            root: root.to_owned(),
            toplevel: "/none".into(),
            prefix: None,
            words: Vec::new(),
        };
        write(&context).expect("written");
        let id = std::fs::read_to_string(root.join("etc/machine-id")).expect("an id");
        assert_eq!(id.trim_end().len(), DIGITS);
        assert!(id.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        id
    }

    /// On EC2 the id follows the instance and nothing that is kept: a host made from an image of
    /// this one has another id, and has this one's again on this instance.
    #[test]
    fn an_instance_has_one_id() {
        let root = tempfile::tempdir().expect("a root");
        let ec2 =
            |instance: &'static str| [("sys_vendor", "Amazon EC2"), ("board_asset_tag", instance)];
        let first = machine(root.path(), &ec2("i-0123456789abcdef0"));
        let other = machine(root.path(), &ec2("i-0123456789abcdef1"));
        assert_ne!(first, other);
        assert_eq!(first, machine(root.path(), &ec2("i-0123456789abcdef0")));
        // Known answer: it must not change from one release to the next.
        assert_eq!(first.trim_end(), of_instance("i-0123456789abcdef0"));
        assert_eq!(of_instance("i-0123456789abcdef0"), "eb6df0a0672a56398a7ec0ef430b9761");
    }

    /// Elsewhere it is kept over boots, made anew on a machine of another UUID, and made anew when
    /// what was kept is damaged. Two roots never get the same.
    #[test]
    fn a_machine_keeps_its_id() {
        let root = tempfile::tempdir().expect("a root");
        let here = [("sys_vendor", "QEMU"), ("product_uuid", "AAAA")];
        let first = machine(root.path(), &here);
        assert_eq!(machine(root.path(), &here), first);
        assert_ne!(machine(tempfile::tempdir().expect("another").path(), &here), first);
        let copied = machine(root.path(), &[("product_uuid", "BBBB")]);
        assert_ne!(copied, first);
        std::fs::write(root.path().join("var/lib/rollinit/machine-id"), "short\n").expect("break");
        assert_ne!(machine(root.path(), &[]), copied);
    }

    /// What is an instance's id, and who is believed to give one.
    #[test]
    fn who_is_an_instance() {
        let instance = |text: &str| Identity::Instance(text.to_owned());
        assert_eq!(judge("Amazon EC2", "i-01234567", "x"), instance("i-01234567"));
        assert_eq!(judge("Xen", "", "EC2E1916-9099-7CAF"), instance("ec2e1916-9099-7caf"));
        for (vendor, tag, uuid) in [
            ("Amazon EC2", "i-0123", "u"),
            ("Amazon EC2", "", "u"),
            ("QEMU", "i-0123456789abcdef0", "u"),
            ("QEMU", "", "ec2e1916-9099-7caf"),
        ] {
            assert_eq!(judge(vendor, tag, uuid), Identity::Machine(uuid.to_owned()));
        }
    }
}
