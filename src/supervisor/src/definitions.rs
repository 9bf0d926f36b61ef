//! Definitions in force: read at boot and at a reload, and kept beside the run-time files.
//!
//! They come from two directories: the image's or the administrator's, and one of run-time files
//! in which programs of the host define services until it goes down. A name that is in both is
//! refused in the second. A file beside the second, `environment.toml`, lends variables to all
//! apps.
//!
//! The first supervisor of a PID 1 reads them and writes each file's bytes to
//! `definitions/HASH.toml` and, last, `definitions/index`, which names PID 1 and each service's
//! hash. A later supervisor of the same PID 1 reads those instead, so a file changed meanwhile
//! changes nothing under a running service, and `status` is what it was. A reload writes an index
//! of its own, `definitions/index-HASH`, and has PID 1 remember which it is ([`MEMO_KEY`]) behind
//! all that the reload decided: a supervisor that dies half-way leaves the old ones in force.

mod kept;

use kept::hash;
use service::Loaded;
use service::limits::{FILE_BYTES_MAX, SERVICES_MAX};
use service::problem::{Problem, Severity};
use service::reload::{File as Text, LoadedOver, load_over};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The key under which PID 1 keeps the name of the index in force; none: that of the boot.
pub const MEMO_KEY: &str = "@definitions";

/// The run-time directory of definitions, in the run directory.
pub const RUNTIME_DIRECTORY: &str = "services";

/// What the host lends to all its apps, in the run directory.
pub const ENVIRONMENT_FILE: &str = "environment.toml";

/// The index of a boot.
const BOOT_INDEX: &str = "index";

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

/// Files as they were read, or kept.
#[derive(Clone, Debug, Default)]
struct Files {
    sources: Vec<Source>,
    /// What the host lends to all apps: hash and bytes.
    environment: Option<(String, Vec<u8>)>,
    /// What could not be read, one line each.
    unread: Vec<String>,
}

/// All that was found in the directories.
#[derive(Debug, Default)]
struct Found {
    files: Files,
    /// Definitions that are there and cannot be read: name, directory, why.
    unreadable: Vec<(String, usize, String)>,
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
    /// Names whose file is not in force, since it cannot be used.
    pub refused: BTreeSet<String>,
    files: Files,
}

