//! Instances as lines.

use super::EXPIRES;
use crate::exit::Failure;
use crate::screen::{Screen, Tone, cut, printable};
use crate::times::duration;
use cloud::ec2::Instance;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// An instance, with `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: String,
    name: String,
    state: String,
    #[serde(rename = "type")]
    kind: String,
    image: String,
    private_address: Option<String>,
    public_address: Option<String>,
    launched: String,
    expires: Option<String>,
    is_old: bool,
}

impl Row {
    pub fn of(instance: &Instance, now: SystemTime) -> Self {
        Self {
            id: instance.instance_id.clone(),
            name: name(instance),
            state: instance.state.clone(),
            kind: instance.instance_type.clone(),
            image: instance.image_id.clone(),
            private_address: instance.private_ip_address.clone(),
            public_address: instance.public_ip_address.clone(),
            launched: cloud::time::format_rfc3339(instance.launch_time),
            expires: instance.tags.get(EXPIRES).cloned(),
            is_old: is_old(instance, now),
        }
    }
}

/// The tag Name.
pub(super) fn name(instance: &Instance) -> String {
    instance.tags.get("Name").map_or_else(|| "-".to_owned(), |name| printable(name))
}

/// When it is too old, if its tag says so readably.
fn expires(instance: &Instance) -> Option<SystemTime> {
    cloud::time::parse_rfc3339(instance.tags.get(EXPIRES)?).ok()
}

/// Whether its time is over. One whose tag cannot be read is not ended by a guess.
pub(super) fn is_old(instance: &Instance, now: SystemTime) -> bool {
    expires(instance).is_some_and(|expires| expires <= now)
}

/// Prints them, a line each.
pub(super) fn print(
    instances: &[Instance],
    now: SystemTime,
    screen: &mut Screen,
) -> Result<(), Failure> {
    if screen.json {
        let rows: Vec<Row> = instances.iter().map(|instance| Row::of(instance, now)).collect();
        return Ok(screen.json(&rows)?);
    }
    if instances.is_empty() {
        return Ok(screen.text("no instance\n")?);
    }
    let heading =
        "INSTANCE            NAME             STATE      TYPE          AGE    LEFT ADDRESS";
    let heading = screen.tint(Tone::Strong, &cut(heading, screen.width));
    screen.text(&format!("{heading}\n"))?;
    for instance in instances {
        screen.text(&format!("{}\n", line(instance, now)))?;
    }
    Ok(())
}

fn line(instance: &Instance, now: SystemTime) -> String {
    let short = |time: Duration| duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let age = short(now.duration_since(instance.launch_time).unwrap_or_default());
    let left = match expires(instance) {
        None => "-".to_owned(),
        Some(expires) => expires.duration_since(now).map_or_else(|_| "old".to_owned(), short),
    };
    let address = instance.public_ip_address.as_ref().or(instance.private_ip_address.as_ref());
    let line = format!(
        "{:<19} {:<16} {:<10} {:<11} {age:>7} {left:>7} {}",
        printable(&instance.instance_id),
        cut(&name(instance), 16),
        cut(&printable(&instance.state), 10),
        cut(&printable(&instance.instance_type), 11),
        printable(address.map_or("-", String::as_str)),
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn instance(expires: Option<&str>) -> Instance {
        let tags = expires.map(|expires| (EXPIRES.to_owned(), expires.to_owned()));
        Instance {
            instance_id: "i-0123456789abcdef0".to_owned(),
            state: "running".to_owned(),
            instance_type: "t3.small".to_owned(),
            image_id: "ami-1".to_owned(),
            launch_time: UNIX_EPOCH,
            private_ip_address: Some("10.0.0.7".to_owned()),
            public_ip_address: None,
            tags: tags.into_iter().collect(),
        }
    }

    #[test]
    fn only_what_says_that_it_is_old_is_old() {
        let now = UNIX_EPOCH + Duration::from_secs(3_600);
        assert!(is_old(&instance(Some("1970-01-01T01:00:00Z")), now));
        assert!(!is_old(&instance(Some("1970-01-01T01:00:01Z")), now));
        for unreadable in [None, Some(""), Some("tomorrow")] {
            assert!(!is_old(&instance(unreadable), now), "{unreadable:?}");
        }
        let line = line(&instance(Some("1970-01-01T02:00:00Z")), now);
        assert!(line.starts_with("i-0123456789abcdef0 -                running    t3.small"));
        assert!(line.ends_with("10.0.0.7") && line.len() <= 100, "{line:?}");
    }
}
