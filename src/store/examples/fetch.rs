//! One fetch from the command line, for measuring: `fetch ROOT PATH CACHE KEY`.
//!
//! Makes the store under ROOT if there is none, fetches PATH and its closure, and prints what that
//! took: seconds of the whole process, paths, bytes, and the peak of its own memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use store::fetch::{Caches, Cancel, Options, fetch};
use store::plan::plan;
use store::{Store, StorePath};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, path, cache, key] = arguments.as_slice() else {
        return Err("usage: fetch ROOT PATH CACHE KEY".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (store, top) = (open(Path::new(root))?, path.parse::<StorePath>()?);
    let caches =
        Caches::new(std::slice::from_ref(cache), std::slice::from_ref(key), Options::default())?;
    let (planned, fetched) = runtime.block_on(async {
        let planned = plan(&store, &caches, &top).await?;
        let plan_ms = began.elapsed().as_millis();
        let fetched = fetch(&store, &caches, planned, Arc::new(|_| {}), &Cancel::new()).await?;
        Ok::<_, store::Error>((plan_ms, fetched))
    })?;
    println!(
        "{{\"seconds\": {:.3}, \"plan_ms\": {planned}, \"paths\": {}, \"bytes\": {}, \
         \"peak_kib\": {}}}",
        began.elapsed().as_secs_f64(),
        fetched.paths,
        fetched.downloaded_bytes,
        peak_kib()?
    );
    Ok(())
}

fn open(root: &Path) -> store::Result<Store> {
    if root.join("nix/var/nix/db").exists() { Store::open(root) } else { Store::create(root) }
}

/// The high-water mark of this process's resident memory.
fn peak_kib() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
