//! Definitions in force: read at boot and at a reload, and kept beside the run-time files.
//!
//! They come from two directories: the image's or the administrator's, and one of run-time files
//! in which programs of the host define services until it goes down. A name that is in both is
//! refused in the second.
//!
//! The first supervisor of a PID 1 reads them and writes each file's bytes to
//! `definitions/HASH.toml` and, last, `definitions/index`, which names PID 1 and each service's
//! hash. A later supervisor of the same PID 1 reads those instead, so a file changed meanwhile
//! changes nothing under a running service, and `status` is what it was. A reload writes an index
//! of its own, `definitions/index-HASH`, and has PID 1 remember which it is ([`MEMO_KEY`]) behind
//! all that the reload decided: a supervisor that dies half-way leaves the old ones in force.

use service::Loaded;
use service::limits::{FILE_BYTES_MAX, SERVICES_MAX};
use service::problem::{Problem, Severity};
use service::reload::{File as Text, LoadedOver, load_over};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The key under which PID 1 keeps the name of the index in force; none: that of the boot.
pub const MEMO_KEY: &str = "@definitions";

/// The run-time directory of definitions, in the run directory.
pub const RUNTIME_DIRECTORY: &str = "services";

/// The index of a boot.
const BOOT_INDEX: &str = "index";

/// The index in bytes: a name and a hash of each of [`SERVICES_MAX`], and as many problems.
const INDEX_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes for which most definitions have room.
const TYPICAL_BYTES: usize = 2048;

/// One file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: String,
    /// Which of the two directories it is from.
    folder: usize,
    hash: String,
    bytes: Vec<u8>,
}

/// All that was found in the directories.
#[derive(Debug, Default)]
struct Found {
    sources: Vec<Source>,
    /// Definitions that are there and cannot be read: name, directory, why.
    unreadable: Vec<(String, usize, String)>,
    /// What else could not be read, one line each.
    unread: Vec<String>,
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

/// Definitions that could come into force.
#[derive(Debug)]
pub struct Fresh {
    /// As they would be in force.
    pub in_force: InForce,
    /// Names that keep the file they had, since the new one cannot be used.
    pub kept: BTreeSet<String>,
    sources: Vec<Source>,
}

/// Where definitions come from and where they are kept.
#[derive(Debug)]
pub struct Place {
    /// The directory people write to, and that of run-time files.
    pub from: [PathBuf; 2],
    /// The directory we write to.
    pub kept: PathBuf,
    /// Names one PID 1 of one boot: pid and start time.
    pub owner: String,
}

impl Place {
    /// Of a supervisor with these settings, under the PID 1 that started then.
    #[must_use]
    pub fn of(settings: &crate::settings::Settings, pid: u32, started_ns: u64) -> Self {
        Self {
            from: [settings.definitions.clone(), settings.run.join(RUNTIME_DIRECTORY)],
            kept: settings.run.join("definitions"),
            owner: format!("{pid} {started_ns}"),
        }
    }

    /// The definitions in force: those of the earlier supervisor of this PID 1, else those of the
    /// directories, which are in force from now on. `index` is what PID 1 remembers.
    ///
    /// # Errors
    /// Those of writing to the run directory.
    pub fn load(&self, index: Option<&str>) -> io::Result<InForce> {
        if let Some((sources, unread)) = self.read_kept(index.unwrap_or(BOOT_INDEX)) {
            return Ok(self.understand(sources, unread));
        }
        let mut found = Found::default();
        self.read_directory(0, &mut found).unwrap_or_else(|line| found.unread.push(line));
        self.read_directory(1, &mut found).unwrap_or_else(|line| found.unread.push(line));
        let Found { sources, unreadable, mut unread } = found;
        let line = |(name, folder, why): (String, usize, String)| {
            format!("{}: {why}", self.label(folder, &name))
        };
        unread.extend(unreadable.into_iter().map(line));
        self.keep(&sources, &unread, BOOT_INDEX)?;
        Ok(self.understand(sources, unread))
    }

