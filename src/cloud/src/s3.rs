//! S3: an object, and whether it changed.

use crate::aws::{Aws, Call};
use crate::endpoint::Service;
use crate::error::{Error, Fault, Result};
use crate::http::Answer;
use reqwest::Method;
use std::fmt;

/// The calls. [`Aws::s3`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct S3<'a>(pub(crate) &'a Aws);

/// Which object: `s3://BUCKET/KEY`, with `?region=REGION` where that is not the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectAddress {
    /// The bucket.
    pub bucket: String,
    /// The key, without a slash at its beginning.
    pub key: String,
    /// The bucket's region; nothing: the host's.
    pub region: Option<String>,
}

impl ObjectAddress {
    /// Reads `s3://BUCKET/KEY?region=REGION`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} names no object; write s3://BUCKET/KEY");
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
        let (bucket, key) = path.split_once('/').ok_or_else(wrong)?;
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        if bucket.is_empty() || key.is_empty() || !bucket.chars().all(is_name) {
            return Err(wrong());
        }
        let region = match query {
            None => None,
            Some(query) => match query.strip_prefix("region=") {
                Some(region)
                    if !region.is_empty()
                        && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
                {
                    Some(region.to_owned())
                }
                _ => return Err(format!("{text:?}: only ?region=REGION may follow the key")),
            },
        };
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), region })
    }
}

impl fmt::Display for ObjectAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.key)
    }
}

/// An object, or what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Object(Object),
    /// It is as it was when it had the ETag that was given.
    Unchanged,
    /// There is none. Without `s3:ListBucket` S3 does not tell, and says 403.
    Missing,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it holds; nothing after a HEAD.
    pub bytes: Vec<u8>,
    /// Names this version of it.
    pub etag: Option<String>,
    /// How long it is.
    pub size_bytes: Option<u64>,
}

/// Statuses that are answers: not modified, not found.
const NOT_MODIFIED: u16 = 304;
const NOT_FOUND: u16 = 404;

/// Another region has the bucket, and the answer says which.
const ELSEWHERE: [u16; 2] = [301, 400];

/// A request about a bucket, before it is known in which region that is.
pub(crate) struct Request<'a> {
    /// As IAM names it.
    pub name: &'static str,
    pub method: Method,
    /// Which object; or, of the bucket itself, with an empty key.
    pub address: &'a ObjectAddress,
    /// What follows the path: `?list-type=2`, or nothing.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: &'a [u8],
    /// Bytes of the answer.
    pub limit: usize,
    /// Whether it must not happen twice.
    pub is_once: bool,
}

impl S3<'_> {
    /// The object, if it has at most `limit` bytes; or [`Found::Unchanged`] if it still has the
    /// ETag `known`. Needs `s3:GetObject`, and `s3:ListBucket` to tell a missing one from a
    /// forbidden one.
    ///
    /// # Errors
    /// The call failed, or the object is larger.
    pub async fn get(
        &self,
        address: &ObjectAddress,
        limit: usize,
        known: Option<&str>,
    ) -> Result<Found> {
        let answer = self.ask(Method::GET, address, limit, known).await?;
        Ok(read(answer))
    }

    /// As [`S3::get`], without the bytes. Needs `s3:GetObject` too.
    ///
    /// # Errors
    /// The call failed.
    pub async fn head(&self, address: &ObjectAddress) -> Result<Found> {
        let answer = self.ask(Method::HEAD, address, 0, None).await?;
        Ok(read(answer))
    }

    async fn ask(
        &self,
        method: Method,
        address: &ObjectAddress,
        limit: usize,
        known: Option<&str>,
    ) -> Result<Answer> {
        const NAME: &str = "s3:GetObject";
        let headers = known.map(|etag| ("if-none-match".to_owned(), etag.to_owned()));
        let is_get = method == Method::GET;
        let request = Request {
            name: NAME,
            method,
            address,
            query: String::new(),
            headers: headers.into_iter().collect(),
            body: &[],
            limit: limit.max(crate::limits::METADATA_BYTES_MAX),
            is_once: false,
        };
        let answer = self.send(&request, &[NOT_MODIFIED, NOT_FOUND]).await?;
        if answer.status < 300 && answer.body.len() > limit && is_get {
            return Err(Error::new(NAME, address.to_string(), Fault::TooLarge(limit)));
        }
        Ok(answer)
    }

    /// Sends a request to where its bucket is. The answer is one of success, or one of `kept`.
    pub(crate) async fn send(&self, request: &Request<'_>, kept: &[u16]) -> Result<Answer> {
        let address = request.address;
        let mut region = match &address.region {
            Some(region) => region.clone(),
            None => self.0.region().await?,
        };
        // Once it is known that no other region is meant, a refusal is judged like others.
        let mut may_move = true;
        loop {
            let url = self.0.endpoints().object_url(&address.bucket, &address.key, &region);
            let call = Call {
                service: Service::S3,
                name: request.name,
                object: address.to_string(),
                method: request.method.clone(),
                url: Some(format!("{url}{}", request.query)),
                region: Some(region.clone()),
                headers: request.headers.clone(),
                body: request.body,
                limit: request.limit,
            };
            let moves: &[u16] = if may_move { &ELSEWHERE } else { &[] };
            let kept = [kept, moves].concat();
            let answer = if request.is_once {
                self.0.call_once(&call, &kept).await?
            } else {
                self.0.call(&call, &kept).await?
            };
            if !moves.contains(&answer.status) {
                return Ok(answer);
            }
            match answer.header("x-amz-bucket-region") {
                Some(other) if other != region => region = other.to_owned(),
                _ if answer.status == 301 => {
                    let object = address.to_string();
                    return Err(crate::aws::refused(request.name, &object, &answer));
                }
                _ => {}
            }
            may_move = false;
        }
    }
}

fn read(answer: Answer) -> Found {
    match answer.status {
        NOT_FOUND => Found::Missing,
        NOT_MODIFIED => Found::Unchanged,
        _ => {
            let etag = answer.header("etag").map(str::to_owned);
            let size_bytes = answer.header("content-length").and_then(|text| text.parse().ok());
            Found::Object(Object { etag, size_bytes, bytes: answer.body })
        }
    }
}

mod list;
mod put;

pub use list::Listed;
pub use put::{Put, PutCondition};

#[cfg(test)]
mod tests;
