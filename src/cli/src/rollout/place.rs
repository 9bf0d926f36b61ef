//! Where a group's records are, and who asks.

use super::arguments::{GROUP_VARIABLE, LEDGER_VARIABLE, Place};
use crate::exit::{Code, Failure};
use ledger::{Address, Engine};
use rollout::LedgerError;
use rollout::fleet::limits::SEAT_BYTES_MAX;
use rollout::fleet::seat::SEAT_FILE;
use rollout::fleet::{Refusal, Seat};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// A ledger that was opened, and who asks.
#[derive(Debug)]
pub struct Desk {
    /// The ledger.
    pub engine: Engine,
    /// Its address, as it was written.
    pub ledger: String,
    /// Whoever runs this command: it stands in the record.
    pub by: String,
}

/// A group on an opened ledger.
#[derive(Debug)]
pub struct Fleet {
    /// The ledger.
    pub desk: Desk,
    /// The group.
    pub group: String,
}

impl Desk {
    /// Opens the ledger: as given, else as in the environment, else this host's.
    ///
    /// # Errors
    /// Nobody says which, or the address is none.
    pub fn open(given: Option<&str>, agent_socket: &Path) -> Result<Self, Failure> {
        let ledger = match given.map(str::to_owned).or_else(|| variable(LEDGER_VARIABLE)) {
            Some(ledger) => ledger,
            None => seat(agent_socket)?.map(|seat| seat.ledger).ok_or_else(|| {
                let cures = [
                    "Name it with --ledger URL or in ROLLINIT_LEDGER; docs/ledger.md has the URLs.",
                    "On a host of a group its agent says so: `rollinit status rollinit-agent`.",
                ];
                unknown("no ledger is named, and this host's agent is in no group", &cures)
            })?,
        };
        let address: Address = ledger.parse().map_err(|error: ledger::AddressError| {
            let (message, cures) = parted(&error.to_string());
            Failure { code: Code::SwapRefused, kind: "ledger", message, cures }
        })?;
        let engine = Engine::open(&address, None)?;
        Ok(Self { engine, ledger, by: person() })
    }
}

impl Fleet {
    /// Opens the ledger and the group: each as given, else as in the environment, else this host's.
    ///
    /// # Errors
    /// Nobody says which.
    pub fn open(place: &Place, agent_socket: &Path) -> Result<Self, Failure> {
        let desk = Desk::open(place.ledger.as_deref(), agent_socket)?;
        let group = match place.group.clone().or_else(|| variable(GROUP_VARIABLE)) {
            Some(group) => group,
            None => seat(agent_socket)?.map(|seat| seat.group).ok_or_else(|| {
                let cures = ["Name it with --group GROUP, or in ROLLINIT_GROUP."];
                unknown("no group is named, and this host's agent is in none", &cures)
            })?,
        };
        Ok(Self { desk, group })
    }
}

/// What this host's agent says that it belongs to; none if there is no such file.
fn seat(agent_socket: &Path) -> Result<Option<Seat>, Failure> {
    let path = agent_socket.with_file_name(SEAT_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::local(&format!("read {}", path.display()), &error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(SEAT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::local(&format!("read {}", path.display()), &error))?;
    let seat = Seat::read(&bytes).map_err(|reason| Failure {
        code: Code::Failed,
        kind: "local",
        message: format!("{} is not what an agent writes: {reason}", path.display()),
        cures: vec!["Is this rollinit as old as the agent that runs?".to_owned()],
    })?;
    Ok(Some(seat))
}

fn unknown(message: &str, cures: &[&str]) -> Failure {
    let cures = cures.iter().map(|cure| (*cure).to_owned()).collect();
    Failure { code: Code::NoSuchService, kind: "no_such_group", message: message.to_owned(), cures }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `alice@laptop`: whom to ask about it.
fn person() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.unwrap_or_else(|| "somebody".to_owned());
    match host.trim() {
        "" => name,
        host => format!("{name}@{host}"),
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Failure {
        Failure {
            code: Code::Unreachable,
            kind: "ledger",
            message: format!("{}: {}", error.step, error.reason),
            cures: vec![error.cure],
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let code = match &refusal {
            Refusal::NoRollout(_)
            | Refusal::NothingBlessed(_)
            | Refusal::NoHolder(_)
            | Refusal::NoMigration(_)
            | Refusal::NoTrack(_) => Code::NoSuchService,
            _ => Code::SwapRefused,
        };
        let kind = if code == Code::NoSuchService { "not_there" } else { "refused" };
        let (message, cures) = parted(&refusal.to_string());
        Failure { code, kind, message, cures }
    }
}

/// What is wrong, and what to do about it: `WRONG; CURE`.
fn parted(text: &str) -> (String, Vec<String>) {
    match text.rsplit_once("; ") {
        Some((wrong, cure)) => (wrong.to_owned(), vec![cure.to_owned()]),
        None => (text.to_owned(), Vec::new()),
    }
}
