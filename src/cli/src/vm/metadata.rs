//! What the guest's metadata service answers: one JSON file, path to text, read anew at each
//! question (crate `imds`), so that a notice can be planted while the guest runs.

use crate::exit::Failure;
use imds::Instance;
use serde_json::{Map, Value};
use std::fs;
use std::io;
use std::path::Path;

/// EC2's own limit on user-data, before it is encoded.
const USER_DATA_BYTES_MAX: usize = 16 * 1024;

/// Writes the file of answers: an instance without role and tags, the user-data, and over all that
/// what the file `more` says.
///
/// # Errors
/// One of the files cannot be read, is too long, or is not what it should be.
pub fn write(answers: &Path, user_data: Option<&Path>, more: Option<&Path>) -> Result<(), Failure> {
    let user_data = user_data.map(read_user_data).transpose()?;
    let instance = Instance { role: None, tags: None, user_data, ..Instance::default() };
    let mut state = instance.state();
    for (path, document) in more.map(read_more).transpose()?.unwrap_or_default() {
        state.set(&path, document);
    }
    state
        .save(answers)
        .map_err(|e| Failure::local("cannot write the metadata", &io::Error::other(e)))
}

fn read_user_data(path: &Path) -> Result<String, Failure> {
    let wrong = |error: io::Error, cure: &str| Failure {
        cures: vec![cure.to_owned()],
        ..Failure::local(&format!("the user-data {}", path.display()), &error)
    };
    let bytes = fs::read(path).map_err(|error| wrong(error, "Name a file; docs/user-data.md."))?;
    if bytes.len() > USER_DATA_BYTES_MAX {
        let error = format!("{} bytes; EC2 takes {USER_DATA_BYTES_MAX}", bytes.len());
        return Err(wrong(io::Error::other(error), "Put what is long into a closure."));
    }
    String::from_utf8(bytes)
        .map_err(|error| wrong(io::Error::other(error), "Write it as TOML; docs/user-data.md."))
}

fn read_more(path: &Path) -> Result<Map<String, Value>, Failure> {
    let wrong = |error: io::Error| Failure {
        cures: vec![
            "Write one JSON object: {\"meta-data/tags/instance/Name\": \"web-1\"}".to_owned(),
        ],
        ..Failure::local(&format!("the metadata {}", path.display()), &error)
    };
    let bytes = fs::read(path).map_err(wrong)?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.into()))
}

/// The command line that QEMU runs for each connection: this program again.
///
/// # Errors
/// QEMU would take its path for something else.
pub fn command(answers: &Path) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::local("cannot tell where this program is", &error))?;
    let line = format!("{} vm-imds {}", program.display(), answers.display());
    // QEMU splits the line at blanks, and gives quotes and backslashes a meaning.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+ ".contains(c);
    if line.split(' ').count() == 3 && line.chars().all(plain) {
        return Ok(line);
    }
    let error = io::Error::other("QEMU cannot be told of a path with blanks or quotes in it");
    Err(Failure {
        cures: vec!["Call rollinit by a plain path, and set TMPDIR to one.".to_owned()],
        ..Failure::local(&line, &error)
    })
}

/// Answers what is asked on standard input until it ends.
///
/// # Errors
/// The file of answers cannot be read.
pub fn serve(answers: &Path) -> Result<(), Failure> {
    imds::stdio(answers)
        .map_err(|e| Failure::local(&answers.display().to_string(), &io::Error::other(e)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]
mod tests {
    use super::*;

    fn written(user_data: Option<&str>, more: Option<&str>) -> Result<Value, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, text: Option<&str>| {
            text.map(|text| {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                path
            })
        };
        let (user_data, more) = (place("u", user_data), place("m", more));
        let answers = folder.path().join("answers");
        write(&answers, user_data.as_deref(), more.as_deref())?;
        Ok(serde_json::from_slice(&fs::read(answers).unwrap()).unwrap())
    }

    /// What the user says wins, and nobody without user-data is told that it is empty.
    #[test]
    fn answers() {
        let answers = written(None, None).unwrap();
        assert!(answers["meta-data/instance-id"].as_str().unwrap().starts_with("i-"));
        assert!(answers.get("user-data").is_none());
        let more = r#"{"meta-data/instance-id": "i-2", "meta-data/spot/instance-action": "{}"}"#;
        let answers = written(Some("version = 1\n"), Some(more)).unwrap();
        assert_eq!(answers["user-data"], "version = 1\n");
        assert_eq!(answers["meta-data/instance-id"], "i-2");
        assert_eq!(answers["meta-data/spot/instance-action"], "{}");
    }

    #[test]
    fn refused() {
        let long = "x".repeat(USER_DATA_BYTES_MAX + 1);
        assert!(written(Some(&long), None).unwrap_err().message.contains("EC2 takes 16384"));
        assert!(written(Some(&long[1..]), None).is_ok());
        assert!(written(None, Some("[]")).unwrap_err().cures[0].contains("JSON object"));
    }

    #[test]
    fn paths_that_qemu_would_split() {
        assert!(command(Path::new("/tmp/a b/answers")).is_err());
        assert!(command(Path::new("/tmp/a\"/answers")).is_err());
        let line = command(Path::new("/tmp/a/answers")).unwrap();
        assert!(line.ends_with(" vm-imds /tmp/a/answers"), "{line}");
    }
}
