//! The instance metadata service, version 2 and nothing else.
//!
//! A session token is fetched by PUT and sent with each question; a 401 means that the service
//! forgot it, so a new one is fetched and the question asked once more. What may pass is asked
//! again, with pauses that grow. An answer of 404 is an answer: there is no such thing.
//!
//! Source of the paths: the EC2 User Guide, "Instance metadata categories".

mod documents;

pub use documents::{Identity, LifecycleState, RoleKeys, SpotAction, SpotNotice};

use crate::error::{Error, Fault, Result, excerpt};
use crate::http::{Answer, Broken, exchange, metadata_client};
use crate::limits;
use crate::retry::rest;
use reqwest::Client;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use tokio::time::{Duration, Instant};

/// Where the service is, on every instance.
pub const ENDPOINT_IPV4: &str = "http://169.254.169.254";
/// Where it is as well, on instances with an IPv6 address that have it switched on.
pub const ENDPOINT_IPV6: &str = "http://[fd00:ec2::254]";

/// The variable that AWS's own tools read the endpoint from.
pub const ENDPOINT_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

const CALL: &str = "metadata";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

const CURE_DISABLED: &str =
    "switch it on (aws ec2 modify-instance-metadata-options --http-endpoint enabled)";
const CURE_NOT_VERSION_2: &str =
    "this is no metadata service of version 2; is this machine an EC2 instance?";

/// How the service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Base addresses, in the order in which they are tried, without a slash at the end.
    pub endpoints: Vec<String>,
    /// Tries of one question; with the pauses five take some three seconds.
    pub tries: u32,
}

impl Default for Options {
    fn default() -> Self {
        let endpoints = [ENDPOINT_IPV4, ENDPOINT_IPV6].map(str::to_owned).to_vec();
        Self { endpoints, tries: limits::METADATA_TRIES }
    }
}

impl Options {
    /// The service at one address only.
    #[must_use]
    pub fn at(endpoint: &str) -> Self {
        let endpoints = vec![endpoint.trim_end_matches('/').to_owned()];
        Self { endpoints, ..Self::default() }
    }

    /// As [`ENDPOINT_VARIABLE`] says, else the two addresses that EC2 has.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var(ENDPOINT_VARIABLE) {
            Ok(endpoint) if !endpoint.is_empty() => Self::at(&endpoint),
            _ => Self::default(),
        }
    }
}

/// The metadata service. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Imds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    client: Client,
    session: Mutex<Session>,
    identity: OnceLock<Identity>,
}

#[derive(Debug, Default)]
struct Session {
    /// Which endpoint answered last.
    endpoint: usize,
    token: Option<(String, Instant)>,
}

/// An answer, and the time that the service said it was.
#[derive(Debug)]
pub(crate) struct Document {
    pub bytes: Vec<u8>,
    pub date: Option<SystemTime>,
}

/// Why one try brought nothing.
enum Miss {
    Passing(String),
    Final(Fault),
}

impl Imds {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// No HTTP client can be made, or no endpoint was given.
    pub fn new(options: Options) -> Result<Self> {
        let wrong = |text: String| Error::new(CALL, "client", Fault::Request(text));
        if options.endpoints.is_empty() {
            return Err(wrong("no endpoint of the metadata service is given".to_owned()));
        }
        let client = metadata_client().map_err(|error| wrong(crate::error::reason(&error)))?;
        let (session, identity) = (Mutex::default(), OnceLock::new());
        Ok(Self(Arc::new(Inner { options, client, session, identity })))
    }

    /// The text of `/latest/meta-data/PATH`; nothing if there is none.
    ///
    /// # Errors
    /// The service does not answer, or not with text.
    pub async fn get(&self, path: &str) -> Result<Option<String>> {
        self.text(&format!("meta-data/{path}")).await
    }

