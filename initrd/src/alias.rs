//! Module aliases: which module drives the device that calls itself `pci:v00001D0Fd0000EC20…`.
//!
//! depmod writes them to `modules.alias`, one `alias PATTERN MODULE` a line. A pattern is a glob of
//! fnmatch(3): `*`, `?`, `[0-9a-f]`. As libkmod does it, `-` and `_` are the same, except between
//! brackets. Source: modules.alias of depmod(8), modprobe.d(5).

use std::collections::BTreeMap;

/// Patterns and the modules they name. A device that matches several is driven by the first that
/// wants it, so all of them load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// By the pattern's text before its first `:`, which is its bus: there are thousands of
    /// patterns, and a machine has some hundred devices.
    by_bus: BTreeMap<String, Vec<Alias>>,
    /// Patterns whose bus itself is a glob.
    any_bus: Vec<Alias>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Alias {
    pattern: String,
    module: String,
}

impl Aliases {
    /// Reads the text of `modules.alias`. Lines of another form are none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut aliases = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                aliases.add(&plain(pattern), module);
            }
        }
        aliases
    }

    fn add(&mut self, pattern: &str, module: &str) {
        let alias = Alias { pattern: pattern.to_owned(), module: module.replace('-', "_") };
        let bus = bus(pattern);
        if bus.contains(['*', '?', '[']) {
            self.any_bus.push(alias);
        } else {
            self.by_bus.entry(bus.to_owned()).or_default().push(alias);
        }
    }

    /// Modules for a device's `MODALIAS`, or for a name that the kernel asks for (`fs-vfat`,
    /// `crypto-crc32c`); in the order of the file, each once.
    #[must_use]
    pub fn matching(&self, modalias: &str) -> Vec<&str> {
        let name = plain(modalias);
        let of_bus = self.by_bus.get(bus(&name)).into_iter().flatten();
        let mut found: Vec<&str> = Vec::new();
        for alias in of_bus.chain(&self.any_bus) {
            let module = alias.module.as_str();
            if !found.contains(&module) && matches(alias.pattern.as_bytes(), name.as_bytes()) {
                found.push(module);
            }
        }
        found
    }

    /// The lines of the modules that `keep` names, in depmod's form.
    #[must_use]
    pub fn lines_of(&self, keep: impl Fn(&str) -> bool) -> String {
        let all = self.by_bus.values().flatten().chain(&self.any_bus);
        let lines = all.filter(|alias| keep(&alias.module));
        lines.map(|Alias { pattern, module }| format!("alias {pattern} {module}\n")).collect()
    }
}

fn bus(pattern: &str) -> &str {
    pattern.split(':').next().unwrap_or(pattern)
}

