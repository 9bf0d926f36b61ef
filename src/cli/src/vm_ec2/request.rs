//! What is asked of EC2 for `--ec2 run`, and the user-data that goes along.

use super::{EXPIRES, InstanceArguments, MARK, wrong};
use crate::exit::Failure;
use cloud::ec2::RunRequest;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The name of instances that were given none.
const NAME: &str = "rollinit-vm";

/// The whole request.
pub(super) fn make(
    arguments: &InstanceArguments,
    system: Option<&Path>,
    user_data: Option<&Path>,
    disk_gib: u32,
) -> Result<RunRequest, Failure> {
    let image = arguments.image.clone().ok_or_else(|| Failure {
        cures: vec!["docs/ec2.md makes an AMI of the image.".to_owned()],
        ..wrong("--ec2 run needs --image AMI")
    })?;
    let given = user_data.map(read).transpose()?;
    let document = document(given.as_deref(), system, &arguments.ttl.text)?;
    let ttl = Duration::from_millis(arguments.ttl.milliseconds);
    let expires =
        SystemTime::now().checked_add(ttl).ok_or_else(|| wrong("that --ttl is no time"))?;
    let name = arguments.name.clone().unwrap_or_else(|| NAME.to_owned());
    let tags = BTreeMap::from([
        ("Name".to_owned(), name),
        (MARK.to_owned(), "1".to_owned()),
        (EXPIRES.to_owned(), cloud::time::format_rfc3339(expires)),
    ]);
    Ok(RunRequest {
        image,
        instance_type: arguments.kind.clone(),
        count: arguments.count,
        client_token: client_token(),
        user_data: Some(document.into_bytes()),
        subnet: arguments.subnet.clone(),
        security_groups: arguments.security_group.clone(),
        instance_profile: arguments.instance_profile.clone(),
        root_size_gib: Some(disk_gib),
        tags,
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    let what = format!("the user-data {}", path.display());
    let bytes = std::fs::read(path).map_err(|error| Failure::local(&what, &error))?;
    checked(&path.display().to_string(), &bytes)?;
    String::from_utf8(bytes).map_err(|_| wrong(&format!("{what}: not UTF-8")))
}

/// The document that goes along: the one given, with the system to become and a lifetime if it has
/// none. Both stand before its tables.
fn document(given: Option<&str>, system: Option<&Path>, ttl: &str) -> Result<String, Failure> {
    let is_mortal = match given {
        Some(text) => checked("user-data", text.as_bytes())?.lifetime_ms.is_some(),
        None => false,
    };
    let mut document = String::new();
    if given.is_none() {
        document.push_str(&format!("rollinit = {}\n", userdata::VERSION));
    }
    if let Some(system) = system {
        let path = system.to_str().ok_or_else(|| wrong("the system's path is not UTF-8"))?;
        document.push_str(&format!("system = {}\n", quoted(path)));
    }
    if !is_mortal {
        document.push_str(&format!("lifetime = {}\n", quoted(ttl)));
    }
    document.push_str(given.unwrap_or_default());
    checked("the user-data with --ttl and SYSTEM", document.as_bytes())?;
    Ok(document)
}

/// A TOML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The host would read it with the same code.
fn checked(label: &str, bytes: &[u8]) -> Result<userdata::UserData, Failure> {
    userdata::read(label, bytes).map_err(|problems| Failure {
        cures: problems.iter().map(ToString::to_string).collect(),
        ..wrong(&format!("{label}: a host would not obey this"))
    })
}

/// Names one request: repeated after a lost answer it starts nothing twice.
fn client_token() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("rollinit-{:016x}{:016x}", number(), number())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "/nix/store/00000000000000000000000000000000-rollinit-system";

    #[test]
    fn a_document_gets_a_lifetime_and_the_system_to_become() {
        let text = document(None, None, "4h").expect("a document");
        assert_eq!(text, "rollinit = 1\nlifetime = \"4h\"\n");
        let text = document(None, Some(Path::new(SYSTEM)), "90m").expect("a document");
        assert_eq!(text, format!("rollinit = 1\nsystem = \"{SYSTEM}\"\nlifetime = \"90m\"\n"));
        let given = "rollinit = 1\ngroup = \"web\"\n[environment]\nA = \"b\"\n";
        let text = document(Some(given), None, "4h").expect("a document");
        assert_eq!(text, format!("lifetime = \"4h\"\n{given}"));
        let mortal = "rollinit = 1\nlifetime = \"10m\"\n";
        assert_eq!(document(Some(mortal), None, "4h").expect("a document"), mortal);
    }

    #[test]
    fn what_a_host_would_refuse_is_refused_before_it_costs_anything() {
        for given in ["rollinit = 1\nsistem = \"x\"\n", "#!/bin/sh\n"] {
            let failure = document(Some(given), None, "4h").expect_err(given);
            assert!(!failure.cures.is_empty(), "{failure:?}");
        }
        let other = format!("rollinit = 1\nsystem = \"{SYSTEM}\"\n");
        document(Some(&other), Some(Path::new(SYSTEM)), "4h").expect_err("two systems");
    }
}
