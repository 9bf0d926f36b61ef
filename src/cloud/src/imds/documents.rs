//! The documents of the metadata service.

use super::{CALL, Document};
use crate::error::{Error, Fault, Result, excerpt};
use aws_credential_types::Credentials;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, SystemTime};

/// Who the instance is (`dynamic/instance-identity/document`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `i-0123456789abcdef0`.
    pub instance_id: String,
    /// `eu-central-1`.
    pub region: String,
    /// `eu-central-1a`.
    pub availability_zone: String,
    /// `t3.small`.
    pub instance_type: String,
    /// `ami-…`, that it was started from.
    pub image_id: String,
    /// The account, twelve digits.
    pub account_id: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Its first private IPv4 address; nothing in an IPv6-only subnet.
    #[serde(default)]
    pub private_ip: Option<String>,
    /// When it was launched, or started again: RFC 3339.
    #[serde(default)]
    pub pending_time: Option<String>,
}

/// What EC2 does to a spot instance that it wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpotAction {
    /// It is ended.
    Terminate,
    /// It is stopped.
    Stop,
    /// It is hibernated. EC2 does that by itself, at once.
    Hibernate,
}

/// A spot interruption (`spot/instance-action`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpotNotice {
    /// What happens.
    pub action: SpotAction,
    /// When, at the earliest.
    pub time: SystemTime,
    /// How long until then, by the service's own clock where it tells the time.
    pub remaining: Duration,
}

#[derive(Deserialize)]
struct SpotDocument {
    action: SpotAction,
    #[serde(deserialize_with = "crate::time::deserialize")]
    time: SystemTime,
}

/// Reads a spot interruption.
pub(super) fn spot_notice(path: &str, document: &Document) -> Result<SpotNotice> {
    let text = String::from_utf8_lossy(&document.bytes);
    let SpotDocument { action, time } = read(path, &text)?;
    let now = document.date.unwrap_or_else(SystemTime::now);
    Ok(SpotNotice { action, time, remaining: time.duration_since(now).unwrap_or_default() })
}

/// A rebalance recommendation (`events/recommendations/rebalance`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rebalance {
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub notice_time: SystemTime,
}

/// The state that an Auto Scaling group wants an instance in
/// (`autoscaling/target-lifecycle-state`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    /// To serve.
    InService,
    /// To end: a scale-in, or an instance refresh.
    Terminated,
    /// Beside the group for a while, or for good.
    Standby,
    /// No longer the group's.
    Detached,
    /// Any other, such as those of warm pools.
    Other(String),
}

impl LifecycleState {
    pub(super) fn read(text: &str) -> Self {
        match text.trim() {
            "InService" => Self::InService,
            "Terminated" => Self::Terminated,
            "Standby" => Self::Standby,
            "Detached" => Self::Detached,
            other => Self::Other(excerpt(other)),
        }
    }
}

/// The credentials of a role, for a while.
#[derive(Clone, Debug)]
pub struct RoleKeys {
    /// The keys. Their `Debug` shows no secret.
    pub credentials: Credentials,
    /// How long they still last, by the service's own clock where it tells the time: that of a
    /// host that has just booted may be anything.
    pub remaining: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleDocument {
    code: String,
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

/// Reads a JSON document.
pub(super) fn read<T: DeserializeOwned>(path: &str, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(CALL, path, Fault::Answer(excerpt(&error.to_string()))))
}

/// Reads a role's credentials. No part of the document gets into an error's text.
pub(super) fn role_keys(path: &str, document: &Document) -> Result<RoleKeys> {
    let wrong = |text: &str| Error::new(CALL, path, Fault::Answer(text.to_owned()));
    let read: RoleDocument = serde_json::from_slice(&document.bytes)
        .map_err(|_| wrong("the role's credentials are no such document"))?;
    if read.code != "Success" {
        let message = excerpt(&read.message.unwrap_or_default());
        let text = format!("{}: {message}", excerpt(&read.code));
        return Err(Error::new(CALL, path, Fault::NoCredentials(text)));
    }
    let (Some(id), Some(secret)) = (read.access_key_id, read.secret_access_key) else {
        return Err(wrong("the role's credentials lack a key"));
    };
    let end = crate::time::parse_rfc3339(read.expiration.as_deref().unwrap_or_default());
    let end = end.map_err(|_| wrong("the role's credentials do not say when they end"))?;
    let now = document.date.unwrap_or_else(SystemTime::now);
    let remaining = end.duration_since(now).unwrap_or_default();
    let credentials = Credentials::new(id, secret, read.token, None, "instance role");
    Ok(RoleKeys { credentials, remaining })
}
