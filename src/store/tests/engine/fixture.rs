//! Caches that Debian's `nix copy` wrote, made once a build directory, and private stores.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use store::fetch::{self, Caches, Cancel, Fetched, Options};
use store::hash::Sha256;
use store::nar;
use store::narinfo::NarInfo;
use store::plan::{self, Plan};
use store::signature::SecretKey;
use store::{Error, Store, StorePath};

/// To be raised when what is made here changes: another version is another folder.
const VERSION: u32 = 1;

/// Libraries that both releases refer to; one more is each release's own.
const LIBRARIES: usize = 12;

/// Bytes of the one large file: many pieces of a body, for cuts in its middle.
const LARGE_BYTES: usize = 3 << 20;

/// The origin: a store of Nix's with two releases, and caches of it.
#[derive(Debug)]
pub struct Fixture {
    folder: PathBuf,
    pub public_key: String,
    pub secret_key: SecretKey,
}

impl Fixture {
    /// Makes it, or finds it made: by another test, or a run before.
    pub fn get() -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = parent.join(format!("store-fixture-{VERSION}"));
        fs::create_dir_all(parent).unwrap();
        let lock = File::create(parent.join("store-fixture.lock")).unwrap();
        lock.lock().unwrap();
        if !folder.join("complete").exists() {
            let root = sys::tree::open_path(parent).unwrap();
            sys::tree::remove(root.as_fd(), folder.file_name().unwrap()).unwrap();
            make(&folder);
            fs::write(folder.join("complete"), "").unwrap();
        }
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let secret_key = SecretKey::parse(&text("secret-key")).unwrap();
        Self { public_key: text("public-key"), secret_key, folder }
    }

    /// Where Nix's own store is.
    pub fn origin(&self) -> PathBuf {
        self.folder.join("origin")
    }

    /// A copy of the cache in this compression, for one test to spoil.
    pub fn cache(&self, compression: &str) -> Cache {
        let folder = tempfile::tempdir().unwrap();
        let from = self.folder.join(format!("cache-{compression}"));
        for part in ["", "nar"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
            for entry in fs::read_dir(from.join(part)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    let to = folder.path().join(part).join(entry.file_name());
                    fs::copy(entry.path(), to).unwrap();
                }
            }
        }
        Cache { folder }
    }

    /// Caches at `addresses`, with this fixture's key.
    pub fn caches(&self, addresses: &[String]) -> Caches {
        self.caches_with(addresses, options())
    }

    pub fn caches_with(&self, addresses: &[String], options: Options) -> Caches {
        Caches::new(addresses, std::slice::from_ref(&self.public_key), options).unwrap()
    }
}

/// Deadlines short enough for tests in which they pass, long enough for a busy machine in the others.
pub fn options() -> Options {
    Options {
        stall_timeout: Duration::from_secs(20),
        give_up_after: Duration::from_secs(40),
        ..Options::default()
    }
}

/// A release of the fixture.
pub fn release(version: &str) -> StorePath {
    named(&format!("webapp-{version}"))
}

/// The large path, of which both releases have the same.
pub fn large() -> StorePath {
    named("large")
}

/// The path of that name: the name gives the hash part, so tests know it without asking.
pub fn named(name: &str) -> StorePath {
    let hash: [u8; 20] = Sha256::of(name.as_bytes()).as_bytes()[..20].try_into().unwrap();
    format!("/nix/store/{}-{name}", store::base32::encode(&hash)).parse().unwrap()
}

