//! Who may depend on whom: the code map of ARCHITECTURE.md, kept as data.

use super::{Finding, Rule};
use anyhow::{Context, Result};
use std::path::Path;

/// One room: its folder, the rooms it may depend on, and the crates it may hire.
#[derive(Debug)]
pub struct Room {
    /// Package name.
    pub name: &'static str,
    /// Folder, relative to the workspace root.
    pub folder: &'static str,
    /// Rooms it may depend on.
    pub rooms: &'static [&'static str],
    /// Crates from outside it may depend on.
    pub hires: &'static [&'static str],
}

/// The code map of ARCHITECTURE.md. A new edge is a design decision: it is written into
/// ARCHITECTURE.md with its reason, and then here.
pub const ROOMS: [Room; 25] = [
    Room { name: "sys", folder: "src/sys", rooms: &[], hires: &["libc", "nix", "rustix"] },
    Room { name: "port", folder: "src/port", rooms: &[], hires: &["postcard", "serde"] },
    Room { name: "init", folder: "src/init", rooms: &["port", "sys"], hires: &[] },
    Room {
        name: "service",
        folder: "src/service",
        rooms: &[],
        hires: &["postcard", "serde", "thiserror", "toml"],
    },
    Room {
        name: "control",
        folder: "src/control",
        rooms: &[],
        // futures-core: the stream trait that zlink's streaming methods return.
        hires: &["futures-core", "serde", "serde_json", "thiserror", "tokio", "zlink"],
    },
    Room { name: "logging", folder: "src/logging", rooms: &["sys"], hires: &["tracing"] },
    Room {
        name: "supervisor",
        folder: "src/supervisor",
        rooms: &["control", "logging", "port", "service", "sys"],
        hires: &["serde", "thiserror", "tokio", "tracing", "zlink"],
    },
    Room {
        name: "store",
        folder: "src/store",
        rooms: &["httpd", "sys"],
        hires: &[
            "ed25519-dalek",
            "liblzma",
            "reqwest",
            "rusqlite",
            "rustls",
            "rustls-native-certs",
            "sha2",
            "thiserror",
            "tokio",
            "zstd",
        ],
    },
    Room {
        name: "agent",
        folder: "src/agent",
        rooms: &[
            "balancer", "cloud", "control", "disk", "httpd", "ledger", "logging", "release",
            "rollout", "service", "store", "sys", "userdata",
        ],
        // serde_json: events for a webhook.
        hires: &[
            "prometheus-client",
            "reqwest",
            "rustls",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "toml",
            "tracing",
        ],
    },
    Room {
        name: "cli",
        folder: "src/cli",
        rooms: &[
            "cloud", "control", "imds", "ledger", "release", "rollout", "service", "store",
            "userdata",
        ],
        hires: &["clap", "serde", "serde_json", "tokio", "zlink"],
    },
    Room {
        name: "rollout",
        folder: "src/rollout",
        rooms: &[],
        // serde_json: what is on a ledger is read by people, too.
        hires: &["postcard", "serde", "serde_json", "thiserror"],
    },
    Room {
        name: "release",
        folder: "src/release",
        rooms: &[],
        // ssh-key: the formats of OpenSSH; persons sign with the keys that they have.
        hires: &["serde", "serde_json", "sha2", "ssh-key", "thiserror"],
    },
    Room { name: "disk", folder: "src/disk", rooms: &["sys"], hires: &["gptman", "thiserror"] },
    Room {
        name: "cloud",
        folder: "src/cloud",
        rooms: &[],
        hires: &[
            "aws-credential-types",
            "aws-sigv4",
            "aws-smithy-types",
            "quick-xml",
            "reqwest",
            "rustls",
            "rustls-native-certs",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "zeroize",
        ],
    },
    Room {
        name: "ledger",
        folder: "src/ledger",
        // cloud: the engines `dynamodb` and `s3`.
        rooms: &["cloud", "rollout"],
        hires: &[
            "base64",
            "reqwest",
            "rustls",
            "rustls-native-certs",
            "serde",
            "serde_json",
            "tokio",
        ],
    },
    Room {
        name: "httpd",
        folder: "src/httpd",
        rooms: &[],
        hires: &["http-body-util", "hyper", "hyper-util", "tokio"],
    },
    Room {
        name: "balancer",
        folder: "src/balancer",
        rooms: &["cloud"],
        // serde_json: what was taken out of a balancer is read by people, too.
        hires: &["serde", "serde_json", "thiserror", "tokio"],
    },
    Room {
        name: "imds",
        folder: "src/imds",
        rooms: &[],
        hires: &["serde", "serde_json", "thiserror"],
    },
    Room {
        name: "network",
        folder: "src/network",
        rooms: &["logging", "sys"],
        hires: &["dhcproto", "serde", "serde_json", "thiserror", "tracing"],
    },
    Room {
        name: "activate",
        folder: "src/activate",
        // initrd: the reader of depmod's files.
        rooms: &["disk", "initrd", "sys"],
        hires: &["serde", "sha2", "toml"],
    },
    Room {
        name: "userdata",
        folder: "src/userdata",
        rooms: &["release", "service"],
        hires: &["serde", "thiserror", "toml"],
    },
    Room { name: "initrd", folder: "initrd", rooms: &["disk", "sys"], hires: &[] },
    Room {
        name: "qemu-tests",
        folder: "qemu-tests",
        rooms: &["imds", "sys"],
        hires: &[
            "anyhow",
            "fastrand",
            "seccompiler",
            "serde",
            "serde_json",
            "signal-hook",
            "tempfile",
        ],
    },
    Room { name: "replay", folder: "src/replay", rooms: &[], hires: &[] },
    Room {
        name: "xtask",
        folder: "xtask",
        rooms: &["imds", "qemu-tests"],
        hires: &["anyhow", "clap", "proc-macro2", "serde", "serde_json", "syn", "toml"],
    },
];

