//! A system as one store path (nixos/lib/toplevel.nix): what of it a boot loader loads, and what
//! tells two of them apart.

use super::slots::Source;
use rollout::slot::{self, Entry};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// `kernel-params` in bytes: the kernel takes a command line of 4096.
const PARAMETERS_BYTES_MAX: usize = 4096;

/// The program that lets a running host become another system (docs/activate.md).
const ACTIVATE: &str = "sw/bin/rollinit-activate";

/// A system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toplevel {
    /// Its store path.
    pub path: String,
    kernel: String,
    initrd: String,
    init: String,
    parameters: String,
    can_activate: bool,
}

impl Toplevel {
    /// Reads the one at `path`, below `root`.
    ///
    /// # Errors
    /// A sentence: it is no system, or a part of it cannot be read.
    pub fn read(root: &Path, path: &str) -> Result<Self, String> {
        let inside = |name: &str| below(root, path).join(name);
        let link = |name: &str| {
            let target = fs::read_link(inside(name));
            let target = target.map_err(|error| format!("{path}/{name}: {error}"))?;
            Ok::<_, String>(target.to_string_lossy().into_owned())
        };
        let file = |name: &str| link(name).map(|target| end_of_links(root, target));
        let kernel = file("kernel").map_err(|error| {
            format!("{error}; this is no system's toplevel (it has kernel, initrd and init)")
        })?;
        let parameters = crate::disk::read_capped(&inside("kernel-params"), PARAMETERS_BYTES_MAX);
        let parameters = parameters.map_err(|error| error.to_string())?;
        Ok(Self {
            path: path.to_owned(),
            kernel,
            initrd: file("initrd")?,
            init: link("init")?,
            parameters: String::from_utf8_lossy(&parameters).trim().to_owned(),
            can_activate: inside(ACTIVATE).exists(),
        })
    }

    /// Why it takes a reboot to come from `booted` to this one, if it does.
    #[must_use]
    pub fn needs_reboot(&self, booted: &Self) -> Option<String> {
        let mut others = Vec::new();
        if self.kernel != booted.kernel {
            others.push("another kernel");
        }
        if self.initrd != booted.initrd {
            others.push("another initramfs");
        }
        if self.parameters != booted.parameters {
            others.push("other kernel parameters");
        }
        if self.init != booted.init {
            others.push("another rollinit");
        }
        if !self.can_activate {
            others.push("it cannot activate itself (rollinit.activate.enable)");
        }
        (!others.is_empty()).then(|| others.join(", "))
    }

    /// Kernel and initramfs, with their names on the boot partition.
    ///
    /// # Errors
    /// A sentence: they are not in the store, or cannot be read.
    pub fn sources(&self, root: &Path) -> Result<[Source; 2], String> {
        let source = |kind, file: &String| {
            let name = slot::content_name(kind, file)
                .ok_or_else(|| format!("{}/{kind} leads to {file}, not into a store", self.path))?;
            let from = below(root, file);
            let size = fs::metadata(&from).map(|metadata| metadata.len());
            let bytes = size.map_err(|error: io::Error| format!("{file}: {error}"))?;
            Ok::<_, String>(Source { name, from, bytes })
        };
        Ok([source("kernel", &self.kernel)?, source("initrd", &self.initrd)?])
    }

    /// Its entry as this generation. `trial_s`: PID 1 reboots out of a counted boot that was not
    /// blessed after so many seconds, whatever became of the agent.
    #[must_use]
    pub fn entry(&self, generation: u64, sources: &[Source; 2], trial_s: u64) -> Entry {
        let [kernel, initrd] = sources;
        let name = rollout::Release::new(self.path.as_str()).name().to_owned();
        let (path, parameters) = (&self.path, &self.parameters);
        Entry {
            title: format!("generation {generation}, {name}"),
            version: generation,
            linux: format!("/{}/{}", slot::FILES, kernel.name),
            initrd: vec![format!("/{}/{}", slot::FILES, initrd.name)],
            options: format!("init={path}/init {parameters} rollinit.trial={trial_s}"),
        }
    }

    /// The program that activates it.
    #[must_use]
    pub fn activate(path: &str) -> PathBuf {
        Path::new(path).join(ACTIVATE)
    }
}

/// Links of a store that lead to each other: a kernel package may have one in between.
const LINKS_MAX: usize = 8;

/// Where the last of a chain of links leads: the file that names the content.
fn end_of_links(root: &Path, mut path: String) -> String {
    for _ in 0..LINKS_MAX {
        match fs::read_link(below(root, &path)) {
            Ok(target) if target.is_absolute() => path = target.to_string_lossy().into_owned(),
            _ => break,
        }
    }
    path
}

/// A path of the store, where it lies below `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const HASH: &str = "xcajx5cwz0w9q1cxfb5m7zlqnydpxg6k";

    /// A store with a system of that name, whose kernel is another one on demand.
    fn system(root: &Path, name: &str, kernel: &str) -> Toplevel {
        let store = root.join("nix/store");
        let place = |file: &str| format!("/nix/store/{HASH}-{file}");
        for (folder, file) in [(kernel, "bzImage"), ("initrd", "initrd")] {
            let folder = below(root, &place(folder));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(file), folder.to_string_lossy().as_bytes()).expect("a file");
        }
        let path = place(name);
        let folder = below(root, &path);
        fs::create_dir_all(folder.join("sw/bin")).expect("a folder");
        symlink(format!("{}/bzImage", place(kernel)), folder.join("kernel")).expect("a link");
        symlink(format!("{}/initrd", place("initrd")), folder.join("initrd")).expect("a link");
        symlink("/nix/store/x-rollinit/bin/rollinit-init", folder.join("init")).expect("a link");
        fs::write(folder.join("kernel-params"), "console=ttyS0 panic=-1").expect("a file");
        fs::write(folder.join("sw/bin/rollinit-activate"), "").expect("a file");
        assert!(store.is_dir());
        Toplevel::read(root, &path).expect("a system")
    }

    /// The same kernel needs no reboot, another one does; the entry names both files and the
    /// whole command line.
    #[test]
    fn systems_are_compared_and_have_entries() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let (one, two) = (system(root, "one", "linux-1"), system(root, "two", "linux-1"));
        assert_eq!(two.needs_reboot(&one), None);
        let three = system(root, "three", "linux-2");
        assert_eq!(three.needs_reboot(&one).as_deref(), Some("another kernel"));
        let sources = three.sources(root).expect("sources");
        assert_eq!(sources[0].name, format!("kernel-{HASH}"));
        assert!(sources[0].bytes > 0);
        let entry = three.entry(7, &sources, 630);
        assert_eq!(entry.linux, format!("/rollinit/kernel-{HASH}"));
        let options = format!("init={}/init console=ttyS0 panic=-1 rollinit.trial=630", three.path);
        assert_eq!((entry.options, entry.version), (options, 7));
        assert_eq!(entry.title, "generation 7, three");
    }

    /// What is no system is said to be none, before anything is written anywhere.
    #[test]
    fn another_closure_is_no_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Toplevel::read(folder.path(), "/nix/store/x-web").expect_err("no system");
        assert!(error.contains("/nix/store/x-web/kernel") && error.contains("toplevel"), "{error}");
    }
}
