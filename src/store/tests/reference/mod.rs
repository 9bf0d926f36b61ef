//! Debian's Nix as the reference, on a store of its own under a temporary directory: every command
//! gets its store by its environment, so the machine's own is never opened.
#![allow(dead_code, reason = "compiled into each test program, which uses a part of it")]
#![allow(missing_docs, reason = "no interface: the tests beside it are its readers")]
#![allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[derive(Debug)]
pub struct Reference {
    directory: tempfile::TempDir,
}

impl Reference {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the private store's `/nix/store` really lies.
    pub fn store(&self) -> PathBuf {
        self.path().join("root/nix/store")
    }

    /// A directory of this test, open.
    pub fn open(&self) -> OwnedFd {
        sys::tree::open_path(self.path()).unwrap()
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("NIX_REMOTE", format!("local?root={}", self.path().join("root").display()))
            .env(
                "NIX_CONFIG",
                "substituters =\nbuild-users-group =\nexperimental-features = nix-command",
            )
            .env("HOME", self.path())
            .current_dir(self.path());
        command
    }

    fn output(&self, command: &mut Command) -> Output {
        command.output().unwrap_or_else(|error| {
            panic!("{command:?}: {error}: `cargo xtask setup` installs Debian's nix-bin")
        })
    }

    /// What a program prints, which must succeed.
    pub fn run(&self, program: &str, arguments: &[&OsStr]) -> Vec<u8> {
        let output = self.output(self.command(program).args(arguments));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        output.stdout
    }

    pub fn run_text(&self, program: &str, arguments: &[&str]) -> String {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        String::from_utf8(self.run(program, &arguments)).unwrap().trim_end().to_owned()
    }

    /// A program's standard error, whether it succeeds or not.
    pub fn complaint(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(self.command(program).args(arguments));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// `nix-store --dump PATH`.
    pub fn dump(&self, path: &Path) -> Vec<u8> {
        self.run("nix-store", &["--dump".as_ref(), path.as_os_str()])
    }

    /// `nix-store --restore PATH`, fed with a file of these bytes; whether it succeeded.
    pub fn restore(&self, archive: &[u8], path: &Path) -> bool {
        let input = self.path().join("archive");
        std::fs::write(&input, archive).unwrap();
        let mut command = self.command("nix-store");
        command.arg("--restore").arg(path).stdin(Stdio::from(File::open(input).unwrap()));
        self.output(&mut command).status.success()
    }
}

/// Our dump of `name` in `parent`: the bytes, and what was said of them.
pub fn dump(parent: &impl AsFd, name: &str) -> (Vec<u8>, store::nar::Dumped) {
    let mut bytes = Vec::new();
    let dumped = store::nar::dump(parent.as_fd(), name.as_ref(), &mut bytes).unwrap();
    (bytes, dumped)
}

/// What `bytes` are expected to be, if they are what they are.
pub fn expected(bytes: &[u8]) -> store::nar::Expected {
    let size = u64::try_from(bytes.len()).unwrap();
    store::nar::Expected { hash: store::hash::Sha256::of(bytes), size }
}