    /// Reads the directories over the definitions in force, and changes nothing.
    ///
    /// # Errors
    /// A sentence: a directory cannot be read, or what is kept of the ones in force.
    pub fn reload(&self, in_force: &Loaded, index: Option<&str>) -> Result<Fresh, String> {
        let Some((former, _)) = self.read_kept(index.unwrap_or(BOOT_INDEX)) else {
            let kept = self.kept.display();
            return Err(format!("{kept}: the definitions in force are not there any more; reboot"));
        };
        let mut found = Found::default();
        self.read_directory(0, &mut found)?;
        self.read_directory(1, &mut found)?;
        let (mut files, mut unusable) = (Vec::new(), Vec::new());
        for (name, folder, why) in found.unreadable {
            let label = self.label(folder, &name);
            unusable.push((name, whole(label, why, "make it a readable file, or remove it")));
        }
        for source in &found.sources {
            match self.text(source) {
                Ok(text) => files.push(text),
                Err(problem) => unusable.push((source.name.clone(), problem)),
            }
        }
        let texts: Vec<Text> = former.iter().filter_map(|one| self.text(one).ok()).collect();
        let LoadedOver { loaded, kept } = load_over(in_force, &texts, files, unusable);
        let mut sources = former;
        sources.retain(|one| kept.contains(&one.name));
        sources.extend(found.sources.into_iter().filter(|one| !kept.contains(&one.name)));
        let hashes = hashes(&sources);
        Ok(Fresh { in_force: InForce { loaded, hashes, unread: found.unread }, kept, sources })
    }

    /// Writes what is to come into force, and returns the name of its index, for [`MEMO_KEY`].
    /// Drops what neither it nor the index in force names.
    ///
    /// # Errors
    /// Those of writing to the run directory.
    pub fn prepare(&self, fresh: &Fresh, in_force: Option<&str>) -> io::Result<String> {
        let lines: String = fresh.sources.iter().map(|one| self.index_line(one)).collect();
        let name = format!("{BOOT_INDEX}-{}", hash(lines.as_bytes()));
        let in_force = in_force.unwrap_or(BOOT_INDEX);
        let former = self.read_kept(in_force).map(|(sources, _)| sources).unwrap_or_default();
        self.keep(&fresh.sources, &fresh.in_force.unread, &name)?;
        let sources = fresh.sources.iter().chain(&former);
        let mut needed: BTreeSet<String> =
            sources.map(|one| format!("{}.toml", one.hash)).collect();
        needed.extend([name.clone(), in_force.to_owned()]);
        for entry in std::fs::read_dir(&self.kept)?.flatten() {
            if entry.file_name().to_str().is_none_or(|file| !needed.contains(file)) {
                // What is left over costs a few KiB until the next reload.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(name)
    }

    fn label(&self, folder: usize, name: &str) -> String {
        self.from[folder].join(format!("{name}.toml")).display().to_string()
    }

    /// The file as the reader of definitions takes it.
    fn text(&self, source: &Source) -> Result<Text, Problem> {
        let label = self.label(source.folder, &source.name);
        match str::from_utf8(&source.bytes) {
            Ok(text) => Ok((source.name.clone(), label, text.to_owned())),
            Err(error) => Err(not_text(label, &error)),
        }
    }

    fn understand(&self, sources: Vec<Source>, unread: Vec<String>) -> InForce {
        let mut texts = Vec::new();
        let mut broken = Vec::new();
        for source in &sources {
            match self.text(source) {
                Ok(text) => texts.push(text),
                Err(problem) => broken.push((source.name.clone(), problem)),
            }
        }
        let mut loaded = service::definition::load(texts);
        for (name, problem) in broken {
            loaded.problems.push(problem.clone());
            loaded.broken.insert(name, problem);
        }
        InForce { loaded, hashes: hashes(&sources), unread }
    }

    /// All `NAME.toml` of a directory in the order of their names, and what stands in the way.
    /// The run-time directory need not be there.
    fn read_directory(&self, folder: usize, found: &mut Found) -> Result<(), String> {
        let from = &self.from[folder];
        let entries = match std::fs::read_dir(from) {
            Ok(entries) => entries,
            Err(error) if folder == 1 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("{}: cannot be read: {error}", from.display())),
        };
        let mut names: Vec<String> = Vec::new();
        for entry in entries.flatten() {
            let path = PathBuf::from(entry.file_name());
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            match path.file_stem().and_then(|stem| stem.to_str()) {
                Some(name) => names.push(name.to_owned()),
                None => found.unread.push(format!("{}: its name is not UTF-8", path.display())),
            }
        }
        names.sort();
        let room = SERVICES_MAX.saturating_sub(found.sources.len());
        if names.len() > room {
            let (from, left) = (from.display(), names.len() - room);
            let line = format!("{from}: {left} files above the limit of {SERVICES_MAX}");
            found.unread.push(line);
            names.truncate(room);
        }
        for name in names {
            let path = from.join(format!("{name}.toml"));
            match read_capped(&path, FILE_BYTES_MAX as u64 + 1) {
                Ok(bytes) => {
                    found.sources.push(Source { hash: hash(&bytes), name, folder, bytes });
                }
                Err(error) => {
                    found.unreadable.push((name, folder, format!("cannot be read: {error}")));
                }
            }
        }
        Ok(())
    }

    fn index_line(&self, source: &Source) -> String {
        format!("service {} {} {}\n", source.folder, source.hash, source.name)
    }

    /// Writes every file, then the index: it is there only if all it names is.
    fn keep(&self, sources: &[Source], unread: &[String], name: &str) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(&self.kept)?;
        // What is in a definition may be meant for root alone, as its own file's mode may say.
        std::fs::set_permissions(&self.kept, std::fs::Permissions::from_mode(0o700))?;
        let mut index = format!("owner {}\n", self.owner);
        for source in sources {
            self.replace(&format!("{}.toml", source.hash), &source.bytes)?;
            index.push_str(&self.index_line(source));
        }
        for line in unread {
            // Writing to a string cannot fail.
            let _ = writeln!(index, "unread {}", line.replace('\n', " "));
        }
        self.replace(name, index.as_bytes())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.kept.join(format!(".{name}.new"));
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, self.kept.join(name))
    }

