//! What is kept of definitions beside the run-time files, for the next supervisor of this PID 1.

use super::{Files, Place, Source, read_capped};
use service::limits::FILE_BYTES_MAX;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

/// The index in bytes: a name and a hash of each of
/// [`SERVICES_MAX`](service::limits::SERVICES_MAX), and as many problems.
const INDEX_BYTES_MAX: u64 = 1024 * 1024;

impl Place {
    pub(super) fn index(&self, files: &Files) -> String {
        let mut index = format!("owner {}\n", self.owner);
        // Writing to a string cannot fail.
        for Source { name, folder, hash, .. } in &files.sources {
            let _ = writeln!(index, "service {folder} {hash} {name}");
        }
        if let Some((hash, _)) = &files.environment {
            let _ = writeln!(index, "environment {hash}");
        }
        for line in &files.unread {
            let _ = writeln!(index, "unread {}", line.replace('\n', " "));
        }
        index
    }

    /// Writes every file, then the index: it is there only if all it names is.
    pub(super) fn keep(&self, files: &Files, name: &str) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(&self.kept)?;
        // What is in a definition may be meant for root alone, as its own file's mode may say.
        std::fs::set_permissions(&self.kept, std::fs::Permissions::from_mode(0o700))?;
        let sources = files.sources.iter().map(|one| (&one.hash, &one.bytes));
        for (hash, bytes) in sources.chain(files.environment.iter().map(|(h, b)| (h, b))) {
            self.replace(&format!("{hash}.toml"), bytes)?;
        }
        self.replace(name, self.index(files).as_bytes())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.kept.join(format!(".{name}.new"));
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, self.kept.join(name))
    }

    /// What an earlier supervisor of this PID 1 kept; `None` if there was none.
    pub(super) fn read_kept(&self, name: &str) -> Option<Files> {
        let index = read_capped(&self.kept.join(name), INDEX_BYTES_MAX).ok()?;
        let index = String::from_utf8(index).ok()?;
        let mut lines = index.lines();
        if lines.next()?.strip_prefix("owner ")? != self.owner {
            return None;
        }
        let mut files = Files::default();
        for line in lines {
            let (word, rest) = line.split_once(' ')?;
            match word {
                "unread" => files.unread.push(rest.to_owned()),
                "environment" => {
                    files.environment = Some((rest.to_owned(), self.read_hashed(rest)?));
                }
                "service" => {
                    let (folder, rest) = rest.split_once(' ')?;
                    let folder = folder.parse().ok().filter(|folder| *folder < self.from.len())?;
                    let (hash, name) = rest.split_once(' ')?;
                    let bytes = self.read_hashed(hash)?;
                    let (name, hash) = (name.to_owned(), hash.to_owned());
                    files.sources.push(Source { name, folder, hash, bytes });
                }
                _ => return None,
            }
        }
        Some(files)
    }

    fn read_hashed(&self, hash: &str) -> Option<Vec<u8>> {
        let path = self.kept.join(format!("{hash}.toml"));
        let bytes = read_capped(&path, FILE_BYTES_MAX as u64 + 1).ok()?;
        if self::hash(&bytes) != hash {
            tracing::error!("{}: is not what was written there", path.display());
            return None;
        }
        Some(bytes)
    }

    /// Removes what none of these indexes names.
    pub(super) fn drop_all_but(&self, indexes: [(&str, &Files); 2]) -> io::Result<()> {
        let mut needed = BTreeSet::new();
        for (index, files) in indexes {
            let lent = files.environment.iter().map(|(hash, _)| hash);
            let hashes = files.sources.iter().map(|one| &one.hash).chain(lent);
            needed.extend(hashes.map(|hash| format!("{hash}.toml")));
            needed.insert(index.to_owned());
        }
        for entry in std::fs::read_dir(&self.kept)?.flatten() {
            if entry.file_name().to_str().is_none_or(|file| !needed.contains(file)) {
                // What is left over costs a few KiB until the next reload.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// FNV-1a, 128 bits, in hex (<http://www.isthe.com/chongo/tech/comp/fnv/>): names a file by its
/// content on one host for one boot. Who could forge a collision is root already.
pub(super) fn hash(bytes: &[u8]) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash =
        bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}
