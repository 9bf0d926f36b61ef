//! The layout of the image: what `rollinit-mkinitrd` puts in and stage 1 finds.

use crate::modules::Index;
use crate::newc::Archive;
use std::io;
use std::path::Path;

/// Where the modules lie in the image.
pub const MODULES_DIRECTORY: &str = "/lib/modules";

/// The list of files in [`MODULES_DIRECTORY`], one a line, in the order in which they load.
pub const MODULES_LIST: &str = "/lib/modules/modules.load";

/// The program that checks ext2, ext3 and ext4, where the image has it.
pub const CHECKER: &str = "/bin/e2fsck";

/// Where stage 1 mounts the real root.
pub const ROOT_DIRECTORY: &str = "/root";

/// What goes into an image.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The program that becomes `/init`: `rollinit-stage1`, static.
    pub stage1: &'a Path,
    /// The module tree `…/lib/modules/VERSION`; none: an image without modules.
    pub modules: Option<&'a Path>,
    /// Modules to load in any case, by name. What they need comes with them.
    pub wanted: &'a [String],
    /// Modules to load when a device or a file system wants them.
    pub available: &'a [String],
    /// A static e2fsck, which becomes [`CHECKER`].
    pub checker: Option<&'a Path>,
}

/// Gathers an image.
///
/// # Errors
/// Those of reading the parts, each with the path; a wanted module that does not exist.
pub fn gather(content: &Content<'_>) -> io::Result<Archive> {
    let mut archive = Archive::default();
    for directory in ["/dev", "/proc", "/sys", "/run", ROOT_DIRECTORY, MODULES_DIRECTORY] {
        archive.directory(directory).map_err(io::Error::other)?;
    }
    // Without it the kernel starts /init with no standard streams (admin-guide/devices.txt).
    archive.character_device("/dev/console", 0o600, 5, 1).map_err(io::Error::other)?;
    archive.character_device("/dev/null", 0o666, 1, 3).map_err(io::Error::other)?;
    archive.file("/init", true, read(content.stage1)?).map_err(io::Error::other)?;
    if let Some(checker) = content.checker {
        archive.file(CHECKER, true, read(checker)?).map_err(io::Error::other)?;
    }
    if let Some(tree) = content.modules {
        gather_modules(&mut archive, content, tree)?;
    } else if let Some(name) = content.wanted.iter().chain(content.available).next() {
        let text = format!("kernel module {name} is wanted, but no module tree is given");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    } else {
        archive.file(MODULES_LIST, false, Vec::new()).map_err(io::Error::other)?;
    }
    Ok(archive)
}

/// Adds the modules, the list of those that load in any case, and what depmod says of all.
fn gather_modules(archive: &mut Archive, content: &Content<'_>, tree: &Path) -> io::Result<()> {
    let index = Index::read(tree)?;
    let names = |list: &[String]| index.order(list.iter().map(String::as_str));
    let wanted = names(content.wanted).map_err(io::Error::other)?;
    let mut files = wanted.clone();
    let available = names(content.available).map_err(io::Error::other)?;
    files.extend(available.into_iter().filter(|file| !wanted.contains(file)));
    let mut add = |name: &str, bytes: Vec<u8>| {
        let path = format!("{MODULES_DIRECTORY}/{name}");
        archive.file(path, false, bytes).map_err(io::Error::other)
    };
    for file in &files {
        add(&base_name(file), read(&tree.join(file))?)?;
    }
    let list: String = wanted.iter().map(|file| base_name(file) + "\n").collect();
    add("modules.load", list.into_bytes())?;
    let kept = index.of(&files);
    add("modules.dep", kept.dependencies.into_bytes())?;
    add("modules.softdep", kept.soft.into_bytes())?;
    add("modules.alias", kept.aliases.into_bytes())
}

/// Modules have names of their own, so that all of them fit into one directory.
fn base_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
