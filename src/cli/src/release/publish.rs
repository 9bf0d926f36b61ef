//! `rollinit release publish`.

use super::arguments::{MaybeTrust, Trust};
use super::{failure, files, judged, unsound};
use crate::exit::{Code, Failure};
use crate::rollout::place::Desk;
use crate::screen::Screen;
use release::{Document, Envelope};
use rollout::fleet::keys;
use rollout::{Cas, Ledger as _};
use serde::Serialize;
use std::path::Path;

/// Tries against others who write the same.
const TRIES: u32 = 5;

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report<'a> {
    key: &'a str,
    serial: u64,
    path: &'a str,
}

/// Puts a release on the ledger, if it is newer than what lies there.
pub async fn run(
    file: &Path,
    trust: &MaybeTrust,
    ledger: Option<&str>,
    agent_socket: &Path,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let bytes = files::read(file)?;
    let document = document(&bytes).map_err(|error| unsound(file, &error))?;
    if let Some(signers) = &trust.signers {
        let (signers, threshold) = (signers.clone(), trust.threshold);
        judged(&bytes, file, &Trust { signers, threshold, app: None, group: None })?;
    }
    let key = keys::desired(&document.group, &document.app)?;
    let desk = Desk::open(ledger, agent_socket)?;
    put(&desk, &key, &document, &bytes).await?;
    if screen.json {
        let Document { serial, path, .. } = &document;
        screen.json(&Report { key: &key, serial: *serial, path })?;
    } else {
        let Document { serial, app, group, .. } = &document;
        let text = format!("release {serial} of {app} is where the hosts of {group} look\n");
        screen.text(&text)?;
    }
    Ok(Code::Done)
}

fn document(bytes: &[u8]) -> Result<Document, String> {
    let envelope = Envelope::split(bytes).map_err(|error| error.to_string())?;
    Document::read(envelope.document).map_err(|error| error.to_string())
}

async fn put(desk: &Desk, key: &str, document: &Document, bytes: &[u8]) -> Result<(), Failure> {
    let mut last = "others were faster".to_owned();
    for _ in 0..TRIES {
        let there = desk.engine.get(key).await?;
        if let Some(entry) = &there {
            if entry.value == bytes {
                return Ok(());
            }
            let newest = self::document(&entry.value).map_or(0, |document| document.serial);
            if newest >= document.serial {
                // The same document with further signatures takes the place of the one before.
                let is_same = Envelope::split(&entry.value)
                    .is_ok_and(|one| one.document == document.write().as_slice());
                if !is_same {
                    let (serial, ledger) = (document.serial, &desk.ledger);
                    let message = format!(
                        "release {serial} is not newer than {newest}, which is on {ledger}"
                    );
                    let cure = "Make one with a higher serial, also to go back.";
                    return Err(failure(Code::SwapRefused, "old-serial", message, cure));
                }
            }
        }
        match desk.engine.cas(key, there.as_ref().map(|entry| &entry.token), bytes).await? {
            Cas::Applied(_) => return Ok(()),
            Cas::Lost => {}
            // What came of it shows when it is read again.
            Cas::Unknown(why) => last = why,
        }
    }
    let message = format!("nobody knows whether {key} was written to {}: {last}", desk.ledger);
    Err(failure(Code::Unreachable, "ledger", message, "Try again: the same once more is no harm."))
}
