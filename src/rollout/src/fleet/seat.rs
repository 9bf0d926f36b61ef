//! What a host belongs to, as its agent says it: for whoever sits at that host and asks about the
//! group without naming it.

use super::limits::SEAT_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// Name of the file, beside the agent's socket. It is there while the host is in a fleet.
pub const SEAT_FILE: &str = "fleet";

/// The ledger and the group of a host, from its configuration or its user-data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Address of the ledger, as it was written. It names files of passwords and holds none.
    pub ledger: String,
    /// The group.
    pub group: String,
    /// What this host is called in the group.
    pub host: String,
}

impl Seat {
    /// Reads the file's bytes. Total; fields that are not known are left out.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > SEAT_BYTES_MAX {
            return Err(format!("longer than {SEAT_BYTES_MAX} bytes"));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The file's bytes: one line of JSON.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        // Three texts are always JSON.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_reads_back_and_what_is_none_is_said() {
        let seat = Seat {
            ledger: "etcd://10.0.0.5:2379/shop".to_owned(),
            group: "prod".to_owned(),
            host: "i-0a".to_owned(),
        };
        assert_eq!(Seat::read(&seat.write()), Ok(seat));
        for wrong in [&b""[..], b"{}", b"\xff", &vec![b' '; SEAT_BYTES_MAX + 1]] {
            assert!(Seat::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
