//! Writing an object under a condition, and removing one.
//!
//! Format: PutObject with `If-None-Match: *` or `If-Match: ETAG`, DeleteObject with the latter
//! (Amazon S3 User Guide, "Conditional writes", "Conditional deletes"). Some makers' copies of S3
//! ignore them: whoever relies on them asks first.

use super::{ObjectAddress, Request, S3};
use crate::error::{Error, Fault, Result};
use crate::limits::METADATA_BYTES_MAX;
use reqwest::Method;

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutCondition<'a> {
    /// There is no such object yet.
    Absent,
    /// The object has this ETag.
    Unchanged(&'a str),
}

/// How a write under a condition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was written, and has this ETag now.
    Written(String),
    /// The condition does not hold; nothing was written.
    Otherwise,
}

/// The condition does not hold; another write came in between; there is no object to have an ETag.
const PRECONDITION_FAILED: u16 = 412;
const CONFLICT: u16 = 409;
const NO_OBJECT: &str = "NoSuchKey";

impl S3<'_> {
    /// Writes an object if `condition` holds. Needs `s3:PutObject`, and with an ETag
    /// `s3:GetObject`.
    ///
    /// # Errors
    /// The call failed. After [`Fault::Unclear`] the object may have been written.
    pub async fn put(
        &self,
        address: &ObjectAddress,
        bytes: &[u8],
        condition: &PutCondition<'_>,
    ) -> Result<Put> {
        const NAME: &str = "s3:PutObject";
        let header = match condition {
            PutCondition::Absent => ("if-none-match".to_owned(), "*".to_owned()),
            PutCondition::Unchanged(etag) => ("if-match".to_owned(), (*etag).to_owned()),
        };
        let request = Request {
            name: NAME,
            method: Method::PUT,
            address,
            query: String::new(),
            headers: vec![header],
            body: bytes,
            limit: METADATA_BYTES_MAX,
            is_once: true,
        };
        let answer = match self.send(&request, &[PRECONDITION_FAILED, CONFLICT]).await {
            Ok(answer) => answer,
            Err(Error { fault: Fault::Missing { code, .. }, .. }) if code == NO_OBJECT => {
                return Ok(Put::Otherwise);
            }
            Err(error) => return Err(error),
        };
        if [PRECONDITION_FAILED, CONFLICT].contains(&answer.status) {
            return Ok(Put::Otherwise);
        }
        match answer.header("etag") {
            Some(etag) => Ok(Put::Written(etag.to_owned())),
            None => {
                let text = "the answer has no ETag".to_owned();
                Err(Error::new(NAME, address.to_string(), Fault::Unclear(text)))
            }
        }
    }

    /// Removes an object if it has this ETag; false: it has not, or there is none, and nothing was
    /// removed. Needs `s3:DeleteObject`.
    ///
    /// # Errors
    /// The call failed. After [`Fault::Unclear`] the object may be gone.
    pub async fn delete(&self, address: &ObjectAddress, etag: &str) -> Result<bool> {
        let request = Request {
            name: "s3:DeleteObject",
            method: Method::DELETE,
            address,
            query: String::new(),
            headers: vec![("if-match".to_owned(), etag.to_owned())],
            body: &[],
            limit: METADATA_BYTES_MAX,
            is_once: true,
        };
        match self.send(&request, &[PRECONDITION_FAILED, CONFLICT]).await {
            Ok(answer) => Ok(answer.status < 300),
            Err(Error { fault: Fault::Missing { code, .. }, .. }) if code == NO_OBJECT => Ok(false),
            Err(error) => Err(error),
        }
    }
}
