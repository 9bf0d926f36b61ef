//! Tests that tables of docs/ name exist: a claim whose test was renamed is a claim without proof.
//!
//! A test is named in backticks: `qemu:NAME` and `process:NAME` are trials of those two programs,
//! `ROOM/….rs::FUNCTION` a function of that file, below `src` or the root.

use super::{Finding, Rule};
use anyhow::{Context, Result};
use std::path::Path;

/// The tables.
const TABLES: [&str; 2] = ["docs/scenarios.md", "docs/traps.md"];

/// Findings in all tables.
///
/// # Errors
/// A table, or the list of trials, cannot be read.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let read = |file: &str| {
        std::fs::read_to_string(root.join(file)).with_context(|| format!("tidy: read {file}"))
    };
    let trials = Trials {
        qemu: read("qemu-tests/tests/qemu.rs")?,
        process: read("qemu-tests/tests/process.rs")?,
    };
    let function = |file: &str, name: &str| {
        let texts = ["src", ""].map(|folder| std::fs::read_to_string(root.join(folder).join(file)));
        texts.iter().flatten().any(|text| text.contains(&format!("fn {name}(")))
    };
    let mut findings = Vec::new();
    for table in TABLES {
        findings.extend(check_table(table, &read(table)?, &trials, &function));
    }
    Ok(findings)
}

/// The sources that list trials, `("NAME", …`.
struct Trials {
    qemu: String,
    process: String,
}

fn check_table(
    file: &str,
    text: &str,
    trials: &Trials,
    function: &dyn Fn(&str, &str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        for word in line.split('`').skip(1).step_by(2) {
            let is_there = if let Some(name) = word.strip_prefix("qemu:") {
                trials.qemu.contains(&format!("(\"{name}\""))
            } else if let Some(name) = word.strip_prefix("process:") {
                trials.process.contains(&format!("(\"{name}\""))
            } else if let Some((path, name)) = word.split_once(".rs::") {
                function(&format!("{path}.rs"), name)
            } else {
                continue;
            };
            if !is_there {
                findings.push(Finding {
                    rule: Rule::NamedTest,
                    file: file.to_owned(),
                    line: index + 1,
                    message: format!("there is no test `{word}`; name one that there is"),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each form is found where it is, and missed where it is not; words that name no test, and
    /// lines that are no table, are left alone.
    #[test]
    fn missing_tests_are_found() {
        let trials =
            Trials { qemu: "(\"boot\", boot),".into(), process: "(\"roles\", roles),".into() };
        let function = |file: &str, name: &str| (file, name) == ("sys/src/a.rs", "works");
        let text = "`qemu:prose`\n\
                    | a | `qemu:boot`, `process:roles`, `sys/src/a.rs::works`, `src/a.rs` |\n\
                    | b | `qemu:roles`; `process:boot` `sys/src/a.rs::fails` |\n";
        let findings = check_table("t.md", text, &trials, &function);
        let found: Vec<(usize, &str)> =
            findings.iter().map(|finding| (finding.line, finding.message.as_str())).collect();
        let said = |word: &str| format!("there is no test `{word}`; name one that there is");
        let words = ["qemu:roles", "process:boot", "sys/src/a.rs::fails"].map(said);
        assert_eq!(found, words.iter().map(|word| (3, word.as_str())).collect::<Vec<_>>());
    }
}
