//! `rollinit-mkinitrd`: writes the image of stage 1. Same input, same bytes.

use initrd::image::{Content, gather};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: rollinit-mkinitrd --stage1 FILE [--modules TREE] [--want MODULE]... [--available MODULE]...
           [--check FILE] --output FILE

Writes a newc image with FILE as /init and kernel modules with all that they need: the wanted ones
load in any case, the available ones when a device or the root's file system wants them. TREE is
.../lib/modules/VERSION with the files that depmod wrote. --check puts a static e2fsck in.
A module that is built into the kernel needs no file and is fine.
Exits 0 when the image is written, 1 if that failed, 2 on wrong usage.";

#[derive(Default)]
struct Arguments {
    stage1: Option<PathBuf>,
    modules: Option<PathBuf>,
    wanted: Vec<String>,
    available: Vec<String>,
    checker: Option<PathBuf>,
    output: Option<PathBuf>,
}

fn read_arguments(words: &mut dyn Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word}: a value is missing"))?;
        match word.as_str() {
            "--stage1" => arguments.stage1 = Some(value.into()),
            "--modules" => arguments.modules = Some(value.into()),
            "--want" => arguments.wanted.push(value),
            "--available" => arguments.available.push(value),
            "--check" => arguments.checker = Some(value.into()),
            "--output" => arguments.output = Some(value.into()),
            _ => return Err(format!("{word}: unknown option")),
        }
    }
    Ok(arguments)
}

fn write_image(content: &Content<'_>, output: &PathBuf) -> io::Result<()> {
    let archive = gather(content)?;
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", output.display()));
    let file = std::fs::File::create(output).map_err(named)?;
    let mut out = BufWriter::new(file);
    archive.write(&mut out).and_then(|()| out.flush()).map_err(named)
}

fn main() -> ExitCode {
    let arguments = match read_arguments(&mut std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(trouble) => {
            eprintln!("rollinit-mkinitrd: {trouble}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Arguments {
        stage1: Some(stage1),
        modules,
        wanted,
        available,
        checker,
        output: Some(output),
    } = arguments
    else {
        eprintln!("rollinit-mkinitrd: --stage1 and --output are needed\n{USAGE}");
        return ExitCode::from(2);
    };
    let content = Content {
        stage1: &stage1,
        modules: modules.as_deref(),
        wanted: &wanted,
        available: &available,
        checker: checker.as_deref(),
    };
    match write_image(&content, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollinit-mkinitrd: {error}");
            ExitCode::FAILURE
        }
    }
}
