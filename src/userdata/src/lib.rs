//! User-data: the document that tells a host from one image what it is.
//!
//! Is: its schema, its reader with file, line and column, and what looks like a secret. Pure: the
//! agent and `rollinit user-data check` read with the same code. Never: a clock, a socket, a file.
//!
//! `docs/user-data.md` is the reference of every key. All problems of a document are told at once,
//! by the reader that definitions have; and no word of a value that may be a secret is repeated.

mod read;
mod release;
mod secret;
mod signers;

pub use read::read;
pub use release::{Release, read_release};
pub use service::problem::{Problem, Severity};
use std::collections::BTreeMap;

/// The version of the document that this reads: `rollinit = 1`.
pub const VERSION: i64 = 1;

/// A document in bytes: what EC2 takes, before base64.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html>
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024;

/// A document of a release in bytes: a path and a few words about it.
pub const RELEASE_BYTES_MAX: usize = 64 * 1024;

/// Apps of one document. A host has one or two.
pub const APPS_MAX: usize = 32;

/// Caches, and keys, of one document: as many as the agent asks.
pub const CACHES_MAX: usize = 16;

/// Keys of persons of one document: a line of some 100 bytes each.
pub const PERSONS_MAX: usize = 32;

/// A group's name in bytes: it names a record in ledgers that allow 64 and more.
pub const GROUP_BYTES_MAX: usize = 64;

/// A ledger's address in bytes.
pub const LEDGER_BYTES_MAX: usize = 1024;

/// The shortest lifetime in milliseconds: below, a host is gone before anybody can look at it.
pub const LIFETIME_MS_MIN: u64 = 60_000;

/// A store path in bytes, as for an app's closure.
pub const PATH_BYTES_MAX: usize = service::limits::CLOSURE_BYTES_MAX;

/// What a host is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserData {
    /// Binary caches, asked after those of the image.
    pub caches: Vec<String>,
    /// Keys whose signatures count beside those of the image: `NAME:BASE64`.
    pub keys: Vec<String>,
    /// The group that this host is a member of.
    pub group: Option<String>,
    /// The ledger that keeps the group's records; its address is the agent's to read.
    pub ledger: Option<String>,
    /// Variables that every app gets, unless its definition says otherwise.
    pub environment: BTreeMap<String, String>,
    /// Who has to sign the releases that apps name; none: nobody has to.
    pub signers: Option<Signers>,
    /// What it is for.
    pub purpose: Purpose,
    /// It powers itself off so long after its launch, in milliseconds; none: it stays.
    pub lifetime_ms: Option<u64>,
}

/// The persons who may sign releases, and how many have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    /// A file of OpenSSH's allowed signers, each line of which was read.
    pub text: String,
    /// How many persons.
    pub threshold: usize,
}

/// What a host is for. One thing: a document that asks for two is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// What its image is for.
    #[default]
    Image,
    /// These apps, by name.
    Apps(BTreeMap<String, AppWish>),
    /// To become this system: its toplevel.
    System(String),
    /// To run one program of the store.
    Run(Run),
}

/// An app that a host is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppWish {
    /// What a host without a generation of it runs.
    pub closure: Closure,
    /// Its definition, as a file of its own; none: the image defines it.
    pub definition: Option<String>,
}

/// How a closure is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// By its store path.
    Path(String),
    /// By the URL of a document that names it: `https://…`, `s3://BUCKET/KEY`.
    Release(String),
}

/// One program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program, in the store, and its arguments.
    pub exec: Vec<String>,
    /// Who it runs as; none: root.
    pub user: Option<String>,
    /// What follows its end.
    pub then: Then,
}

/// What follows the end of the one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The host stays, and its status says how the program ended.
    #[default]
    Stay,
    /// The host powers itself off, however the program ended.
    PowerOff,
}

impl Run {
    /// The store path that the program is in.
    #[must_use]
    pub fn closure(&self) -> &str {
        let program = self.exec.first().map_or("", String::as_str);
        let rest = program.strip_prefix(STORE).unwrap_or_default();
        let name = rest.split('/').next().unwrap_or_default();
        &program[..program.len().min(STORE.len() + name.len())]
    }
}

/// Where store paths are.
pub(crate) const STORE: &str = "/nix/store/";

/// Why a text is no store path; none if it is one.
#[must_use]
pub fn path_fault(path: &str) -> Option<String> {
    const HASH_LETTERS: usize = 32;
    let name = path.strip_prefix(STORE).unwrap_or_default();
    let is_hash =
        |hash: &str| hash.bytes().all(|byte| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&byte));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte);
    let sound = path.len() <= PATH_BYTES_MAX
        && name.split_at_checked(HASH_LETTERS).is_some_and(|(hash, rest)| {
            is_hash(hash) && rest.len() > 1 && rest.starts_with('-') && rest.bytes().all(is_name)
        });
    (!sound).then(|| format!("{path:?} is no store path"))
}
