//! The engines that keep a fleet's records, behind the one trait [`rollout::Ledger`].
//!
//! Is: clients of what people run already. May touch: the network, and the folder of the engine
//! `file`. Never: decides anything, invents an answer: a write that nobody answered for is
//! [`Unknown`](rollout::Cas::Unknown).
//!
//! | URL | engine | for |
//! |---|---|---|
//! | `file:///var/lib/rollinit/ledger` | a folder and a lock | one host, and tests |
//! | `etcd://HOST:2379/PREFIX` | etcd 3.4 or newer, its JSON gateway; `etcds` with TLS | clusters |

mod etcd;
mod file;
mod key;
mod limits;
mod url;

pub use etcd::Etcd;
pub use file::Folder;
pub use url::{Address, AddressError};

use cloud::Aws;
use rollout::{Cas, Entry, Ledger, LedgerError, Token};

/// An engine, whichever it is.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A folder.
    Folder(Folder),
    /// etcd.
    Etcd(Etcd),
}

impl Engine {
    /// The engine of an address. Asks nobody yet. `aws` is whom DynamoDB and S3 are asked as;
    /// nothing: as the environment says.
    ///
    /// # Errors
    /// A file that the address names cannot be read, or is not what it should be.
    pub fn open(address: &Address, aws: Option<&Aws>) -> Result<Self, LedgerError> {
        let _ = aws;
        match address {
            Address::File { folder } => Ok(Self::Folder(Folder::new(folder))),
            Address::Etcd(options) => Etcd::new(options).map(Self::Etcd),
        }
    }
}

impl Ledger for Engine {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        match self {
            Self::Folder(engine) => engine.get(key).await,
            Self::Etcd(engine) => engine.get(key).await,
        }
    }

    async fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        match self {
            Self::Folder(engine) => engine.cas(key, expected, value).await,
            Self::Etcd(engine) => engine.cas(key, expected, value).await,
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        match self {
            Self::Folder(engine) => engine.list(folder).await,
            Self::Etcd(engine) => engine.list(folder).await,
        }
    }
}