    /// What an earlier supervisor of this PID 1 kept; `None` if there was none.
    fn read_kept(&self, name: &str) -> Option<(Vec<Source>, Vec<String>)> {
        let index = read_capped(&self.kept.join(name), INDEX_BYTES_MAX).ok()?;
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
            let (folder, rest) = line.strip_prefix("service ")?.split_once(' ')?;
            let folder = folder.parse().ok().filter(|folder| *folder < self.from.len())?;
            let (hash, name) = rest.split_once(' ')?;
            let path = self.kept.join(format!("{hash}.toml"));
            let bytes = read_capped(&path, FILE_BYTES_MAX as u64 + 1).ok()?;
            if self::hash(&bytes) != hash {
                tracing::error!("{}: is not what was written there", path.display());
                return None;
            }
            let (name, hash) = (name.to_owned(), hash.to_owned());
            sources.push(Source { name, folder, hash, bytes });
        }
        Some((sources, unread))
    }
}

/// By name; of two files of a name the first counts.
fn hashes(sources: &[Source]) -> BTreeMap<String, String> {
    let entries = sources.iter().rev().map(|one| (one.name.clone(), one.hash.clone()));
    entries.collect()
}

fn whole(file: String, message: String, cure: &str) -> Problem {
    let (suggestion, severity) = (Some(cure.to_owned()), Severity::Error);
    Problem { file, line: 0, column: 0, message, suggestion, severity }
}

