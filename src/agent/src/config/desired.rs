//! `[desired.APP]` of `agent.toml`: where the release of an app is told, and who has to sign it.
//!
//! Read once, when the agent starts; the file of signers at each look.

use super::{duration, quoted};
use cloud::s3::ObjectAddress;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// Between two looks, unless the file says otherwise: half of the minute in which a merge is to be
/// live, and a request that is answered with "not modified".
const EVERY: Duration = Duration::from_secs(30);

/// Apps whose release is followed. A host of ours has one or two.
const APPS_MAX: usize = 32;

/// Persons that may be asked for.
const THRESHOLD_MAX: u64 = 16;

/// What the section of one app says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Where the release is.
    pub place: Place,
    /// Whom to believe.
    pub signers: Signers,
    /// Between two looks.
    pub every: Duration,
    /// The group that the release must be for; nothing: that of the fleet, or of user-data.
    pub group: Option<String>,
    /// Whether nothing else is ever swapped in, whoever asks.
    pub only_signed: bool,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signers {
    /// Whoever may write the document.
    Anybody,
    /// So many of the persons in a file of OpenSSH's allowed signers.
    File(PathBuf, usize),
    /// So many of these persons: the file's text, as user-data has it.
    Text(String, usize),
}

/// Where a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At an `https://` or `http://` URL.
    Web(String),
    /// In S3.
    Object(ObjectAddress),
    /// In a file of this host.
    File(PathBuf),
    /// On the fleet's ledger, under the key for the group's desired release.
    Ledger,
    /// Where the instance's tag of this name says, which is one of the first two.
    Tag(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct DesiredTable {
    url: Spanned<String>,
    signers: Option<Spanned<String>>,
    threshold: Option<Spanned<u64>>,
    every: Option<Spanned<String>>,
    group: Option<Spanned<String>>,
    only_signed: Option<Spanned<bool>>,
}

/// A mistake, and the bytes where it is.
type Mistake = (Range<usize>, String);

/// All of them, by app.
///
/// # Errors
/// Where one is wrong, and what to write instead.
pub(super) fn read(
    tables: BTreeMap<Spanned<String>, DesiredTable>,
    has_cloud: bool,
    has_fleet: bool,
) -> Result<BTreeMap<String, Desired>, Mistake> {
    if let Some((name, _)) = tables.iter().nth(APPS_MAX) {
        return Err((name.span(), format!("more than {APPS_MAX} apps")));
    }
    let mut all = BTreeMap::new();
    for (name, table) in tables {
        if !release::is_name(name.get_ref()) {
            return Err((name.span(), format!("{:?} is no name of an app", name.get_ref())));
        }
        let at = table.url.span();
        let desired = table.read()?;
        let lacks = match &desired.place {
            Place::Object(_) | Place::Tag(_) if !has_cloud => Some("[cloud]"),
            Place::Ledger if !has_fleet => Some("[fleet]"),
            _ => None,
        };
        if let Some(section) = lacks {
            return Err((at, format!("for this the host needs the section {section} too")));
        }
        all.insert(name.into_inner(), desired);
    }
    Ok(all)
}

impl DesiredTable {
    fn read(self) -> Result<Desired, Mistake> {
        let place = Place::parse(self.url.get_ref()).map_err(|text| (self.url.span(), text))?;
        let signers = signers(self.signers.as_ref(), self.threshold.as_ref())?;
        let every = match &self.every {
            None => EVERY,
            Some(text) => {
                let every = duration(text.get_ref()).map_err(|error| (text.span(), error))?;
                let least = Duration::from_millis(release::limits::EVERY_MS_MIN);
                if every < least {
                    return Err((
                        text.span(),
                        format!("a time from {}s on is due", least.as_secs()),
                    ));
                }
                every
            }
        };
        if let Some(group) = self.group.as_ref().filter(|group| !release::is_name(group.get_ref()))
        {
            return Err((group.span(), format!("{:?} is no name of a group", group.get_ref())));
        }
        let only_signed = self.only_signed.as_ref().is_some_and(|only| *only.get_ref());
        if let Some(only) = self.only_signed.filter(|_| signers == Signers::Anybody && only_signed)
        {
            let text = "only-signed needs signers = \"/FILE\": who may sign?";
            return Err((only.span(), text.to_owned()));
        }
        let group = self.group.map(Spanned::into_inner);
        Ok(Desired { place, signers, every, group, only_signed })
    }
}

fn signers(
    file: Option<&Spanned<String>>,
    threshold: Option<&Spanned<u64>>,
) -> Result<Signers, Mistake> {
    let due = match threshold {
        None => 1,
        Some(number) if (1..=THRESHOLD_MAX).contains(number.get_ref()) => *number.get_ref(),
        Some(number) => {
            return Err((number.span(), format!("a number from 1 to {THRESHOLD_MAX} is due")));
        }
    };
    match (file, threshold) {
        (None, None) => Ok(Signers::Anybody),
        (None, Some(number)) => {
            Err((number.span(), "threshold needs signers = \"/FILE\": who may sign?".to_owned()))
        }
        (Some(file), _) if !file.get_ref().starts_with('/') => {
            Err((file.span(), format!("{:?} is no absolute path", file.get_ref())))
        }
        (Some(file), _) => {
            let due = usize::try_from(due).unwrap_or(1);
            Ok(Signers::File(PathBuf::from(file.get_ref()), due))
        }
    }
}

impl Place {
    /// Reads what stands for `url`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is no place of a release; write https://HOST/PATH, s3://BUCKET/KEY, \
                 file:///PATH, ledger: or tag:NAME",
                quoted(text)
            )
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
        match scheme {
            "https" | "http" => {
                let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
                if url.password().is_some() || !url.username().is_empty() {
                    return Err("a URL with a password in it: this is read by everybody".into());
                }
                Ok(Self::Web(text.to_owned()))
            }
            "s3" => ObjectAddress::parse(text).map(Self::Object),
            "file" => match rest.strip_prefix("//").filter(|path| path.starts_with('/')) {
                Some(path) => Ok(Self::File(PathBuf::from(path))),
                None => Err(wrong()),
            },
            "ledger" if rest.is_empty() => Ok(Self::Ledger),
            "tag" if !rest.is_empty() && rest.len() <= 128 => Ok(Self::Tag(rest.to_owned())),
            _ => Err(wrong()),
        }
    }
}