/// Where definitions come from and where they are kept.
#[derive(Debug)]
pub struct Place {
    /// The directory people write to, and that of run-time files.
    pub from: [PathBuf; 2],
    /// The file of variables for all apps.
    pub environment: PathBuf,
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
            environment: settings.run.join(ENVIRONMENT_FILE),
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
        if let Some(files) = self.read_kept(index.unwrap_or(BOOT_INDEX)) {
            return Ok(self.understand(files));
        }
        let mut found = Found::default();
        for folder in 0..self.from.len() {
            if let Err(line) = self.read_directory(folder, &mut found) {
                found.files.unread.push(line);
            }
        }
        if let Err(line) = self.read_environment(&mut found) {
            found.files.unread.push(line);
        }
        let Found { mut files, unreadable } = found;
        let line = |(name, folder, why): (String, usize, String)| {
            format!("{}: {why}", self.label(folder, &name))
        };
        files.unread.extend(unreadable.into_iter().map(line));
        self.keep(&files, BOOT_INDEX)?;
        Ok(self.understand(files))
    }

    /// Reads the directories over the definitions in force, and changes nothing.
    ///
    /// # Errors
    /// A sentence: a directory cannot be read, or what is kept of the ones in force.
    pub fn reload(&self, in_force: &Loaded, index: Option<&str>) -> Result<Fresh, String> {
        let Some(former) = self.read_kept(index.unwrap_or(BOOT_INDEX)) else {
            let kept = self.kept.display();
            return Err(format!("{kept}: the definitions in force are not there any more; reboot"));
        };
        let mut found = Found::default();
        self.read_directory(0, &mut found)?;
        self.read_directory(1, &mut found)?;
        self.read_environment(&mut found)?;
        let (mut texts, mut unusable) = (Vec::new(), Vec::new());
        for (name, folder, why) in found.unreadable {
            let label = self.label(folder, &name);
            unusable.push((name, whole(label, why, "make it a readable file, or remove it")));
        }
        for source in &found.files.sources {
            match self.text(source) {
                Ok(text) => texts.push(text),
                Err(problem) => unusable.push((source.name.clone(), problem)),
            }
        }
        let before: Vec<Text> =
            former.sources.iter().filter_map(|one| self.text(one).ok()).collect();
        let LoadedOver { mut loaded, kept, refused, refusals } =
            load_over(in_force, &before, texts, unusable);
        self.lend(&mut loaded, &found.files);
        let Files { sources: fresh, environment, mut unread } = found.files;
        // Lines, so that the next supervisor knows of them too.
        unread.extend(refusals.iter().map(ToString::to_string));
        let mut sources = former.sources;
        sources.retain(|one| kept.contains(&one.name));
        sources.extend(fresh.into_iter().filter(|one| !refused.contains(&one.name)));
        let in_force = InForce { loaded, hashes: hashes(&sources), unread: unread.clone() };
        Ok(Fresh { in_force, refused, files: Files { sources, environment, unread } })
    }

    /// Writes what is to come into force, and returns the name of its index, for [`MEMO_KEY`].
    /// Drops what neither it nor the index in force names.
    ///
    /// # Errors
    /// Those of writing to the run directory.
    pub fn prepare(&self, fresh: &Fresh, in_force: Option<&str>) -> io::Result<String> {
        let index = self.index(&fresh.files);
        let name = format!("{BOOT_INDEX}-{}", hash(index.as_bytes()));
        let in_force = in_force.unwrap_or(BOOT_INDEX);
        let former = self.read_kept(in_force).unwrap_or_default();
        self.keep(&fresh.files, &name)?;
        self.drop_all_but([(&name, &fresh.files), (in_force, &former)])?;
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

    fn understand(&self, files: Files) -> InForce {
        let mut texts = Vec::new();
        let mut broken = Vec::new();
        for source in &files.sources {
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
        self.lend(&mut loaded, &files);
        InForce { loaded, hashes: hashes(&files.sources), unread: files.unread }
    }

    /// Gives all apps what the host lends them, if that can be read.
    fn lend(&self, loaded: &mut Loaded, files: &Files) {
        let Some((_, bytes)) = &files.environment else { return };
        let label = self.environment.display().to_string();
        let variables = match str::from_utf8(bytes) {
            Ok(text) => service::definition::parse_environment(&label, text),
            Err(error) => Err(vec![not_text(label, &error)]),
        };
        match variables {
            Ok(variables) => loaded.lend(&variables),
            Err(problems) => loaded.problems.extend(problems),
        }
    }

    /// What the host lends to all apps, if it does.
    fn read_environment(&self, found: &mut Found) -> Result<(), String> {
        match read_capped(&self.environment, FILE_BYTES_MAX as u64) {
            Ok(bytes) => found.files.environment = Some((hash(&bytes), bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = self.environment.display();
                return Err(format!("{path}: cannot be read: {error}"));
            }
        }
        Ok(())
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
                None => {
                    found.files.unread.push(format!("{}: its name is not UTF-8", path.display()))
                }
            }
        }
        names.sort();
        let room = SERVICES_MAX.saturating_sub(found.files.sources.len());
        if names.len() > room {
            let (from, left) = (from.display(), names.len() - room);
            let line = format!("{from}: {left} files above the limit of {SERVICES_MAX}");
            found.files.unread.push(line);
            names.truncate(room);
        }
        for name in names {
            let path = from.join(format!("{name}.toml"));
            match read_capped(&path, FILE_BYTES_MAX as u64 + 1) {
                Ok(bytes) => {
                    found.files.sources.push(Source { hash: hash(&bytes), name, folder, bytes });
                }
                Err(error) => {
                    found.unreadable.push((name, folder, format!("cannot be read: {error}")));
                }
            }
        }
        Ok(())
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
            let environment = directory.path().join("environment.toml");
            let place = Place { from, environment, kept, owner: "1 5".to_owned() };
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

    /// What the host lends is every app's that does not say otherwise, from the next reload on; a
    /// mistake in it is told and lends nothing.
    #[test]
    fn apps_are_lent_variables() {
        let stage = Stage::new();
        let place = &stage.place;
        stage.write(0, "web.toml", b"[app]\nenvironment.A = 'own'\n");
        stage.write(0, "cron.toml", TRUE);
        let first = place.load(None).expect("first").loaded;
        let lend = |text: &str| std::fs::write(&place.environment, text).expect("write");
        lend("[environment]\nA = 'lent'\nB = 'lent'\n");
        assert_eq!(place.load(None).expect("kept").loaded, first);
        let fresh = place.reload(&first, None).expect("reload");
        let name = place.prepare(&fresh, None).expect("prepare");
        let loaded = place.load(Some(&name)).expect("load").loaded;
        assert_eq!(loaded, fresh.in_force.loaded);
        let environment = &loaded.apps["web"].template.environment;
        assert_eq!((environment["A"].as_str(), environment["B"].as_str()), ("own", "lent"));
        assert_eq!(loaded.definitions["cron"].environment.len(), 0);
        lend("[environment]\nA = 5\n");
        let broken = place.reload(&loaded, Some(&name)).expect("reload").in_force.loaded;
        assert_eq!((broken.problems.len(), &broken.apps), (1, &first.apps));
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
        assert_eq!(fresh.in_force.unread.len(), 3, "{:?}", fresh.in_force.unread);

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
