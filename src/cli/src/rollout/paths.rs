//! Which store path is meant, and what a new rollout is called.

use super::table::name;
use super::view::Read;
use crate::exit::{Code, Failure};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};

/// Crockford's base 32: no I, L, O, U.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Letters of a rollout's id: a billion ids, of which a group remembers two for each app.
const ID_LETTERS: usize = 6;

/// An id that a person can read out over the telephone.
pub fn fresh_id() -> Result<String, Failure> {
    let mut seed = [0; ID_LETTERS];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
    read.map_err(|error: io::Error| Failure::local("read /dev/urandom", &error))?;
    Ok(seed.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// The store path meant by `text`: one as it is, or the only one that the group knows of the app
/// whose hash begins so or that is called so.
pub fn resolve(read: &Read, app: &str, text: &str) -> Result<String, Failure> {
    if text.starts_with('/') {
        return match userdata::path_fault(text) {
            None => Ok(text.to_owned()),
            Some(fault) => Err(Failure {
                code: Code::SwapRefused,
                kind: "refused",
                message: fault,
                cures: vec!["Write /nix/store/HASH-NAME, without what lies in it.".to_owned()],
            }),
        };
    }
    let wanted = text.trim_end_matches('.');
    let is_meant = |path: &&String| {
        let base = path.rsplit('/').next().unwrap_or(path);
        !wanted.is_empty() && (base.starts_with(wanted) || name(path) == wanted)
    };
    let known = known(read, app);
    let mut meant = known.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(path), None) => Ok(path.clone()),
        (None, _) => Err(no_path(
            format!("the group knows no path of {app} that is called or begins with {text:?}"),
            vec!["Give the whole store path.".to_owned()],
        )),
        (Some(one), Some(other)) => Err(no_path(
            format!("{text:?} may mean more than one path of {app}"),
            [one, other].into_iter().chain(meant).cloned().collect(),
        )),
    }
}

/// Every path of the app that stands in the record or that a host runs.
fn known(read: &Read, app: &str) -> BTreeSet<String> {
    let of_hosts = read.hosts.iter().filter_map(|host| host.apps.get(app)?.path.clone());
    let mut known: BTreeSet<String> = of_hosts.collect();
    if let Some(track) = read.group.as_ref().and_then(|group| group.apps.get(app)) {
        known.extend(track.blessed.iter().map(|version| version.path.clone()));
        known.extend(track.rollout.iter().map(|rollout| rollout.to.path.clone()));
        known.extend(track.last.iter().map(|last| last.to.path.clone()));
        known.extend(track.failed.iter().map(|failed| failed.path.clone()));
    }
    known
}

fn no_path(message: String, cures: Vec<String>) -> Failure {
    Failure { code: Code::NoSuchService, kind: "no_such_path", message, cures }
}