/// A URL as people are shown it. A query may be a signature that lets its holder in, as in the URLs
/// that S3 presigns, and what is said here is read by everybody.
#[must_use]
pub fn shown(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(bare, _)| format!("{bare}?…"))
}

impl Desired {
    /// What user-data says of an app: the URL is one that its reader let through.
    ///
    /// # Errors
    /// The URL names no place.
    pub fn of_user_data(url: &str, signers: Signers) -> Result<Self, String> {
        let place = Place::parse(url)?;
        Ok(Self { place, signers, every: EVERY, group: None, only_signed: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str) -> Result<Desired, Mistake> {
        toml::from_str::<DesiredTable>(text).expect("a table").read()
    }

    /// Each place by its scheme; what is left out has its default.
    #[test]
    fn the_section_is_read() {
        let desired = read_one("url = \"https://r.example.org/web\"").expect("a place");
        assert_eq!(desired.place, Place::Web("https://r.example.org/web".to_owned()));
        assert_eq!((desired.signers, desired.every), (Signers::Anybody, EVERY));
        let text = "url = \"s3://b/web?region=eu-west-1\"\nsigners = \"/etc/signers\"\n\
            threshold = 2\nevery = \"5s\"\ngroup = \"prod\"\nonly-signed = true";
        let desired = read_one(text).expect("all of it");
        assert!(matches!(desired.place, Place::Object(object) if object.key == "web"));
        assert_eq!(desired.signers, Signers::File("/etc/signers".into(), 2));
        assert_eq!((desired.every, desired.only_signed), (Duration::from_secs(5), true));
        assert_eq!(Place::parse("ledger:"), Ok(Place::Ledger));
        assert_eq!(Place::parse("tag:release url"), Ok(Place::Tag("release url".to_owned())));
        assert_eq!(Place::parse("file:///srv/web"), Ok(Place::File("/srv/web".into())));
    }

    #[test]
    fn a_signature_in_a_url_is_not_shown() {
        let url = "https://b.s3.amazonaws.com/web?X-Amz-Credential=AKIA&X-Amz-Signature=0f";
        assert_eq!(shown(url), "https://b.s3.amazonaws.com/web?…");
        assert_eq!(shown("https://r.example.org/web"), "https://r.example.org/web");
    }

    #[test]
    fn mistakes_are_said() {
        for (text, word) in [
            ("url = \"web\"", "no place"),
            ("url = \"ftp://a/b\"", "tag:NAME"),
            ("url = \"https://me:pw@a/b\"", "password"),
            ("url = \"ftp://me:pw@a/b\"", "what stands there is no place"),
            ("url = \"file://web\"", "no place"),
            ("url = \"ledger:x\"", "no place"),
            ("url = \"tag:\"", "no place"),
            ("url = \"s3://b\"", "s3://BUCKET/KEY"),
            ("url = \"ledger:\"\nevery = \"10ms\"", "from 1s"),
            ("url = \"ledger:\"\nthreshold = 2", "who may sign"),
            ("url = \"ledger:\"\nsigners = \"/f\"\nthreshold = 0", "1 to 16"),
            ("url = \"ledger:\"\nsigners = \"f\"", "absolute"),
            ("url = \"ledger:\"\nonly-signed = true", "who may sign"),
            ("url = \"ledger:\"\ngroup = \"a/b\"", "group"),
        ] {
            let (_, said) = read_one(text).expect_err(text);
            assert!(said.contains(word) && !said.contains("pw@"), "{text}: {said}");
        }
        let table = || toml::from_str("[web]\nurl = \"ledger:\"").expect("a table");
        assert!(read(table(), true, false).expect_err("no fleet").1.contains("[fleet]"));
        assert!(read(table(), false, true).is_ok());
        let table = toml::from_str("[web]\nurl = \"tag:x\"").expect("a table");
        assert!(read(table, false, true).expect_err("no cloud").1.contains("[cloud]"));
    }
}
