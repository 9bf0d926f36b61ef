//! Who a service runs as: names of its definition as numbers.

use service::Definition;
use service::definition::{Address, Listen};
use std::path::Path;
use sys::user::Accounts;

/// Where account files are. Read at each start: users may be added while the host runs.
const ACCOUNTS: &str = "/etc";

/// Numbers for setgroups(2), setgid(2), setuid(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub user: u32,
    /// Primary group.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A name that the host does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// `user`, `group` or `groups`.
    pub step: &'static str,
    /// The name, for the log.
    pub name: String,
}

/// What a definition needs of the host's accounts: nothing, if it names nobody.
///
/// # Errors
/// Those of [`accounts`].
pub fn accounts_for(definition: &Definition) -> std::io::Result<Accounts> {
    let owns_a_node = |listen: &Listen| matches!(listen.address, Address::Unix { .. });
    let names_nobody = definition.user.is_none()
        && definition.group.is_none()
        && definition.groups.is_empty()
        && !definition.listen.iter().any(owns_a_node);
    if names_nobody { Ok(Accounts::default()) } else { accounts() }
}

/// The host's accounts now.
///
/// # Errors
/// Those of reading `/etc/passwd` and `/etc/group`.
pub fn accounts() -> std::io::Result<Accounts> {
    Accounts::read(Path::new(ACCOUNTS))
}

/// The identity of a definition. Without `user` and `group` it is root.
///
/// # Errors
/// [`Unknown`] names the user or group. A number without a line in /etc/passwd is a user only if
/// the definition names its group too.
pub fn resolve(definition: &Definition, accounts: &Accounts) -> Result<Identity, Unknown> {
    let mut identity = Identity::default();
    let group = match &definition.group {
        Some(name) => Some(group_of(accounts, "group", name)?),
        None => None,
    };
    if let Some(name) = &definition.user {
        let unknown = || Unknown { step: "user", name: name.clone() };
        match accounts.user(name) {
            Some(user) => {
                identity.user = user.uid;
                identity.group = group.unwrap_or(user.gid);
                identity.groups = accounts.supplementary(&user.name, identity.group);
            }
            None => {
                identity.user = name.parse().map_err(|_| unknown())?;
                identity.group = group.ok_or_else(unknown)?;
            }
        }
    } else {
        identity.group = group.unwrap_or(0);
    }
    for name in &definition.groups {
        let gid = group_of(accounts, "groups", name)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    // A user with hundreds of groups (directory services) keeps the first ones.
    identity.groups.truncate(port::limits::GROUPS_MAX);
    Ok(identity)
}

/// The number of a group.
///
/// # Errors
/// [`Unknown`] at `step`.
pub fn group_of(accounts: &Accounts, step: &'static str, name: &str) -> Result<u32, Unknown> {
    accounts.group(name).ok_or_else(|| Unknown { step, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(lines: &str) -> Definition {
        let text = format!("[service]\nexec = [\"/bin/true\"]\n{lines}\n");
        service::definition::parse("test.toml", &text).expect("definition")
    }

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:1000:100::/:/bin/sh\n";
        let group = "users:x:100:\nlog:x:40:web\nssl:x:41:\n";
        Accounts::from_bytes(passwd.into(), group.into())
    }

    /// The cases of the definition's three keys; who is unknown is named with the key.
    #[test]
    fn names_become_numbers() {
        let resolve = |lines: &str| resolve(&definition(lines), &accounts());
        assert_eq!(resolve(""), Ok(Identity::default()));
        let web = Identity { user: 1000, group: 100, groups: vec![40] };
        assert_eq!(resolve("user = \"web\""), Ok(web.clone()));
        assert_eq!(resolve("user = \"1000\""), Ok(web));
        let more = resolve("user = \"web\"\ngroup = \"log\"\ngroups = [\"ssl\", \"log\"]");
        assert_eq!(more, Ok(Identity { user: 1000, group: 40, groups: vec![41, 40] }));
        let number = resolve("user = \"4242\"\ngroup = \"4243\"");
        assert_eq!(number, Ok(Identity { user: 4242, group: 4243, groups: vec![] }));
        for (lines, step) in [
            ("user = \"4242\"", "user"),
            ("user = \"nobody\"", "user"),
            ("group = \"none\"", "group"),
            ("groups = [\"none\"]", "groups"),
        ] {
            assert_eq!(resolve(lines).expect_err(lines).step, step);
        }
    }
}