/// Crates that tests may use anywhere (`[dev-dependencies]`), beside what the room itself hires.
const TEST_HIRES: [&str; 8] = [
    "libtest-mimic",
    "proptest",
    "rcgen",
    "serde_json",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "zlink",
];

/// Rooms that tests may use anywhere: they are never linked into what ships.
const TEST_ROOMS: [&str; 3] = ["imds", "qemu-tests", "replay"];

/// Checks every manifest under `root`.
///
/// # Errors
/// A manifest cannot be read.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for folder in members(root)? {
        let file = format!("{folder}/Cargo.toml");
        let text = std::fs::read_to_string(root.join(&file))
            .with_context(|| format!("tidy: read {file}"))?;
        match ROOMS.iter().find(|room| room.folder == folder) {
            Some(room) => findings.extend(check_manifest(room, &file, &text)?),
            None => findings.push(Finding {
                rule: Rule::Edge,
                file,
                line: 0,
                message: "a room that the code map does not have; \
                          write it into ARCHITECTURE.md and xtask/src/tidy/manifest.rs"
                    .to_owned(),
            }),
        }
    }
    Ok(findings)
}

/// The workspace's member folders, `src/*` resolved.
fn members(root: &Path) -> Result<Vec<String>> {
    let mut folders: Vec<String> =
        ["initrd", "qemu-tests", "xtask"].iter().map(|name| (*name).to_owned()).collect();
    for entry in std::fs::read_dir(root.join("src")).context("tidy: list src")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            folders.push(format!("src/{}", entry.file_name().to_string_lossy()));
        }
    }
    folders.sort();
    Ok(folders)
}

/// Checks the text of one manifest against its room's row.
///
/// # Errors
/// It is not TOML.
pub fn check_manifest(room: &Room, file: &str, text: &str) -> Result<Vec<Finding>> {
    let manifest: toml::Table =
        text.parse().with_context(|| format!("tidy: {file} is not TOML"))?;
    let mut findings = Vec::new();
    for (section, table) in dependency_tables(&manifest) {
        for (key, value) in table {
            let package =
                value.get("package").and_then(toml::Value::as_str).unwrap_or(key.as_str());
            if let Some((rule, why)) = judge(room, section, package) {
                let line = line_of(text, key);
                let message = format!("`{}` depends on `{package}`: {why}", room.name);
                findings.push(Finding { rule, file: file.to_owned(), line, message });
            }
        }
    }
    Ok(findings)
}

/// `[dependencies]`, `[build-dependencies]`, `[dev-dependencies]`, also those of a target.
fn dependency_tables(manifest: &toml::Table) -> Vec<(&str, &toml::Table)> {
    let mut places = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        places.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let mut tables = Vec::new();
    for place in places {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            if let Some(table) = place.get(section).and_then(toml::Value::as_table) {
                tables.push((section, table));
            }
        }
    }
    tables
}

fn judge(room: &Room, section: &str, package: &str) -> Option<(Rule, String)> {
    if ROOMS.iter().any(|other| other.name == package) {
        let granted = room.rooms.contains(&package)
            || (section == "dev-dependencies" && TEST_ROOMS.contains(&package));
        return (!granted).then(|| {
            let rooms = room.rooms.join(", ");
            (Rule::Edge, format!("the code map of ARCHITECTURE.md grants it only [{rooms}]"))
        });
    }
    let granted = room.hires.contains(&package)
        || (section == "dev-dependencies" && TEST_HIRES.contains(&package));
    (!granted).then(|| {
        let hires = room.hires.join(", ");
        (Rule::Hire, format!("it hires only [{hires}]; say why it needs another"))
    })
}

fn line_of(text: &str, key: &str) -> usize {
    text.lines()
        .position(|line| {
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
                || line.contains(&format!(".{key}]"))
        })
        .map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, text: &str) -> Vec<Finding> {
        let room = ROOMS.iter().find(|room| room.name == name).expect("a known room");
        check_manifest(room, "Cargo.toml", text).expect("TOML")
    }

    #[test]
    fn an_edge_outside_the_table_is_found_with_its_line() {
        let found = findings("service", "[dependencies]\nserde.workspace = true\nport = \"1\"\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].rule, found[0].line), (Rule::Edge, 3));
    }

    #[test]
    fn nothing_may_depend_on_pid_1() {
        let found = findings("cli", "[dependencies]\ninit = { path = \"../init\" }\n");
        assert_eq!(found[0].rule, Rule::Edge);
    }

    #[test]
    fn a_text_parser_or_an_async_crate_in_pid_1_is_found() {
        for package in ["toml", "serde_json", "regex", "tokio"] {
            let found = findings("init", &format!("[dependencies]\n{package} = \"1\"\n"));
            assert_eq!(found.len(), 1, "{package}");
            assert_eq!(found[0].rule, Rule::Hire);
        }
    }

    #[test]
    fn a_renamed_or_target_bound_dependency_does_not_hide() {
        let renamed = "[dependencies]\nshort = { package = \"tokio\", version = \"1\" }\n";
        assert_eq!(findings("init", renamed).len(), 1);
        let target = "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n";
        assert_eq!(findings("init", target).len(), 1);
        let build = "[build-dependencies]\nregex = \"1\"\n";
        assert_eq!(findings("init", build).len(), 1);
    }

    #[test]
    fn test_crates_are_for_tests_only() {
        assert!(findings("init", "[dev-dependencies]\nproptest = \"1\"\n").is_empty());
        assert_eq!(findings("init", "[dependencies]\nproptest = \"1\"\n").len(), 1);
    }
}
