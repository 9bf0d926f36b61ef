//! UEFI for a guest: OVMF, and EFI variables of its own, as empty as those of a new EC2 instance.

use super::image;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where Debian's package `ovmf` lies.
const FOLDER: &str = "/usr/share/OVMF";

/// QEMU's arguments for the firmware of the guest `name`. Its variables are a fresh copy.
///
/// # Errors
/// OVMF is not installed, or there is no room.
pub fn arguments(name: &str) -> Result<Vec<String>> {
    let code = Path::new(FOLDER).join("OVMF_CODE_4M.fd");
    let variables = fresh_variables(name)?;
    Ok(["readonly=on,file=", "file="]
        .into_iter()
        .zip([code, variables])
        .enumerate()
        .flat_map(|(unit, (file, path))| {
            let drive = format!("if=pflash,unit={unit},format=raw,{file}{}", path.display());
            ["-drive".to_owned(), drive]
        })
        .collect())
}

fn fresh_variables(name: &str) -> Result<PathBuf> {
    let template = Path::new(FOLDER).join("OVMF_VARS_4M.fd");
    let content = std::fs::read(&template).with_context(|| {
        format!("no firmware: read {}; write: apt-get install ovmf", template.display())
    })?;
    let folder = image::target().join("qemu").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let file = folder.join("vars.fd");
    std::fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}