    /// The user-data as it was given; nothing if there is none.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn user_data(&self) -> Result<Option<Vec<u8>>> {
        let document = self.document("user-data", limits::USER_DATA_BYTES_MAX).await?;
        Ok(document.map(|document| document.bytes))
    }

    /// Who this instance is. It does not change while the host is up, so it is asked once.
    ///
    /// # Errors
    /// The service does not answer, or the document is not one.
    pub async fn identity(&self) -> Result<Identity> {
        if let Some(identity) = self.0.identity.get() {
            return Ok(identity.clone());
        }
        const PATH: &str = "dynamic/instance-identity/document";
        let text = self.text(PATH).await?;
        let text = text.ok_or_else(|| {
            let fault = Fault::Metadata { status: 404, cure: CURE_NOT_VERSION_2 };
            Error::new(CALL, PATH, fault)
        })?;
        let identity = documents::read::<Identity>(PATH, &text)?;
        Ok(self.0.identity.get_or_init(|| identity).clone())
    }

    /// The instance's tags; nothing if the instance does not tell them
    /// (`InstanceMetadataTags=enabled`).
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn tags(&self) -> Result<Option<BTreeMap<String, String>>> {
        const FOLDER: &str = "tags/instance";
        let Some(keys) = self.get(FOLDER).await? else { return Ok(None) };
        let mut tags = BTreeMap::new();
        for key in keys.lines().filter(|key| !key.is_empty()) {
            // A tag that went away in between is one that is not there.
            if let Some(value) = self.tag(key).await? {
                tags.insert(key.to_owned(), value);
            }
        }
        Ok(Some(tags))
    }

    /// One tag of the instance.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn tag(&self, key: &str) -> Result<Option<String>> {
        self.get(&format!("tags/instance/{}", crate::text::percent_encoded(key, "/"))).await
    }

    /// The credentials of the instance's role; nothing if it has no role.
    ///
    /// # Errors
    /// The service does not answer, or says why there are none.
    pub async fn role_keys(&self) -> Result<Option<RoleKeys>> {
        const FOLDER: &str = "meta-data/iam/security-credentials/";
        let Some(roles) = self.text(FOLDER).await? else { return Ok(None) };
        let Some(role) = roles.lines().find(|role| !role.is_empty()) else { return Ok(None) };
        let path = format!("{FOLDER}{}", crate::text::percent_encoded(role, ""));
        let document = self.document(&path, limits::METADATA_BYTES_MAX).await?;
        document.map(|document| documents::role_keys(&path, &document)).transpose()
    }

    /// What EC2 is about to do to this spot instance, if anything.
    ///
    /// # Errors
    /// The service does not answer, or not with a notice.
    pub async fn spot_notice(&self) -> Result<Option<SpotNotice>> {
        const PATH: &str = "meta-data/spot/instance-action";
        let document = self.document(PATH, limits::METADATA_BYTES_MAX).await?;
        document.map(|document| documents::spot_notice(PATH, &document)).transpose()
    }

    /// When EC2 said that this spot instance is at risk, if it did.
    ///
    /// # Errors
    /// The service does not answer, or not with a notice.
    pub async fn rebalance_notice(&self) -> Result<Option<SystemTime>> {
        const PATH: &str = "events/recommendations/rebalance";
        let text = self.get(PATH).await?;
        let notice = text.map(|text| documents::read::<documents::Rebalance>(PATH, &text));
        Ok(notice.transpose()?.map(|notice| notice.notice_time))
    }

    /// The state that the instance's Auto Scaling group wants it in; nothing if it is in none.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn lifecycle_state(&self) -> Result<Option<LifecycleState>> {
        let text = self.get("autoscaling/target-lifecycle-state").await?;
        Ok(text.map(|text| LifecycleState::read(&text)))
    }

    async fn text(&self, path: &str) -> Result<Option<String>> {
        let Some(document) = self.document(path, limits::METADATA_BYTES_MAX).await? else {
            return Ok(None);
        };
        let text = String::from_utf8(document.bytes);
        let text =
            text.map_err(|_| Error::new(CALL, path, Fault::Answer("it is not UTF-8".to_owned())))?;
        Ok(Some(text.trim_end_matches('\n').to_owned()))
    }

    /// One document below `/latest/`, over all tries.
    pub(crate) async fn document(&self, path: &str, limit: usize) -> Result<Option<Document>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let last = match self.try_once(path, limit).await {
                Ok(found) => return Ok(found),
                Err(Miss::Final(fault)) => return Err(Error::new(CALL, path, fault)),
                Err(Miss::Passing(last)) => last,
            };
            if tries >= self.0.options.tries {
                let address = self.endpoint();
                let fault = Fault::Unreachable { address, tries, last };
                return Err(Error::new(CALL, path, fault));
            }
            rest(tries).await;
        }
    }

    async fn try_once(
        &self,
        path: &str,
        limit: usize,
    ) -> std::result::Result<Option<Document>, Miss> {
        // Twice: a token that the service forgot is answered by 401, a new one is not.
        for _ in 0..2 {
            let token = self.token().await?;
            let url = format!("{}/latest/{path}", self.endpoint());
            let request = self.0.client.get(url).header(TOKEN_HEADER, token);
            let answer = self.ask(request, limit).await?;
            match answer.status {
                200 => {
                    let date = answer.date();
                    return Ok(Some(Document { bytes: answer.body, date }));
                }
                404 => return Ok(None),
                401 => self.session().token = None,
                status => return Err(refusal(status)),
            }
        }
        Err(Miss::Passing("it refuses the token that it has just given".to_owned()))
    }

    /// The token of the session, a new one if need be.
    async fn token(&self) -> std::result::Result<String, Miss> {
        let held = self.session().token.clone();
        if let Some((token, until)) = held
            && Instant::now() < until
        {
            return Ok(token);
        }
        let url = format!("{}/latest/api/token", self.endpoint());
        let request = self.0.client.put(url).header(TOKEN_TTL_HEADER, limits::TOKEN_TTL_S);
        let answer = self.ask(request, limits::METADATA_BYTES_MAX).await?;
        if answer.status != 200 {
            return Err(refusal(answer.status));
        }
        let given = answer.header(TOKEN_TTL_HEADER).and_then(|ttl| ttl.parse().ok());
        let ttl_s: u64 = given.unwrap_or(limits::TOKEN_TTL_S).min(limits::TOKEN_TTL_S);
        let token = String::from_utf8(answer.body).unwrap_or_default().trim().to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = format!("no token but {:?}", excerpt(&token));
            return Err(Miss::Final(Fault::Answer(text)));
        }
        let until =
            Instant::now() + Duration::from_secs(ttl_s).saturating_sub(limits::TOKEN_MARGIN);
        self.session().token = Some((token.clone(), until));
        Ok(token)
    }

    async fn ask(
        &self,
        request: reqwest::RequestBuilder,
        limit: usize,
    ) -> std::result::Result<Answer, Miss> {
        match exchange(request, limit).await {
            Ok(answer) => Ok(answer),
            Err(Broken::TooLarge(limit)) => Err(Miss::Final(Fault::TooLarge(limit))),
            Err(Broken::Transport(last) | Broken::Unsent(last)) => {
                // A token is that of one endpoint; the next try goes to the next one.
                let mut session = self.session();
                session.endpoint = (session.endpoint + 1) % self.0.options.endpoints.len();
                if self.0.options.endpoints.len() > 1 {
                    session.token = None;
                }
                Err(Miss::Passing(last))
            }
        }
    }

    fn endpoint(&self) -> String {
        self.0.options.endpoints[self.session().endpoint].clone()
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.0.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a status without a document means.
fn refusal(status: u16) -> Miss {
    match status {
        403 => Miss::Final(Fault::Metadata { status, cure: CURE_DISABLED }),
        408 | 429 | 500.. => Miss::Passing(format!("it answers {status}")),
        _ => Miss::Final(Fault::Metadata { status, cure: CURE_NOT_VERSION_2 }),
    }
}

#[cfg(test)]
mod tests;
