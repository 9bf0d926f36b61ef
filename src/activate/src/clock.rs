//! Task `clock`: it is never earlier than it can be.
//!
//! A host whose real-time clock lost its battery, or has none, wakes up in 1970: certificates are
//! not valid yet, and every file is from the future. Two things know better: the system, which was
//! made at some time, and the file that each boot leaves behind.
//!
//! - Below the system's time (the *floor*) the clock is certainly wrong: it becomes the later of
//!   floor and witness.
//! - Not below the floor, but a little before the witness: a clock that drifted, or a pause; it
//!   becomes the witness. Never jumps back later than that, a time server steers.
//! - Far before the witness: then it is the witness that came of a clock gone wrong, and would
//!   hold the host in the future for ever. The clock stays, and the witness is written anew.

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The file whose modification time is the witness. It says the same in words.
const WITNESS: &str = "/var/lib/rollinit/clock";

/// In seconds since 1970; a decimal number and a line feed.
const FLOOR: &str = "etc/rollinit/clock-floor";

/// A number in bytes.
const FLOOR_BYTES_MAX: u64 = 32;

/// The floor of a system that states none: when this task was written, 2026-11-01 in UTC.
const FLOOR_DEFAULT: Duration = Duration::from_secs(1_793_491_200);

/// How far the witness is believed against a clock that is possible: a weekend without power.
const TRUST: Duration = Duration::from_secs(3 * 86_400);

/// Times are those since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The clock can be right.
    Fine,
    /// The clock was certainly, or most probably, wrong.
    Set(Duration),
    /// The witness is from a future that did not come.
    WitnessWrong,
}

/// Sets the clock if it is impossible, and leaves the witness for the next boot.
pub fn run(context: &Context, report: &mut Report) {
    let floor = match read_floor(context) {
        Ok(floor) => floor,
        Err(problem) => {
            report.problem(&problem);
            FLOOR_DEFAULT
        }
    };
    let path = context.path(WITNESS);
    let witness = std::fs::metadata(&path).and_then(|status| status.modified());
    let witness = witness.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = |time: Duration| time.as_secs();
    match judge(now, floor, witness) {
        Verdict::Fine => report.say("is possible"),
        Verdict::WitnessWrong => report.say(format_args!(
            "{} is from {} s in the future and is not believed",
            path.display(),
            seconds(witness.unwrap_or_default().saturating_sub(now)),
        )),
        Verdict::Set(to) => match sys::clock::set_realtime(to) {
            Ok(()) => report.say(format_args!(
                "was {} s too early; set to {} s after 1970",
                seconds(to.saturating_sub(now)),
                seconds(to),
            )),
            Err(error) => report.problem(&Problem::new(
                "the clock",
                format_args!("says {} s after 1970, and cannot be set: {error}", seconds(now)),
                "a time server will put it right; until then TLS may fail",
            )),
        },
    }
    if let Err(problem) = leave_witness(&path) {
        report.problem(&problem);
    }
}

fn judge(now: Duration, floor: Duration, witness: Option<Duration>) -> Verdict {
    let witness = witness.unwrap_or_default();
    if now < floor {
        Verdict::Set(floor.max(witness))
    } else if now >= witness {
        Verdict::Fine
    } else if witness - now <= TRUST {
        Verdict::Set(witness)
    } else {
        Verdict::WitnessWrong
    }
}

fn read_floor(context: &Context) -> Result<Duration, Problem> {
    let bytes = files::read_in_root(context, &context.toplevel.join(FLOOR), FLOOR_BYTES_MAX);
    let cure = "rollinit.activate.clockFloor is a number of seconds since 1970";
    match bytes {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FLOOR_DEFAULT),
        Err(error) => Err(Problem::new(FLOOR, format_args!("cannot be read: {error}"), cure)),
        Ok(bytes) => {
            let number = String::from_utf8_lossy(&bytes).trim().parse();
            number.map(Duration::from_secs).map_err(|_| Problem::new(FLOOR, "is no number", cure))
        }
    }
}

fn leave_witness(path: &Path) -> Result<(), Problem> {
    let words = "Its modification time is when this host last booted. docs/activate.md, `clock`.\n";
    files::replace_for_good(path, words.as_bytes(), 0o644).map_err(|error| {
        Problem::new(
            path.display(),
            format_args!("cannot be written: {error}"),
            "make /var/lib/rollinit writable, and see whether the disk is full",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Each of the four cases of the module's text.
    #[test]
    fn verdicts() {
        let floor = 1000 * DAY;
        let at = |days: u32| days * DAY;
        for (now, witness, expected) in [
            (0, None, Verdict::Set(floor)),
            (0, Some(500), Verdict::Set(floor)),
            (999, Some(1500), Verdict::Set(at(1500))),
            (1001, None, Verdict::Fine),
            (1001, Some(1000), Verdict::Fine),
            (1001, Some(1002), Verdict::Set(at(1002))),
            (1001, Some(5000), Verdict::WitnessWrong),
        ] {
            assert_eq!(judge(at(now), floor, witness.map(at)), expected, "{now} {witness:?}");
        }
    }

    proptest! {
        /// The clock only ever goes forward, and afterwards it is not below the floor.
        #[test]
        fn never_backwards(now: u32, floor: u32, witness: Option<u32>) {
            let time = |seconds: u32| Duration::from_secs(seconds.into());
            let (now, floor) = (time(now), time(floor));
            let after = match judge(now, floor, witness.map(time)) {
                Verdict::Set(to) => to,
                Verdict::Fine | Verdict::WitnessWrong => now,
            };
            prop_assert!(after >= now && after >= floor);
        }
    }
}
