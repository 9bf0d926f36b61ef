//! Definitions in force: read once in a machine's life, then kept beside the run-time files.
//!
//! The first supervisor of a PID 1 reads the directory of definitions and writes each file's bytes
//! to `definitions/HASH.toml` and, last, `definitions/index`, which names PID 1 and each service's
//! hash. A later supervisor of the same PID 1 reads those instead, so a file changed meanwhile
//! changes nothing under a running service, and `status` is what it was.

use service::Loaded;
use service::limits::{FILE_BYTES_MAX, SERVICES_MAX};
use service::problem::{Problem, Severity};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The index in bytes: a name and a hash of each of [`SERVICES_MAX`], and as many problems.
const INDEX_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes for which most definitions have room.
const TYPICAL_BYTES: usize = 2048;

/// One file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: String,
    hash: String,
    bytes: Vec<u8>,
}

/// What all services are run by.
#[derive(Debug, Default)]
pub struct InForce {
    /// The definitions, and what is wrong with them.
    pub loaded: Loaded,
    /// Hash of each service's file.
    pub hashes: BTreeMap<String, String>,
    /// What could not be read at all, one line each.
    pub unread: Vec<String>,
}

/// Where definitions come from and where they are kept.
#[derive(Debug)]
pub struct Place {
    /// The directory people write to.
    pub from: PathBuf,
    /// The directory we write to.
    pub kept: PathBuf,
    /// Names one PID 1 of one boot: pid and start time.
    pub owner: String,
}

impl Place {
    /// The definitions in force: those of the earlier supervisor of this PID 1, else those of the
    /// directory, which are in force from now on.
    ///
    /// # Errors
    /// Those of writing to the run directory.
    pub fn load(&self) -> io::Result<InForce> {
        if let Some((sources, unread)) = self.read_kept() {
            return Ok(self.understand(sources, unread));
        }
        let (sources, unread) = self.read_directory();
        self.keep(&sources, &unread)?;
        Ok(self.understand(sources, unread))
    }

    fn understand(&self, sources: Vec<Source>, unread: Vec<String>) -> InForce {
        let mut texts = Vec::new();
        let mut broken = Vec::new();
        let mut hashes = BTreeMap::new();
        for source in sources {
            let label = self.from.join(format!("{}.toml", source.name)).display().to_string();
            hashes.insert(source.name.clone(), source.hash);
            match String::from_utf8(source.bytes) {
                Ok(text) => texts.push((source.name, label, text)),
                Err(error) => broken.push((source.name, not_text(label, &error))),
            }
        }
        let mut loaded = service::definition::load(texts);
        for (name, problem) in broken {
            loaded.problems.push(problem.clone());
            loaded.broken.insert(name, problem);
        }
        InForce { loaded, hashes, unread }
    }

    /// All `NAME.toml` of the directory in the order of their names, and what stands in the way.
    fn read_directory(&self) -> (Vec<Source>, Vec<String>) {
        let (mut sources, mut unread) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(&self.from) {
            Ok(entries) => entries,
            Err(error) => {
                unread.push(format!("{}: cannot be read: {error}", self.from.display()));
                return (sources, unread);
            }
        };
        let mut names: Vec<String> = Vec::new();
        for entry in entries.flatten() {
            let path = PathBuf::from(entry.file_name());
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            match path.file_stem().and_then(|stem| stem.to_str()) {
                Some(name) => names.push(name.to_owned()),
                None => unread.push(format!("{}: its name is not UTF-8", path.display())),
            }
        }
        names.sort();
        if names.len() > SERVICES_MAX {
            let left = names.len() - SERVICES_MAX;
            let from = self.from.display();
            unread.push(format!("{from}: {left} files above the limit of {SERVICES_MAX}"));
            names.truncate(SERVICES_MAX);
        }
        for name in names {
            let path = self.from.join(format!("{name}.toml"));
            match read_capped(&path, FILE_BYTES_MAX as u64 + 1) {
                Ok(bytes) => sources.push(Source { hash: hash(&bytes), name, bytes }),
                Err(error) => unread.push(format!("{}: cannot be read: {error}", path.display())),
            }
        }
        (sources, unread)
    }

