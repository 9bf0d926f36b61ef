//! `/etc/rollinit/volumes.toml`: which volumes a host has, and where they are mounted.
//!
//! Written by Nix from `rollinit.volumes`; docs/volumes.md says what each key means.

use crate::report::Problem;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The file.
pub const FILE: &str = "/etc/rollinit/volumes.toml";

/// The file in bytes: a volume takes some hundred, EC2 attaches at most 128 to an instance.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Time for a volume to appear, in seconds, where the file does not say: an attachment takes
/// seconds, and somebody may be about to attach it.
const WAIT_S: u64 = 60;

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Volume {
    /// The serial number of its disk; EBS's volume id, with or without its dash.
    pub serial: Option<String>,
    /// The tag of its EBS volume, which the agent makes a serial number of.
    pub tag: Option<Tag>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The kind of its file system.
    pub file_system: String,
    /// What its file system must be called, if that matters.
    pub label: Option<String>,
    /// Options of the mount.
    #[serde(default)]
    pub options: Vec<String>,
    /// What makes its file system; the device is put behind it. Empty: a blank volume is refused.
    #[serde(default)]
    pub make: Vec<String>,
    /// What checks its file system when that recorded errors; the device is put behind it.
    #[serde(default)]
    pub check: Vec<String>,
    /// How long it may take to appear, in seconds.
    #[serde(default = "wait_s")]
    pub wait_s: u64,
}

/// A tag of EC2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

fn wait_s() -> u64 {
    WAIT_S
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    volumes: BTreeMap<String, Volume>,
}

/// Finds the volume `name` in the text of the file.
///
/// # Errors
/// The text is wrong, or there is no such volume.
pub fn find(text: &str, name: &str) -> Result<Volume, Problem> {
    let file: File = toml::from_str(text).map_err(|error| {
        Problem::new(FILE, error.to_string().trim_end(), "write it as docs/volumes.md says")
    })?;
    let known: Vec<&str> = file.volumes.keys().map(String::as_str).collect();
    let cure = match known.as_slice() {
        [] => "there are none; write rollinit.volumes".to_owned(),
        _ => format!("there are: {}", known.join(", ")),
    };
    let volume = file.volumes.get(name).cloned();
    let volume = volume.ok_or_else(|| Problem::new(name, "no such volume", cure))?;
    let wrong = |message: &str, cure: &str| Err(Problem::new(name, message, cure));
    if volume.serial.is_some() == volume.tag.is_some() {
        return wrong("which disk is meant is not said, or twice", "write serial or tag");
    }
    if !volume.mount_point.is_absolute() || volume.mount_point.parent().is_none() {
        return wrong("its mount-point is no path below /", "write an absolute path");
    }
    Ok(volume)
}

/// EBS's volume id as the disk says it: NVMe drops the dash of `vol-0123`.
#[must_use]
pub fn serial_of(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix("vol-") {
        Some(digits) => format!("vol{digits}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [volumes.data]
        serial = "vol-0123456789abcdef0"
        mount-point = "/var/lib/data"
        file-system = "ext4"
        options = ["noatime"]
        make = ["/nix/store/x/bin/mke2fs", "-F"]
        [volumes.other]
        tag = { key = "Name", value = "other" }
        mount-point = "/srv"
        file-system = "xfs"
        wait-s = 5
    "#;

    /// Both ways to name a disk, with what is said and what is not.
    #[test]
    fn volumes_of_a_file() {
        let data = find(TEXT, "data").expect("it is there");
        let serial = data.serial.as_deref().map(serial_of);
        assert_eq!(serial.as_deref(), Some("vol0123456789abcdef0"));
        assert_eq!((data.wait_s, data.make.len(), data.check.len()), (WAIT_S, 2, 0));
        let other = find(TEXT, "other").expect("it is there");
        assert_eq!(other.tag.map(|tag| tag.value).as_deref(), Some("other"));
        assert_eq!(other.wait_s, 5);
    }

    /// Every mistake names its object and what to write.
    #[test]
    fn mistakes() {
        let said = |text: &str, name: &str| find(text, name).expect_err("wrong").to_string();
        assert!(said(TEXT, "dat").contains("no such volume (there are: data, other)"));
        assert!(said("", "data").contains("write rollinit.volumes"));
        assert!(said("volumes = 1", "data").starts_with(FILE));
        assert!(said(&TEXT.replace("make =", "maek ="), "data").contains("maek"));
        let none = TEXT.replace("serial =", "label =");
        assert!(said(&none, "data").contains("write serial or tag"));
        let relative = TEXT.replace("\"/srv\"", "\"srv\"");
        assert!(said(&relative, "other").contains("absolute"));
        assert!(said(&TEXT.replace("\"/srv\"", "\"/\""), "other").contains("below /"));
    }
}
