//! The command line of the agent: where everything is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The configuration (`--config`).
    pub config: PathBuf,
    /// The root below which `nix/store` and `nix/var` lie (`--root`).
    pub root: PathBuf,
    /// The swap journal (`--state`).
    pub state: PathBuf,
    /// Run-time files: our socket, and the supervisor's (`--run`).
    pub run: PathBuf,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To serve.
    Serve(Options),
    /// Help.
    Help,
    /// The version.
    Version,
}

/// A command line that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not one of ours.
    #[error("{0:?} is no option of rollinit-agent; `rollinit-agent --help` lists them")]
    Unknown(OsString),
    /// An option that needs a path has none, or one that depends on the current directory.
    #[error("{option} needs an absolute path, not {given:?}")]
    Path {
        /// The option.
        option: &'static str,
        /// What it was given; empty for nothing.
        given: PathBuf,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: "/etc/rollinit/agent.toml".into(),
            root: "/".into(),
            state: "/var/lib/rollinit/agent".into(),
            run: "/run/rollinit".into(),
        }
    }
}

impl Options {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// [`OptionsError`] names the first word that is not understood.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Asked, OptionsError> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (option, slot) = match word.to_str() {
                Some("--config") => ("--config", &mut options.config),
                Some("--root") => ("--root", &mut options.root),
                Some("--state") => ("--state", &mut options.state),
                Some("--run") => ("--run", &mut options.run),
                Some("--help") => return Ok(Asked::Help),
                Some("--version") => return Ok(Asked::Version),
                _ => return Err(OptionsError::Unknown(word)),
            };
            let given = words.next().map(PathBuf::from).unwrap_or_default();
            if !given.is_absolute() {
                return Err(OptionsError::Path { option, given });
            }
            *slot = given;
        }
        Ok(Asked::Serve(options))
    }

    /// Our socket, if none is inherited.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("agent")
    }

    /// The supervisor's socket.
    #[must_use]
    pub fn supervisor(&self) -> PathBuf {
        self.run.join("supervisor")
    }

    /// Whether this is the host's own agent, and not one that is tried out in a folder.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.root == Path::new("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Asked, OptionsError> {
        Options::read(words.iter().map(OsString::from))
    }

    /// Options override their defaults one by one; help and version win at their place.
    #[test]
    fn options_are_read() {
        assert_eq!(read(&[]), Ok(Asked::Serve(Options::default())));
        let expected = Options { root: "/tmp/x".into(), ..Options::default() };
        assert!(!expected.is_host() && Options::default().is_host());
        assert_eq!(read(&["--root", "/tmp/x"]), Ok(Asked::Serve(expected)));
        assert_eq!(read(&["--run", "/r", "--help"]), Ok(Asked::Help));
    }

    /// A typing mistake, a missing and a relative path are each said with their word.
    #[test]
    fn mistakes_are_named() {
        assert_eq!(read(&["--rot"]), Err(OptionsError::Unknown("--rot".into())));
        for words in [&["--state"][..], &["--state", "here"]] {
            let error = read(words).expect_err("no absolute path");
            assert!(error.to_string().starts_with("--state needs an absolute path"), "{error}");
        }
    }
}
