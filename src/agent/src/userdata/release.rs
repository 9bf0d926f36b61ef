//! Which store path is meant: named, or by the document that a release URL leads to.

use super::{Host, Trouble};
use crate::config::desired::{Desired, Place, Signers, shown};
use crate::desired::{self, Source};
use release::Found;
use std::rc::Rc;
use userdata::{Closure, UserData};

/// Follows the release that the document names for `app`, if persons have to sign it. Whether it
/// does.
pub fn follow(
    host: &Rc<Host>,
    document: &UserData,
    app: &str,
    closure: &Closure,
) -> Result<bool, Trouble> {
    let (Closure::Release(url), Some(signers)) = (closure, &document.signers) else {
        return Ok(false);
    };
    let signers = Signers::Text(signers.text.clone(), signers.threshold);
    let desired = Desired::of_user_data(url, signers);
    let desired =
        desired.map_err(|text| Trouble::error(text, "correct the release in the user-data"))?;
    let host = Rc::new(desired::Host {
        agent: Rc::clone(&host.agent),
        tools: Rc::clone(&host.tools),
        // What user-data says of the fleet is in force by now.
        is_fleet_due: false,
        group: document.group.clone(),
    });
    tokio::task::spawn_local(desired::run(host, app.to_owned(), desired));
    Ok(true)
}

/// The store path that `app` is to have.
pub async fn resolve(host: &Host, app: &str, closure: &Closure) -> Result<String, Trouble> {
    let place = match closure {
        Closure::Path(path) => return Ok(path.clone()),
        Closure::Release(url) => url,
    };
    let url = shown(place);
    if host.tools.releases.is_signed(app) {
        let text = format!("{app}: {url} is not signed, and agent.toml says who has to");
        return Err(Trouble::error(text, "write signers into the user-data, or leave it out"));
    }
    let wrong = |text: String| Trouble::error(text, "correct the release in the user-data");
    let place = Place::parse(place).map_err(wrong)?;
    let bytes = match Source::new(Rc::clone(&host.tools), app, place).look(None).await {
        Found::Release { bytes, .. } => bytes,
        Found::Failed { text, cure } => return Err(Trouble::error(text, cure)),
        Found::Nothing(text) => return Err(Trouble::error(text, "put it there")),
        // It was asked for without an ETag, and what lies there is not read by it.
        Found::Unchanged | Found::Path { .. } => {
            return Err(wrong(format!("{url}: no document came")));
        }
    };
    let release = userdata::read_release(&url, &bytes, app).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        Trouble::error(format!("{app}: {first}"), "correct the document of the release")
    })?;
    Ok(release.path)
}
