//! Users and groups from /etc/passwd and /etc/group.
//!
//! Parsed here and never asked of NSS: a static binary would have to load the host's plugins, and
//! one of them may ask the network. Formats: passwd(5), group(5).

use std::io::{self, Read};
use std::path::Path;

/// Bytes of one account file that are looked at; beyond it the file is refused, since a user cut
/// in half would be another user.
pub const ACCOUNT_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes for which most account files have room: then two reads do.
const TYPICAL_BYTES: usize = 4096;

/// A line of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory, as it is written.
    pub home: Vec<u8>,
    /// Login shell, as it is written; empty means /bin/sh.
    pub shell: Vec<u8>,
}

/// Both files, read once.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

impl Accounts {
    /// Reads `passwd` and `group` in `directory` (`/etc`). A missing file is an empty one.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` for a file above [`ACCOUNT_FILE_BYTES_MAX`].
    pub fn read(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            passwd: read_capped(&directory.join("passwd"))?,
            group: read_capped(&directory.join("group"))?,
        })
    }

    /// Takes the bytes of both files.
    #[must_use]
    pub fn from_bytes(passwd: Vec<u8>, group: Vec<u8>) -> Self {
        Self { passwd, group }
    }

    /// The user of this name, or else of this number. The first line wins, as with NSS `files`.
    #[must_use]
    pub fn user(&self, name_or_uid: &str) -> Option<User> {
        let by_name = self.users().find(|user| user.name == name_or_uid);
        by_name.or_else(|| {
            let uid = number(name_or_uid.as_bytes())?;
            self.users().find(|user| user.uid == uid)
        })
    }

    /// The number of the group of this name, or the number that stands there.
    #[must_use]
    pub fn group(&self, name_or_gid: &str) -> Option<u32> {
        let by_name = lines(&self.group).find_map(|line| {
            let [name, _password, gid, _members] = fields(line)?;
            (name == name_or_gid.as_bytes()).then(|| number(gid)).flatten()
        });
        by_name.or_else(|| number(name_or_gid.as_bytes()))
    }

    /// Every group that names `user` as a member, in the file's order, without `primary`.
    #[must_use]
    pub fn supplementary(&self, user: &str, primary: u32) -> Vec<u32> {
        let mut groups = Vec::new();
        for line in lines(&self.group) {
            let Some([_name, _password, gid, members]) = fields(line) else { continue };
            let Some(gid) = number(gid) else { continue };
            let member = members.split(|byte| *byte == b',').any(|name| name == user.as_bytes());
            if member && gid != primary && !groups.contains(&gid) {
                groups.push(gid);
            }
        }
        groups
    }

    fn users(&self) -> impl Iterator<Item = User> {
        lines(&self.passwd).filter_map(|line| {
            let [name, _password, uid, gid, _comment, home, shell] = fields(line)?;
            Some(User {
                name: String::from_utf8(name.to_vec()).ok()?,
                uid: number(uid)?,
                gid: number(gid)?,
                home: home.to_vec(),
                shell: shell.to_vec(),
            })
        })
    }
}

fn read_capped(path: &Path) -> io::Result<Vec<u8>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
    file.take(ACCOUNT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ACCOUNT_FILE_BYTES_MAX {
        let words = format!("{} is above {ACCOUNT_FILE_BYTES_MAX} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(bytes)
}

/// Lines that are neither empty nor comments.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// Exactly `N` fields between colons; a line with another number of them is no account.
fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut found = [&line[..0]; N];
    let mut parts = line.split(|byte| *byte == b':');
    for slot in &mut found {
        *slot = parts.next()?;
    }
    parts.next().is_none().then_some(found)
}

fn number(bytes: &[u8]) -> Option<u32> {
    // `u32::from_str` takes a leading plus; an account file's numbers are digits.
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:System:/root:/bin/sh\n# words\n\nbad line\n\
        short:x:1\nhuge:x:4294967296:1::/:\nplus:x:+7:7::/:\n\
        web:x:1000:100:Web, and more:/var/lib/web:\nweb:x:1:1::/:\n12:x:77:77::/:\n\
        caf\u{e9}:x:1001:100::/home:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:web\nlog:x:40:web,other\n\
        disk:x:6:webster\nagain:x:40:web\nbroken:x:9\n";

    fn accounts() -> Accounts {
        Accounts::from_bytes(PASSWD.into(), GROUP.into())
    }

    /// Names, numbers and their precedence: a name that looks like a number is a name first, the
    /// first line of a name wins, and malformed lines are nobody.
    #[test]
    fn users_by_name_and_number() {
        let accounts = accounts();
        let web = accounts.user("web").expect("web");
        assert_eq!((web.uid, web.gid, web.home.as_slice()), (1000, 100, &b"/var/lib/web"[..]));
        assert_eq!(accounts.user("1000"), Some(web));
        assert_eq!(accounts.user("12").map(|user| user.uid), Some(77));
        assert_eq!(accounts.user("caf\u{e9}").map(|user| user.uid), Some(1001));
        for nobody in ["bad line", "short", "huge", "plus", "", "4242"] {
            assert_eq!(accounts.user(nobody), None, "{nobody}");
        }
    }

    /// Membership is by whole name, the primary group is left out, a number is taken once.
    #[test]
    fn groups_of_a_user() {
        let accounts = accounts();
        assert_eq!(accounts.group("log"), Some(40));
        assert_eq!(accounts.group("123"), Some(123));
        assert_eq!(accounts.group("broken"), None);
        assert_eq!(accounts.supplementary("web", 100), [40]);
        assert_eq!(accounts.supplementary("web", 0), [100, 40]);
        assert_eq!(accounts.supplementary("nobody", 0), [0; 0]);
    }

    /// A missing directory is a host without accounts; a file above the cap is refused whole.
    #[test]
    fn files_are_capped() {
        let directory = tempfile::tempdir().expect("directory");
        let empty = Accounts::read(directory.path()).expect("missing files");
        assert_eq!(empty.user("root"), None);
        let long = vec![b'a'; usize::try_from(ACCOUNT_FILE_BYTES_MAX).expect("fits") + 1];
        std::fs::write(directory.path().join("passwd"), long).expect("write");
        let refused = Accounts::read(directory.path()).expect_err("too long");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
