//! One AWS call: signed, sent, repeated where that may help, and its error read.

mod refusal;

use crate::credentials::{Keeper, Source};
use crate::endpoint::{Endpoints, Service};
use crate::error::{Error, Fault, Result};
use crate::http::{Answer, AwsClient, Broken, Proxy, exchange};
use crate::imds::Imds;
use crate::limits;
use crate::retry::rest;
use crate::sign::{Scope, Unsigned, sign};
use crate::{auto_scaling::AutoScaling, dynamodb::DynamoDb, ec2::Ec2, elb::Elb, s3::S3, ssm::Ssm};
use aws_credential_types::Credentials;
use refusal::Verdict;
pub(crate) use refusal::is_throttled;
use reqwest::Method;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

/// How AWS is asked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The region; nothing: that of this instance.
    pub region: Option<String>,
    /// Where the services are.
    pub endpoints: Endpoints,
    /// As whom.
    pub credentials: Source,
    /// Through which proxy.
    pub proxy: Proxy,
    /// Tries of one call; nothing: [`limits::CALL_TRIES`].
    pub tries: Option<u32>,
}

impl Options {
    /// What AWS's own tools take from the environment of a person or a CI job.
    ///
    /// # Errors
    /// The credentials are half there.
    pub fn from_environment() -> Result<Self> {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Ok(Self {
            region: value("AWS_REGION").or_else(|| value("AWS_DEFAULT_REGION")),
            endpoints: Endpoints::from_environment(),
            credentials: Source::from_environment()?,
            ..Self::default()
        })
    }
}

/// AWS, as this host or person may use it. A clone is another handle.
///
/// Region and credentials are looked up at the first call, so one may be made before there is a
/// network.
#[derive(Clone, Debug)]
pub struct Aws(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    imds: Imds,
    keeper: Arc<Keeper>,
    client: AwsClient,
    region: OnceLock<String>,
    /// How far AWS's clock is before ours (or behind: the sign), as it told; in seconds.
    skew_s: Mutex<i64>,
}

/// A call, before it is signed.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub service: Service,
    /// As IAM names it: `ec2:DescribeVolumes`.
    pub name: &'static str,
    /// What it is about, for errors.
    pub object: String,
    pub method: Method,
    /// The whole address; nothing: the service's front door.
    pub url: Option<String>,
    /// Nothing: the host's own.
    pub region: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: &'a [u8],
    /// Bytes of the answer.
    pub limit: usize,
}

/// What a try came to.
enum Try {
    Done(Answer),
    /// It was surely not carried out, and may be another time; the text is for the last one.
    Passing(String),
    /// It may work another time, and may have been carried out.
    Unclear(String),
    /// AWS failed over it; the same.
    Broken(Fault),
    /// AWS is there and out of breath.
    Throttled(Fault),
}

/// What has been put right once already and is not a second time.
#[derive(Default)]
struct Mended {
    clock: bool,
    credentials: bool,
}

impl Aws {
    /// Asks nobody yet. `imds` gives region and credentials that the options leave open.
    #[must_use]
    pub fn new(options: Options, imds: Imds) -> Self {
        let keeper = Arc::new(Keeper::new(options.credentials.clone(), imds.clone()));
        Self::with(options, imds, keeper)
    }

    fn with(options: Options, imds: Imds, keeper: Arc<Keeper>) -> Self {
        let client = AwsClient::new(options.proxy.clone());
        let (region, skew_s) = (OnceLock::new(), Mutex::new(0));
        Self(Arc::new(Inner { options, imds, keeper, client, region, skew_s }))
    }

    /// The same identity in another region, or at another endpoint (`http://HOST:PORT`, for all
    /// services); nothing: as here. Credentials are kept together.
    #[must_use]
    pub fn at(&self, region: Option<&str>, endpoint: Option<&str>) -> Self {
        let mut options = self.0.options.clone();
        if region.is_some() {
            options.region = region.map(str::to_owned);
        }
        if let Some(url) = endpoint {
            let any = Some(url.trim_end_matches('/').to_owned());
            options.endpoints = Endpoints { any, ..Endpoints::default() };
        }
        Self::with(options, self.0.imds.clone(), Arc::clone(&self.0.keeper))
    }

