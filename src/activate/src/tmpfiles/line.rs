//! One line of tmpfiles.d(5). Pure.
//!
//! ```text
//! TYPE PATH MODE USER GROUP AGE ARGUMENT
//! d    /var/lib/web 0750 web web - -
//! ```
//!
//! Fields are parted by blanks and may be quoted, `"…"` or `'…'`, with C's escapes; `-` or nothing
//! is the default. The argument is the rest of the line. `%` begins a specifier in path and
//! argument.

use std::path::PathBuf;

/// What a line wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `d`: a directory.
    Directory,
    /// `D`: a directory that is emptied at boot.
    EmptyDirectory,
    /// `f`, and `f+` or `F`: a file with the argument in it; written `anew` even if it is there.
    File {
        /// Also if there is one.
        anew: bool,
    },
    /// `L`, and `L+`: a symbolic link to the argument; `replace` what else is there.
    Link {
        /// Also if something else is there.
        replace: bool,
    },
    /// `z`: mode and owner of what is there.
    Own,
    /// `Z`: the same, with all below.
    OwnTree,
    /// `r`: a file, or an empty directory, is removed.
    Remove,
    /// `R`: the same, with all below.
    RemoveTree,
}

/// A line that was understood; accounts are still names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it wants.
    pub verb: Verb,
    /// `!`: only at boot, not when a system changes while it runs.
    pub at_boot_only: bool,
    /// `-`: it is no problem if it cannot be done.
    pub may_fail: bool,
    /// Where. For what looks for files it may hold `*` and `?`.
    pub path: PathBuf,
    /// Permission bits, if stated.
    pub mode: Option<u32>,
    /// `:` before a mode, user or group: only for what is made by this line.
    pub only_new: bool,
    /// User, by name or number.
    pub user: Option<String>,
    /// Group, by name or number.
    pub group: Option<String>,
    /// An age was stated: nothing is cleaned by age here.
    pub has_age: bool,
    /// The argument.
    pub argument: Option<String>,
}

/// What specifiers stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specifiers {
    /// `%m`.
    pub machine_id: String,
    /// `%b`.
    pub boot_id: String,
    /// `%H`.
    pub host_name: String,
    /// `%v`.
    pub kernel: String,
}

/// Reads one line; none for a line that says nothing.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str, specifiers: &Specifiers) -> Result<Option<Line>, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let mut rest = text;
    let mut fields = Vec::new();
    while fields.len() < 6 && !rest.is_empty() {
        let (field, after) = field(rest)?;
        fields.push(field);
        rest = after.trim_start();
    }
    let mut fields = fields.into_iter();
    let kind = fields.next().unwrap_or_default();
    let (verb, at_boot_only, may_fail) = verb(&kind)?;
    let path = fields.next().ok_or("has no path")?;
    let path = expand(&path, specifiers)?;
    let plain = path.split('/').all(|part| !matches!(part, "." | ".."));
    if !path.starts_with('/') || !plain || path.trim_matches('/').is_empty() {
        return Err(format!("{path:?} is not an absolute path without `..`"));
    }
    let mut given = || fields.next().filter(|field| field != "-" && !field.is_empty());
    let (mode, user, group) = (given(), given(), given());
    let has_age = given().is_some();
    let only_new =
        [&mode, &user, &group].into_iter().any(|field| field.as_deref().is_some_and(is_only_new));
    let bare = |field: String| field.trim_start_matches(':').to_owned();
    let mode = mode.map(|mode| octal(&mode)).transpose()?;
    let argument = Some(rest).filter(|rest| !matches!(*rest, "" | "-"));
    let argument = argument.map(|argument| expand(&unescape(argument)?, specifiers)).transpose()?;
    if matches!(verb, Verb::Link { .. }) && argument.is_none() {
        return Err("does not say where the link leads".to_owned());
    }
    Ok(Some(Line {
        verb,
        at_boot_only,
        may_fail,
        path: PathBuf::from(path.trim_end_matches('/')),
        mode,
        only_new,
        user: user.map(bare),
        group: group.map(bare),
        has_age,
        argument,
    }))
}

fn is_only_new(field: &str) -> bool {
    field.starts_with(':')
}

/// `d`, `f+`, `R!`, …: a letter and what modifies it.
fn verb(kind: &str) -> Result<(Verb, bool, bool), String> {
    let mut symbols = kind.chars();
    let letter = symbols.next().unwrap_or(' ');
    let (mut plus, mut at_boot_only, mut may_fail) = (false, false, false);
    for symbol in symbols {
        match symbol {
            '+' => plus = true,
            '!' => at_boot_only = true,
            '-' => may_fail = true,
            // `=`: what is of another kind goes first. `~`, `^`, `$` belong to what we do not do.
            other => return Err(format!("type {kind:?}: `{other}` is not supported")),
        }
    }
    let verb = match letter {
        'd' => Verb::Directory,
        'D' => Verb::EmptyDirectory,
        'f' => Verb::File { anew: plus },
        'F' => Verb::File { anew: true },
        'L' => Verb::Link { replace: plus },
        'z' => Verb::Own,
        'Z' => Verb::OwnTree,
        'r' => Verb::Remove,
        'R' => Verb::RemoveTree,
        _ => return Err(format!("type {kind:?} is not supported; there are d D f F L z Z r R")),
    };
    if plus && !matches!(verb, Verb::File { .. } | Verb::Link { .. }) {
        return Err(format!("type {kind:?}: `+` has no meaning there"));
    }
    Ok((verb, at_boot_only, may_fail))
}

/// Permission bits; `~` before them, which masks, is taken as a mode of its own would be.
fn octal(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches(':');
    let digital = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| digital && *mode <= 0o7777);
    mode.ok_or_else(|| format!("{text:?} is not a mode in octal, as 0755"))
}

