//! Checking the root's file system before it is mounted.
//!
//! | its superblock | `fsck.mode=` | e2fsck in the image | what happens |
//! |---|---|---|---|
//! | no errors recorded | `auto` | | nothing: a mount replays the journal |
//! | errors recorded | `auto` | yes | it runs: mended, or the boot ends here |
//! | errors recorded | `auto` | no | said, and mounted: nothing better can be done |
//! | | `force` | yes | it runs |
//! | | `skip` | | nothing |
//!
//! Only ext2, ext3 and ext4 are checked: xfs and btrfs are made to be mounted as they are, and
//! their own tools want a person.

use crate::command_line::{CheckMode, CheckRepair, CommandLine};
use crate::voice::{Failure, Voice};
use disk::superblock::Superblock;
use initrd::image::CHECKER;
use std::path::Path;
use std::process::Command;
use sys::kmsg::Priority;

/// Lines of the checker's words that are shown; the last are those that count.
const LINES_MAX: usize = 8;

/// e2fsck(8): errors were corrected; the machine should be rebooted (if it was mounted, and it
/// is not).
const CORRECTED: i32 = 1 | 2;

/// Checks the file system on `device` if the command line and its superblock ask for it.
///
/// # Errors
/// A [`Failure`] if it is damaged beyond what may be mended.
pub fn check(
    device: &Path,
    superblock: Option<&Superblock>,
    line: &CommandLine,
    voice: &mut Voice,
) -> Result<(), Failure> {
    let Some(superblock) = superblock.filter(|found| found.kind.starts_with("ext")) else {
        return Ok(());
    };
    match line.check_mode {
        CheckMode::Skip => return Ok(()),
        CheckMode::Auto if !superblock.has_errors => return Ok(()),
        CheckMode::Auto | CheckMode::Force => {}
    }
    let shown = device.display();
    if !Path::new(CHECKER).exists() {
        let text = format!("root: {shown} has errors recorded, and the initrd has no e2fsck");
        let text = format!("{text}: it is mounted as it is; set boot.initrd.checkFileSystem");
        voice.say(Priority::Warning, &text);
        return Ok(());
    }
    voice.say(Priority::Notice, &format!("root: checking {shown} ({superblock})"));
    let (option, mended) = match line.check_repair {
        CheckRepair::Preen => ("-p", true),
        CheckRepair::Yes => ("-y", true),
        CheckRepair::No => ("-n", false),
    };
    let output = Command::new(CHECKER).args(["-f", option]).arg(device).output();
    let output = output.map_err(|error| failure(device, &error.to_string(), Vec::new()))?;
    let words = [output.stdout, output.stderr].concat();
    let words = last_lines(&String::from_utf8_lossy(&words));
    for line in &words {
        voice.say(Priority::Notice, &format!("e2fsck: {line}"));
    }
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) if code & !CORRECTED == 0 && mended => {
            voice.say(Priority::Notice, &format!("root: {shown} was mended"));
            Ok(())
        }
        Some(code) => Err(failure(device, &format!("e2fsck exits with {code}"), words)),
        None => Err(failure(device, &format!("e2fsck was ended: {}", output.status), words)),
    }
}

fn failure(device: &Path, cause: &str, seen: Vec<String>) -> Failure {
    Failure {
        step: "check the root's file system",
        object: device.display().to_string(),
        cause: cause.to_owned(),
        seen,
        cure: "boot once with fsck.repair=yes to mend all of it, or fsck.mode=skip to leave it \
               alone; on a cloud, attach a snapshot of the volume to another machine first"
            .to_owned(),
    }
}

fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(LINES_MAX);
    lines[start..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_kept() {
        let text: String = (0..20).map(|number| format!("line {number}\n\n")).collect();
        let lines = last_lines(&text);
        assert_eq!((lines.len(), lines[LINES_MAX - 1].as_str()), (LINES_MAX, "line 19"));
        assert!(last_lines("").is_empty());
    }
}
