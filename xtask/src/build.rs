//! `cargo xtask build`: every program in its profile, collected in `target/out`.

use crate::image;
use crate::workspace::{TARGET, cargo, run, step, target};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Packages, the profile they are built with, and the programs they yield.
struct Recipe {
    packages: &'static [&'static str],
    profile: &'static str,
    /// Below `target/out`.
    folder: &'static str,
    programs: &'static [&'static str],
}

impl Recipe {
    const PLAIN: Self = Self { packages: &[], profile: "release", folder: "bin", programs: &[] };
}

/// Each is one call of cargo: within one call features are united over packages. What serde or
/// tokio needs elsewhere would grow PID 1; what tests need would be in what ships. The restartable
/// programs share a call, and with it each library that they have in common.
const RECIPES: [Recipe; 4] = [
    Recipe { packages: &["init"], profile: "pid1", programs: &["rollinit-init"], ..Recipe::PLAIN },
    Recipe {
        packages: &["initrd"],
        profile: "pid1",
        programs: &["rollinit-stage1"],
        ..Recipe::PLAIN
    },
    Recipe {
        packages: &["initrd", "supervisor", "agent", "activate", "network", "store", "cli"],
        programs: &[
            "rollinit-mkinitrd",
            "rollinit-supervisor",
            "rollinit-agent",
            "rollinit-activate",
            "rollinit-network",
            "rollinit-mkstore",
            "rollinit",
        ],
        ..Recipe::PLAIN
    },
    Recipe {
        packages: &["qemu-tests"],
        folder: "test-apps/bin",
        programs: &[
            "rollinit-testapp",
            "rollinit-testagent",
            "rollinit-load",
            "rollinit-cache",
            "rollinit-imds",
        ],
        ..Recipe::PLAIN
    },
];

/// A program that was built.
#[derive(Debug, Serialize)]
pub struct Program {
    /// File name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
}

/// Where the programs are collected: `bin` what ships, `test-apps/bin` what runs in test guests.
#[must_use]
pub fn out(root: &Path) -> PathBuf {
    target(root).join("out")
}

/// Builds everything. Unchanged programs keep their file, so what is cached by content stays.
///
/// # Errors
/// A package does not build, or a file cannot be written.
pub fn run_build(root: &Path) -> Result<Vec<Program>> {
    step("build", || {
        let mut programs = Vec::new();
        for recipe in &RECIPES {
            let folder = out(root).join(recipe.folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("build: make {}", folder.display()))?;
            let mut command = cargo(root);
            command.args(["build", "--profile", recipe.profile]);
            command.args(recipe.packages.iter().flat_map(|name| ["--package", *name]));
            command.args(recipe.programs.iter().flat_map(|name| ["--bin", *name]));
            run(&mut command)?;
            let built = target(root).join(TARGET).join(recipe.profile);
            for name in recipe.programs {
                programs.push(collect(&built.join(name), &folder.join(name), name)?);
            }
        }
        image::make_key(root)?;
        Ok(programs)
    })
}

fn collect(from: &Path, to: &Path, name: &str) -> Result<Program> {
    let image = std::fs::read(from).with_context(|| format!("build: read {}", from.display()))?;
    if std::fs::read(to).ok().as_deref() != Some(&image) {
        // A running program cannot be overwritten, but its name can be given to another file.
        let part = to.with_extension("part");
        std::fs::copy(from, &part).with_context(|| format!("build: write {}", part.display()))?;
        std::fs::rename(&part, to).with_context(|| format!("build: name {}", to.display()))?;
    }
    let size_bytes = image.len() as u64;
    Ok(Program { name: name.to_owned(), path: to.to_owned(), size_bytes })
}

/// Prints what was built.
///
/// # Errors
/// None but those of JSON.
pub fn print(programs: &[Program], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(programs)?);
        return Ok(());
    }
    for program in programs {
        let kib = program.size_bytes.div_ceil(1024);
        println!("{:24} {kib:6} KiB  {}", program.name, program.path.display());
    }
    Ok(())
}
