//! Credentials of a person: the environment, and the file that `aws configure` writes.

use super::CALL;
use crate::error::{Error, Fault, Result};
use aws_credential_types::Credentials;
use std::path::PathBuf;

const ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";

/// Bytes of a credentials file: hundreds of profiles.
const FILE_BYTES_MAX: usize = 256 * 1024;

pub(super) fn from_environment() -> Result<Option<Credentials>> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(found) = of_variables(value)? {
        return Ok(Some(found));
    }
    let home = || value("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
    let file = value("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home);
    let wanted = value("AWS_PROFILE");
    let name = wanted.as_deref().unwrap_or("default");
    let Some(file) = file else { return Ok(None) };
    let object = format!("{} [{name}]", file.display());
    let wrong = |text: String| Error::new(CALL, &object, Fault::Request(text));
    let text = match std::fs::read(&file) {
        Ok(bytes) if bytes.len() <= FILE_BYTES_MAX => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(_) => return Err(wrong(format!("the file has more than {FILE_BYTES_MAX} bytes"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let found = of_profile(&text, name);
    match found {
        Some(Ok(credentials)) => Ok(Some(credentials)),
        Some(Err(missing)) => Err(wrong(format!(
            "the profile lacks {missing}; profiles of SSO or of a role are not read here: \
             eval \"$(aws configure export-credentials --profile {name} --format env)\""
        ))),
        None if wanted.is_some() => Err(wrong(format!(
            "there is no such profile; \
             eval \"$(aws configure export-credentials --profile {name} --format env)\""
        ))),
        None => Ok(None),
    }
}

fn of_variables(value: impl Fn(&str) -> Option<String>) -> Result<Option<Credentials>> {
    let wrong = |has: &str, lacks: &str| {
        let text = format!("{has} is set and {lacks} is not; set both, or neither");
        Error::new(CALL, "environment", Fault::Request(text))
    };
    match (value(ID), value(SECRET)) {
        (Some(id), Some(secret)) => {
            Ok(Some(Credentials::new(id, secret, value(TOKEN), None, "environment")))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(wrong(ID, SECRET)),
        (None, Some(_)) => Err(wrong(SECRET, ID)),
    }
}

/// The keys of `[name]`; or which of them it lacks.
fn of_profile(text: &str, name: &str) -> Option<std::result::Result<Credentials, &'static str>> {
    const KEYS: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
    let mut found: [Option<String>; 3] = [None, None, None];
    let (mut is_seen, mut is_inside) = (false, false);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_inside = section.trim() == name;
            is_seen |= is_inside;
        } else if is_inside
            && let Some((key, value)) = line.split_once('=')
            && let Some(index) = KEYS.iter().position(|known| *known == key.trim())
        {
            found[index] = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    let [id, secret, token] = found;
    is_seen.then_some(match (id, secret) {
        (Some(id), Some(secret)) => Ok(Credentials::new(id, secret, token, None, "profile")),
        (None, _) => Err(KEYS[0]),
        (_, None) => Err(KEYS[1]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B=C\n\n\
                        [ci]\naws_access_key_id = D\naws_secret_access_key = E\n\
                        aws_session_token = F\n[sso]\nsso_session = x\n";

    #[test]
    fn a_profile_is_read() {
        let keys = of_profile(FILE, "default").expect("there").expect("whole");
        assert_eq!((keys.access_key_id(), keys.secret_access_key()), ("A", "B=C"));
        assert_eq!(keys.session_token(), None);
        let keys = of_profile(FILE, "ci").expect("there").expect("whole");
        assert_eq!((keys.access_key_id(), keys.session_token()), ("D", Some("F")));
        assert!(of_profile(FILE, "prod").is_none());
        let missing = of_profile(FILE, "sso").expect("there").expect_err("no keys");
        assert_eq!(missing, "aws_access_key_id");
    }

    #[test]
    fn half_of_the_variables_is_a_mistake() {
        let set = |names: &'static [&str]| {
            move |name: &str| names.contains(&name).then(|| name.to_lowercase())
        };
        assert!(of_variables(set(&[])).expect("neither").is_none());
        let keys = of_variables(set(&[ID, SECRET])).expect("both").expect("there");
        assert_eq!(keys.access_key_id(), "aws_access_key_id");
        let error = of_variables(set(&[ID])).expect_err("half").to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY is not; set both"), "{error}");
    }
}
