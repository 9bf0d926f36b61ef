//! A host that is to live only so long powers itself off, whatever else it does.
//!
//! Counted from the launch that the instance's identity tells; where there is none, or the clock is
//! before it, from the boot.

use super::Host;
use cloud::time::{format_rfc3339, parse_rfc3339};
use control::agent::Level;
use control::types::ShutdownKind;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use sys::kmsg::Priority;
use tokio::time::sleep;

/// The subject in `rollinit status`.
const SUBJECT: &str = "lifetime";

/// Between two looks at the clock, which may be set meanwhile.
const LOOK: Duration = Duration::from_secs(60);

/// How long a host may have lived for its clock to be believed.
const AGE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Until the host goes down.
pub async fn run(host: Rc<Host>, lifetime_ms: u64) {
    let lifetime = Duration::from_millis(lifetime_ms);
    let launch = launch(&host).await;
    loop {
        let left = left(lifetime, launch, SystemTime::now(), uptime());
        if left.is_zero() {
            break;
        }
        tell(&host, left);
        sleep(left.min(LOOK)).await;
    }
    let text = format!("{SUBJECT}: over; this host powers itself off");
    host.tools.console.announce(Priority::Warning, &text);
    let asked =
        host.tools.supervisor.ask(async |client| client.shutdown(ShutdownKind::Poweroff).await);
    if let Err(error) = asked.await {
        let text = format!("over, and the host cannot be powered off: {error}");
        let cure = Some("terminate the instance");
        host.tools.standing.set(&host.tools.console, SUBJECT, Level::Error, &text, cure);
    }
}

fn tell(host: &Host, left: Duration) {
    let seconds = left.as_secs();
    // By the minute, so that it is said once and not each time it is looked at.
    let end = SystemTime::now() + Duration::from_secs(seconds);
    let minute = Duration::from_secs(
        end.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()) / 60 * 60,
    );
    let at = format_rfc3339(SystemTime::UNIX_EPOCH + minute);
    let text = format!("this host powers itself off at {at}, as its user-data says");
    let standing = &host.tools.standing;
    standing.set(&host.tools.console, SUBJECT, Level::Information, &text, None);
}

/// When the instance was launched.
async fn launch(host: &Host) -> Option<SystemTime> {
    let ec2 = host.tools.ec2.as_ref()?;
    match ec2.imds.identity().await {
        Ok(identity) => identity.pending_time.and_then(|text| parse_rfc3339(&text).ok()),
        Err(error) => {
            tracing::warn!("{SUBJECT}: counted from the boot, not from the launch: {error}");
            None
        }
    }
}

fn uptime() -> Duration {
    Duration::from_nanos(sys::clock::boottime_ns())
}

/// How long the host has still to live.
fn left(
    lifetime: Duration,
    launch: Option<SystemTime>,
    now: SystemTime,
    uptime: Duration,
) -> Duration {
    let age = launch.and_then(|launch| now.duration_since(launch).ok());
    // A host is older than its boot, and not older than the clouds.
    let age = age.filter(|age| *age < AGE_MAX).unwrap_or(uptime).max(uptime);
    lifetime.saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the launch if the clock can be believed, else from the boot; never below nothing.
    #[test]
    fn what_is_left() {
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let now = SystemTime::UNIX_EPOCH + hours(500_000);
        let left = |launch, uptime| left(hours(8), launch, now, hours(uptime));
        assert_eq!(left(Some(now - hours(3)), 1), hours(5), "it was stopped, or booted, since");
        assert_eq!(left(Some(now - hours(9)), 1), hours(0));
        assert_eq!(left(None, 1), hours(7));
        assert_eq!(left(Some(now + hours(1)), 1), hours(7), "the clock is before the launch");
        assert_eq!(left(Some(SystemTime::UNIX_EPOCH), 1), hours(7), "no launch at all");
        assert_eq!(left(Some(now), 2), hours(6), "the clock was set since");
    }
}
