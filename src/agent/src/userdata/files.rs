//! What user-data leaves in the run directory, where supervisor and fetches find it. A tmpfs: all
//! of it is gone with the boot.

use crate::disk::{self, DiskError, make_directory};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use userdata::DOCUMENT_BYTES_MAX;

/// Beside `agent.toml`: caches and keys of this host.
pub const CACHES_FILE: &str = "caches.toml";

/// Read by the supervisor at a reload: variables for all apps.
const ENVIRONMENT_FILE: &str = "environment.toml";

/// The group's name, for whoever asks.
const GROUP_FILE: &str = "group";

/// The document as it was read, for an agent that is started anew.
const DOCUMENT_FILE: &str = "user-data";

/// Read by the supervisor at a reload: definitions.
const SERVICES_DIRECTORY: &str = "services";

/// How a definition of ours begins.
const MARK: &str = "# from the user-data of this host\n";

/// What the host lends to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lent {
    /// Binary caches.
    pub caches: Vec<String>,
    /// Public keys.
    pub keys: Vec<String>,
    /// Variables for all apps.
    pub environment: BTreeMap<String, String>,
    /// The host's group.
    pub group: Option<String>,
}

/// A file's bytes, at most one more than `bytes_max`; none if it is not there.
pub fn read(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError> {
    match disk::read_capped(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The document of an earlier agent of this boot.
pub fn kept(run: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    read(&run.join(DOCUMENT_FILE), DOCUMENT_BYTES_MAX)
}

/// Writes the document, and what it lends.
pub fn keep(run: &Path, document: &[u8], lent: &Lent) -> Result<(), DiskError> {
    make_directory(run)?;
    replace_private(run, DOCUMENT_FILE, document)?;
    let list = |texts: &[String]| {
        toml::Value::Array(texts.iter().cloned().map(toml::Value::String).collect())
    };
    let pairs = [("caches", list(&lent.caches)), ("keys", list(&lent.keys))];
    let caches = toml::Table::from_iter(pairs.map(|(key, value)| (key.to_owned(), value)));
    replace(run, CACHES_FILE, &caches.to_string())?;
    let variables = lent.environment.iter();
    let variables = variables.map(|(name, value)| (name.clone(), value.clone().into()));
    let table = toml::Value::Table(variables.collect());
    let environment = toml::Table::from_iter([("environment".to_owned(), table)]);
    replace(run, ENVIRONMENT_FILE, &environment.to_string())?;
    match &lent.group {
        Some(group) => replace(run, GROUP_FILE, &format!("{group}\n")),
        None => disk::remove(run, GROUP_FILE),
    }
}

/// Makes the definitions of the run directory these, by name; those of others stay.
pub fn define(run: &Path, definitions: &BTreeMap<String, String>) -> Result<(), DiskError> {
    let directory = run.join(SERVICES_DIRECTORY);
    make_directory(&directory)?;
    let mut wanted = BTreeSet::new();
    for (name, text) in definitions {
        let name = format!("{name}.toml");
        replace(&directory, &name, &format!("{MARK}{text}"))?;
        wanted.insert(name);
    }
    let entries = std::fs::read_dir(&directory).map_err(DiskError::at("list", &directory))?;
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if name.ends_with(".toml") && !wanted.contains(&name) && is_ours(&directory.join(&name)) {
            disk::remove(&directory, &name)?;
        }
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    disk::read_capped(path, MARK.len()).is_ok_and(|bytes| bytes.starts_with(MARK.as_bytes()))
}

/// Leaves a file alone that says this already.
fn replace(directory: &Path, name: &str, text: &str) -> Result<(), DiskError> {
    let path = directory.join(name);
    if disk::read_capped(&path, text.len()).is_ok_and(|bytes| bytes == text.as_bytes()) {
        return Ok(());
    }
    disk::replace(directory, name, text.as_bytes())
}

/// Readable for root alone: what is no secret is still nobody else's business.
fn replace_private(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    use std::os::unix::fs::PermissionsExt;
    disk::replace(directory, name, bytes)?;
    let path = directory.join(name);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).map_err(DiskError::at("chmod", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is what its readers read: the agent's own configuration, the supervisor's
    /// variables. Definitions that are no longer asked for go, those of others stay.
    #[test]
    fn readers_find_what_was_meant() {
        let directory = tempfile::tempdir().expect("directory");
        let run = directory.path();
        let lent = Lent {
            caches: vec!["https://cache.example.org".to_owned()],
            keys: vec![format!("cache-1:{}=", "A".repeat(43))],
            environment: BTreeMap::from([("A".to_owned(), "it's \"b\"\n".to_owned())]),
            group: Some("web".to_owned()),
        };
        keep(run, b"rollinit = 1", &lent).expect("keep");
        let config = crate::config::Config::load(&run.join(CACHES_FILE)).expect("config");
        assert_eq!((&config.caches, &config.keys), (&lent.caches, &lent.keys));
        let text = std::fs::read_to_string(run.join(ENVIRONMENT_FILE)).expect("variables");
        let variables = service::definition::parse_environment("x", &text).expect("sound");
        assert_eq!(variables, lent.environment);
        assert_eq!(kept(run).expect("kept"), Some(b"rollinit = 1".to_vec()));
        assert_eq!(std::fs::read(run.join(GROUP_FILE)).expect("group"), b"web\n");

        let one = |name: &str| BTreeMap::from([(name.to_owned(), "[app]\n".to_owned())]);
        define(run, &one("web")).expect("define");
        std::fs::write(run.join("services/other.toml"), "[service]\n").expect("other");
        define(run, &one("api")).expect("define");
        let mut names: Vec<_> = std::fs::read_dir(run.join("services"))
            .expect("list")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["api.toml", "other.toml"]);
        keep(run, b"rollinit = 1", &Lent::default()).expect("keep");
        assert!(!run.join(GROUP_FILE).exists());
    }
}
