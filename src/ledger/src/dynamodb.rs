//! The engine `dynamodb`: one item an entry, written under a condition on its version.
//!
//! Format: the item's key is `ledger` (the partition: the address's prefix) and `key` (the sort
//! key); beside it are `version`, a text that no write ever repeats, and `value`, bytes. A version
//! that counted would come again after an item was removed by hand. Reads are strongly consistent.
//! DynamoDB's own expiry is not used: it is days late.

use crate::cloud_fault::{self, Asked};
use crate::key;
use crate::limits::{CALL_TIMEOUT, ENTRIES_MAX, LIST_TIMEOUT};
use crate::url::CloudOptions;
use cloud::Aws;
use cloud::dynamodb::{Attribute, Condition, Item, Prefix};
use rollout::{Cas, Entry, Ledger, LedgerError, Token};

const PARTITION: &str = "ledger";
const KEY: &str = "key";
const VERSION: &str = "version";
const VALUE: &str = "value";

/// A handle of a table; a clone is another one.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    aws: Aws,
    table: String,
    prefix: String,
}

impl DynamoDb {
    /// The engine of a table. Asks nobody yet.
    #[must_use]
    pub fn new(options: &CloudOptions, aws: &Aws) -> Self {
        Self {
            aws: aws.at(options.region.as_deref(), options.endpoint.as_deref()),
            table: options.name.clone(),
            prefix: options.prefix.clone(),
        }
    }

    /// What it is called in errors.
    pub(crate) fn name(&self) -> String {
        format!("the DynamoDB table {}", self.table)
    }

    fn key(&self, key: &str) -> Item {
        Item::from([
            (PARTITION.to_owned(), Attribute::Text(self.prefix.clone())),
            (KEY.to_owned(), Attribute::Text(key.to_owned())),
        ])
    }

    /// The key and the entry that an item is.
    fn entry(&self, step: &str, mut item: Item) -> Result<(String, Entry), LedgerError> {
        let fields = (item.remove(KEY), item.remove(VERSION), item.remove(VALUE));
        match fields {
            (
                Some(Attribute::Text(key)),
                Some(Attribute::Text(version)),
                Some(Attribute::Bytes(value)),
            ) => Ok((key, Entry { value, token: Token(version) })),
            (key, ..) => Err(LedgerError {
                step: step.to_owned(),
                reason: format!(
                    "the item {} has no `{VERSION}` (text) or no `{VALUE}` (binary)",
                    key.as_ref().and_then(Attribute::as_text).unwrap_or("without a key")
                ),
                cure: "remove it: none of ours is so".to_owned(),
            }),
        }
    }

    /// Whether the table is as it has to be.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) async fn probe(&self) -> Result<String, LedgerError> {
        let step = format!("probe {}", self.name());
        let table = self.aws.dynamodb();
        let table = table.table(&self.table);
        let table = cloud_fault::within(&step, CALL_TIMEOUT, table).await?;
        if table.key != [PARTITION, KEY] {
            let reason = format!("its key is {}, not {PARTITION}, {KEY}", table.key.join(", "));
            let cure = "make a table as docs/ledger.md says".to_owned();
            return Err(LedgerError { step, reason, cure });
        }
        Ok(format!("{} is {}", self.name(), table.status.to_lowercase()))
    }
}

impl Ledger for DynamoDb {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        key::check(&self.name(), key)?;
        let step = format!("read {key} from {}", self.name());
        let (table, wanted) = (self.aws.dynamodb(), self.key(key));
        let found = table.get(&self.table, &wanted);
        let found = cloud_fault::within(&step, CALL_TIMEOUT, found).await?;
        found.map(|item| self.entry(&step, item).map(|(_, entry)| entry)).transpose()
    }

    async fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        key::check_value(&self.name(), key, value)?;
        let step = format!("write {key} to {}", self.name());
        let version = key::unique();
        let mut item = self.key(key);
        item.insert(VERSION.to_owned(), Attribute::Text(version.clone()));
        item.insert(VALUE.to_owned(), Attribute::Bytes(value.to_vec()));
        let condition = match expected {
            None => Condition::Absent(KEY),
            Some(token) => Condition::Equals(VERSION, &token.0),
        };
        let table = self.aws.dynamodb();
        let put = table.put(&self.table, &item, &condition);
        Ok(match cloud_fault::write_within(&step, CALL_TIMEOUT, put).await? {
            Asked::Answered(true) => Cas::Applied(Token(version)),
            Asked::Answered(false) => Cas::Lost,
            Asked::Unknown(reason) => Cas::Unknown(reason),
        })
    }

    async fn remove(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        let step = format!("remove {key} from {}", self.name());
        let (table, wanted) = (self.aws.dynamodb(), self.key(key));
        let delete = table.delete(&self.table, &wanted, (VERSION, &expected.0));
        Ok(match cloud_fault::write_within(&step, CALL_TIMEOUT, delete).await? {
            Asked::Answered(true) => Cas::Applied(expected.clone()),
            Asked::Answered(false) => Cas::Lost,
            Asked::Unknown(reason) => Cas::Unknown(reason),
        })
    }

    async fn list(&self, folder: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        key::check_folder(&self.name(), folder)?;
        let step = format!("list {folder} of {}", self.name());
        let prefix = Prefix { partition: (PARTITION, &self.prefix), sort: (KEY, folder) };
        let table = self.aws.dynamodb();
        let items = table.query(&self.table, prefix, ENTRIES_MAX);
        let items = cloud_fault::within(&step, LIST_TIMEOUT, items).await?;
        items.into_iter().map(|item| self.entry(&step, item)).collect()
    }
}
