//! What PID 1 was told on its command line. Pure: words in, [`Options`] out.

use std::path::PathBuf;

/// Where PID 1 runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PID 1 of the kernel: mounts, reboot(2), kmsg.
    Kernel,
    /// PID 1 of a pid namespace, or an ordinary process that is a subreaper.
    Contained,
}

/// Everything the command line decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where PID 1 runs.
    pub mode: Mode,
    /// The supervisor's program; none: beside PID 1's own image.
    pub supervisor: Option<PathBuf>,
    /// Service definitions, handed to the supervisor.
    pub definitions: PathBuf,
    /// Profiles of apps, handed to the supervisor.
    pub profiles: PathBuf,
    /// Run-time files, handed to the supervisor.
    pub run: PathBuf,
    /// Root of the cgroup tree; none: the cgroup2 mount found in mountinfo.
    pub cgroup: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Kernel,
            supervisor: None,
            definitions: PathBuf::from("/etc/rollinit/services"),
            profiles: PathBuf::from("/nix/var/nix/profiles/rollinit"),
            run: PathBuf::from("/run/rollinit"),
            cgroup: None,
        }
    }
}

/// A word that is none of ours. On a kernel command line it belongs to somebody else; on an
/// ordinary one it is a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub Vec<String>);

/// Reads the words after argv\[0\]. Unknown ones are handed back beside the options, and the
/// caller decides whether they are a mistake: it knows whether the kernel wrote them.
#[must_use]
pub fn read(words: impl Iterator<Item = String>) -> (Options, Unknown) {
    let mut options = Options::default();
    let mut unknown = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        if name == "--contained" && inline.is_none() {
            options.mode = Mode::Contained;
            continue;
        }
        let known =
            matches!(name, "--supervisor" | "--definitions" | "--profiles" | "--run" | "--cgroup");
        let value = if known { inline.or_else(|| words.next()) } else { None };
        match (name, value.map(PathBuf::from)) {
            ("--supervisor", Some(path)) => options.supervisor = Some(path),
            ("--definitions", Some(path)) => options.definitions = path,
            ("--profiles", Some(path)) => options.profiles = path,
            ("--run", Some(path)) => options.run = path,
            ("--cgroup", Some(path)) => options.cgroup = Some(path),
            _ => unknown.push(word),
        }
    }
    (options, Unknown(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> (Options, Unknown) {
        read(line.split_whitespace().map(str::to_owned))
    }

    /// Each option is found by both spellings, and the words of others come back untouched.
    #[test]
    fn own_words_are_read_and_others_returned() {
        let (options, unknown) = words(
            "quiet --contained --run=/tmp/r --cgroup /c splash=on --supervisor /s --profiles=/p",
        );
        assert_eq!(options.mode, Mode::Contained);
        assert_eq!(options.run, PathBuf::from("/tmp/r"));
        assert_eq!(options.profiles, PathBuf::from("/p"));
        assert_eq!(options.cgroup, Some(PathBuf::from("/c")));
        assert_eq!(options.supervisor, Some(PathBuf::from("/s")));
        assert_eq!(unknown.0, ["quiet", "splash=on"]);
    }

    /// An option without its value is a mistake of the caller, so it comes back too.
    #[test]
    fn an_option_without_value_is_unknown() {
        assert_eq!(words("--run").1.0, ["--run"]);
        assert_eq!(words("--contained=yes").0.mode, Mode::Kernel);
    }
}
