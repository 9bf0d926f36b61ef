//! The layout of the image: what `rollinit-mkinitrd` puts in and stage 1 finds.

use crate::modules::Index;
use crate::newc::Archive;
use std::io;
use std::path::Path;

/// Where the modules lie in the image.
pub const MODULES_DIRECTORY: &str = "/lib/modules";

/// The list of files in [`MODULES_DIRECTORY`], one a line, in the order in which they load.
pub const MODULES_LIST: &str = "/lib/modules/modules.load";

/// Where stage 1 mounts the real root.
pub const ROOT_DIRECTORY: &str = "/root";

/// What goes into an image.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The program that becomes `/init`: `rollinit-stage1`, static.
    pub stage1: &'a Path,
    /// The module tree `…/lib/modules/VERSION`; none: an image without modules.
    pub modules: Option<&'a Path>,
    /// Modules wanted, by name. What they need comes with them.
    pub wanted: &'a [String],
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
    let mut list = String::new();
    if let Some(tree) = content.modules {
        let index = Index::read(tree)?;
        let wanted = content.wanted.iter().map(String::as_str);
        for file in index.order(wanted).map_err(io::Error::other)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = read(&tree.join(&file))?;
            let path = format!("{MODULES_DIRECTORY}/{name}");
            archive.file(path, false, bytes).map_err(io::Error::other)?;
            list += &format!("{name}\n");
        }
    } else if let Some(name) = content.wanted.first() {
        let text = format!("kernel module {name} is wanted, but no module tree is given");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    archive.file(MODULES_LIST, false, list.into_bytes()).map_err(io::Error::other)?;
    Ok(archive)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
