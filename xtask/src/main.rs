//! `cargo xtask`: the one door for people who work on rollinit.
//!
//! Is: setup, build, image, test, tidy, qemu, demo; each `--help` says what it does and leaves.
//! May touch: the workspace's `target` folder, QEMU and Nix; apt only in `setup`, after saying so.
//! Never: anything on a host that runs rollinit.

mod build;
mod setup;
mod tidy;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "The one door for people who work on rollinit.",
    after_help = "New here? `cargo xtask demo` shows it alive; `cargo xtask test` is all of CI.\n\
                  Everything made lands in target/: out/bin, image/, qemu/NAME/serial.log.",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building and testing need, after saying what and why.
    #[command(after_help = "Debian and Ubuntu: apt. With Nix: use `nix develop` instead. \
                            Elsewhere: prints the names.\nRunning it again does nothing.")]
    Setup,
    /// Build every program, each in its profile, and collect them in target/out/bin.
    #[command(after_help = "PID 1 and stage 1 are built with `--profile pid1`, the others with \
                            `--release`, each package alone,\nso that no package's features leak \
                            into another's binary.")]
    Build {
        /// Print the programs and their sizes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the rules of the house: edges between rooms, PID 1's closure, unsafe, lengths.
    #[command(after_help = "Exit code 0: tidy. 1: the findings are printed, file:line: what.")]
    Tidy {
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> Result<()> {
    let root = workspace::root()?;
    match Arguments::parse().command {
        Task::Setup => setup::run_setup(),
        Task::Build { json } => {
            let programs = build::run_build(&root)?;
            build::print(&programs, json)
        }
        Task::Tidy { json } => tidy::run(&root, json),
    }
}
