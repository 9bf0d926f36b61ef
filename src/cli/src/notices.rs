//! What the agent says of the host in `rollinit status`: what holds and somebody should know.

use crate::exit::Failure;
use crate::screen::{Screen, Tone, printable, wrap};
use crate::times::{self, duration};
use control::agent::client::{CallError, Client};
use control::agent::{Level, Notice};
use std::path::Path;
use std::time::Duration;

/// How long `status` waits for the agent: it answers from memory in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Columns before a cure.
const INDENT: usize = 2;

/// The notices of the host; none from an agent that is not there or does not answer, which the
/// table of services shows.
pub async fn gather(agent: &Path) -> Vec<Notice> {
    let ask = async {
        let mut client = Client::connect(agent).await?;
        Ok::<_, CallError>(client.standing().await?.notices)
    };
    let answer = tokio::time::timeout(PATIENCE, ask).await;
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

/// A line or two for each, and an empty one.
pub fn show(screen: &mut Screen, notices: &[Notice]) -> Result<(), Failure> {
    let now_ms = times::now_ms();
    for notice in notices {
        let since = duration(now_ms.saturating_sub(notice.since_ms).saturating_mul(1_000_000));
        let tone = match notice.level {
            Level::Error => Tone::Bad,
            Level::Warning => Tone::Warning,
            Level::Information => Tone::Plain,
        };
        let text = format!("{}: {}", printable(&notice.subject), printable(&notice.text));
        let text = wrap(&format!("{text} (for {since})"), screen.width, 2);
        let text = screen.tint(tone, &text);
        screen.text(&format!("{text}\n"))?;
        if let Some(cure) = &notice.cure {
            let cure = wrap(&format!("cure: {}", printable(cure)), screen.width - INDENT, 8);
            screen.text(&format!("{:INDENT$}{cure}\n", ""))?;
        }
    }
    if !notices.is_empty() {
        screen.text("\n")?;
    }
    Ok(())
}
