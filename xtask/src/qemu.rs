//! `cargo xtask qemu NAME --shell`: a test's guest, and its console on this terminal.

use crate::{build, image, setup};
use anyhow::{Context, Result};
use qemu_tests::guest::swap::Releases;
use qemu_tests::guest::{Boot, Guest, PATIENCE};
use qemu_tests::guests;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

/// Boots the guest of the test `name`; with `shell`, reads commands for it until the input ends.
///
/// # Errors
/// There is no such guest, or it does not boot.
pub fn run(root: &Path, name: &str, shell: bool) -> Result<()> {
    let configuration = guests::configuration(name)?;
    setup::run_setup()?;
    build::run_build(root)?;
    image::build(root, configuration)?;
    image::build_releases(root)?;
    let cache = Releases::open()?.serve()?;
    let mut guest = Boot { cache: Some(cache.address()), ..guests::boot(name)? }.start()?;
    guest.console.echo();
    if shell {
        guest.agent.hello(PATIENCE)?;
        println!("\n{HELP}");
        prompt(&mut guest)?;
        guest.qmp.press_power()?;
    }
    let end = guest.ended(if shell { PATIENCE } else { FOREVER })?;
    println!("\nthe guest ended ({end:?}); its console: {}", guest.serial_log.display());
    Ok(())
}

/// Somebody looks at it, and has Ctrl-C.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

const HELP: &str = "\
Commands run in the guest as root, without a shell: `rollinit status`, `sh -c '…'`.
A bare program name is looked up in /run/current-system/sw/bin.
`> text` types text on the console. End of input presses the power button.";

fn prompt(guest: &mut Guest) -> Result<()> {
    let input = std::io::stdin();
    loop {
        if input.is_terminal() {
            print!("guest# ");
            std::io::stdout().flush().context("write to the terminal")?;
        }
        let mut line = String::new();
        if input.lock().read_line(&mut line).context("read a command")? == 0 {
            return Ok(());
        }
        if let Some(text) = line.strip_prefix("> ") {
            guest.type_text(text)?;
            continue;
        }
        let words = split(line.trim());
        let Some(first) = words.first() else { continue };
        let program = if first.starts_with('/') {
            first.clone()
        } else {
            format!("/run/current-system/sw/bin/{first}")
        };
        let mut command = vec![program.as_str()];
        command.extend(words[1..].iter().map(String::as_str));
        match guest.agent.run(&command) {
            Ok(output) => {
                print!("{}{}", output.stdout, output.stderr);
                if output.code != Some(0) {
                    println!("(exit code {:?})", output.code);
                }
            }
            Err(error) => println!("{error:#}"),
        }
    }
}

/// Words of a line; single quotes keep spaces.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_ascii_whitespace().map(str::to_owned));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_keep_spaces() {
        assert_eq!(super::split("sh -c 'echo a  b' x"), ["sh", "-c", "echo a  b", "x"]);
    }
}
