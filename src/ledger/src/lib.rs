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
//! | `dynamodb://TABLE` | items, written under a condition | EC2 |
//! | `s3://BUCKET/PREFIX` | objects, written under a condition | EC2 without a further service |
//!
//! docs/ledger.md says which to take, and what each needs.

mod cloud_fault;
mod dynamodb;
mod etcd;
mod file;
mod key;
mod limits;
mod s3;
mod url;

pub use dynamodb::DynamoDb;
pub use etcd::Etcd;
pub use file::Folder;
pub use s3::S3;
pub use url::{Address, AddressError, CloudOptions, EtcdOptions};

use cloud::Aws;
use rollout::{Cas, Entry, Ledger, LedgerError, Token};

/// An engine, whichever it is.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A folder.
    Folder(Folder),
    /// etcd.
    Etcd(Etcd),
    /// A table of DynamoDB.
    DynamoDb(DynamoDb),
    /// A bucket of S3.
    S3(S3),
}

impl Engine {
    /// The engine of an address. Asks nobody yet. `aws` is whom DynamoDB and S3 are asked as;
    /// nothing: as the environment says.
    ///
    /// # Errors
    /// A file that the address names cannot be read, or is not what it should be.
    pub fn open(address: &Address, aws: Option<&Aws>) -> Result<Self, LedgerError> {
        match address {
            Address::File { folder } => Ok(Self::Folder(Folder::new(folder))),
            Address::Etcd(options) => Etcd::new(options).map(Self::Etcd),
            Address::DynamoDb(options) => {
                Ok(Self::DynamoDb(DynamoDb::new(options, &known_or_own(aws)?)))
            }
            Address::S3(options) => Ok(Self::S3(S3::new(options, &known_or_own(aws)?))),
        }
    }

    /// Asks the engine whether it is there and keeps what it owes; one line of what was found.
    /// The engine `s3` does so anyway before its first write.
    ///
    /// # Errors
    /// It is not, or does not.
    pub async fn probe(&self) -> Result<String, LedgerError> {
        match self {
            Self::Folder(engine) => engine.probe().await,
            Self::Etcd(engine) => engine.probe().await,
            Self::DynamoDb(engine) => engine.probe().await,
            Self::S3(engine) => engine.probe().await,
        }
    }
}

impl Ledger for Engine {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        match self {
            Self::Folder(engine) => engine.get(key).await,
            Self::Etcd(engine) => engine.get(key).await,
            Self::DynamoDb(engine) => engine.get(key).await,
            Self::S3(engine) => engine.get(key).await,
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
            Self::DynamoDb(engine) => engine.cas(key, expected, value).await,
            Self::S3(engine) => engine.cas(key, expected, value).await,
        }
    }

    async fn remove(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        match self {
            Self::Folder(engine) => engine.remove(key, expected).await,
            Self::Etcd(engine) => engine.remove(key, expected).await,
            Self::DynamoDb(engine) => engine.remove(key, expected).await,
            Self::S3(engine) => engine.remove(key, expected).await,
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        match self {
            Self::Folder(engine) => engine.list(folder).await,
            Self::Etcd(engine) => engine.list(folder).await,
            Self::DynamoDb(engine) => engine.list(folder).await,
            Self::S3(engine) => engine.list(folder).await,
        }
    }
}

/// AWS as it was given, or as the environment says.
fn known_or_own(aws: Option<&Aws>) -> Result<Aws, LedgerError> {
    if let Some(aws) = aws {
        return Ok(aws.clone());
    }
    let failed = |error: cloud::Error| LedgerError {
        step: "ask AWS as the environment says".to_owned(),
        reason: error.to_string(),
        cure: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or unset both".to_owned(),
    };
    let options = cloud::Options::from_environment().map_err(failed)?;
    let imds = cloud::Imds::new(cloud::imds::Options::default()).map_err(failed)?;
    Ok(Aws::new(options, imds))
}
