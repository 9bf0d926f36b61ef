//! `rollinit locks probe`: whether a ledger is there, and keeps what locks rest on.

use super::place::Desk;
use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable, wrap};
use crate::times::duration;
use serde::Serialize;
use std::time::Instant;

/// What was found. The form with `--json`.
#[derive(Debug, Serialize)]
struct Probed<'a> {
    ledger: &'a str,
    found: &'a str,
    took_ms: u64,
}

/// Asks the engine; its refusal is the failure.
pub async fn run(desk: &Desk, screen: &mut Screen) -> Result<Code, Failure> {
    screen.flush()?;
    let start = Instant::now();
    let found = desk.engine.probe().await?;
    let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if screen.json {
        let (ledger, took_ms) = (desk.ledger.as_str(), took / 1_000_000);
        screen.json(&Probed { ledger, found: &found, took_ms })?;
    } else {
        let text = printable(&format!("{found} ({})", duration(took)));
        screen.text(&format!("{}\n", wrap(&text, screen.width, 2)))?;
    }
    Ok(Code::Done)
}