/// One field, and what follows it.
fn field(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|symbol| matches!(symbol, '"' | '\''));
    let Some(quote) = quote else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((unescape(&text[..end])?, &text[end..]));
    };
    let inner = &text[1..];
    let mut escaped = false;
    for (at, symbol) in inner.char_indices() {
        match symbol {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if symbol == quote => return Ok((unescape(&inner[..at])?, &inner[at + 1..])),
            _ => {}
        }
    }
    Err(format!("{text:?} has a quote that does not end"))
}

/// C's escapes, as systemd.syntax(7) has them.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut symbols = text.chars();
    while let Some(symbol) = symbols.next() {
        if symbol != '\\' {
            out.push(symbol);
            continue;
        }
        let wrong = || format!("{text:?} has an escape that is none");
        out.push(match symbols.next().ok_or_else(wrong)? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            's' => ' ',
            same @ ('\\' | '"' | '\'') => same,
            'x' => {
                let digits: String = symbols.by_ref().take(2).collect();
                let number = u8::from_str_radix(&digits, 16).map_err(|_| wrong())?;
                char::from(number)
            }
            _ => return Err(wrong()),
        });
    }
    Ok(out)
}

fn expand(text: &str, specifiers: &Specifiers) -> Result<String, String> {
    let mut out = String::new();
    let mut symbols = text.chars();
    while let Some(symbol) = symbols.next() {
        if symbol != '%' {
            out.push(symbol);
            continue;
        }
        out += match symbols.next() {
            Some('%') => "%",
            Some('m') => known("%m", &specifiers.machine_id)?,
            Some('b') => known("%b", &specifiers.boot_id)?,
            Some('H') => known("%H", &specifiers.host_name)?,
            Some('v') => known("%v", &specifiers.kernel)?,
            Some('t') => "/run",
            Some('S') => "/var/lib",
            Some('C') => "/var/cache",
            Some('L') => "/var/log",
            Some('T') => "/tmp",
            Some('V') => "/var/tmp",
            Some('h') => "/root",
            Some('u' | 'g') => "root",
            Some('U' | 'G') => "0",
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("{text:?}: there is no specifier %{other}; a % is %%"));
            }
        };
    }
    Ok(out)
}

/// A path with a part missing would be another path.
fn known<'a>(name: &str, value: &'a str) -> Result<&'a str, String> {
    if value.is_empty() { Err(format!("{name} is not known yet")) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Line, String> {
        let specifiers = Specifiers { host_name: "web-1".to_owned(), ..Specifiers::default() };
        parse(text, &specifiers).map(|line| line.expect("it says something"))
    }

    /// The lines of NixOS modules that are used most, and quoting.
    #[test]
    fn lines_of_modules() {
        let line = read("d /var/lib/web 0750 web web - -").expect("d");
        assert_eq!((line.verb, line.mode, line.has_age), (Verb::Directory, Some(0o750), false));
        assert_eq!((line.user.as_deref(), line.group.as_deref()), (Some("web"), Some("web")));
        let line = read("D! /run/nginx/ - - - 10d").expect("D!");
        assert_eq!(
            (line.verb, line.at_boot_only, line.has_age),
            (Verb::EmptyDirectory, true, true)
        );
        assert_eq!(line.path.to_str(), Some("/run/nginx"));
        let line = read("L+ /run/gl - - - - /nix/store/x-gl/lib with blanks").expect("L+");
        assert_eq!(line.verb, Verb::Link { replace: true });
        assert_eq!(line.argument.as_deref(), Some("/nix/store/x-gl/lib with blanks"));
        let line = read("f \"/etc/a b\" 0644 - - - one\\ntwo %H 100%%").expect("f");
        assert_eq!(line.path.to_str(), Some("/etc/a b"));
        assert_eq!(line.argument.as_deref(), Some("one\ntwo web-1 100%"));
        let line = read("z %S/x :0600 :web").expect("z");
        assert_eq!(
            (line.mode, line.user.as_deref(), line.only_new),
            (Some(0o600), Some("web"), true)
        );
        assert_eq!(line.path.to_str(), Some("/var/lib/x"));
        let nothing = ["", "  ", "# words"];
        assert!(nothing.iter().all(|text| parse(text, &Specifiers::default()) == Ok(None)));
    }

    /// What is not understood is refused in words that say what could stand there.
    #[test]
    fn refused_lines() {
        for (text, expected) in [
            ("a /x - - - - acl", "type \"a\" is not supported; there are d D"),
            ("d+ /x", "type \"d+\": `+` has no meaning there"),
            ("d= /x", "type \"d=\": `=` is not supported"),
            ("d", "has no path"),
            ("d x", "\"x\" is not an absolute path"),
            ("d /", "\"/\" is not an absolute path"),
            ("d /a/../b", "\"/a/../b\" is not an absolute path without `..`"),
            ("d /x 0999", "\"0999\" is not a mode"),
            ("d /x +755", "\"+755\" is not a mode"),
            ("L /x", "does not say where"),
            ("f /x - - - - %Q", "\"%Q\": there is no specifier %Q"),
            ("d /%m", "%m is not known yet"),
            ("d \"/x", "\"\\\"/x\" has a quote"),
            ("d /x\\q", "\"/x\\\\q\" has an escape"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    proptest! {
        /// No line of any bytes is more than refused, and a path that comes out is absolute.
        #[test]
        fn any_line(text in "[dDfLzZrR+!=: \"'\\\\%/a-z0-9.*-]{0,40}") {
            if let Ok(Some(line)) = parse(&text, &Specifiers::default()) {
                prop_assert!(line.path.is_absolute());
                prop_assert!(line.path.components().count() > 1);
            }
        }
    }
}