    /// Writes every file, then the index: it is there only if all it names is.
    fn keep(&self, sources: &[Source], unread: &[String]) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(&self.kept)?;
        // What is in a definition may be meant for root alone, as its own file's mode may say.
        std::fs::set_permissions(&self.kept, std::fs::Permissions::from_mode(0o700))?;
        let mut index = format!("owner {}\n", self.owner);
        for source in sources {
            self.replace(&format!("{}.toml", source.hash), &source.bytes)?;
            // Writing to a string cannot fail.
            let _ = writeln!(index, "service {} {}", source.hash, source.name);
        }
        for line in unread {
            let _ = writeln!(index, "unread {}", line.replace('\n', " "));
        }
        self.replace("index", index.as_bytes())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.kept.join(format!(".{name}.new"));
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, self.kept.join(name))
    }

    /// What an earlier supervisor of this PID 1 kept; `None` if there was none.
    fn read_kept(&self) -> Option<(Vec<Source>, Vec<String>)> {
        let index = read_capped(&self.kept.join("index"), INDEX_BYTES_MAX).ok()?;
        let index = String::from_utf8(index).ok()?;
        let mut lines = index.lines();
        if lines.next()?.strip_prefix("owner ")? != self.owner {
            return None;
        }
        let (mut sources, mut unread) = (Vec::new(), Vec::new());
        for line in lines {
            if let Some(line) = line.strip_prefix("unread ") {
                unread.push(line.to_owned());
                continue;
            }
            let (hash, name) = line.strip_prefix("service ")?.split_once(' ')?;
            let path = self.kept.join(format!("{hash}.toml"));
            let bytes = read_capped(&path, FILE_BYTES_MAX as u64 + 1).ok()?;
            if self::hash(&bytes) != hash {
                tracing::error!("{}: is not what was written there", path.display());
                return None;
            }
            sources.push(Source { name: name.to_owned(), hash: hash.to_owned(), bytes });
        }
        Some((sources, unread))
    }
}

fn not_text(label: String, error: &std::string::FromUtf8Error) -> Problem {
    let at = error.utf8_error().valid_up_to();
    let message = format!("is not UTF-8 from byte {at} on");
    let suggestion = Some("save it as UTF-8".to_owned());
    Problem { file: label, line: 0, column: 0, message, suggestion, severity: Severity::Error }
}

/// A regular file's first bytes. Nothing else is opened: a FIFO would hold us.
fn read_capped(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    // With room at hand the reader asks for all of it at once, and not for 32 bytes first.
    let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// FNV-1a, 128 bits, in hex (<http://www.isthe.com/chongo/tech/comp/fnv/>): names a file by its
/// content on one host for one boot. Who could forge a collision is root already.
fn hash(bytes: &[u8]) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash =
        bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vectors of FNV-1a with 128 bits.
    #[test]
    fn hash_is_the_published_one() {
        assert_eq!(hash(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(hash(b"a"), "d228cb696f1a8caf78912b704e4a8964");
    }

    /// A file that was changed or broken after the first load changes nothing for the same PID 1,
    /// and everything for another. Files that are no definition are no service.
    #[test]
    fn what_is_in_force_stays_in_force() {
        let directory = tempfile::tempdir().expect("directory");
        let (from, kept) = (directory.path().join("services"), directory.path().join("kept"));
        std::fs::create_dir(&from).expect("services");
        std::fs::create_dir(from.join("directory.toml")).expect("no file");
        std::fs::write(from.join("README"), b"words").expect("no definition");
        std::fs::write(from.join("web.toml"), b"[service]\nexec = [\"/bin/a\"]\n").expect("web");
        std::fs::write(from.join("bad.toml"), b"\xff\xfe").expect("bad");
        let place = Place { from, kept, owner: "1 5".to_owned() };
        let first = place.load().expect("first");
        assert_eq!(first.hashes.keys().collect::<Vec<_>>(), ["bad", "web"]);
        assert!(first.loaded.broken["bad"].message.contains("UTF-8"));
        assert_eq!(first.unread.len(), 1);

        std::fs::write(place.from.join("web.toml"), b"nonsense").expect("change");
        std::fs::remove_file(place.from.join("bad.toml")).expect("remove");
        let again = place.load().expect("again");
        assert_eq!(again.loaded, first.loaded);
        assert_eq!((again.hashes, again.unread), (first.hashes, first.unread));

        let other = Place { owner: "1 6".to_owned(), ..place };
        let anew = other.load().expect("anew");
        assert_eq!(anew.hashes.keys().collect::<Vec<_>>(), ["web"]);
        assert_ne!(anew.loaded, again.loaded);
    }

    /// A directory that is not there is said, and the host still comes up.
    #[test]
    fn a_missing_directory_is_said() {
        let directory = tempfile::tempdir().expect("directory");
        let (from, kept) = (directory.path().join("none"), directory.path().join("kept"));
        let place = Place { from, kept, owner: String::new() };
        let loaded = place.load().expect("load");
        assert!(loaded.hashes.is_empty());
        assert!(loaded.unread[0].contains("none"));
        assert_eq!(place.load().expect("again").unread, loaded.unread);
    }
}
