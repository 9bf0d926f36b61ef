//! Where a release is, asked: what lies there, and whether it changed.

use crate::app::Tools;
use crate::causes::innermost;
use crate::config::desired::{Place, shown};
use crate::disk;
use crate::ec2::Ec2;
use cloud::s3::ObjectAddress;
use release::Found;
use release::limits::RELEASE_BYTES_MAX;
use reqwest::{Client, StatusCode, header};
use rollout::Ledger as _;
use rollout::fleet::keys;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A document of a few kilobytes that takes longer than this does not come.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A place, and what is needed to ask there.
#[derive(Debug)]
pub struct Source {
    tools: Rc<Tools>,
    app: String,
    place: Place,
    /// Kept from look to look, and made anew after one that failed: names may lead elsewhere.
    client: Option<Client>,
}

impl Source {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(tools: Rc<Tools>, app: &str, place: Place) -> Self {
        Self { tools, app: app.to_owned(), place, client: None }
    }

    /// Looks once. What is found is bytes, whatever they hold.
    pub async fn look(&mut self, etag: Option<&str>) -> Found {
        let place = match &self.place {
            Place::Tag(name) => match named(&self.tools, name).await {
                Ok(place) => place,
                Err(found) => return found,
            },
            place => place.clone(),
        };
        match &place {
            Place::Web(url) => self.web(url, etag).await,
            Place::Object(address) => object(&self.tools, address, etag).await,
            Place::File(path) => file(path).await,
            Place::Ledger => ledger(&self.tools, &self.app, etag).await,
            // Not led to by another tag.
            Place::Tag(name) => failed(format!("the tag {name} names a tag"), "name a URL in it"),
        }
    }

    async fn web(&mut self, url: &str, etag: Option<&str>) -> Found {
        let client = match self.client.take() {
            Some(client) => client,
            None => match store::fetch::caches::web_client(url) {
                Ok(client) => client,
                Err(error) => {
                    let cure = error.cure();
                    return failed(format!("{}: {}", shown(url), error.fault), cure);
                }
            },
        };
        let found = web(&client, url, etag).await;
        if !matches!(found, Found::Failed { .. }) {
            self.client = Some(client);
        }
        found
    }
}

fn failed(text: String, cure: &str) -> Found {
    Found::Failed { text, cure: cure.to_owned() }
}

async fn web(client: &Client, url: &str, etag: Option<&str>) -> Found {
    let mut request = client.get(url).timeout(TIMEOUT);
    let url = shown(url);
    let broken = |text: String| failed(format!("GET {url}: {text}"), "can this host reach it?");
    if let Some(etag) = etag {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return broken(innermost(&error).to_string()),
    };
    match answer.status() {
        StatusCode::NOT_MODIFIED if etag.is_some() => return Found::Unchanged,
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Found::Nothing(format!("there is no release at {url}"));
        }
        StatusCode::OK => {}
        other => return broken(format!("status {}", other.as_u16())),
    }
    let etag = answer.headers().get(header::ETAG);
    let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let mut bytes = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Found::Release { bytes, etag },
            Err(error) => return broken(innermost(&error).to_string()),
        }
        if bytes.len() > RELEASE_BYTES_MAX {
            return broken(format!("longer than {RELEASE_BYTES_MAX} bytes"));
        }
    }
}

async fn object(tools: &Tools, address: &ObjectAddress, etag: Option<&str>) -> Found {
    let Some(ec2) = &tools.ec2 else {
        let text = format!("{address}: this host is not told that it is on EC2");
        return failed(text, "write [cloud] into agent.toml, or give an https:// URL");
    };
    match ec2.aws.s3().get(address, RELEASE_BYTES_MAX, etag).await {
        Ok(cloud::s3::Found::Unchanged) => Found::Unchanged,
        Ok(cloud::s3::Found::Missing) => {
            Found::Nothing(format!("there is no release at {address}"))
        }
        Ok(cloud::s3::Found::Object(object)) => {
            Found::Release { bytes: object.bytes, etag: object.etag }
        }
        Err(error) => failed(error.to_string(), "may the instance's role read that object?"),
    }
}

async fn file(path: &Path) -> Found {
    let owned = path.to_owned();
    let read = move || disk::read_capped(&owned, RELEASE_BYTES_MAX);
    let path = path.display();
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(bytes)) if bytes.len() > RELEASE_BYTES_MAX => {
            let text = format!("{path}: longer than {RELEASE_BYTES_MAX} bytes");
            failed(text, "put a release there")
        }
        Ok(Ok(bytes)) => Found::Release { bytes, etag: None },
        Ok(Err(error)) if error.error.kind() == io::ErrorKind::NotFound => {
            Found::Nothing(format!("there is no release at {path}"))
        }
        Ok(Err(error)) => failed(error.to_string(), "is it readable?"),
        Err(error) => failed(format!("{path}: {error}"), "see the agent's log"),
    }
}

async fn ledger(tools: &Tools, app: &str, etag: Option<&str>) -> Found {
    let Some(fleet) = tools.fleet() else {
        return failed("this host is in no fleet yet".to_owned(), "write [fleet] into agent.toml");
    };
    let cure = "`rollinit locks` tells whether the ledger answers";
    let key = match keys::desired(fleet.group(), app) {
        Ok(key) => key,
        Err(error) => return failed(error.to_string(), cure),
    };
    let engine = match fleet.engine().await {
        Ok(engine) => engine,
        Err(error) => return failed(error.to_string(), cure),
    };
    match engine.get(&key).await {
        Ok(Some(entry)) if Some(entry.token.0.as_str()) == etag => Found::Unchanged,
        Ok(Some(entry)) if entry.value.len() > RELEASE_BYTES_MAX => {
            failed(format!("{key}: longer than {RELEASE_BYTES_MAX} bytes"), "put a release there")
        }
        Ok(Some(entry)) => Found::Release { bytes: entry.value, etag: Some(entry.token.0) },
        Ok(None) => Found::Nothing(format!("there is no release at {key} on the ledger")),
        Err(error) => failed(error.to_string(), cure),
    }
}

/// A tag of this instance: as its metadata service tells it, or EC2 where that does not.
async fn tag(ec2: &Ec2, name: &str) -> cloud::Result<Option<String>> {
    if let Some(value) = ec2.imds.tag(name).await? {
        return Ok(Some(value));
    }
    let instance = ec2.imds.identity().await?.instance_id;
    Ok(ec2.aws.ec2().tags(&instance).await?.remove(name))
}

/// The place that the instance's tag names.
async fn named(tools: &Tools, name: &str) -> Result<Place, Found> {
    let Some(ec2) = &tools.ec2 else {
        let text = format!("the tag {name}: this host is not told that it is on EC2");
        return Err(failed(text, "write [cloud] into agent.toml"));
    };
    let cure = "may the instance see its tags (metadata option, or ec2:DescribeTags)?";
    let value = tag(ec2, name).await.map_err(|error| failed(error.to_string(), cure))?;
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Err(Found::Nothing(format!("the instance has no tag {name}, or it is empty")));
    };
    match Place::parse(&value) {
        Ok(place @ (Place::Web(_) | Place::Object(_))) => Ok(place),
        Ok(_) => {
            let text = format!("the tag {name} is {value:?}");
            Err(failed(text, "a tag names https://HOST/PATH or s3://BUCKET/KEY"))
        }
        Err(text) => Err(failed(format!("the tag {name}: {text}"), "correct the tag")),
    }
}
