//! `[user-data]` of `agent.toml`: that this host does what its user-data says, and where that is.
//!
//! Read once, when the agent starts.

use serde::Deserialize;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

/// What the section says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserData {
    /// The file that is read instead of asking the metadata service.
    pub file: Option<PathBuf>,
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserDataTable {
    enable: Option<bool>,
    file: Option<Spanned<String>>,
}

impl UserDataTable {
    /// Its meaning; none if it is switched off. `has_cloud`: there is a `[cloud]` section, so a
    /// metadata service can be asked.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub fn read(self, has_cloud: bool) -> Result<Option<UserData>, (Range<usize>, String)> {
        if self.enable == Some(false) {
            return Ok(None);
        }
        match self.file {
            Some(file) if !file.get_ref().starts_with('/') => {
                Err((file.span(), format!("{:?} is no absolute path", file.get_ref())))
            }
            Some(file) => Ok(Some(UserData { file: Some(file.into_inner().into()) })),
            None if has_cloud => Ok(Some(UserData::default())),
            None => {
                let cure = "user-data comes from the metadata service: write [cloud] too, or \
                    file = \"/PATH\"";
                Err((0..0, cure.to_owned()))
            }
        }
    }
}