fn make(folder: &Path) {
    let origin = folder.join("origin");
    let trees = origin.join("nix/store");
    fs::create_dir_all(&trees).unwrap();
    let mut registration = String::new();
    let mut add = |path: &StorePath, references: &[StorePath]| {
        let deriver = named(&format!("{}.drv", path.name()));
        let parent = sys::tree::open_path(&trees).unwrap();
        let nar = nar::dump(parent.as_fd(), path.base_name().as_ref(), std::io::sink()).unwrap();
        let (hash, size) = (nar.hash.hex(), nar.size);
        let count = references.len();
        registration.push_str(&format!("{path}\n{hash}\n{size}\n{deriver}\n{count}\n"));
        references.iter().for_each(|one| registration.push_str(&format!("{one}\n")));
    };
    let mut shared = vec![edge_cases(&trees), large_path(&trees)];
    shared.iter().for_each(|path| add(path, &[]));
    for index in 0..LIBRARIES {
        let path = named(&format!("lib{index}-1.0"));
        let below: Vec<StorePath> = shared.iter().skip(index).cloned().collect();
        tree(&trees, &path, &below);
        add(&path, &below);
        shared.push(path);
    }
    for version in ["v1", "v2"] {
        let own = named(&format!("own-{version}"));
        tree(&trees, &own, &shared[..3]);
        add(&own, &shared[..3]);
        let top = release(version);
        // The top refers to itself, as many do.
        let below = [vec![own, shared[shared.len() - 1].clone(), top.clone()]].concat();
        tree(&trees, &top, &below);
        add(&top, &below);
    }
    let run = |program: &str, arguments: &[&str], input: &str| {
        let output = run(&origin, program, arguments, input);
        assert!(output.0, "{program} {arguments:?}: {}", output.1);
    };
    run("nix-store", &["--load-db"], &registration);
    run("nix-store", &["--verify", "--check-contents"], "");
    let (secret, public) = (folder.join("secret-key"), folder.join("public-key"));
    let (secret, public) = (secret.to_str().unwrap(), public.to_str().unwrap());
    run("nix-store", &["--generate-binary-cache-key", "test-1", secret, public], "");
    let tops = ["v1", "v2"].map(|version| release(version).to_string());
    run("nix", &["store", "sign", "-r", "-k", secret, &tops[0], &tops[1]], "");
    for compression in ["zstd", "none", "xz"] {
        let to = format!(
            "file://{}?compression={compression}",
            folder.join(format!("cache-{compression}")).display()
        );
        run("nix", &["copy", "--to", &to, &tops[0], &tops[1]], "");
    }
}

/// A path with some files, one of which names what it refers to.
fn tree(trees: &Path, path: &StorePath, references: &[StorePath]) {
    let folder = trees.join(path.base_name());
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::create_dir_all(folder.join("share/doc")).unwrap();
    let named: Vec<String> = references.iter().map(ToString::to_string).collect();
    fs::write(folder.join("share/references"), named.join("\n")).unwrap();
    fs::write(folder.join("share/doc/README"), path.name().repeat(700)).unwrap();
    fs::write(folder.join("bin/serve"), format!("#!/bin/sh\necho {}\n", path.name())).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.join("bin/serve"), executable).unwrap();
}

/// What a NAR can hold and an unpacker gets wrong.
fn edge_cases(trees: &Path) -> StorePath {
    let path = named("edge-cases");
    let folder = trees.join(path.base_name());
    fs::create_dir_all(folder.join("empty")).unwrap();
    fs::create_dir_all(folder.join("deep/a/b/c/d/e/f/g")).unwrap();
    for (name, contents) in [("none", ""), ("one", "x"), ("eight", "12345678"), (".dot", ".")] {
        fs::write(folder.join(name), contents).unwrap();
    }
    for name in ["A", "a", "with space", "na\u{ef}ve", "a-b_c+d,e=f?g"] {
        fs::write(folder.join(name), name).unwrap();
    }
    symlink("/does/not/exist", folder.join("dangling")).unwrap();
    symlink(".", folder.join("self")).unwrap();
    symlink("../../../etc/passwd", folder.join("outside")).unwrap();
    (0..200).for_each(|index| fs::write(folder.join(format!("deep/{index}")), "").unwrap());
    path
}

