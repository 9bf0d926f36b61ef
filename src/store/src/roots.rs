//! Roots: links that say what the collector must not take. Ours lie under `gcroots/rollinit/`.

use crate::error::{Error, Fault, Result, Step};
use crate::path::StorePath;
use crate::store::Layout;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The most bytes of a root's or an app's name: with `-NUMBER-link` it stays a file name.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether `name` may name a root or an app.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    !name.starts_with('.') && (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// `name`, or why it is none.
pub(crate) fn checked_name(step: Step, name: &str) -> Result<&str> {
    if is_name(name) {
        return Ok(name);
    }
    Err(Error::new(step, name.escape_default(), Fault::Name { max: NAME_BYTES_MAX }))
}

/// Makes the folder of our roots, and what Nix makes beside it only if `gcroots` is not there at
/// all: without the link to the profiles the collector would take every generation.
pub(crate) fn prepare(layout: &Layout) -> Result<()> {
    let folder = layout.own_roots();
    fs::create_dir_all(&folder).map_err(Error::io(Step::Root, &folder))?;
    let profiles = layout.gcroots().join("profiles");
    match symlink("/nix/var/nix/profiles", &profiles) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(Step::Root, &profiles)(error))
        }
        _ => Ok(()),
    }
}

/// Sets the root `name` to `path`, at once and for good: a power cut leaves the old or the new one.
pub(crate) fn set(layout: &Layout, name: &str, path: &StorePath) -> Result<()> {
    let folder = layout.own_roots();
    place_link(&folder, checked_name(Step::Root, name)?, Path::new(&path.to_string()))
        .map_err(Error::io(Step::Root, &folder.join(name)))
}

/// Removes the root `name`; one that is not there is fine.
pub(crate) fn remove(layout: &Layout, name: &str) -> Result<()> {
    let link = layout.own_roots().join(checked_name(Step::Root, name)?);
    match fs::remove_file(&link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io(Step::Root, &link))?,
    }
    sys::files::sync_folder(&layout.own_roots()).map_err(Error::io(Step::Root, &link))
}

/// All our roots, in order of their names.
pub(crate) fn list(layout: &Layout) -> Result<Vec<(String, StorePath)>> {
    let folder = layout.own_roots();
    let mut found = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other.map_err(Error::io(Step::Root, &folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(Step::Root, &folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let target = fs::read_link(entry.path()).ok();
        let path = target.and_then(|target| StorePath::parse(as_bytes(&target)).ok());
        found.extend(path.filter(|_| is_name(&name)).map(|path| (name, path)));
    }
    found.sort();
    Ok(found)
}

pub(crate) fn as_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

/// Makes `folder/name` a link to `target`, replacing what is there in one step, and durably.
pub(crate) fn place_link(folder: &Path, name: &str, target: &Path) -> io::Result<()> {
    let fresh = fresh_link(folder, name, target)?;
    fs::rename(&fresh, folder.join(name))?;
    sys::files::sync_folder(folder)
}

/// A link under a name that nobody reads, over one that a killed process left.
fn fresh_link(folder: &Path, name: &str, target: &Path) -> io::Result<PathBuf> {
    let fresh = folder.join(format!(".{name}.new"));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => symlink(target, &fresh)?,
    }
    Ok(fresh)
}
