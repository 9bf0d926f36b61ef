//! The document that a release URL leads to. It names a store path; what it names is believed no
//! more than any other path: the caches' signatures decide.

use crate::{RELEASE_BYTES_MAX, path_fault};
use service::definition::document::{Fault, File};
use service::problem::Problem;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its store path.
    pub path: String,
}

/// Reads the document of a release for `app`: `path = "/nix/store/…"`, and perhaps `app = "web"`,
/// which must be this one then.
///
/// # Errors
/// All problems found, sorted by place.
pub fn read_release(label: &str, bytes: &[u8], app: &str) -> Result<Release, Vec<Problem>> {
    let text = if bytes.len() > RELEASE_BYTES_MAX { None } else { str::from_utf8(bytes).ok() };
    let mut file = File::new(label, text.unwrap_or_default());
    if text.is_none() {
        let message = format!("the document is no text of at most {RELEASE_BYTES_MAX} bytes");
        file.fault_whole(Fault::new(message, "write path = \"/nix/store/…\""));
        return Err(file.problems);
    }
    let path = file.root().and_then(|mut root| {
        let cure = "write path = \"/nix/store/…\"";
        let path = root.value::<String>(&mut file, "path", cure);
        if let Some(named) = root.value::<String>(&mut file, "app", "write app = \"NAME\"")
            && named.get_ref() != app
        {
            let message = format!("it is a release of {:?}, not of {app:?}", named.get_ref());
            file.fault(&named.span(), Fault::new(message, "give the URL of this app's release"));
        }
        root.finish(&mut file);
        match path {
            None if file.problems.is_empty() => {
                file.fault_whole(Fault::new("it names no path", cure));
                None
            }
            None => None,
            Some(path) => {
                if let Some(message) = path_fault(path.get_ref()) {
                    file.fault(&path.span(), Fault::new(message, cure));
                }
                Some(path.into_inner())
            }
        }
    });
    match path {
        Some(path) if file.problems.is_empty() => Ok(Release { path }),
        _ => {
            file.problems.sort();
            Err(file.problems)
        }
    }
}
