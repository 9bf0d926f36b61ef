//! Which kernel modules an image needs, and in which order they load.
//!
//! Reads what depmod(8) wrote beside the modules: `modules.dep` (each module and what it needs, the
//! first to be loaded last), `modules.builtin` (what is in the kernel already), `modules.softdep`
//! and `modules.alias`. Sources: modules.dep(5), modprobe.d(5).

use crate::alias::Aliases;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One of depmod's files in bytes; a distribution kernel's `modules.dep` has some 500 KB.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What depmod knows of a kernel's modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// By module name: its file and the files it needs, relative to the tree.
    modules: BTreeMap<String, Module>,
    /// Names that are in the kernel itself.
    builtin: BTreeSet<String>,
    /// By module name: modules that should be loaded before it, if they exist.
    soft: BTreeMap<String, Vec<String>>,
    aliases: Aliases,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Module {
    file: PathBuf,
    /// In the order in which they must load.
    needs: Vec<PathBuf>,
}

/// Some modules of a tree in depmod's words, with all of them in one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// `modules.dep`.
    pub dependencies: String,
    /// `modules.softdep`.
    pub soft: String,
    /// `modules.alias`.
    pub aliases: String,
}

/// A module that is neither in the tree nor in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.0;
        write!(f, "kernel module {name}: neither in modules.dep nor in modules.builtin; ")?;
        write!(f, "leave it out of the wanted ones, or point at the tree of the right kernel")
    }
}

impl std::error::Error for Missing {}

impl Index {
    /// Reads depmod's files in `tree`, which is `…/lib/modules/VERSION`.
    ///
    /// # Errors
    /// Those of reading `modules.dep`, and of the others other than that they are absent.
    pub fn read(tree: &Path) -> io::Result<Self> {
        let dependencies = read_capped(&tree.join("modules.dep"))?;
        let optional = |name| match read_capped(&tree.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        let (builtin, soft) = (optional("modules.builtin")?, optional("modules.softdep")?);
        Ok(Self::parse(&dependencies, &builtin, &soft, &optional("modules.alias")?))
    }

    /// From the text of depmod's four files. Lines of another form are none of ours.
    #[must_use]
    pub fn parse(dependencies: &str, builtin: &str, soft: &str, aliases: &str) -> Self {
        let mut index = Self { aliases: Aliases::parse(aliases), ..Self::default() };
        for (file, needs) in dependencies.lines().filter_map(|line| line.split_once(':')) {
            let needs = needs.split_ascii_whitespace().rev().map(PathBuf::from).collect();
            index.modules.insert(name_of(file), Module { file: file.into(), needs });
        }
        index.builtin = builtin.lines().map(name_of).collect();
        for line in soft.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("softdep"), Some(name)) = (words.next(), words.next()) {
                // "pre: a b post: c"; what comes after needs no place in the order.
                let before = words.skip_while(|word| *word != "pre:").skip(1);
                let before = before.take_while(|word| *word != "post:").map(name_of);
                index.soft.entry(name_of(name)).or_default().extend(before);
            }
        }
        index
    }

    /// Modules for a device's `MODALIAS`, or for a name that the kernel asks for (`fs-vfat`).
    #[must_use]
    pub fn matching(&self, modalias: &str) -> Vec<&str> {
        self.aliases.matching(modalias)
    }

    /// Files to load for the wanted modules, in order, each once; what is in the kernel needs none.
    ///
    /// # Errors
    /// The first wanted module that does not exist.
    pub fn order<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<PathBuf>, Missing> {
        let mut files = Vec::new();
        for name in wanted {
            let name = name_of(name);
            if !self.modules.contains_key(&name) && !self.builtin.contains(&name) {
                return Err(Missing(name));
            }
            self.add(&name, &mut files, &mut BTreeSet::new());
        }
        Ok(files)
    }

    /// What depmod says of these files alone, which hold all that each of them needs.
    #[must_use]
    pub fn of(&self, files: &[PathBuf]) -> Kept {
        let base =
            |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut kept = Kept::default();
        for (name, module) in &self.modules {
            if !files.contains(&module.file) {
                continue;
            }
            let needs = module.needs.iter().rev().map(|file| format!(" {}", base(file)));
            kept.dependencies += &format!("{}:{}\n", base(&module.file), needs.collect::<String>());
            if let Some(soft) = self.soft.get(name) {
                kept.soft += &format!("softdep {name} pre: {}\n", soft.join(" "));
            }
        }
        let is_kept =
            |name: &str| self.modules.get(name).is_some_and(|module| files.contains(&module.file));
        kept.aliases = self.aliases.lines_of(is_kept);
        kept
    }

    /// Adds a module behind all that it needs. `visited` ends a circle of soft dependencies.
    fn add(&self, name: &str, files: &mut Vec<PathBuf>, visited: &mut BTreeSet<String>) {
        let Some(module) = self.modules.get(name) else { return };
        if !visited.insert(name.to_owned()) {
            return;
        }
        for before in self.soft.get(name).into_iter().flatten() {
            self.add(before, files, visited);
            // Most soft dependencies are names of algorithms: `libcrc32c` wants `crc32c`.
            for named in self.aliases.matching(before) {
                self.add(named, files, visited);
            }
        }
        for needed in &module.needs {
            self.add(&name_of(&needed.to_string_lossy()), files, visited);
        }
        if !files.contains(&module.file) {
            files.push(module.file.clone());
        }
    }
}

