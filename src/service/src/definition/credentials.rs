//! `[service.credentials]` and `[app.credentials]`: secrets as files, never as variables.

use super::read::{Fault, File, Section, Written};
use super::sections;
use super::values::{Signal, word};
use super::{Credential, CredentialSource, OnChange};
use crate::limits::{CREDENTIAL_NAME_BYTES_MAX, CREDENTIALS_MAX, PARAMETER_BYTES_MAX};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// What `on-change = "signal"` sends that names no signal: by custom "read your files again".
const SIGHUP: u8 = 1;

const EXAMPLE: &str = "{ ssm = \"/shop/database\" } or { path = \"/etc/secrets/database\" }";

/// The words of `on-change`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Restart,
    Signal,
}

impl Written for Change {
    const EXAMPLE: &'static str = "\"signal\", \"restart\" or \"none\"";

    fn read(text: &str) -> Result<Self, Fault> {
        let known = [("none", Self::Nothing), ("restart", Self::Restart), ("signal", Self::Signal)];
        word(text, &known)
    }
}

/// The table, a line a credential.
pub(super) fn credentials(file: &mut File, owner: &mut Section) -> BTreeMap<String, Credential> {
    let mut all = BTreeMap::new();
    let path = format!("{}.credentials", owner.path());
    let Some(value) = owner.raw("credentials") else { return all };
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        let cure = format!("write [{path}] and database = {EXAMPLE} below it");
        file.fault(&span, Fault::new("credentials is not a table", cure));
        return all;
    };
    if table.len() > CREDENTIALS_MAX {
        let message = format!("{} credentials", table.len());
        file.fault(&span, Fault::new(message, format!("write at most {CREDENTIALS_MAX}")));
    }
    for (key, value) in table {
        let sound = check_name(file, &key.span(), key.get_ref());
        if let Some(credential) = one(file, &path, key.get_ref(), value)
            && sound
        {
            all.insert(key.get_ref().to_string(), credential);
        }
    }
    all
}

/// It names a file. Names that begin with a dot are for files that are being written.
fn check_name(file: &mut File, span: &Range<usize>, text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let sound = starts && text.len() <= CREDENTIAL_NAME_BYTES_MAX && text.chars().all(fine);
    if !sound {
        let cure = format!(
            "write a name such as database: letters, digits, -, _ and ., a letter or digit \
             first, at most {CREDENTIAL_NAME_BYTES_MAX}"
        );
        file.fault(span, Fault::new(format!("{text:?} cannot name a credential"), cure));
    }
    sound
}

fn one(file: &mut File, path: &str, name: &str, value: Spanned<DeValue>) -> Option<Credential> {
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        // The value is not repeated: it may be the secret itself.
        let message = format!("{name} does not say where it comes from");
        let cure = format!("write {name} = {EXAMPLE}; a secret itself does not belong here");
        file.fault(&span, Fault::new(message, cure));
        return None;
    };
    let mut section = Section::new(format!("{path}.{name}"), span.clone(), table);
    let is_empty = ["path", "ssm"].iter().all(|key| section.place_of(key).is_none());
    let from_path = sections::path(file, &mut section, "path");
    let from_ssm = parameter(file, &mut section);
    let is_named = section.place_of("on-change").or(section.place_of("signal"));
    let change = section.written::<Change>(file, "on-change");
    let signal_span = section.place_of("signal");
    let signal = section.written::<Signal>(file, "signal");
    section.finish(file);
    if let Some(span) = signal_span
        && change != Some(Change::Signal)
    {
        let cure = "write on-change = \"signal\" beside it";
        file.fault(&span, Fault::new("a signal that nothing sends", cure));
    }
    let on_change = match change {
        None | Some(Change::Nothing) => OnChange::Nothing,
        Some(Change::Restart) => OnChange::Restart,
        Some(Change::Signal) => OnChange::Signal(signal.map_or(SIGHUP, |signal| signal.0)),
    };
    let source = match (from_path, from_ssm) {
        (Some(path), None) => {
            if let Some(span) = is_named {
                let message = "a path is read at each start, and not watched";
                let cure = "leave on-change out; `rollinit restart` takes up what changed";
                file.fault(&span, Fault::new(message, cure));
            }
            CredentialSource::Path(path)
        }
        (None, Some(parameter)) => CredentialSource::Ssm(parameter),
        (Some(_), Some(_)) => {
            let message = format!("{name} comes from a path and from ssm");
            file.fault(&span, Fault::new(message, "write one of them"));
            return None;
        }
        // One that is there and wrong was said already.
        (None, None) if !is_empty => return None,
        (None, None) => {
            let message = format!("{name} does not say where it comes from");
            file.fault(&span, Fault::new(message, format!("write {name} = {EXAMPLE}")));
            return None;
        }
    };
    Some(Credential { source, on_change })
}

/// The name of a parameter of SSM, `/shop/database`, `:3` or `:LABEL` behind it, or its ARN
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>).
fn parameter(file: &mut File, section: &mut Section) -> Option<String> {
    let cure = "write ssm = \"/shop/database\": letters, digits, -, _, . and /";
    let name = section.value::<String>(file, "ssm", cure)?;
    let text = name.get_ref();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    let is_arn = text.starts_with("arn:");
    let selectors = text.matches(':').count();
    let sound = (1..=PARAMETER_BYTES_MAX).contains(&text.len())
        && text.chars().all(fine)
        && !text.starts_with(':')
        && (is_arn || selectors <= 1);
    if !sound {
        file.fault(&name.span(), Fault::new(format!("{text:?} names no parameter of SSM"), cure));
        return None;
    }
    Some(name.into_inner())
}
