//! What is answered: a JSON file, read at each request.

use crate::time::rfc3339;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of the file: 16 KiB of user-data and a handful of documents.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(Map<String, Value>);

/// A file that holds no answers.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct StateError {
    path: String,
    why: String,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A document.
    Document(String),
    /// A folder: what is in it, one a line.
    Folder(String),
}

impl State {
    /// Reads the file that holds the answers for `client`: its own, else `path`.
    ///
    /// # Errors
    /// It is not there, too large, or no JSON object.
    pub fn load(path: &Path, client: Option<IpAddr>) -> Result<Self, StateError> {
        let own = client.map(|client| path.with_extension(format!("{client}.json")));
        let path = own.filter(|own| own.exists()).unwrap_or_else(|| path.to_path_buf());
        let failed = |why: String| StateError { path: path.display().to_string(), why };
        let size = std::fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let answers = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        Ok(Self(answers))
    }

    /// Writes the file, in one step: whoever reads it meanwhile reads the old one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let failed = |error: std::io::Error| StateError {
            path: path.display().to_string(),
            why: error.to_string(),
        };
        let beside: PathBuf = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&beside, format!("{:#}\n", Value::Object(self.0.clone())))
            .map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// From now on `path` (below `/latest/`) is answered by `document`.
    pub fn set(&mut self, path: &str, document: impl Into<Value>) -> &mut Self {
        self.0.insert(path.to_owned(), document.into());
        self
    }

    /// From now on there is nothing at `path`.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        self.0.remove(path);
        self
    }

    /// Whether nobody is answered at all.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.get("!away") == Some(&Value::Bool(true))
    }

    /// The status of every answer, if one is set.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.get("!status")?.as_u64().and_then(|status| u16::try_from(status).ok())
    }

    /// What is at `path` (below `/latest/`, without a slash at its beginning).
    #[must_use]
    pub fn find(&self, path: &str, now: SystemTime) -> Option<Found> {
        if path.starts_with('!') {
            return None;
        }
        let name = path.trim_end_matches('/');
        if let Some(document) = self.0.get(name) {
            let text = match document {
                Value::String(text) => text.clone(),
                document => document.to_string(),
            };
            return Some(Found::Document(with_times(&text, now)));
        }
        let folder = if name.is_empty() { String::new() } else { format!("{name}/") };
        let mut names: Vec<String> = Vec::new();
        for key in self.0.keys().filter_map(|key| key.strip_prefix(&folder)) {
            let entry = key.split_inclusive('/').next().unwrap_or(key);
            if !entry.starts_with('!') && !names.iter().any(|known| known == entry) {
                names.push(entry.to_owned());
            }
        }
        names.sort();
        (!names.is_empty()).then(|| Found::Folder(names.join("\n")))
    }
}

/// `text` with each `${now+SECONDS}` as that time.
fn with_times(text: &str, now: SystemTime) -> String {
    const OPENING: &str = "${now+";
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPENING) {
        written.push_str(before);
        let end = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
        let closed = after[end..].strip_prefix('}');
        let time = after[..end].parse().ok().and_then(|s| now.checked_add(Duration::from_secs(s)));
        match (closed, time) {
            (Some(closed), Some(time)) => {
                written.push_str(&rfc3339(time));
                rest = closed;
            }
            _ => {
                written.push_str(OPENING);
                rest = after;
            }
        }
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn found(state: &State, path: &str) -> Option<Found> {
        state.find(path, UNIX_EPOCH)
    }

    #[test]
    fn documents_and_folders_are_told_apart() {
        let mut state = State::default();
        state.set("meta-data/instance-id", "i-1").set("meta-data/tags/instance/Name", "web");
        state.set("!away", false).set("user-data", "lifetime = \"1h\"\n");
        let document = |text: &str| Some(Found::Document(text.to_owned()));
        let folder = |text: &str| Some(Found::Folder(text.to_owned()));
        assert_eq!(found(&state, "meta-data/instance-id"), document("i-1"));
        assert_eq!(found(&state, "meta-data"), folder("instance-id\ntags/"));
        assert_eq!(found(&state, "meta-data/tags/instance/"), folder("Name"));
        assert_eq!(found(&state, ""), folder("meta-data/\nuser-data"));
        assert_eq!(found(&state, "meta-data/instance"), None);
        assert_eq!(found(&state, "!away"), None);
        state.remove("user-data");
        assert_eq!(found(&state, "user-data"), None);
    }

    #[test]
    fn times_are_relative_to_the_request() {
        assert_eq!(with_times("a ${now+60} b", UNIX_EPOCH), "a 1970-01-01T00:01:00Z b");
        let both = with_times("${now+0}${now+1}", UNIX_EPOCH);
        assert_eq!(both, "1970-01-01T00:00:00Z1970-01-01T00:00:01Z");
        for text in ["${now+", "${now+x}", "${now+99999999999999999999}", "${now+5", "$"] {
            assert_eq!(with_times(text, UNIX_EPOCH), text);
        }
    }

    #[test]
    fn a_client_may_have_a_file_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("imds.json");
        let mut state = State::default();
        state.set("user-data", "all").save(&path).expect("written");
        let own: IpAddr = [10, 0, 0, 7].into();
        let beside = folder.path().join("imds.10.0.0.7.json");
        state.set("user-data", "one").save(&beside).expect("written");
        let read = |client| State::load(&path, client).expect("read");
        assert_eq!(found(&read(Some(own)), "user-data"), Some(Found::Document("one".into())));
        assert_eq!(found(&read(None), "user-data"), Some(Found::Document("all".into())));
        std::fs::write(&path, "[]").expect("written");
        assert!(State::load(&path, None).is_err());
    }
}
