//! Drivers for the devices of this machine, out of a tree of modules: that of the image for
//! stage 1, that of the system afterwards.
//!
//! Some modules are listed to be loaded in any case. The others load when a device says, by its
//! modalias, that it wants them, or when a file system of their kind is to be mounted.

use crate::modules::{Index, name_of};
use crate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use sys::module::{self, Loaded};

/// Modules that did not load, named in one line.
const TROUBLES_MAX: usize = 4;

/// Directories within directories below `/sys/devices` that are walked. A disk behind two bridges
/// lies a dozen deep.
const DEPTH_MAX: usize = 32;

/// What is loaded, and what did not load.
#[derive(Debug, Default)]
pub struct Drivers {
    tree: PathBuf,
    index: Index,
    settings: Settings,
    /// Asked of the kernel already, and whether it is there now.
    tried: BTreeMap<PathBuf, bool>,
    loaded: usize,
    already: usize,
    troubles: Vec<String>,
}

/// What came of a module that was asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It is there now, or one of those that share the name as an alias.
    There,
    /// None of them loads.
    Failed,
    /// No module has this name.
    Unknown,
}

impl Drivers {
    /// Reads which modules `tree` has; without an index there are none but the listed ones.
    #[must_use]
    pub fn open(tree: &Path, settings: Settings) -> Self {
        let mut drivers = Self { tree: tree.to_owned(), settings, ..Self::default() };
        match Index::read(tree) {
            Ok(index) => drivers.index = index,
            Err(error) => drivers.troubles.push(error.to_string()),
        }
        drivers
    }

    /// Loads the files that `list` names, one a line, in its order.
    pub fn load_listed(&mut self, list: &Path) {
        match fs::read_to_string(list) {
            Ok(text) => {
                for name in text.lines().filter(|name| !name.is_empty()) {
                    self.load(Path::new(name));
                }
            }
            Err(error) => self.troubles.push(format!("read {}: {error}", list.display())),
        }
    }

    /// Loads a module by its name, or whatever has that name as an alias. What it wants beside and
    /// can do without, as xfs can without this processor's own checksums, makes no failure.
    pub fn load_named(&mut self, name: &str) -> Named {
        let mut orders: Vec<Vec<PathBuf>> = self.index.order([name]).into_iter().collect();
        if orders.is_empty() {
            let names = self.index.matching(name).into_iter();
            orders = names.filter_map(|name| self.index.order([name]).ok()).collect();
        }
        let known = !orders.is_empty();
        let mut there = false;
        for order in orders {
            // Its own file is the last; what is built into the kernel has none, and is there.
            there |= order.iter().map(|file| self.load(file)).last().unwrap_or(true);
        }
        match (known, there) {
            (false, _) => Named::Unknown,
            (true, false) => Named::Failed,
            (true, true) => Named::There,
        }
    }

    /// Loads what the devices that are there already want.
    pub fn load_for_all(&mut self) {
        let mut wanted = BTreeSet::new();
        gather(Path::new("/sys/devices"), DEPTH_MAX, &mut wanted);
        for modalias in &wanted {
            self.load_for(modalias);
        }
    }

    /// Loads what a device that says `modalias` wants, or what the kernel would ask for by a name
    /// such as `fs-xfs`.
    pub fn load_for(&mut self, modalias: &str) {
        let wanted = self.index.matching(modalias).into_iter();
        let wanted = wanted.filter(|name| !self.settings.is_refused(name));
        for file in self.index.order(wanted).unwrap_or_default() {
            self.load(&file);
        }
    }

    /// Loads a file, once; whether its module is there now.
    fn load(&mut self, file: &Path) -> bool {
        if let Some(there) = self.tried.get(file) {
            return *there;
        }
        let parameters = self.settings.parameters(&name_of(&file.to_string_lossy()));
        match module::load_with(&self.tree.join(file), &parameters) {
            Ok(Loaded::Now) => self.loaded += 1,
            Ok(Loaded::Already) => self.already += 1,
            Err(error) => {
                self.troubles.push(format!("{}: {error}", file.display()));
                self.tried.insert(file.to_owned(), false);
                return false;
            }
        }
        self.tried.insert(file.to_owned(), true);
        true
    }

    /// How many modules this one has loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.loaded
    }

    /// How it went so far, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("modules: {} loaded, {} there before", self.loaded, self.already)
    }

    /// What did not load, in one line if there is any. Whether it matters shows when the root is
    /// looked for.
    #[must_use]
    pub fn troubles(&self) -> Option<String> {
        let some: Vec<&str> = self.troubles.iter().take(TROUBLES_MAX).map(String::as_str).collect();
        let more = self.troubles.len() - some.len();
        (!some.is_empty())
            .then(|| format!("modules that did not load: {}; {more} more", some.join("; ")))
    }
}

/// Every `modalias` below a directory of sysfs. Links are not followed: they lead back.
fn gather(directory: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            gather(&entry.path(), depth - 1, found);
        } else if kind.is_file()
            && entry.file_name() == "modalias"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.insert(text.trim_end().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Modaliases are found at every depth, each once, and links that lead back end nowhere.
    #[test]
    fn devices_say_what_they_want() {
        let root = tempfile::tempdir().expect("a folder");
        let inner = root.path().join("pci0000:00/0000:00:03.0/virtio0");
        fs::create_dir_all(&inner).expect("folders");
        fs::write(inner.join("modalias"), "virtio:d00000002v00001AF4\n").expect("a file");
        let outer = root.path().join("pci0000:00/0000:00:03.0/modalias");
        fs::write(outer, "pci:v00001AF4d00001042\n").expect("a file");
        symlink(root.path(), inner.join("subsystem")).expect("a link");
        let mut found = BTreeSet::new();
        gather(root.path(), DEPTH_MAX, &mut found);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["pci:v00001AF4d00001042", "virtio:d00000002v00001AF4"]);
    }

    /// What the kernel asked for counts, not what that would like to have beside it: here the
    /// wanted module is built in, and the soft dependency is a file that no kernel takes.
    #[test]
    fn the_named_module_counts() {
        let aliases = "alias fs-there there\nalias fs-none none\n";
        let index = Index::parse("none.ko:\n", "there.ko\n", "softdep there pre: none\n", aliases);
        let mut drivers = Drivers { index, ..Drivers::default() };
        assert_eq!(drivers.load_named("fs-there"), Named::There);
        assert_eq!(drivers.load_named("fs-none"), Named::Failed);
        assert_eq!(drivers.load_named("none"), Named::Failed, "it is not asked for again");
        assert_eq!(drivers.load_named("fs-other"), Named::Unknown);
    }

    /// A module is asked for once, however many devices want it; what failed is named.
    #[test]
    fn modules_are_tried_once() {
        let index = Index::parse("none.ko:\n", "", "", "alias x:* none\nalias y none\n");
        let mut drivers = Drivers { index, ..Drivers::default() };
        for modalias in ["x:1", "x:2", "y", "z"] {
            drivers.load_for(modalias);
        }
        assert_eq!(drivers.tried.len(), 1);
        let troubles = drivers.troubles().expect("there is no such file");
        assert!(troubles.starts_with("modules that did not load: none.ko: "), "{troubles}");
        assert!(troubles.ends_with("; 0 more"), "{troubles}");
    }
}
