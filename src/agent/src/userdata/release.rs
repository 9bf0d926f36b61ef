//! Which store path is meant: named, or by the document that a release URL leads to.

use super::{Host, Trouble};
use cloud::s3::{Found, ObjectAddress};
use std::time::Duration;
use userdata::{Closure, RELEASE_BYTES_MAX};

/// A document of a few bytes that takes longer than this does not come.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The store path that `app` is to have.
pub async fn resolve(host: &Host, app: &str, closure: &Closure) -> Result<String, Trouble> {
    let url = match closure {
        Closure::Path(path) => return Ok(path.clone()),
        Closure::Release(url) => url,
    };
    let bytes = match url.starts_with("s3://") {
        true => object(host, url).await?,
        false => document(url).await?,
    };
    let release = userdata::read_release(url, &bytes, app).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        Trouble::error(format!("{app}: {first}"), "correct the document of the release")
    })?;
    Ok(release.path)
}

async fn object(host: &Host, url: &str) -> Result<Vec<u8>, Trouble> {
    let wrong = |text: String| Trouble::error(text, "correct the release in the user-data");
    let address = ObjectAddress::parse(url).map_err(wrong)?;
    let ec2 = host.tools.ec2.as_ref().ok_or_else(|| {
        Trouble::error(
            format!("{url}: this host is not told that it is on EC2"),
            "write [cloud] into agent.toml, or give an https:// URL",
        )
    })?;
    let found = ec2.aws.s3().get(&address, RELEASE_BYTES_MAX, None).await;
    let found = found.map_err(|error| {
        Trouble::error(error.to_string(), "may the instance's role read that object?")
    })?;
    match found {
        Found::Object(object) => Ok(object.bytes),
        Found::Missing | Found::Unchanged => {
            Err(Trouble::error(format!("{url}: there is no such object"), "put it there"))
        }
    }
}

async fn document(url: &str) -> Result<Vec<u8>, Trouble> {
    let failed = |text: String| Trouble::error(format!("GET {url}: {text}"), "is it there?");
    let client = store::fetch::caches::web_client(url).map_err(|error| {
        let cure = error.cure();
        Trouble::error(format!("{url}: {}", error.fault), cure)
    })?;
    let answer = client.get(url).timeout(TIMEOUT).send().await;
    let mut answer = answer.map_err(|error| failed(error.to_string()))?;
    if !answer.status().is_success() {
        return Err(failed(format!("status {}", answer.status().as_u16())));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(error.to_string()))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > RELEASE_BYTES_MAX {
            return Err(failed(format!("longer than {RELEASE_BYTES_MAX} bytes")));
        }
    }
    Ok(bytes)
}
