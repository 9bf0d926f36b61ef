//! The engine `s3`: one object an entry, written with If-None-Match or If-Match.
//!
//! Format: an object is a line that no write ever repeats, and the value. S3's ETag is a hash of
//! what an object holds: without that line, what was written twice alike would have one version.
//! An entry's version is its ETag.
//!
//! There are copies of S3 that take the conditions and ignore them: two hosts would both hold what
//! one may. So before the first write the endpoint is asked to prove that it knows them; see
//! [`probe`].

mod probe;

use crate::cloud_fault::{self, Asked};
use crate::key;
use crate::limits::{
    CALL_TIMEOUT, ENTRIES_MAX, LIST_READERS, LIST_TIMEOUT, LISTED_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::url::CloudOptions;
use cloud::Aws;
use cloud::s3::{Found, ObjectAddress, Put, PutCondition};
use rollout::{Cas, Entry, Ledger, LedgerError, Token};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

/// Bytes of the line before the value.
const LINE_BYTES: usize = 33;

/// A handle of a bucket; a clone is another one.
#[derive(Clone, Debug)]
pub struct S3(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    aws: Aws,
    bucket: String,
    prefix: String,
    /// That the endpoint keeps conditions.
    is_proven: OnceCell<()>,
    /// That it does so also when something is removed.
    is_removal_proven: OnceCell<()>,
    /// What was listed last, by key: an ETag stands for what an object holds, so what has the same
    /// one needs not be fetched again.
    listed: Mutex<HashMap<String, Entry>>,
}

impl S3 {
    /// The engine of a bucket. Asks nobody yet.
    #[must_use]
    pub fn new(options: &CloudOptions, aws: &Aws) -> Self {
        Self(Arc::new(Inner {
            aws: aws.at(options.region.as_deref(), options.endpoint.as_deref()),
            bucket: options.name.clone(),
            prefix: options.prefix.clone(),
            is_proven: OnceCell::new(),
            is_removal_proven: OnceCell::new(),
            listed: Mutex::default(),
        }))
    }

    /// What it is called in errors.
    pub(crate) fn name(&self) -> String {
        format!("the bucket s3://{}/{}", self.0.bucket, self.0.prefix)
    }

    fn object(&self, key: &str) -> ObjectAddress {
        ObjectAddress {
            bucket: self.0.bucket.clone(),
            key: format!("{}/{key}", self.0.prefix),
            region: None,
        }
    }

    /// The object of a key, and its ETag.
    async fn read(&self, step: &str, key: &str) -> Result<Option<Entry>, LedgerError> {
        let strange = |reason: String| LedgerError {
            step: step.to_owned(),
            reason: format!("{}: {reason}", self.object(key)),
            cure: "remove it: none of ours is so".to_owned(),
        };
        let (s3, address) = (self.0.aws.s3(), self.object(key));
        let found = s3.get(&address, LINE_BYTES + VALUE_BYTES_MAX, None);
        let object = match cloud_fault::within(step, CALL_TIMEOUT, found).await? {
            Found::Object(object) => object,
            Found::Missing => return Ok(None),
            Found::Unchanged => return Err(strange("it is unchanged since never".to_owned())),
        };
        let Some(etag) = object.etag else { return Err(strange("it has no ETag".to_owned())) };
        if object.bytes.get(LINE_BYTES - 1) != Some(&b'\n') {
            return Err(strange("it does not begin with a version".to_owned()));
        }
        let value = object.bytes[LINE_BYTES..].to_vec();
        Ok(Some(Entry { value, token: Token(etag) }))
    }

    async fn write(
        &self,
        step: &str,
        key: &str,
        condition: &PutCondition<'_>,
        value: &[u8],
    ) -> Result<Asked<Put>, LedgerError> {
        let bytes = [key::unique().as_bytes(), b"\n", value].concat();
        let (s3, address) = (self.0.aws.s3(), self.object(key));
        let put = s3.put(&address, &bytes, condition);
        cloud_fault::write_within(step, CALL_TIMEOUT, put).await
    }

    async fn delete(&self, step: &str, key: &str, etag: &str) -> Result<Asked<bool>, LedgerError> {
        let (s3, address) = (self.0.aws.s3(), self.object(key));
        let delete = s3.delete(&address, etag);
        cloud_fault::write_within(step, CALL_TIMEOUT, delete).await
    }
}

impl Ledger for S3 {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        key::check(&self.name(), key)?;
        self.read(&format!("read {key} from {}", self.name()), key).await
    }

    async fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        key::check_value(&self.name(), key, value)?;
        self.probe().await?;
        let step = format!("write {key} to {}", self.name());
        let condition = match expected {
            None => PutCondition::Absent,
            Some(token) => PutCondition::Unchanged(&token.0),
        };
        Ok(match self.write(&step, key, &condition, value).await? {
            Asked::Answered(Put::Written(etag)) => Cas::Applied(Token(etag)),
            Asked::Answered(Put::Otherwise) => Cas::Lost,
            Asked::Unknown(reason) => Cas::Unknown(reason),
        })
    }

    async fn remove(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        self.probe_removal().await?;
        let step = format!("remove {key} from {}", self.name());
        Ok(match self.delete(&step, key, &expected.0).await? {
            Asked::Answered(true) => Cas::Applied(expected.clone()),
            Asked::Answered(false) => Cas::Lost,
            Asked::Unknown(reason) => Cas::Unknown(reason),
        })
    }

    /// S3 lists names and ETags without what is in them, so what changed is read, some at a time.
    async fn list(&self, folder: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        key::check_folder(&self.name(), folder)?;
        let step = format!("list {folder} of {}", self.name());
        let (s3, address) = (self.0.aws.s3(), self.object(folder));
        let listed = s3.list(&address, ENTRIES_MAX);
        let listed = cloud_fault::within(&step, LIST_TIMEOUT, listed).await?;
        let prefix = format!("{}/", self.0.prefix);
        let mut known = self.listed(folder);
        let (mut all, mut changed) = (Vec::new(), Vec::new());
        for object in listed {
            // What is no key of ours, somebody else put there.
            let Some(key) = object.key.strip_prefix(&prefix) else { continue };
            if key::check("", key).is_err() {
                continue;
            }
            match known.remove(key).filter(|entry| entry.token.0 == object.etag) {
                Some(entry) => all.push((key.to_owned(), entry)),
                None => changed.push(key.to_owned()),
            }
        }
        all.extend(self.read_all(&step, changed).await?);
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.keep(folder, &all);
        Ok(all)
    }
}

