//! The command line. Pure: words in, [`Asked`] out.

use std::path::PathBuf;

pub const HELP: &str = "\
rollinit-network: brings this host onto its network and keeps it there.

  rollinit-network run       the daemon; a service, ready once the host is online
    --interface NAME         look after this one; again for more  [all Ethernet devices]
    --run DIR                where it writes what it knows        [/run/rollinit]
    --host-name              call the host what the network calls it
    --keep-expired           use an address on when its lease is over and no server answers
  rollinit-network status    what it knows
    --run DIR, --json
  --help, --version
";

const VERSION: &str = concat!("rollinit-network ", env!("CARGO_PKG_VERSION"), "\n");

/// What the daemon is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Interfaces to look after; empty: all Ethernet devices.
    pub interfaces: Vec<String>,
    /// `/run/rollinit`.
    pub run: PathBuf,
    /// Whether the kernel's host name is the network's.
    pub sets_host_name: bool,
    /// Whether an address outlives its lease.
    pub keeps_expired: bool,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Be the daemon.
    Run(Options),
    /// Say what the daemon knows.
    Status {
        /// Where it writes that.
        run: PathBuf,
        /// As it stands.
        json: bool,
    },
    /// Say this.
    Text(&'static str),
}

impl Options {
    /// Reads the words after argv\[0\].
    ///
    /// # Errors
    /// One line that names the word.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut options = Self {
            interfaces: Vec::new(),
            run: PathBuf::from("/run/rollinit"),
            sets_host_name: false,
            keeps_expired: false,
        };
        let is_run = match words.next().as_deref() {
            Some("run") => true,
            Some("status") => false,
            Some("--help" | "-h") => return Ok(Asked::Text(HELP)),
            Some("--version") => return Ok(Asked::Text(VERSION)),
            Some(other) => return Err(format!("there is no {other:?}")),
            None => return Err("say what to do: run or status".to_owned()),
        };
        let mut json = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match (word.as_str(), is_run) {
                ("--interface", true) => options.interfaces.push(value()?),
                ("--run", _) => options.run = PathBuf::from(value()?),
                ("--host-name", true) => options.sets_host_name = true,
                ("--keep-expired", true) => options.keeps_expired = true,
                ("--json", false) => json = true,
                ("--help", _) => return Ok(Asked::Text(HELP)),
                _ => return Err(format!("there is no {word:?}")),
            }
        }
        if is_run { Ok(Asked::Run(options)) } else { Ok(Asked::Status { run: options.run, json }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Asked, String> {
        Options::read(words.iter().map(|word| (*word).to_owned()))
    }

    /// Every word of the help, and words that are none.
    #[test]
    fn words() {
        let words = ["run", "--interface", "a", "--interface", "b", "--run", "/r"];
        let Ok(Asked::Run(options)) = read(&words) else { panic!() };
        assert_eq!((options.interfaces, options.run), (vec!["a".into(), "b".into()], "/r".into()));
        assert!(!options.sets_host_name && !options.keeps_expired);
        let Ok(Asked::Run(options)) = read(&["run", "--host-name", "--keep-expired"]) else {
            panic!()
        };
        assert!(options.sets_host_name && options.keeps_expired);
        let status = Asked::Status { run: "/run/rollinit".into(), json: true };
        assert_eq!(read(&["status", "--json"]), Ok(status));
        assert_eq!(read(&["--help"]), Ok(Asked::Text(HELP)));
        for wrong in [&[][..], &["go"], &["run", "--json"], &["run", "--run"], &["status", "x"]] {
            read(wrong).expect_err("words that are none");
        }
    }
}
