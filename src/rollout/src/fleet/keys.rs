//! Where a fleet's records are on the ledger.
//!
//! ```text
//!  groups/GROUP/record              the group's record            everybody, by compare-and-swap
//!  groups/GROUP/hosts/HOST          what a host says of itself    that host
//!  groups/GROUP/migrations/APP      the migration lock of an app  everybody, by compare-and-swap
//!  groups/GROUP/desired/APP         a release document            whoever releases
//! ```

use super::refusal::Refusal;

/// The group's record.
///
/// # Errors
/// The name is none.
pub fn record(group: &str) -> Result<String, Refusal> {
    Ok(format!("groups/{}/record", name("group", group)?))
}

/// The folder of what the hosts say, for [`Ledger::list`](crate::Ledger::list).
///
/// # Errors
/// The name is none.
pub fn hosts(group: &str) -> Result<String, Refusal> {
    Ok(format!("groups/{}/hosts/", name("group", group)?))
}

/// What a host says of itself.
///
/// # Errors
/// A name is none.
pub fn host(group: &str, host: &str) -> Result<String, Refusal> {
    Ok(format!("groups/{}/hosts/{}", name("group", group)?, name("host", host)?))
}

/// The migration lock of an app.
///
/// # Errors
/// A name is none.
pub fn migrations(group: &str, app: &str) -> Result<String, Refusal> {
    Ok(format!("groups/{}/migrations/{}", name("group", group)?, name("app", app)?))
}

/// The folder of the migration locks, for [`Ledger::list`](crate::Ledger::list).
///
/// # Errors
/// The name is none.
pub fn all_migrations(group: &str) -> Result<String, Refusal> {
    Ok(format!("groups/{}/migrations/", name("group", group)?))
}

/// The release that an app of the group shall run, as a document.
///
/// # Errors
/// A name is none.
pub fn desired(group: &str, app: &str) -> Result<String, Refusal> {
    Ok(format!("groups/{}/desired/{}", name("group", group)?, name("app", app)?))
}

fn name<'n>(what: &'static str, name: &'n str) -> Result<&'n str, Refusal> {
    super::group::check_name(what, name)?;
    // `.` and `..` are names to a ledger that is a folder.
    if name.starts_with('.') {
        return Err(Refusal::Name { what, name: name.to_owned() });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_elsewhere() {
        assert_eq!(record("prod").expect("a name"), "groups/prod/record");
        assert_eq!(host("prod", "i-0a").expect("a name"), "groups/prod/hosts/i-0a");
        for wrong in ["", "..", ".", "a/b", "a b", "ü", &"x".repeat(129)] {
            assert!(record(wrong).is_err(), "{wrong}");
            assert!(hosts(wrong).is_err(), "{wrong}");
            assert!(host("prod", wrong).is_err(), "{wrong}");
            assert!(migrations(wrong, "web").is_err(), "{wrong}");
            assert!(desired("prod", wrong).is_err(), "{wrong}");
        }
    }
}
