//! What the supervisor is told when it starts: PID 1's five variables and no arguments.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of the inherited port descriptor (`ROLLINIT_PORT_FD`).
    pub port_fd: i32,
    /// Run-time files (`ROLLINIT_RUN`): control socket, logs, notify sockets, definitions in force.
    pub run: PathBuf,
    /// Service definitions (`ROLLINIT_DEFINITIONS`).
    pub definitions: PathBuf,
    /// Profiles of apps (`ROLLINIT_PROFILES`), a link `NAME` each to the closure of a generation.
    pub profiles: PathBuf,
    /// PID 1's cgroup root (`ROLLINIT_CGROUP`), a directory of a cgroup2 mount.
    pub cgroup: PathBuf,
}

/// A variable that is missing or makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} is {what}; rollinit-supervisor is started by rollinit-init (to try it out: \
     `rollinit-init --contained --supervisor PATH --definitions DIR --run DIR`)"
)]
pub struct SettingsError {
    name: &'static str,
    what: &'static str,
}

impl Settings {
    /// Reads the variables through `variable`.
    ///
    /// # Errors
    /// [`SettingsError`] names the first variable that is missing or malformed.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let get = |name: &'static str| {
            let found = variable(name).filter(|value| !value.is_empty());
            found.ok_or(SettingsError { name, what: "not set" })
        };
        let directory = |name| {
            let path = PathBuf::from(get(name)?);
            if path.is_absolute() {
                Ok(path)
            } else {
                Err(SettingsError { name, what: "not an absolute path" })
            }
        };
        let not_a_number = SettingsError { name: "ROLLINIT_PORT_FD", what: "no descriptor number" };
        let port_fd = get("ROLLINIT_PORT_FD")?
            .to_str()
            .and_then(|text| text.parse().ok())
            .filter(|number| *number > 2)
            .ok_or(not_a_number)?;
        Ok(Self {
            port_fd,
            run: directory("ROLLINIT_RUN")?,
            definitions: directory("ROLLINIT_DEFINITIONS")?,
            profiles: directory("ROLLINIT_PROFILES")?,
            cgroup: directory("ROLLINIT_CGROUP")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changed: &str, value: Option<&str>) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            if name == changed {
                return value.map(OsString::from);
            }
            let number = (name == "ROLLINIT_PORT_FD").then(|| OsString::from("3"));
            Some(number.unwrap_or_else(|| OsString::from("/somewhere")))
        })
    }

    /// Each variable is needed, paths must be absolute, and the port is none of the standard
    /// streams.
    #[test]
    fn every_variable_is_checked() {
        assert_eq!(read("", None).expect("complete").port_fd, 3);
        for name in [
            "ROLLINIT_PORT_FD",
            "ROLLINIT_RUN",
            "ROLLINIT_DEFINITIONS",
            "ROLLINIT_PROFILES",
            "ROLLINIT_CGROUP",
        ] {
            for value in [None, Some(""), Some("here")] {
                let error = read(name, value).expect_err(name);
                assert_eq!(error.name, name);
            }
        }
        read("ROLLINIT_PORT_FD", Some("2")).expect_err("stderr");
    }
}
