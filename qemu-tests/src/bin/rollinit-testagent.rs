//! `rollinit-testagent LINE`: answers the harness on a serial line of a guest under test.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(line) = std::env::args_os().nth(1) else {
        eprintln!("usage: rollinit-testagent /dev/ttyS1");
        return ExitCode::from(2);
    };
    match qemu_tests::testagent::run(Path::new(&line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollinit-testagent: {}: {error}", line.display());
            ExitCode::FAILURE
        }
    }
}
