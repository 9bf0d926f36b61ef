//! What modules are told when they load, and which are not wanted. Pure.
//!
//! The kernel's own modules read `MODULE.NAME=VALUE` on its command line; one that is loaded later
//! has to be told, or the words are lost without a trace. Beside them there are the files of
//! modprobe.d(5), of which `blacklist NAME` and `options NAME WORDS…` are read: the other commands
//! run programs.

use crate::modules::name_of;
use std::collections::{BTreeMap, BTreeSet};

/// Parameters by module, and modules that no device gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    parameters: BTreeMap<String, Vec<String>>,
    refused: BTreeSet<String>,
}

impl Settings {
    /// Adds what stands on the kernel's command line.
    pub fn add_command_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        for word in words(&line).take_while(|word| *word != "--") {
            let key = word.split('=').next().unwrap_or_default();
            let Some((module, _)) = key.split_once('.') else { continue };
            let parameter = &word[module.len() + 1..];
            if module == "modprobe" && key == "modprobe.blacklist" {
                let names = parameter.split_once('=').map_or("", |(_, names)| names);
                self.refused.extend(names.split(',').map(name_of));
            } else if !parameter.is_empty() {
                let words = self.parameters.entry(name_of(module)).or_default();
                words.push(parameter.to_owned());
            }
        }
    }

    /// Adds a file of modprobe.d(5); returns what it does not understand, by line from 1.
    pub fn add_file(&mut self, text: &str) -> Vec<(usize, String)> {
        let mut unknown = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let mut words = rest.split_whitespace();
            match (command, words.next()) {
                ("blacklist", Some(name)) => drop(self.refused.insert(name_of(name))),
                ("options", Some(name)) => {
                    let parameters = self.parameters.entry(name_of(name)).or_default();
                    parameters.extend(words.map(str::to_owned));
                }
                ("", _) => {}
                (comment, _) if comment.starts_with('#') => {}
                _ => unknown.push((number, line.to_owned())),
            }
        }
        unknown
    }

    /// The words that a module is told, parted by blanks.
    #[must_use]
    pub fn parameters(&self, module: &str) -> String {
        self.parameters.get(module).map(|words| words.join(" ")).unwrap_or_default()
    }

    /// Whether a module loads only when it is named or needed, not for a device.
    #[must_use]
    pub fn is_refused(&self, module: &str) -> bool {
        self.refused.contains(module)
    }
}

/// Words between blanks; `"` keeps them together and stays, as the modules' own reader wants it.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = line.split(move |symbol: char| {
        quoted ^= symbol == '"';
        symbol.is_ascii_whitespace() && !quoted
    });
    parts.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What EC2's advice needs: a word for a module that is loaded later. Names are taken with `-`
    /// and `_` alike, quotes keep blanks, and what follows `--` is for init.
    #[test]
    fn words_of_the_command_line() {
        let mut settings = Settings::default();
        settings.add_command_line(
            b"root=/dev/x nvme-core.io_timeout=4294967295 nvme_core.max_retries=10 \
              a.b=\"c d\" a.e modprobe.blacklist=pcspkr,i2c-piix4 x. -- nvme_core.late=1\n",
        );
        let told = settings.parameters("nvme_core");
        assert_eq!(told, "io_timeout=4294967295 max_retries=10");
        assert_eq!(settings.parameters("a"), "b=\"c d\" e");
        assert_eq!(settings.parameters("x"), "");
        assert!(settings.is_refused("pcspkr") && settings.is_refused("i2c_piix4"));
        assert!(!settings.is_refused("nvme_core"));
    }

    /// Both commands of modprobe.d that need no program; the others are told.
    #[test]
    fn files_of_modprobe() {
        let mut settings = Settings::default();
        let unknown = settings.add_file(
            "# words\n\nblacklist floppy\noptions kvm-intel nested=1  ept=0\ninstall x /bin/sh\n",
        );
        assert_eq!(unknown, [(5, "install x /bin/sh".to_owned())]);
        assert_eq!(settings.parameters("kvm_intel"), "nested=1 ept=0");
        assert!(settings.is_refused("floppy"));
    }
}
