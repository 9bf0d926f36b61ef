//! `[cloud]` of `agent.toml`: that this host is an EC2 instance, and how AWS is asked from it.
//!
//! Read once, when the agent starts.

use super::{duration, quoted};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// Between two looks at the notices, unless the file says otherwise: AWS asks for five seconds.
const POLL: Duration = Duration::from_secs(5);

/// The shortest time between two looks: the metadata service throttles who asks more often.
const POLL_MIN: Duration = Duration::from_secs(1);

/// The longest: a spot notice is 120 s long.
const POLL_MAX: Duration = Duration::from_secs(60);

/// What the section says, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// The region; nothing: that of the instance.
    pub region: Option<String>,
    /// Where the services are, where that is not AWS's own place.
    pub endpoints: cloud::Endpoints,
    /// Through which proxy AWS is asked.
    pub proxy: cloud::Proxy,
    /// Where the metadata service is; nothing: where EC2 has it.
    pub metadata: Option<String>,
    /// What is done about notices.
    pub notices: Notices,
}

/// What is done about each kind of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notices {
    /// A spot interruption.
    pub spot: Answer,
    /// A rebalance recommendation: the instance is at risk, and may be for hours.
    pub rebalance: Answer,
    /// The Auto Scaling group wants the instance to end.
    pub scale_in: Answer,
    /// Between two looks.
    pub poll: Duration,
}

/// What is done about a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Drain, stop, power off, within its time.
    PowerOff,
    /// Say it, and go on.
    Tell,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            spot: Answer::PowerOff,
            rebalance: Answer::Tell,
            scale_in: Answer::PowerOff,
            poll: POLL,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct CloudTable {
    region: Option<Spanned<String>>,
    endpoint: Option<Spanned<String>>,
    endpoints: BTreeMap<Spanned<String>, Spanned<String>>,
    dual_stack: bool,
    proxy: Option<Spanned<String>>,
    no_proxy: Vec<String>,
    metadata: Option<Spanned<String>>,
    notices: NoticesTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct NoticesTable {
    spot: Option<Answer>,
    rebalance: Option<Answer>,
    scale_in: Option<Answer>,
    poll: Option<Spanned<String>>,
}

/// A mistake, and the bytes where it is.
pub(super) type Mistake = (Range<usize>, String);

impl CloudTable {
    /// Checks what can be checked without asking anybody.
    pub(super) fn read(self) -> Result<Cloud, Mistake> {
        let mut endpoints = cloud::Endpoints {
            any: self.endpoint.as_ref().map(url).transpose()?,
            dual_stack: self.dual_stack,
            ..cloud::Endpoints::default()
        };
        for (name, address) in &self.endpoints {
            let service = cloud::Service::ALL.into_iter().find(|one| one.name() == name.get_ref());
            let service = service.ok_or_else(|| {
                let names = cloud::Service::ALL.map(cloud::Service::name).join(", ");
                let text =
                    format!("{:?} is no service that is called; one of {names}", name.get_ref());
                (name.span(), text)
            })?;
            endpoints.of.insert(service, url(address)?);
        }
        let proxy = match &self.proxy {
            Some(proxy) => {
                cloud::Proxy::Through { url: url(proxy)?, except: self.no_proxy.join(",") }
            }
            None => cloud::Proxy::Environment,
        };
        Ok(Cloud {
            region: self.region.as_ref().map(region).transpose()?,
            endpoints,
            proxy,
            metadata: self.metadata.as_ref().map(url).transpose()?,
            notices: self.notices.read()?,
        })
    }
}

impl NoticesTable {
    fn read(self) -> Result<Notices, Mistake> {
        let default = Notices::default();
        let poll = match &self.poll {
            None => default.poll,
            Some(text) => {
                let poll = duration(text.get_ref()).map_err(|error| (text.span(), error))?;
                if !(POLL_MIN..=POLL_MAX).contains(&poll) {
                    let (least, most) = (POLL_MIN.as_secs(), POLL_MAX.as_secs());
                    return Err((text.span(), format!("a time from {least}s to {most}s is due")));
                }
                poll
            }
        };
        Ok(Notices {
            spot: self.spot.unwrap_or(default.spot),
            rebalance: self.rebalance.unwrap_or(default.rebalance),
            scale_in: self.scale_in.unwrap_or(default.scale_in),
            poll,
        })
    }
}

/// An address of a service or a proxy, without a slash at its end.
fn url(text: &Spanned<String>) -> Result<String, Mistake> {
    let wrong = |why: String| (text.span(), why);
    let written = text.get_ref();
    let url = reqwest::Url::parse(written).map_err(|error| {
        wrong(format!("{} is no URL ({error}); write \"https://HOST:PORT\"", quoted(written)))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("{}: only http and https are spoken", quoted(written))));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err(wrong("a URL with a password in it: this file is read by everybody".into()));
    }
    Ok(written.trim_end_matches('/').to_owned())
}

fn region(text: &Spanned<String>) -> Result<String, Mistake> {
    let written = text.get_ref();
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if written.is_empty() || !written.bytes().all(is_letter) {
        let why = format!("{written:?} is no region; write one as \"eu-central-1\"");
        return Err((text.span(), why));
    }
    Ok(written.clone())
}
