//! `[webhook]` of `agent.toml`: who is told of what happens on this host.
//!
//! Read once, when the agent starts; the files that it names at each try.

use serde::Deserialize;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

/// What the section says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where events are posted.
    pub to: To,
    /// A file whose first line is sent as `Authorization: Bearer …`.
    pub token_file: Option<PathBuf>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// As it is written.
    Url(String),
    /// A file whose first line it is: for an address that is itself a secret.
    File(PathBuf),
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct WebhookTable {
    url: Option<Spanned<String>>,
    url_file: Option<Spanned<PathBuf>>,
    token_file: Option<Spanned<PathBuf>>,
}

impl WebhookTable {
    /// Its meaning.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub(super) fn read(self) -> Result<Webhook, (Range<usize>, String)> {
        let absolute = |file: Spanned<PathBuf>| match file.get_ref().is_absolute() {
            true => Ok(file.into_inner()),
            false => Err((file.span(), "a path that begins with / is due".to_owned())),
        };
        let to = match (self.url, self.url_file) {
            (Some(url), None) => {
                check(url.get_ref()).map_err(|error| (url.span(), error))?;
                To::Url(url.into_inner())
            }
            (None, Some(file)) => To::File(absolute(file)?),
            (Some(url), Some(_)) => {
                return Err((url.span(), "url and url-file; leave one out".to_owned()));
            }
            (None, None) => {
                let text = "[webhook] has no url; write url = \"https://HOST/PATH\" or url-file";
                return Err((0..0, text.to_owned()));
            }
        };
        Ok(Webhook { to, token_file: self.token_file.map(absolute).transpose()? })
    }
}

/// Whether events can be posted there.
///
/// # Errors
/// What is wrong, without the address itself: it may be a secret.
pub fn check(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("events are posted over http or https".to_owned());
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("a URL with a password in it: this file is read by everybody; write \
                    url-file or token-file"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Webhook, (Range<usize>, String)> {
        toml::from_str::<WebhookTable>(text).expect("a table").read()
    }

    #[test]
    fn the_section_is_read() {
        let hook = read("url = 'https://a/b'\ntoken-file = '/t'").expect("whole");
        assert_eq!(hook.to, To::Url("https://a/b".to_owned()));
        assert_eq!(hook.token_file, Some(PathBuf::from("/t")));
        assert_eq!(read("url-file = '/u'").expect("a file").to, To::File("/u".into()));
        for (text, cure) in [
            ("", "url-file"),
            ("url = 'ftp://a'", "http or https"),
            ("url = 'http://me:pw@a'", "password"),
            ("url = 'http://a'\nurl-file = '/u'", "leave one out"),
            ("url-file = 'u'", "begins with /"),
            ("url = 'http://a'\ntoken-file = 't'", "begins with /"),
        ] {
            let (_, said) = read(text).expect_err(text);
            assert!(said.contains(cure) && !said.contains("pw@"), "{text}: {said}");
        }
    }
}
