//! `rollinit-mkstore`: the first database of an image's store.
//!
//! Reads what Nix's `exportReferencesGraph` or `nix-store --dump-db` wrote, hashes the trees under
//! ROOT/nix/store, and writes ROOT/nix/var/nix as Nix itself would. Never changes a tree.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use store::registration::{self, TEXT_BYTES_MAX};

const USAGE: &str = "usage: rollinit-mkstore --root ROOT --registration FILE...

Writes ROOT/nix/var/nix for the paths that FILE tells and ROOT/nix/store holds.
FILE is what exportReferencesGraph, closureInfo or `nix-store --dump-db` wrote.";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).map(PathBuf::from)) {
        Ok(paths) => {
            println!("rollinit-mkstore: {paths} paths");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rollinit-mkstore: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = PathBuf>) -> Result<usize, Box<dyn std::error::Error>> {
    let (mut root, mut files, mut reading) = (None, Vec::new(), "");
    for argument in arguments {
        match (argument.to_str(), reading) {
            (Some("--help"), _) => return Err(USAGE.into()),
            (Some(option @ ("--root" | "--registration")), _) => {
                reading = if option == "--root" { "root" } else { "registration" };
            }
            (_, "root") if root.is_none() => root = Some(argument),
            (_, "registration") => files.push(argument),
            _ => return Err(format!("unexpected {}\n{USAGE}", argument.display()).into()),
        }
    }
    let root = root.ok_or_else(|| format!("--root is missing\n{USAGE}"))?;
    let mut text = String::new();
    for file in &files {
        let mut input = File::open(file)
            .map_err(|error| format!("read {}: {error}", file.display()))?
            .take(TEXT_BYTES_MAX + 1);
        input
            .read_to_string(&mut text)
            .and_then(|_| {
                if input.limit() == 0 { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
            })
            .map_err(|error| format!("read {}: {error}", file.display()))?;
    }
    let name =
        files.first().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    let paths = registration::parse(&name, &text)?;
    registration::make_store(&root, &paths)?;
    Ok(paths.len())
}
