//! The fingerprints of a closure that lies in binary caches, or in the folder of one, with no store
//! at hand: on a laptop, in CI.

use crate::error::{Error, Fault, Result, Step};
use crate::fetch::caches::{Caches, Refusal};
use crate::narinfo::{NARINFO_BYTES_MAX, NarInfo};
use crate::path::StorePath;
use crate::plan::CLOSURE_PATHS_MAX;
use crate::signature::SignatureError;
use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;
use tokio::task::JoinSet;

/// Where narinfos are: the folders of caches are looked into first.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Folders that `nix copy --to file:///FOLDER` wrote.
    pub folders: Vec<PathBuf>,
    /// Caches. Without any trusted key what they say is believed.
    pub caches: Caches,
}

/// The fingerprints of the closure of `top`.
///
/// # Errors
/// A path is nowhere to be had, or is not signed by a trusted key, if there are any.
pub async fn of_sources(sources: &Sources, top: &StorePath) -> Result<Vec<String>> {
    let mut seen = HashSet::from([top.clone()]);
    let mut queue = vec![top.clone()];
    let mut running = JoinSet::new();
    let mut all = Vec::new();
    loop {
        while running.len() < sources.caches.options().parallel_narinfos.max(1) {
            let Some(path) = queue.pop() else { break };
            running.spawn(narinfo(sources.clone(), path));
        }
        let narinfo = match running.join_next().await {
            None => return Ok(all),
            Some(Ok(narinfo)) => narinfo?,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => return Err(Error::new(Step::Plan, top, Fault::Cancelled)),
        };
        all.push(narinfo.fingerprint());
        queue.extend(narinfo.references.into_iter().filter(|path| seen.insert(path.clone())));
        if seen.len() > CLOSURE_PATHS_MAX {
            let fault = Fault::TooManyPaths { limit: CLOSURE_PATHS_MAX };
            return Err(Error::new(Step::Plan, top, fault));
        }
    }
}

/// The narinfo of a path, from the first who has it.
async fn narinfo(sources: Sources, path: StorePath) -> Result<NarInfo> {
    let failed = |fault| Error::new(Step::Plan, &path, fault);
    let name = format!("{}.narinfo", path.hash_part());
    for folder in &sources.folders {
        let file = folder.join(&name);
        let mut bytes = Vec::new();
        let limit = NARINFO_BYTES_MAX as u64 + 1;
        match File::open(&file).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => return read(&sources.caches, &path, &bytes).map_err(failed),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(Step::Plan, &file)(error)),
        }
    }
    for address in sources.caches.addresses() {
        let url = format!("{address}/{name}");
        match sources.caches.get_small(&url, NARINFO_BYTES_MAX).await {
            Ok(bytes) => return read(&sources.caches, &path, &bytes).map_err(failed),
            Err(Refusal::Missing) => {}
            Err(Refusal::Status(status)) => return Err(failed(Fault::Status { status, url })),
            Err(Refusal::Busy(last) | Refusal::Transient(last)) => {
                let last = format!("{address}: {last}");
                return Err(failed(Fault::Unreachable { waited_ms: 0, tries: 1, last }));
            }
        }
    }
    let caches = sources.folders.len() + sources.caches.addresses().len();
    Err(failed(Fault::NotFound { caches }))
}

fn read(caches: &Caches, path: &StorePath, bytes: &[u8]) -> std::result::Result<NarInfo, Fault> {
    let narinfo = NarInfo::parse(bytes, path).map_err(Fault::NarInfo)?;
    if !caches.keys().keys().is_empty() {
        narinfo.verify(caches.keys()).map_err(|error| match error {
            SignatureError::Unsigned => Fault::Unsigned,
            SignatureError::Untrusted(signers) => Fault::UntrustedKey { signers },
            SignatureError::Wrong(key) => Fault::FalseSignature { key },
        })?;
    }
    Ok(narinfo)
}
