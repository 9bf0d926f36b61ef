//! Files below `/run/rollinit`: what others read, and what the next daemon goes on with. Each is
//! replaced as a whole.

use super::{Failure, at};
use network::lease::{Held, Lease4, Lease6};
use network::limits::FILE_BYTES_MAX;
use network::state::State;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The leases of one interface, `network/NAME.lease.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Leases {
    /// Of which card: another one with this name starts anew.
    pub mac: [u8; 6],
    /// By DHCPv4.
    pub ipv4: Option<Held<Lease4>>,
    /// By DHCPv6.
    pub ipv6: Option<Held<Lease6>>,
}

/// Where the files are.
#[derive(Debug)]
pub struct Files {
    run: PathBuf,
}

impl Files {
    /// Makes the directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(run: &Path) -> Result<Self, Failure> {
        let directory = run.join("network");
        std::fs::create_dir_all(&directory).map_err(at(format!("make {}", directory.display())))?;
        Ok(Self { run: run.to_owned() })
    }

    /// What others shall know: `resolv.conf` first.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn publish(&self, state: &State) -> Result<(), Failure> {
        self.replace("resolv.conf", &state.resolv_conf())?;
        self.replace("network/state.json", &json(state)?)
    }

    /// Remembers leases.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember(&self, name: &str, leases: &Leases) -> Result<(), Failure> {
        self.replace(&lease_file(name), &json(leases)?)
    }

    /// What was remembered of this card; nothing where there is nothing sound.
    pub fn recall(&self, name: &str, mac: [u8; 6]) -> Leases {
        let path = self.run.join(lease_file(name));
        let fresh = Leases { mac, ..Leases::default() };
        let mut text = String::new();
        let read = File::open(&path).and_then(|f| f.take(FILE_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return fresh,
            Err(error) => {
                tracing::warn!("read {}: {error}; it is as if it were not there", path.display());
                return fresh;
            }
        }
        match serde_json::from_str::<Leases>(&text) {
            Ok(leases) if leases.mac == mac => leases,
            Ok(_) => fresh,
            Err(error) => {
                tracing::warn!("{}: {error}; it is as if it were not there", path.display());
                fresh
            }
        }
    }

    fn replace(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.run.join(name);
        let new = self.run.join(format!("{name}.new"));
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(at(format!("write {}", path.display())))
    }
}

/// A name of an interface has no slash (dev_valid_name of the kernel).
fn lease_file(name: &str) -> String {
    format!("network/{name}.lease.json")
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(io::Error::from).map_err(at("write JSON"))
}
