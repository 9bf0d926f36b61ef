//! `cargo xtask`: the one door for people who work on rollinit.
//!
//! Is: setup, build, image, test, tidy, qemu, demo; each `--help` says what it does and leaves.
//! May touch: the workspace's `target` folder, QEMU and Nix; apt only in `setup`, after saying so.
//! Never: anything on a host that runs rollinit.

mod build;
mod demo;
mod image;
mod qemu;
mod setup;
mod test;
mod tidy;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

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
    /// Build every program, each in its profile, and collect them in target/out.
    #[command(after_help = "PID 1 and stage 1 are built with `--profile pid1`, the others with \
                            `--release`, each package alone,\nso that no package's features leak \
                            into another's binary.")]
    Build {
        /// Print the programs and their sizes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build guests' images with Nix, from the programs that `build` made.
    #[command(after_help = "Configurations are the files of qemu-tests/guests; the image is left \
                            in target/image/NAME.\nNothing is fetched but Debian packages (the \
                            kernel, nginx, …), by apt-get download, once.")]
    Image {
        /// Which guest; all of them without it.
        configuration: Option<String>,
    },
    /// Run the tests: everything, one tier, or those whose name contains NAME.
    #[command(after_help = "unit:    format, clippy, tidy, unit and property tests, Nix library\n\
                            process: PID 1 in a pid namespace and as subreaper, without a VM\n\
                            qemu:    guests; consoles are kept in target/qemu/NAME/serial.log\n\
                            Sets up and builds what it needs first. Exit code 0: all passed.")]
    Test {
        /// Only this tier.
        tier: Option<test::Tier>,
        /// Only tests whose name contains this.
        name: Option<String>,
        /// Where the property tests begin to draw; `random` draws that, too, and prints it. Without
        /// it always the same, so that what turns red is the change.
        #[arg(long, value_name = "NUMBER|random")]
        seed: Option<test::Seed>,
    },
    /// See it alive: swap an app under load, well and badly, and kill who swaps it; or `ec2`, or
    /// `cluster`.
    #[command(
        after_help = "Takes about two minutes after the first build; `ec2`, a host from UEFI and \
                            user-data to a spot notice, one; `cluster`, releases over three hosts \
                            behind HAProxy, four, and root. The guests' consoles are kept in \
                            target/qemu/demo/serial.log, demo-ec2/serial.log or \
                            demo-cluster/NUMBER/serial.log.\nExit code 0: every claim of the \
                            closing table held. Ctrl-C cleans up."
    )]
    Demo {
        /// Which one.
        #[arg(value_enum, default_value_t = demo::Demo::Swaps)]
        demo: demo::Demo,
        /// Print the closing table as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Boot the guest of a test and show its console here.
    #[command(after_help = "Names are those of the QEMU tests. Ctrl-C kills the guest.")]
    Qemu {
        /// The test's name.
        name: String,
        /// Read commands from this terminal and run them in the guest.
        #[arg(long)]
        shell: bool,
    },
    /// Check the rules of the house: edges between rooms, PID 1's closure, unsafe, lengths.
    #[command(after_help = "Exit code 0: tidy. 1: the findings are printed, file:line: what.")]
    Tidy {
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = workspace::root()?;
    match task {
        Task::Setup => setup::run_setup(),
        Task::Build { json } => {
            let programs = build::run_build(&root)?;
            build::print(&programs, json)
        }
        Task::Image { configuration } => {
            setup::run_setup()?;
            build::run_build(&root)?;
            let names =
                configuration.map_or_else(|| image::configurations(&root), |one| Ok(vec![one]));
            for name in names? {
                println!("{}", image::build(&root, &name)?.display());
            }
            image::build_releases(&root)
        }
        Task::Test { tier, name, seed } => {
            test::run_tests(&root, tier, name.as_deref(), seed.unwrap_or_default())
        }
        Task::Demo { demo, json } => demo::run(&root, demo, json),
        Task::Qemu { name, shell } => qemu::run(&root, &name, shell),
        Task::Tidy { json } => tidy::run(&root, json),
    }
}
