//! `rollinit logs` and `rollinit events`.

use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, line_for_terminal, printable};
use crate::times::{Anchor, Moment};
use control::agent::client::{CallError, Client as AgentClient};
use control::client::Client;
use control::limits::LOG_LINES_MAX as LINES_OF_SWAP_MAX;
use control::types::{Event, LogRecord};
use serde::Serialize;
use std::borrow::Cow;

/// A record with the time added that people use.
#[derive(Debug, Serialize)]
struct Dated<'a, T> {
    time: String,
    #[serde(flatten)]
    record: &'a T,
}

/// Prints lines of one service's output, or of all.
pub async fn logs(
    client: &mut Client,
    name: Option<&str>,
    lines: u32,
    follow: bool,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let mut day = Day::default();
    let mut replies = client.logs(name, lines, follow).await?;
    while let Some(batch) = replies.next().await? {
        let anchor = Anchor::of_reply(batch.now_ns);
        lost(screen, batch.lost, "lines")?;
        for record in &batch.records {
            log_record(screen, &mut day, anchor, record)?;
        }
        screen.flush()?;
    }
    Ok(Code::Done)
}

/// Prints what an app wrote while one of its swaps was under way.
pub async fn swap_logs(
    client: &mut Client,
    agent: &mut AgentClient,
    swap: &str,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let swaps = agent.swaps(None).await?.swaps;
    let wanted = swaps.into_iter().find(|summary| summary.swap == swap);
    let Some(wanted) = wanted else {
        let error = control::agent::Error::NoSuchSwap { swap: swap.to_owned() };
        return Err(CallError::Answered(error).into());
    };
    let window = wanted.started_ms..=wanted.ended_ms.unwrap_or(u64::MAX);
    let mut day = Day::default();
    let mut replies = client.logs(Some(&wanted.app), LINES_OF_SWAP_MAX, false).await?;
    while let Some(batch) = replies.next().await? {
        let anchor = Anchor::of_reply(batch.now_ns);
        let of_swap = |record: &&LogRecord| window.contains(&anchor.wall_ms(record.time_ns));
        for record in batch.records.iter().filter(of_swap) {
            log_record(screen, &mut day, anchor, record)?;
        }
        screen.flush()?;
    }
    Ok(Code::Done)
}

/// Prints what happened.
pub async fn events(
    client: &mut Client,
    follow: bool,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let mut day = Day::default();
    let mut replies = client.events(follow).await?;
    while let Some(batch) = replies.next().await? {
        let anchor = Anchor::of_reply(batch.now_ns);
        lost(screen, batch.lost, "events")?;
        for event in &batch.events {
            let moment = anchor.moment(event.time_ns);
            if screen.json {
                screen.json(&Dated { time: moment.rfc_3339(), record: event })?;
            } else {
                day.heading(screen, &moment)?;
                let text = screen.tint(tone(event), &printable(&event.text));
                screen.text(&format!("{} {text}\n", moment.time))?;
            }
        }
        screen.flush()?;
    }
    Ok(Code::Done)
}

fn log_record(
    screen: &mut Screen,
    day: &mut Day,
    anchor: Anchor,
    record: &LogRecord,
) -> Result<(), Failure> {
    let moment = anchor.moment(record.time_ns);
    if screen.json {
        screen.json(&Dated { time: moment.rfc_3339(), record })?;
        return Ok(());
    }
    day.heading(screen, &moment)?;
    log_line(screen, &moment, record)
}

fn log_line(screen: &mut Screen, moment: &Moment, record: &LogRecord) -> Result<(), Failure> {
    // An app's two sides may both write: which one it was matters more than the app's name.
    let name = printable(record.key.as_ref().unwrap_or(&record.service));
    let name = screen.tint(Tone::Strong, &name);
    screen.text(&format!("{} {name}: ", moment.time))?;
    // Broken base64 cannot come from our supervisor; the readable form is the best there is then.
    let bytes = record.bytes().unwrap_or(Cow::Borrowed(record.text.as_bytes()));
    if screen.is_terminal {
        screen.text(&line_for_terminal(&bytes))?;
    } else {
        screen.bytes(&bytes)?;
    }
    screen.text("\n")?;
    Ok(())
}

fn tone(event: &Event) -> Tone {
    match event.what.as_str() {
        "failed" | "broken" | "stuck" | "spawn-failed" => Tone::Bad,
        "backoff" | "blocked" | "ready-timeout" | "memo-lost" => Tone::Warning,
        "ready" => Tone::Good,
        _ => Tone::Plain,
    }
}

/// Says on stderr that something is missing here; in JSON it is a record of its own.
fn lost(screen: &mut Screen, count: u64, what: &str) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Lost {
        lost: u64,
    }
    if count > 0 && screen.json {
        screen.json(&Lost { lost: count })?;
    } else if count > 0 {
        screen.complain(&format!("rollinit: {count} {what} are missing here\n"))?;
    }
    Ok(())
}

/// The day of the line before, so that the date is printed when it changes and not on each line.
#[derive(Debug, Default)]
struct Day(String);

impl Day {
    fn heading(&mut self, screen: &mut Screen, moment: &Moment) -> Result<(), Failure> {
        if self.0 != moment.day {
            self.0.clone_from(&moment.day);
            screen.text(&format!("-- {} UTC\n", moment.day))?;
        }
        Ok(())
    }
}