    /// Objects.
    #[must_use]
    pub fn s3(&self) -> S3<'_> {
        S3(self)
    }

    /// Instances, volumes, tags.
    #[must_use]
    pub fn ec2(&self) -> Ec2<'_> {
        Ec2(self)
    }

    /// Parameters.
    #[must_use]
    pub fn ssm(&self) -> Ssm<'_> {
        Ssm(self)
    }

    /// Groups of instances.
    #[must_use]
    pub fn auto_scaling(&self) -> AutoScaling<'_> {
        AutoScaling(self)
    }

    /// Load balancers.
    #[must_use]
    pub fn elb(&self) -> Elb<'_> {
        Elb(self)
    }

    /// Tables of items.
    #[must_use]
    pub fn dynamodb(&self) -> DynamoDb<'_> {
        DynamoDb(self)
    }

    /// The region that calls go to.
    ///
    /// # Errors
    /// None is configured, and the metadata service does not tell.
    pub async fn region(&self) -> Result<String> {
        if let Some(region) = self.0.options.region.as_ref().or_else(|| self.0.region.get()) {
            return Ok(region.clone());
        }
        let identity = self.0.imds.identity().await;
        let identity = identity.map_err(|error| {
            Error::new("region", "of this host", Fault::NoRegion(error.to_string()))
        })?;
        Ok(self.0.region.get_or_init(|| identity.region).clone())
    }

    /// Renews the credentials if that is due, and tells how long until it is again; nothing if
    /// they are not ours to renew. Whoever calls this by the clock has every call find fresh ones.
    ///
    /// # Errors
    /// The metadata service gives none. Calls go on with those that there were.
    pub async fn renew_credentials(&self) -> Result<Option<Duration>> {
        self.0.keeper.renew().await
    }

    /// Where `service` is, and whether it is somebody's own.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.0.options.endpoints
    }

    /// Makes a call, over all tries. The answer is one of success, or one of `kept`.
    pub(crate) async fn call(&self, call: &Call<'_>, kept: &[u16]) -> Result<Answer> {
        self.tried(call, kept, false).await
    }

    /// As [`Aws::call`], for what must not happen twice: once nobody can tell whether it was
    /// carried out, it ends with [`Fault::Unclear`] and is not tried again.
    pub(crate) async fn call_once(&self, call: &Call<'_>, kept: &[u16]) -> Result<Answer> {
        self.tried(call, kept, true).await
    }

    async fn tried(&self, call: &Call<'_>, kept: &[u16], is_once: bool) -> Result<Answer> {
        let failed = |fault| Error::new(call.name, &call.object, fault);
        let region = match &call.region {
            Some(region) => region.clone(),
            None => self.region().await?,
        };
        let default_url = || format!("{}/", self.endpoints().url(call.service, &region));
        let url = call.url.clone().unwrap_or_else(default_url);
        let most = self.0.options.tries.unwrap_or(limits::CALL_TRIES);
        let (mut tries, mut mended) = (0, Mended::default());
        loop {
            tries += 1;
            let credentials = self.0.keeper.get().await.map_err(|error| failed(error.fault))?;
            let tried = self.try_once(call, &url, &region, &credentials, kept, &mut mended).await;
            let unclear = |last: &dyn ToString| Err(failed(Fault::Unclear(last.to_string())));
            let fault = match tried {
                Ok(Try::Done(answer)) => return Ok(answer),
                Ok(Try::Unclear(last)) if is_once => return unclear(&last),
                Ok(Try::Broken(fault)) | Err(fault @ Fault::TooLarge(_)) if is_once => {
                    return unclear(&fault);
                }
                Err(fault) => return Err(failed(fault)),
                Ok(Try::Throttled(fault) | Try::Broken(fault)) => fault,
                Ok(Try::Passing(last) | Try::Unclear(last)) => {
                    Fault::Unreachable { address: url.clone(), tries, last }
                }
            };
            if tries >= most {
                return Err(failed(fault));
            }
            rest(tries).await;
        }
    }

    async fn try_once(
        &self,
        call: &Call<'_>,
        url: &str,
        region: &str,
        credentials: &Credentials,
        kept: &[u16],
        mended: &mut Mended,
    ) -> std::result::Result<Try, Fault> {
        let request = self.request(call, url, region, credentials)?;
        let answer = match exchange(request, call.limit).await {
            Ok(answer) => answer,
            Err(Broken::TooLarge(limit)) => return Err(Fault::TooLarge(limit)),
            Err(Broken::Transport(last)) => {
                self.0.client.forget();
                return Ok(Try::Unclear(last));
            }
            Err(Broken::Unsent(last)) => {
                self.0.client.forget();
                let is_unrooted = url.starts_with("https:") && !crate::http::has_roots();
                let why =
                    if is_unrooted { "; no root certificates: set SSL_CERT_FILE" } else { "" };
                return Ok(Try::Passing(format!("{last}{why}")));
            }
        };
        if (200..300).contains(&answer.status) || kept.contains(&answer.status) {
            return Ok(Try::Done(answer));
        }
        match refusal::judge(call.name, &answer) {
            Verdict::Throttled(fault) => Ok(Try::Throttled(fault)),
            Verdict::Broken(fault) => Ok(Try::Broken(fault)),
            Verdict::Final(fault) => Err(fault),
            Verdict::Clock(fault) => {
                if std::mem::replace(&mut mended.clock, true) || !self.set_clock(&answer) {
                    return Err(fault);
                }
                Ok(Try::Passing(fault.to_string()))
            }
            Verdict::Credentials(fault) => {
                if std::mem::replace(&mut mended.credentials, true) {
                    return Err(fault);
                }
                self.0.keeper.expire();
                Ok(Try::Passing(fault.to_string()))
            }
        }
    }

    fn request(
        &self,
        call: &Call<'_>,
        url: &str,
        region: &str,
        credentials: &Credentials,
    ) -> std::result::Result<reqwest::RequestBuilder, Fault> {
        let method = call.method.as_str();
        let unsigned = Unsigned { method, url, headers: &call.headers, body: call.body };
        let scope = Scope { region, service: call.service.name(), time: self.now() };
        let signature = sign(&unsigned, credentials, scope)
            .map_err(|text| Fault::Request(format!("cannot be signed: {text}")))?;
        let client = self.0.client.get().map_err(Fault::Request)?;
        let mut request = client.request(call.method.clone(), url);
        for (name, value) in call.headers.iter().chain(&signature) {
            request = request.header(name, value);
        }
        Ok(request.body(call.body.to_vec()))
    }

    /// AWS's time, as far as it told.
    fn now(&self) -> SystemTime {
        let skew_s = *self.0.skew_s.lock().unwrap_or_else(PoisonError::into_inner);
        let by = Duration::from_secs(skew_s.unsigned_abs());
        let now = SystemTime::now();
        let shifted = if skew_s < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        shifted.unwrap_or(now)
    }

    /// Takes AWS's clock for ours; false if it does not tell, or ours is right.
    fn set_clock(&self, answer: &Answer) -> bool {
        let Some(theirs) = answer.date() else { return false };
        let ours = SystemTime::now();
        let seconds = |by: Duration| i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let skew_s = match theirs.duration_since(ours) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        };
        *self.0.skew_s.lock().unwrap_or_else(PoisonError::into_inner) = skew_s;
        true
    }
}

/// The error of an answer that was kept and is none of success.
pub(crate) fn refused(name: &'static str, object: &str, answer: &Answer) -> Error {
    let (Verdict::Throttled(fault)
    | Verdict::Broken(fault)
    | Verdict::Clock(fault)
    | Verdict::Credentials(fault)
    | Verdict::Final(fault)) = refusal::judge(name, answer);
    Error::new(name, object, fault)
}