fn not_text(label: String, error: &std::str::Utf8Error) -> Problem {
    let message = format!("is not UTF-8 from byte {} on", error.valid_up_to());
    whole(label, message, "save it as UTF-8")
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

    struct Stage {
        _directory: tempfile::TempDir,
        place: Place,
    }

    impl Stage {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let from = ["image", "runtime"].map(|name| directory.path().join(name));
            std::fs::create_dir(&from[0]).expect("services");
            let kept = directory.path().join("kept");
            let place = Place { from, kept, owner: "1 5".to_owned() };
            Self { _directory: directory, place }
        }

        fn write(&self, folder: usize, name: &str, bytes: &[u8]) {
            std::fs::create_dir_all(&self.place.from[folder]).expect("directory");
            std::fs::write(self.place.from[folder].join(name), bytes).expect(name);
        }

        fn remove(&self, name: &str) {
            std::fs::remove_file(self.place.from[0].join(name)).expect(name);
        }
    }

    const TRUE: &[u8] = b"[service]\nexec = [\"/bin/true\"]\n";

    /// A file that was changed or broken after the first load changes nothing for the same PID 1,
    /// and everything for another. Files that are no definition are no service.
    #[test]
    fn what_is_in_force_stays_in_force() {
        let stage = Stage::new();
        std::fs::create_dir(stage.place.from[0].join("directory.toml")).expect("no file");
        stage.write(0, "README", b"words");
        stage.write(0, "web.toml", TRUE);
        stage.write(0, "bad.toml", b"\xff\xfe");
        let first = stage.place.load(None).expect("first");
        assert_eq!(first.hashes.keys().collect::<Vec<_>>(), ["bad", "web"]);
        assert!(first.loaded.broken["bad"].message.contains("UTF-8"));
        assert_eq!(first.unread.len(), 1);

        stage.write(0, "web.toml", b"nonsense");
        stage.remove("bad.toml");
        let again = stage.place.load(None).expect("again");
        assert_eq!(again.loaded, first.loaded);
        assert_eq!((again.hashes, again.unread), (first.hashes, first.unread));

        let other = Place { owner: "1 6".to_owned(), ..stage.place };
        let anew = other.load(None).expect("anew");
        assert_eq!(anew.hashes.keys().collect::<Vec<_>>(), ["web"]);
        assert_ne!(anew.loaded, again.loaded);
    }

    /// A directory that is not there is said, and the host still comes up; but a reload is refused,
    /// since it would take down all there is.
    #[test]
    fn a_missing_directory_is_said() {
        let stage = Stage::new();
        let place = &stage.place;
        std::fs::remove_dir(&place.from[0]).expect("remove");
        let loaded = place.load(None).expect("load");
        assert!(loaded.hashes.is_empty());
        assert!(loaded.unread[0].contains("image"));
        assert_eq!(place.load(None).expect("again").unread, loaded.unread);
        assert!(place.reload(&loaded.loaded, None).expect_err("refused").contains("image"));
    }

    /// A name of the image is the image's, whatever the run-time directory says.
    #[test]
    fn the_image_comes_first() {
        let stage = Stage::new();
        stage.write(0, "web.toml", TRUE);
        stage.write(1, "web.toml", b"[service]\nexec = [\"/bin/false\"]\n");
        stage.write(1, "cron.toml", TRUE);
        let loaded = stage.place.load(None).expect("load").loaded;
        assert_eq!(loaded.definitions["web"].exec, ["/bin/true"]);
        assert!(loaded.definitions["cron"].source.contains("runtime"));
        let [problem] = &loaded.problems[..] else { panic!("{:?}", loaded.problems) };
        assert!(problem.file.contains("runtime") && problem.message.contains("second"));
    }

    /// What a reload prepares is in force once PID 1 remembers it, and not before. What is broken,
    /// unreadable or no text keeps what it had; what is neither's any more is dropped.
    #[test]
    fn a_reload_is_in_force_when_pid_1_says_so() {
        let stage = Stage::new();
        let place = &stage.place;
        for name in ["broken", "changed", "garbled", "removed", "same", "unreadable"] {
            stage.write(0, &format!("{name}.toml"), TRUE);
        }
        let first = place.load(None).expect("first");
        stage.write(0, "broken.toml", b"[service]\nexec = 5\n");
        stage.write(0, "changed.toml", b"[service]\nexec = [\"/bin/false\"]\n");
        stage.write(0, "garbled.toml", b"\xff");
        stage.remove("unreadable.toml");
        std::fs::create_dir(place.from[0].join("unreadable.toml")).expect("directory");
        stage.remove("removed.toml");
        stage.write(1, "added.toml", TRUE);

        let fresh = place.reload(&first.loaded, None).expect("reload");
        let loaded = &fresh.in_force.loaded;
        let names: Vec<&str> = loaded.definitions.keys().map(String::as_str).collect();
        assert_eq!(names, ["added", "broken", "changed", "garbled", "same", "unreadable"]);
        assert_eq!(loaded.definitions["broken"], first.loaded.definitions["broken"]);
        assert_eq!(loaded.definitions["changed"].exec, ["/bin/false"]);
        assert_eq!(loaded.problems.len(), 3, "{:?}", loaded.problems);

        let name = place.prepare(&fresh, None).expect("prepare");
        assert_eq!(place.load(None).expect("not yet").loaded, first.loaded);
        let second = place.load(Some(&name)).expect("now").loaded;
        assert_eq!(second.definitions, loaded.definitions);

        let files = || std::fs::read_dir(&place.kept).expect("kept").count();
        assert_eq!(files(), 4, "two texts and two indexes");
        stage.write(0, "changed.toml", TRUE);
        let again = place.reload(&second, Some(&name)).expect("again");
        place.prepare(&again, Some(&name)).expect("prepare");
        assert_eq!(files(), 4, "those of the boot are gone, those in force are not");
    }
}
