//! `cargo xtask test`: all that CI does, or a part of it.

use crate::workspace::{cargo, has_program, run, step};
use crate::{build, image, setup, tidy};
use anyhow::{Result, bail};
use clap::ValueEnum;
use qemu_tests::guests;
use std::hash::BuildHasher;
use std::num::ParseIntError;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::thread::available_parallelism;

/// A tier of tests, the fast ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// Format, clippy, tidy, unit and property tests, the Nix library's own tests.
    Unit,
    /// PID 1 in a namespace and as subreaper: no VM.
    Process,
    /// Guests under QEMU.
    Qemu,
}

/// Where the property tests begin to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Default for Seed {
    /// Any number would do; a landing is judged by one that does not change.
    fn default() -> Self {
        Self(1)
    }
}

impl FromStr for Seed {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        // The hasher of every map is seeded by the kernel's randomness.
        let random = || std::hash::RandomState::new().hash_one(text);
        if text == "random" { Ok(Self(random())) } else { text.parse().map(Self) }
    }
}

/// Runs a tier, or all of them; `name` keeps the tests whose name contains it.
///
/// # Errors
/// Something fails; what, was said.
pub fn run_tests(root: &Path, tier: Option<Tier>, name: Option<&str>, seed: Seed) -> Result<()> {
    setup::run_setup()?;
    if tier.is_none() {
        setup::need_room(root)?;
    }
    let wanted = |one: Tier| tier.is_none_or(|tier| tier == one);
    if wanted(Tier::Unit) {
        unit(root, name, seed)?;
    }
    if wanted(Tier::Process) || wanted(Tier::Qemu) {
        build::run_build(root)?;
    }
    // Process tests mostly wait: the images, which are not for them, are built meanwhile.
    std::thread::scope(|scope| {
        let images = wanted(Tier::Qemu).then(|| scope.spawn(|| images(root)));
        if wanted(Tier::Process) {
            step("process tests", || harness(root, "process", name))?;
        }
        images.map_or(Ok(()), |images| images.join().unwrap_or_else(|_| bail!("see above")))
    })?;
    if wanted(Tier::Qemu) {
        step("QEMU tests", || harness(root, "qemu", name))?;
    }
    Ok(())
}

/// All that QEMU tests boot and swap.
fn images(root: &Path) -> Result<()> {
    let configurations = image::configurations(root)?;
    for name in configurations.iter().filter(|name| !guests::DEMOS.contains(&name.as_str())) {
        image::build(root, name)?;
    }
    image::build_releases(root)?;
    image::collect(root)
}

/// Test binaries that need built programs; the unit tier leaves them out.
const HARNESSES: [&str; 2] = ["process", "qemu"];

fn unit(root: &Path, name: Option<&str>, seed: Seed) -> Result<()> {
    if name.is_none() {
        step("format", || run(cargo(root).args(["fmt", "--all", "--check"])))?;
        step("tidy", || tidy::run(root, false))?;
        let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
        step("clippy", || run(cargo(root).args(clippy)))?;
        let deny = ["deny", "--locked", "--offline", "check", "bans", "licenses", "sources"];
        if has_program("cargo-deny") {
            step("deny", || run(cargo(root).args(deny)))?;
        }
    }
    step("unit and property tests", || {
        let Seed(number) = seed;
        println!("property tests draw from --seed {number}");
        let by = if has_program("cargo-nextest") { by_nextest } else { by_cargo };
        by(root, name, seed)
    })?;
    let nix_tests = root.join("nixos/tests/run.sh");
    if name.is_none() && nix_tests.exists() {
        step("Nix library tests", || run(&mut Command::new(nix_tests)))?;
    }
    Ok(())
}

/// A cargo whose property tests draw from `seed`.
fn seeded(root: &Path, Seed(number): Seed) -> Command {
    let mut command = cargo(root);
    command.env("PROPTEST_RNG_SEED", number.to_string());
    command
}

fn by_nextest(root: &Path, name: Option<&str>, seed: Seed) -> Result<()> {
    let left_out: Vec<String> = HARNESSES.iter().map(|name| format!("binary(={name})")).collect();
    let filter = format!("not ({})", left_out.join(" or "));
    // Of those that run at once, one mostly waits: for moto, for etcd, for a deadline.
    let threads = available_parallelism().map_or(1, |processors| processors.get() + 1);
    let mut command = seeded(root, seed);
    command.args(["nextest", "run", "--locked", "--workspace", "--no-tests", "pass"]);
    command.args(["--test-threads", &threads.to_string()]);
    run(command.args(["--filterset", &filter]).args(name))
}

/// cargo's own runner cannot leave one target out: the two crates with a harness are run apart.
fn by_cargo(root: &Path, name: Option<&str>, seed: Seed) -> Result<()> {
    let parts: [&[&str]; 3] = [
        &["--workspace", "--exclude", "init", "--exclude", "qemu-tests"],
        &["--package", "init", "--bins"],
        &["--package", "qemu-tests", "--lib", "--bins", "--test", "load", "--test", "testapp"],
    ];
    parts.iter().try_for_each(|part| {
        let mut command = seeded(root, seed);
        command.args(["test", "--locked", "--no-fail-fast"]).args(*part);
        // One at a time: some count the descriptors or children of their process.
        run(command.args(["--", "--test-threads", "1"]).args(name))
    })
}

/// `--workspace`, so that the features are those of the unit tier and nothing is built twice.
fn harness(root: &Path, test: &str, name: Option<&str>) -> Result<()> {
    let mut command = cargo(root);
    command.args(["test", "--locked", "--workspace", "--test", test]);
    command.arg("--").args(name);
    if let Err(error) = run(&mut command) {
        bail!("{error}; logs are in target/qemu/NAME/serial.log");
    }
    Ok(())
}
