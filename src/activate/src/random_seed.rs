//! Task `random-seed`: the kernel's random numbers do not begin at nothing.
//!
//! Each boot takes the seed that the one before it left, and leaves another *first*: written and on
//! the disk before the old one is used, so that no two boots ever use the same, whenever the power
//! goes. The new seed is hashed out of the old one and of the kernel's own numbers.
//!
//! The seed counts as entropy (the kernel credits it) only if nobody else can have it: the kernel
//! vouched for the numbers it was made of, and it was made on this very machine, not carried here
//! by an image or a copied disk. Otherwise it is mixed in, which cannot harm.
//!
//! A seed of a moment at which the kernel does not vouch yet is followed by one of the moment at
//! which it does. Nothing is saved at the end of a boot: what is made then is as unknown to others.

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use sha2::{Digest, Sha256};
use std::io;
use sys::entropy::{self, SEED_BYTES};

/// The seed: a line with its form, one with the machine id of whom it was made for and whether the
/// kernel vouched for it, and 32 bytes.
const SEED: &str = "/var/lib/rollinit/random-seed";

/// First line of the file.
const FORM: &str = "rollinit random-seed 1";

/// The file in bytes.
const FILE_BYTES_MAX: u64 = 256;

/// `/etc/machine-id` in bytes.
const MACHINE_ID_BYTES_MAX: u64 = 64;

/// Mixed into the hash of the next seed.
const DOMAIN: &[u8] = b"rollinit random-seed 1\0";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seed {
    machine: String,
    is_sound: bool,
    bytes: [u8; SEED_BYTES],
}

/// Uses the kept seed once, after it has been replaced.
pub fn run(context: &Context, report: &mut Report) {
    match exchange(context) {
        Ok(summary) => report.say(summary),
        Err(problem) => report.problem(&problem),
    }
}

fn exchange(context: &Context) -> Result<&'static str, Problem> {
    let path = context.path(SEED);
    let kept = match files::read(&path, FILE_BYTES_MAX) {
        Ok(bytes) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(trouble(SEED, "read", &error)),
    };
    let machine = files::read(&context.path("/etc/machine-id"), MACHINE_ID_BYTES_MAX);
    let machine = String::from_utf8_lossy(&machine.unwrap_or_default()).trim().to_owned();
    let (random, is_sound) =
        entropy::random().map_err(|error| trouble("getrandom(2)", "asked", &error))?;
    let leave = |kept: Option<&Seed>, random, is_sound| {
        let seed = Seed { machine: machine.clone(), is_sound, bytes: next(kept, &random) };
        files::replace_for_good(&path, &encode(&seed), 0o600).map(|()| seed)
    };
    let left = leave(kept.as_ref(), random, is_sound)
        .map_err(|error| trouble(SEED, "replaced, so the old one is not used", &error))?;
    let used = match &kept {
        None => "none was kept; one is now",
        Some(kept) => {
            let credit = kept.is_sound && !machine.is_empty() && kept.machine == machine;
            entropy::seed(&kept.bytes, credit)
                .map_err(|error| trouble("the kernel", "seeded", &error))?;
            if credit {
                "used, and counted"
            } else {
                "used, not counted: of elsewhere or too early"
            }
        }
    };
    if !is_sound {
        let random = entropy::random_when_ready();
        let random = random.map_err(|error| trouble("getrandom(2)", "asked", &error))?;
        leave(Some(&left), random, true).map_err(|error| trouble(SEED, "replaced", &error))?;
    }
    Ok(used)
}

fn trouble(object: &str, verb: &str, error: &io::Error) -> Problem {
    let message = format!("cannot be {verb}: {error}");
    Problem::new(object, message, "see whether /var/lib/rollinit is writable and its disk full")
}

fn next(kept: Option<&Seed>, random: &[u8; SEED_BYTES]) -> [u8; SEED_BYTES] {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(kept.map_or(&[][..], |seed| &seed.bytes));
    hash.update(random);
    hash.finalize().into()
}

fn encode(seed: &Seed) -> Vec<u8> {
    let sound = if seed.is_sound { "sound" } else { "early" };
    let mut bytes = format!("{FORM}\n{} {sound}\n", seed.machine).into_bytes();
    bytes.extend(seed.bytes);
    bytes
}

/// None for what is not a seed of ours: it is replaced, and not used.
fn parse(bytes: &[u8]) -> Option<Seed> {
    let rest = bytes.strip_prefix(FORM.as_bytes())?.strip_prefix(b"\n")?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (machine, sound) = std::str::from_utf8(&rest[..end]).ok()?.split_once(' ')?;
    let is_sound = match sound {
        "sound" => true,
        "early" => false,
        _ => return None,
    };
    let bytes = rest[end + 1..].try_into().ok()?;
    Some(Seed { machine: machine.to_owned(), is_sound, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn context(root: &Path) -> Context {
        Context { root: root.into(), toplevel: "/none".into(), prefix: None, words: Vec::new() }
    }

    fn kept(root: &Path) -> Seed {
        parse(&std::fs::read(root.join("var/lib/rollinit/random-seed")).expect("kept"))
            .expect("ours")
    }

    /// Each call leaves another seed; it counts only on the machine that it was made for. (Without
    /// privilege nothing can be counted: then the call says so.)
    #[test]
    fn a_seed_is_used_once_and_counts_at_home() {
        let root = tempfile::tempdir().expect("a root");
        std::fs::create_dir(root.path().join("etc")).expect("etc");
        let is = |id: &str| std::fs::write(root.path().join("etc/machine-id"), id).expect("an id");
        is("aaaa\n");
        assert_eq!(exchange(&context(root.path())), Ok("none was kept; one is now"));
        let first = kept(root.path());
        assert!(first.is_sound && first.machine == "aaaa");
        match exchange(&context(root.path())) {
            Ok(summary) => assert_eq!(summary, "used, and counted"),
            Err(problem) => assert_eq!(problem.object, "the kernel"),
        }
        assert_ne!(kept(root.path()).bytes, first.bytes);
        is("bbbb\n");
        let elsewhere = exchange(&context(root.path())).expect("used");
        assert!(elsewhere.contains("not counted"));
        assert_eq!(kept(root.path()).machine, "bbbb");
    }

    /// A seed that cannot be replaced is not used: the next boot would use it again.
    #[test]
    fn no_seed_is_used_that_stays() {
        let root = tempfile::tempdir().expect("a root");
        std::fs::create_dir_all(root.path().join("var/lib/rollinit/.random-seed.rollinit-new"))
            .expect("a directory where the new file should be");
        std::fs::write(root.path().join("var/lib/rollinit/random-seed"), "").expect("a file");
        let problem = exchange(&context(root.path())).expect_err("it cannot be replaced");
        assert!(problem.message.contains("is not used"), "{problem}");
    }

    /// What is cut, longer, or somebody else's is no seed.
    #[test]
    fn only_our_own_form_is_read() {
        let seed = Seed { machine: "ab".to_owned(), is_sound: true, bytes: [7; SEED_BYTES] };
        let bytes = encode(&seed);
        assert_eq!(parse(&bytes), Some(seed));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), None, "{length}");
        }
        assert_eq!(parse(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(parse(&[0; 512]), None);
    }
}
