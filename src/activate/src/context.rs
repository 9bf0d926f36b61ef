//! The command line, and what it says about where things are.

use std::path::{Path, PathBuf};

/// Where the system that runs lies, seen from its root.
const TOPLEVEL: &str = "/run/current-system";

/// Links that lead to a system: a profile's two, and one to the profile.
const LINKS_MAX: usize = 8;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The root of all paths that a task touches: `/`, or a test's folder.
    pub root: PathBuf,
    /// The system whose files count, as it is named in links: never with `root` before it.
    pub toplevel: PathBuf,
    /// Only what lies at or below it; for `tmpfiles`.
    pub prefix: Option<PathBuf>,
    /// The task's own words, what stood behind `--`.
    pub words: Vec<String>,
}

/// A command line that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The tasks, in the order in which they were named.
    pub tasks: Vec<String>,
    /// What they work on.
    pub context: Context,
}

impl Context {
    /// Takes the system itself for a link to it, such as `/run/current-system`: what is made of its
    /// name now has to mean the same when that link leads elsewhere.
    pub fn resolve(&mut self) {
        for _link in 0..LINKS_MAX {
            let Ok(target) = std::fs::read_link(self.path(&self.toplevel)) else { return };
            // `system -> system-42-link` of a profile is relative.
            self.toplevel = self.toplevel.parent().unwrap_or(Path::new("/")).join(target);
        }
    }

    /// A path of the host, below the root that is worked on.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file of the system.
    #[must_use]
    pub fn system(&self, name: &str) -> PathBuf {
        self.path(&self.toplevel).join(name)
    }
}

impl Request {
    /// Reads the words of a command line; `None` is a call for help.
    ///
    /// # Errors
    /// Says which word is wrong and what could stand there.
    pub fn parse<'a>(
        words: &[String],
        known: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Self>, String> {
        let known: Vec<&str> = known.collect();
        let mut context = Context {
            root: "/".into(),
            toplevel: TOPLEVEL.into(),
            prefix: None,
            words: Vec::new(),
        };
        let mut tasks = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--" => context.words = words.by_ref().cloned().collect(),
                "--root" => context.root = absolute(word, words.next())?,
                "--toplevel" => context.toplevel = absolute(word, words.next())?,
                "--prefix" => context.prefix = Some(absolute(word, words.next())?),
                task if known.contains(&task) => tasks.push(task.to_owned()),
                other => {
                    let known = known.join(", ");
                    return Err(format!("{other:?} is no task; there are: {known}"));
                }
            }
        }
        if tasks.is_empty() {
            return Err(format!("name a task; there are: {}", known.join(", ")));
        }
        Ok(Some(Self { tasks, context }))
    }
}

fn absolute(option: &str, value: Option<&String>) -> Result<PathBuf, String> {
    let path = value.map(PathBuf::from).ok_or_else(|| format!("{option} needs a path"))?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{option} {}: write an absolute path", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Request>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Request::parse(&words, ["etc", "volume"].into_iter())
    }

    /// Options may stand anywhere before `--`; what follows it is the task's.
    #[test]
    fn words_of_a_command_line() {
        let request = parse("volume --toplevel /nix/store/x --root /t -- data --root").expect("ok");
        let request = request.expect("no help");
        assert_eq!(request.tasks, ["volume"]);
        assert_eq!(request.context.words, ["data", "--root"]);
        assert_eq!(request.context.system("etc"), Path::new("/t/nix/store/x/etc"));
        assert_eq!(request.context.path("/etc"), Path::new("/t/etc"));
        assert_eq!(parse("etc --help"), Ok(None));
    }

    /// A link to a system, or to a profile, is followed below the root.
    #[test]
    fn a_link_to_a_system_is_the_system() {
        let root = tempfile::tempdir().expect("a root");
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, root.path().join(name)).expect(name);
        };
        std::fs::create_dir(root.path().join("run")).expect("run");
        link("/run/system-2-link", "run/system");
        link("/nix/store/x-system", "run/system-2-link");
        link("system", "run/current-system");
        let mut context = parse("etc").expect("ok").expect("no help").context;
        context.root = root.path().to_owned();
        for _again in 0..2 {
            context.resolve();
            assert_eq!(context.toplevel, Path::new("/nix/store/x-system"));
        }
    }

    /// A wrong word is named with what could stand there.
    #[test]
    fn wrong_words_are_refused() {
        for (line, expected) in [
            ("etcetera", "\"etcetera\" is no task; there are: etc, volume"),
            ("--root relative etc", "--root relative: write an absolute path"),
            ("etc --toplevel", "--toplevel needs a path"),
            ("--root /", "name a task"),
        ] {
            let trouble = parse(line).expect_err(line);
            assert!(trouble.starts_with(expected), "{line}: {trouble}");
        }
    }
}