/// `-` as `_`, except between brackets, where it is a range.
fn plain(text: &str) -> String {
    let mut inside = false;
    let same = |character: char| {
        inside = match character {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        if character == '-' && !inside { '_' } else { character }
    };
    text.chars().map(same).collect()
}

/// Whether a glob fits the whole text. Linear in practice: only the last `*` is gone back to.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last `*` was, and how far it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
                continue;
            }
            Some(_) => text.get(from).and_then(|byte| one(&pattern[at..], *byte)),
            None if from == text.len() => return true,
            None => None,
        };
        match (step, star) {
            (Some(length), _) => (at, from) = (at + length, from + 1),
            (None, Some((after, reach))) if reach < text.len() => {
                star = Some((after, reach + 1));
                (at, from) = (after, reach + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte against the start of a pattern: the length of what it used up.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let first = *pattern.first()?;
    let end = (first == b'[').then(|| pattern.iter().skip(2).position(|byte| *byte == b']'));
    match end.flatten() {
        // A bracket that does not end is an ordinary byte.
        None => (first == b'?' || first == byte).then_some(1),
        Some(end) => {
            let set = &pattern[1..end + 2];
            let (negated, set) = match set {
                [b'!' | b'^', rest @ ..] if !rest.is_empty() => (true, rest),
                set => (false, set),
            };
            (in_set(set, byte) != negated).then_some(end + 3)
        }
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = set {
        if let [b'-', last, after @ ..] = rest {
            if (*first..=*last).contains(&byte) {
                return true;
            }
            set = after;
        } else {
            if *first == byte {
                return true;
            }
            set = rest;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
# Aliases extracted from modules themselves.
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias virtio:d00000002v* virtio-blk
alias virtio:d00000001v* virtio_net
alias usb:v0421p0486d*dc*dsc*dp*ic*isc*ip*in* some_usb
alias acpi*:LNXPWRBN:* button
alias input:b*v*p*e*-e*[0-3]*k*r*a*m*l*s*f*w* evdev
alias fs-vfat vfat
alias crypto-crc32c crc32c_generic
alias crypto-crc32c crc32c_intel
alias odd
";

    fn found(modalias: &str) -> Vec<String> {
        Aliases::parse(TEXT).matching(modalias).iter().map(|name| (*name).to_owned()).collect()
    }

    /// Devices as QEMU's and EC2's kernels name them, and what the kernel itself asks for.
    #[test]
    fn devices_find_their_modules() {
        let virtio = "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00";
        assert_eq!(found(virtio), ["virtio_pci"]);
        assert_eq!(found("virtio:d00000002v00001AF4"), ["virtio_blk"]);
        assert_eq!(found("acpi:LNXPWRBN:"), ["button"], "the bus is a glob");
        assert_eq!(found("fs_vfat"), ["vfat"], "- and _ are the same");
        assert_eq!(found("crypto-crc32c"), ["crc32c_generic", "crc32c_intel"]);
        assert!(found("pci:v00008086d00001237").is_empty());
        assert!(found("odd").is_empty() && found("").is_empty());
    }

    /// Sets and ranges, with `-` as itself only between brackets.
    #[test]
    fn globs() {
        let fits = |pattern: &str, text: &str| matches(pattern.as_bytes(), text.as_bytes());
        assert!(fits("a[0-3]c", "a2c") && !fits("a[0-3]c", "a4c"));
        assert!(fits("a[!0-3]c", "a4c") && !fits("a[!0-3]c", "a2c"));
        assert!(fits("a[]]c", "a]c") && fits("a[b-]c", "a-c"));
        assert!(fits("a[bc", "a[bc") && !fits("a[bc", "ab"));
        assert!(fits("*a*b*", "xaxbx") && !fits("*a*b*", "xbxax"));
        assert!(fits("?", "x") && !fits("?", "") && fits("*", "") && fits("", ""));
    }

    /// What is written for an image finds the same modules as the whole file.
    #[test]
    fn lines_are_read_again() {
        let all = Aliases::parse(TEXT);
        let lines = all.lines_of(|module| module == "virtio_blk" || module == "button");
        let some = Aliases::parse(&lines);
        assert_eq!(some.matching("virtio:d00000002v00001AF4"), ["virtio_blk"]);
        assert_eq!(some.matching("acpi:LNXPWRBN:"), ["button"]);
        assert!(some.matching("virtio:d00000001v00001AF4").is_empty());
    }

    /// The plain way to match a glob without sets: every `*` is tried at every place.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], rest) => rest.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            ([b'?', rest @ ..], [_, text @ ..]) => slow(rest, text),
            ([byte, rest @ ..], [first, text @ ..]) => byte == first && slow(rest, text),
            _ => false,
        }
    }

    proptest! {
        /// The one star that is gone back to is enough.
        #[test]
        fn same_as_the_plain_way(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), slow(pattern, text));
        }

        /// Any text is an answer.
        #[test]
        fn total(pattern in "\\PC{0,20}", text in "\\PC{0,20}") {
            let aliases = Aliases::parse(&format!("alias {pattern} m\n"));
            let _ = aliases.matching(&text);
            let _ = matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