/// Bytes that do not compress.
fn large_path(trees: &Path) -> StorePath {
    let path = large();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(LARGE_BYTES);
    while bytes.len() < LARGE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    fs::write(trees.join(path.base_name()), bytes).unwrap();
    path
}

/// Runs one of Nix's programs on the store under `root`: whether it succeeded, and what it said.
pub fn run(root: &Path, program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NIX_REMOTE", format!("local?root={}", root.display()))
        .env(
            "NIX_CONFIG",
            "substituters =\nbuild-users-group =\nexperimental-features = nix-command",
        )
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{program}: {error}: `cargo xtask setup` installs Debian's nix-bin")
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A cache's folder, ours to spoil.
#[derive(Debug)]
pub struct Cache {
    folder: tempfile::TempDir,
}

impl Cache {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn narinfo_file(&self, path: &StorePath) -> PathBuf {
        self.path().join(format!("{}.narinfo", path.hash_part()))
    }

    pub fn narinfo(&self, path: &StorePath) -> NarInfo {
        NarInfo::parse(&fs::read(self.narinfo_file(path)).unwrap(), path).unwrap()
    }

    /// Changes the narinfo of `path` and leaves its signatures as they are, or were changed.
    pub fn change(&self, path: &StorePath, change: impl FnOnce(&mut NarInfo)) {
        let mut narinfo = self.narinfo(path);
        change(&mut narinfo);
        fs::write(self.narinfo_file(path), narinfo.to_string()).unwrap();
    }

    /// Changes the narinfo of `path` and signs it anew.
    pub fn change_signed(
        &self,
        key: &SecretKey,
        path: &StorePath,
        change: impl FnOnce(&mut NarInfo),
    ) {
        self.change(path, |narinfo| {
            change(narinfo);
            narinfo.signatures = vec![key.sign(narinfo.fingerprint().as_bytes())];
        });
    }

    /// Gives `path` another NAR, signed, packed as `packed`.
    pub fn set_nar(&self, key: &SecretKey, path: &StorePath, nar: &[u8], packed: &[u8]) {
        self.change_signed(key, path, |narinfo| {
            narinfo.nar_hash = Sha256::of(nar);
            narinfo.nar_size = nar.len() as u64;
        });
        fs::write(self.nar_file(path), packed).unwrap();
    }

    pub fn nar_file(&self, path: &StorePath) -> PathBuf {
        self.path().join(self.narinfo(path).url)
    }
}

/// An empty store of our own making under a temporary root.
#[derive(Debug)]
pub struct Host {
    pub root: tempfile::TempDir,
    pub store: Store,
}

impl Host {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::create(root.path()).unwrap();
        Self { root, store }
    }

    /// Runs one of Nix's programs on it, which must succeed.
    pub fn nix(&self, program: &str, arguments: &[&str]) -> String {
        let (success, said) = run(self.root.path(), program, arguments, "");
        assert!(success, "{program} {arguments:?}: {said}");
        said
    }

    /// Debian's Nix finds every path that is registered, whole, and nothing else to say.
    pub fn verify(&self) {
        let said = self.nix("nix-store", &["--verify", "--check-contents"]);
        for line in said.lines() {
            let quiet = ["reading the Nix store", "checking "];
            assert!(quiet.iter().any(|word| line.starts_with(word)), "{said}");
        }
    }

    /// The names in the store's directory.
    pub fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.store.layout().store()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // Nix makes this folder of its own in every store that it opens.
        names.filter(|name| name != ".links").collect()
    }

    pub async fn plan(&self, caches: &Caches, top: &StorePath) -> Result<Plan, Error> {
        plan::plan(&self.store, caches, top).await
    }

    /// Plans and fetches.
    pub async fn fetch(&self, caches: &Caches, top: &StorePath) -> Result<Fetched, Error> {
        let plan = self.plan(caches, top).await?;
        fetch::fetch(&self.store, caches, plan, Arc::new(|_| {}), &Cancel::new()).await
    }
}
