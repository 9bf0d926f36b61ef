//! `[fleet]` of `agent.toml`: the group that this host is a member of, and the ledger that keeps
//! the group's records.
//!
//! Read once, when the agent starts. What is missing may come from user-data.

use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;

/// What the section says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// That this host is to be a member: what of it is missing, user-data says.
    pub is_due: bool,
    /// The ledger's address, as it is written.
    pub ledger: Option<String>,
    /// The group.
    pub group: Option<String>,
    /// What this host is called there; nothing: its instance id, or else its host name.
    pub host: Option<String>,
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FleetTable {
    enable: Option<bool>,
    ledger: Option<Spanned<String>>,
    group: Option<Spanned<String>>,
    host: Option<Spanned<String>>,
}

impl FleetTable {
    /// Its meaning. `has_user_data`: what is missing may come from there.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub(super) fn read(self, has_user_data: bool) -> Result<Fleet, (Range<usize>, String)> {
        if self.enable == Some(false) {
            return Ok(Fleet::default());
        }
        if let Some(ledger) = &self.ledger {
            let parsed = ledger.get_ref().parse::<ledger::Address>();
            parsed.map_err(|error| (ledger.span(), error.to_string()))?;
        }
        for (what, name) in [("group", &self.group), ("host", &self.host)] {
            let Some(name) = name else { continue };
            rollout::fleet::keys::host(name.get_ref(), name.get_ref()).map_err(|_| {
                let text = format!("{:?} cannot name a {what}", name.get_ref());
                (name.span(), format!("{text}: letters, digits, -, _, ., : and @, no . first"))
            })?;
        }
        let missing = [("ledger", &self.ledger), ("group", &self.group)]
            .into_iter()
            .find_map(|(key, value)| value.is_none().then_some(key));
        if let Some(key) = missing.filter(|_| !has_user_data) {
            let text =
                format!("[fleet] has no {key}; write {key} = \"…\", or let user-data say it");
            return Err((0..0, text));
        }
        let text = |value: Option<Spanned<String>>| value.map(Spanned::into_inner);
        let (ledger, group, host) = (text(self.ledger), text(self.group), text(self.host));
        Ok(Fleet { is_due: true, ledger, group, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, has_user_data: bool) -> Result<Fleet, (Range<usize>, String)> {
        toml::from_str::<FleetTable>(text).expect("a table").read(has_user_data)
    }

    /// Both are needed, unless user-data may say one; each mistake is told with its place.
    #[test]
    fn the_section_is_read() {
        let whole = "ledger = \"file:///x\"\ngroup = \"prod\"\nhost = \"web-1\"";
        let fleet = read(whole, false).expect("whole");
        assert_eq!(fleet.ledger.as_deref(), Some("file:///x"));
        assert_eq!((fleet.group.as_deref(), fleet.host.as_deref()), (Some("prod"), Some("web-1")));
        assert!(read("ledger = \"file:///x\"", true).is_ok());
        assert!(read("enable = true", true).expect("user-data says the rest").is_due);
        assert_eq!(read("enable = false\nledger = \"redis://a\"", false), Ok(Fleet::default()));
        for (text, at, cure) in [
            ("ledger = \"file:///x\"", 0, "group"),
            ("group = \"prod\"", 0, "ledger"),
            ("ledger = \"redis://a\"", 9, "etcd://HOST"),
            ("ledger = \"file:///x\"\ngroup = \"a/b\"", 29, "cannot name a group"),
            ("ledger = \"file:///x\"\ngroup = \"a\"\nhost = \"..\"", 40, "cannot name a host"),
        ] {
            let (span, said) = read(text, false).expect_err(text);
            assert_eq!(span.start, at, "{text}: {said}");
            assert!(said.contains(cure), "{text}: {said}");
        }
    }
}