impl S3 {
    async fn read_all(
        &self,
        step: &str,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Entry)>, LedgerError> {
        let (mut readers, mut keys) = (JoinSet::new(), keys.into_iter());
        let mut all = Vec::new();
        loop {
            while readers.len() < LIST_READERS
                && let Some(key) = keys.next()
            {
                let (engine, step) = (self.clone(), step.to_owned());
                readers.spawn(async move { (engine.read(&step, &key).await, key) });
            }
            let Some(read) = readers.join_next().await else { return Ok(all) };
            let (entry, key) = read.map_err(|error| LedgerError {
                step: step.to_owned(),
                reason: error.to_string(),
                cure: "ask again".to_owned(),
            })?;
            // One that went meanwhile is not there.
            all.extend(entry?.map(|entry| (key, entry)));
        }
    }

    /// What a folder held when it was listed last.
    fn listed(&self, folder: &str) -> HashMap<String, Entry> {
        let listed = self.0.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = listed.iter().filter(|(key, _)| key.starts_with(folder));
        inside.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// Keeps in mind what a folder holds now: what is small, which is what there are many of.
    fn keep(&self, folder: &str, all: &[(String, Entry)]) {
        let mut listed = self.0.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.retain(|key, _| !key.starts_with(folder));
        if listed.len() + all.len() > ENTRIES_MAX {
            listed.clear();
        }
        let small = all.iter().filter(|(_, entry)| entry.value.len() <= LISTED_BYTES_MAX);
        listed.extend(small.cloned());
    }
}