/// `kernel/drivers/block/virtio-blk.ko.xz` → `virtio_blk`: the kernel takes `-` and `_` for the
/// same.
#[must_use]
pub fn name_of(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    let name = file.split(".ko").next().unwrap_or(file);
    name.replace('-', "_")
}

fn read_capped(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(named)?;
    file.take(INDEX_BYTES_MAX).read_to_string(&mut text).map_err(named)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
virtio_pci.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
virtio-blk.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/fs/a.ko:
kernel/fs/b.ko:
";

    fn order(wanted: &[&str]) -> Result<Vec<String>, Missing> {
        let soft = "# a comment\nsoftdep a pre: b none post: virtio\nsoftdep b pre: a\n\
            softdep virtio_pci pre: crypto-x\n";
        let aliases = "alias crypto-x b\nalias virtio:d00000002v* virtio_blk\n";
        let index = Index::parse(DEPENDENCIES, "kernel/drivers/nvme/nvme.ko\n", soft, aliases);
        let files = index.order(wanted.iter().copied())?;
        Ok(files.iter().map(|file| name_of(&file.to_string_lossy())).collect())
    }

    /// What a module needs comes before it, each module once, and `-` is `_`.
    #[test]
    fn needed_modules_come_first() {
        let expected = ["virtio_ring", "virtio", "virtio_blk", "a", "b", "virtio_pci"];
        assert_eq!(order(&["virtio-blk", "virtio_pci"]).expect("all exist"), expected);
    }

    /// What is in the kernel is no file, and what is nowhere is an error that names it.
    #[test]
    fn builtin_and_missing() {
        assert!(order(&["nvme"]).expect("it is in the kernel").is_empty());
        let error = order(&["virtio", "xfs"]).expect_err("there is no xfs");
        assert!(error.to_string().starts_with("kernel module xfs: neither"), "{error}");
    }

    /// What is written for an image names the same modules in the same order, in one directory.
    #[test]
    fn some_of_it_is_read_again() {
        let soft = "softdep virtio_blk pre: a\n";
        let aliases = "alias virtio:d00000002v* virtio_blk\nalias fs-b b\n";
        let index = Index::parse(DEPENDENCIES, "", soft, aliases);
        let files = index.order(["virtio_blk"]).expect("it exists");
        let kept = index.of(&files);
        let again = Index::parse(&kept.dependencies, "", &kept.soft, &kept.aliases);
        let named = again.matching("virtio:d00000002v00001AF4");
        let expected = ["a.ko", "virtio_ring.ko", "virtio.ko", "virtio-blk.ko.xz"];
        let order = again.order(named).expect("all are there");
        assert_eq!(order, expected.map(PathBuf::from));
        assert!(again.matching("fs-b").is_empty(), "that module was not kept");
        assert!(again.order(["b"]).is_err());
    }

    /// A soft dependency comes first, one that is nowhere is left out, and a circle ends.
    #[test]
    fn soft_dependencies() {
        assert_eq!(order(&["a"]).expect("both exist"), ["b", "a"]);
    }
}
