//! `rollinit-testapp MODE …`: the program that services under test run. `--help` lists the modes.

use std::process::ExitCode;

fn main() -> ExitCode {
    qemu_tests::testapp::run(std::env::args())
}
