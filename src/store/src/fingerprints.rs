//! The fingerprints of a whole closure: what a release document has a digest of.
//!
//! One path's fingerprint names its references and says nothing of what they hold; those of all
//! paths say all of it. They are taken from what is to be fetched, as the caches say and trusted
//! keys signed, and from the database for what is there.

mod remote;

pub use remote::{Sources, of_sources};

use crate::error::{Error, Fault, Result, Step};
use crate::narinfo::fingerprint;
use crate::path::StorePath;
use crate::plan::Missing;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// The fingerprints of the closure of `top`, of which these paths are missing: what a
/// [`Plan`](crate::plan::Plan) says.
///
/// # Errors
/// The database fails, or lost a path since.
pub fn of_plan(store: &Store, top: &StorePath, missing: &[Missing]) -> Result<Vec<String>> {
    let fingerprints: BTreeMap<&StorePath, String> =
        missing.iter().map(|one| (&one.narinfo.path, one.narinfo.fingerprint())).collect();
    let references = missing.iter().flat_map(|one| &one.narinfo.references);
    let present = references.chain([top]).filter(|path| !fingerprints.contains_key(path));
    let mut all = of_paths(store, present)?;
    all.extend(fingerprints.into_values());
    Ok(all)
}

/// The fingerprints of a closure that is valid.
///
/// # Errors
/// It is not, or the database fails.
pub fn of_valid(store: &Store, top: &StorePath) -> Result<Vec<String>> {
    of_paths(store, [top])
}

/// Those of the closures of all these, each path once.
fn of_paths<'p>(
    store: &Store,
    tops: impl IntoIterator<Item = &'p StorePath>,
) -> Result<Vec<String>> {
    let database = store.database();
    let mut open: Vec<StorePath> = tops.into_iter().cloned().collect();
    let mut seen: BTreeSet<StorePath> = BTreeSet::new();
    let mut all = Vec::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let info = database.info(&path)?;
        let Some(info) = info else {
            return Err(Error::new(Step::Query, &path, Fault::NotValid));
        };
        let references: BTreeSet<StorePath> = info.references.into_iter().collect();
        all.push(fingerprint(&info.path, &info.nar_hash, info.nar_size, &references));
        open.extend(references);
    }
    Ok(all)
}
