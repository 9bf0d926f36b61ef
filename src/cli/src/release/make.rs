//! `rollinit release make`.

use super::arguments::Make;
use super::{Report, failure, files, now, show};
use crate::exit::{Code, Failure};
use crate::screen::Screen;
use release::limits::SERIAL_MAX;
use release::{Document, FORMAT, closure_digest};
use std::path::{Path, PathBuf};
use store::fetch::{Caches, Options};
use store::fingerprints::{Sources, of_sources};
use store::path::StorePath;

/// Asks the caches, and writes the document.
pub async fn run(make: &Make, screen: &mut Screen) -> Result<Code, Failure> {
    let top = StorePath::parse(make.path.as_bytes()).map_err(|error| {
        let message = format!("{:?}: {error}", make.path);
        failure(Code::Failed, "path", message, "Give the path that `nix build` printed.")
    })?;
    let of_store = |error: store::Error| {
        let code = match error.fault {
            store::Fault::Unreachable { .. } => Code::Unreachable,
            _ => Code::Failed,
        };
        let (message, cure) = (format!("{}: {}", error.object, error.fault), error.cure());
        failure(code, "cache", message, cure)
    };
    let sources = sources(make).map_err(of_store)?;
    let fingerprints = of_sources(&sources, &top).await.map_err(of_store)?;
    let issued = now();
    let document = Document {
        format: FORMAT,
        app: make.app.clone(),
        group: make.group.clone(),
        serial: make.serial.unwrap_or(issued.0.min(SERIAL_MAX)),
        path: top.to_string(),
        closure_sha256: closure_digest(fingerprints.iter().map(String::as_str)),
        issued,
        expires: issued.plus_s(make.expires),
        note: make.note.clone(),
    };
    document.check().map_err(|error| {
        let cure = "`rollinit release make --help` says what may stand there.";
        failure(Code::Failed, "not-a-document", error.to_string(), cure)
    })?;
    let output = make.output.clone().unwrap_or_else(|| format!("{}.release", make.app).into());
    if output == Path::new("-") {
        screen.bytes(&document.write())?;
        return Ok(Code::Done);
    }
    files::replace(&output, &document.write())?;
    if screen.json {
        screen.json(&Report { document: &document, persons: None, signatures: 0 })?;
    } else {
        show(&document, screen)?;
        let (paths, file) = (fingerprints.len(), output.display());
        let plural = if paths == 1 { "" } else { "s" };
        let text = format!("{paths} path{plural}; sign it: rollinit release sign {file} --key KEY");
        screen.text(&format!("{text}\n"))?;
    }
    Ok(Code::Done)
}

/// Folders apart from what is asked over HTTP.
fn sources(make: &Make) -> store::Result<Sources> {
    let folder = |url: &String| url.strip_prefix("file://").map(PathBuf::from);
    let folders: Vec<PathBuf> = make.caches.iter().filter_map(folder).collect();
    let web: Vec<String> =
        make.caches.iter().filter(|url| folder(url).is_none()).cloned().collect();
    let caches = Caches::new(&web, &make.keys, Options::default())?;
    Ok(Sources { folders, caches })
}
