//! How the records on the ledger become bytes and come back: JSON, for whoever reads the ledger by
//! hand, of a bounded size and a known format.

use super::group::FORMAT;
use super::limits::RECORD_BYTES_MAX;
use super::refusal::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind of record.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const WHAT: &'static str;

    /// The format that it was written in.
    fn format(&self) -> u32;
}

/// Reads a record. Total.
///
/// # Errors
/// It is none, or one of a newer format.
pub(super) fn read<R: Record>(bytes: &[u8]) -> Result<R, Refusal> {
    check_size::<R>(bytes)?;
    let record: R = serde_json::from_slice(bytes).map_err(unreadable::<R>)?;
    match record.format() {
        format if format > FORMAT => Err(Refusal::Newer { what: R::WHAT, format }),
        _ => Ok(record),
    }
}

/// The record as bytes.
///
/// # Errors
/// It is larger than a ledger takes.
pub(super) fn write<R: Record>(record: &R) -> Result<Vec<u8>, Refusal> {
    let bytes = serde_json::to_vec(record).map_err(unreadable::<R>)?;
    check_size::<R>(&bytes).map(|()| bytes)
}

fn check_size<R: Record>(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() > RECORD_BYTES_MAX {
        let limit = format!("{RECORD_BYTES_MAX} bytes");
        return Err(Refusal::TooLarge { what: R::WHAT, limit });
    }
    Ok(())
}

fn unreadable<R: Record>(error: serde_json::Error) -> Refusal {
    Refusal::Unreadable { what: R::WHAT, reason: error.to_string() }
}
