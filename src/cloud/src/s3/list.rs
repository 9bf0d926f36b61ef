//! The objects of a bucket whose keys begin with a text.
//!
//! Format: ListObjectsV2 (Amazon S3 API Reference). What it lists is as it is now: S3 promises that
//! since December 2020, and so do the copies that have conditional writes.

use super::{ObjectAddress, Request, S3};
use crate::error::{Error, Fault, Result, excerpt};
use crate::limits::ANSWER_BYTES_MAX;
use crate::text::percent_encoded;
use reqwest::Method;
use serde::Deserialize;

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its whole key.
    pub key: String,
    /// Its ETag.
    #[serde(rename = "ETag", default)]
    pub etag: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    #[serde(default)]
    pub contents: Vec<Listed>,
    #[serde(default)]
    pub next_continuation_token: Option<String>,
}

impl S3<'_> {
    /// The objects whose keys begin with that of `prefix`, at most `most`, in the order of their
    /// keys. Needs `s3:ListBucket`.
    ///
    /// # Errors
    /// A call failed, or there are more.
    pub async fn list(&self, prefix: &ObjectAddress, most: usize) -> Result<Vec<Listed>> {
        const NAME: &str = "s3:ListBucket";
        let bucket = ObjectAddress { key: String::new(), ..prefix.clone() };
        let failed = |fault| Error::new(NAME, format!("{prefix}*"), fault);
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            // In the order in which they are signed.
            let next = token.map(|token| format!("continuation-token={}&", encoded(&token)));
            let next = next.unwrap_or_default();
            let request = Request {
                name: NAME,
                method: Method::GET,
                address: &bucket,
                query: format!("?{next}list-type=2&prefix={}", encoded(&prefix.key)),
                headers: Vec::new(),
                body: &[],
                limit: ANSWER_BYTES_MAX,
                is_once: false,
            };
            let answer = self.send(&request, &[]).await?;
            let page = read(&answer.body).map_err(|text| failed(Fault::Answer(text)))?;
            all.extend(page.contents);
            if all.len() > most {
                return Err(failed(Fault::Answer(format!("there are more than {most} objects"))));
            }
            token = page.next_continuation_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
    }
}

fn encoded(text: &str) -> String {
    percent_encoded(text, "")
}

pub(super) fn read(body: &[u8]) -> std::result::Result<Page, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    quick_xml::de::from_str(text).map_err(|error| excerpt(&error.to_string()))
}
