//! From staging names to valid paths: the order that a power cut cannot spoil.
//!
//! All unpacked → one syncfs → each path's lock → rename to its own name → fsync of the store's
//! directory → one transaction, on the disk at its end → locks let go.
//! Cut before the transaction is on the disk: paths that are not valid, which the next fetch or
//! collection removes. Cut after it: valid paths, whose bytes and names were on the disk before.

use crate::database::PathInfo;
use crate::error::{Error, Result, Step};
use crate::locks::PathLock;
use crate::path::StorePath;
use crate::plan::Missing;
use crate::store::Store;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Descriptors that a process has beside one for each lock.
const OTHER_DESCRIPTORS: u64 = 512;

/// Gives all `missing`, which are staged, their names and registers them.
pub(crate) async fn commit(store: &Store, missing: &Arc<Vec<Missing>>) -> Result<()> {
    let folder = store.layout().store();
    let wanted = OTHER_DESCRIPTORS + missing.len() as u64;
    sys::process::raise_open_files(wanted).map_err(Error::io(Step::Register, &folder))?;
    blocking({
        let store = store.clone();
        move || sync_staged(&store)
    })
    .await?;
    // In one order everywhere, as Nix takes them.
    let mut paths: Vec<&StorePath> = missing.iter().map(|missing| &missing.narinfo.path).collect();
    paths.sort_unstable();
    let mut locks = Vec::with_capacity(paths.len());
    for path in paths {
        locks.push(PathLock::take(store.layout().lock(path)).await?);
    }
    let (store, missing) = (store.clone(), Arc::clone(missing));
    blocking(move || {
        let registered = name_and_register(&store, &missing);
        drop(locks);
        registered
    })
    .await
}

/// Runs what blocks outside of the runtime's thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(Step::Fetch, "runtime", crate::error::Fault::Cancelled)),
    }
}

fn sync_staged(store: &Store) -> Result<()> {
    let folder = store.layout().store();
    File::open(&folder)
        .and_then(|file| sys::files::sync_volume(&file))
        .map_err(Error::io(Step::Register, &folder))
}

fn name_and_register(store: &Store, missing: &[Missing]) -> Result<()> {
    let mut named = Vec::with_capacity(missing.len());
    let done = name_all(store, missing, &mut named).and_then(|()| register(store, missing));
    if done.is_err() {
        // Named and not valid: garbage, and still under our locks. A commit that failed by its sync
        // may stand nevertheless; who cannot be asked about stays, for the next fetch to judge.
        for path in named {
            if !store.is_valid(path).unwrap_or(true) {
                let _ = remove(store, path.base_name().as_ref());
            }
        }
    }
    done
}

fn name_all<'all>(
    store: &Store,
    missing: &'all [Missing],
    named: &mut Vec<&'all StorePath>,
) -> Result<()> {
    let layout = store.layout();
    for missing in missing {
        let path = &missing.narinfo.path;
        let staged = layout.staged(path);
        if store.is_valid(path)? {
            // Another process made it meanwhile.
            remove(store, staged.file_name().unwrap_or_default())
                .map_err(Error::io(Step::Register, &staged))?;
            continue;
        }
        let real = layout.real(path);
        // What has the name and is not valid is of somebody who was killed.
        remove(store, path.base_name().as_ref()).map_err(Error::io(Step::Register, &real))?;
        fs::rename(&staged, &real).map_err(Error::io(Step::Register, &staged))?;
        named.push(path);
    }
    let folder = layout.store();
    sys::files::sync_folder(&folder).map_err(Error::io(Step::Register, &folder))
}

fn register(store: &Store, missing: &[Missing]) -> Result<()> {
    let infos: Vec<PathInfo> = missing.iter().map(info).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    store.database().register(&infos, now).map(drop)
}

fn info(missing: &Missing) -> PathInfo {
    let narinfo = &missing.narinfo;
    PathInfo {
        path: narinfo.path.clone(),
        nar_hash: narinfo.nar_hash,
        nar_size: narinfo.nar_size,
        references: narinfo.references.iter().cloned().collect(),
        deriver: narinfo.deriver.clone(),
        signatures: narinfo.signatures.iter().map(ToString::to_string).collect(),
        content_address: narinfo.content_address.clone(),
    }
}

/// Removes `name` from the store's directory, whatever it is; `false` if it was not there.
pub(crate) fn remove(store: &Store, name: &OsStr) -> std::io::Result<bool> {
    let folder = sys::tree::open_path(&store.layout().store())?;
    sys::tree::remove(folder.as_fd(), name)
}
