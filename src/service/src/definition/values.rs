//! Values with a grammar of their own: durations, sizes, modes, signals, words.

use super::read::{Fault, Written};
use super::{Control, Kind, Policy, Scope};
use crate::limits::DURATION_MS_MAX;
use crate::nearest::nearest;

/// One of a few words.
pub fn word<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let cure = match nearest(text, names.iter().copied()) {
        Some(name) => format!("write {name:?}"),
        None => format!("write one of {}", quoted(&names)),
    };
    Err(Fault::new(format!("unknown value {text:?}"), cure))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

impl Written for Kind {
    const EXAMPLE: &'static str = "\"simple\", \"notify\" or \"oneshot\"";

    fn read(text: &str) -> Result<Self, Fault> {
        if text == "forking" {
            return Err(Fault::new(
                "kind \"forking\" is not supported yet",
                "run the program in the foreground and write kind = \"simple\" or \"notify\"",
            ));
        }
        let known = [Self::Simple, Self::Notify, Self::Oneshot].map(|kind| (kind.word(), kind));
        word(text, &known)
    }
}

impl Written for Policy {
    const EXAMPLE: &'static str = "\"always\", \"on-failure\" or \"no\"";

    fn read(text: &str) -> Result<Self, Fault> {
        word(text, &[("always", Self::Always), ("on-failure", Self::OnFailure), ("no", Self::No)])
    }
}

impl Written for Control {
    const EXAMPLE: &'static str = "\"read\", \"operate\" or \"admin\"";

    fn read(text: &str) -> Result<Self, Fault> {
        let known = [("read", Self::Read), ("operate", Self::Operate), ("admin", Self::Admin)];
        word(text, &known)
    }
}

impl Written for Scope {
    const EXAMPLE: &'static str = "\"leader\", \"group\" or \"cgroup\"";

    fn read(text: &str) -> Result<Self, Fault> {
        word(text, &[("leader", Self::Leader), ("group", Self::Group), ("cgroup", Self::Cgroup)])
    }
}

/// A duration in milliseconds: a decimal number and a unit.
pub(super) struct Duration(pub u64);

impl Written for Duration {
    const EXAMPLE: &'static str = "\"200ms\", \"1.5s\", \"5m\", \"1h\" or \"1d\"";

    fn read(text: &str) -> Result<Self, Fault> {
        let wrong =
            || Fault::new(format!("{text:?} is no duration"), format!("write {}", Self::EXAMPLE));
        let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits_end);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        if part.is_empty() || part.len() > 3 {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part_ms = part.parse::<u64>().map_err(|_| wrong())? * unit_ms
            / 10_u64.pow(u32::try_from(part.len()).unwrap_or(3));
        match whole.checked_mul(unit_ms).and_then(|ms| ms.checked_add(part_ms)) {
            Some(ms) if ms <= DURATION_MS_MAX => Ok(Self(ms)),
            _ => Err(Fault::new(format!("{text:?} is longer than a year"), "write a shorter one")),
        }
    }
}

/// A duration in milliseconds, as definitions write it: `200ms`, `1.5s`, `5m`, `1h`, `1d`.
///
/// # Errors
/// It is none, or longer than a year.
pub fn duration_ms(text: &str) -> Result<u64, Fault> {
    Duration::read(text).map(|duration| duration.0)
}

/// A size in bytes, by powers of 1,024; none for `"infinity"`.
pub(super) struct Size(pub Option<u64>);

impl Written for Size {
    const EXAMPLE: &'static str = "\"64K\", \"512M\", \"2G\" or \"infinity\"";

    fn read(text: &str) -> Result<Self, Fault> {
        if text == "infinity" {
            return Ok(Self(None));
        }
        let wrong =
            || Fault::new(format!("{text:?} is no size"), format!("write {}", Self::EXAMPLE));
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits_end);
        let shift = match unit {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(|bytes| Self(Some(bytes))).ok_or_else(wrong)
    }
}

/// Permission bits in octal.
pub(super) struct Mode(pub u32);

impl Written for Mode {
    const EXAMPLE: &'static str = "octal digits such as \"0660\"";

    fn read(text: &str) -> Result<Self, Fault> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && !text.starts_with('+') => Ok(Self(mode)),
            _ => {
                let message = format!("{text:?} is not a mode from 000 to 777");
                Err(Fault::new(message, format!("write {}", Self::EXAMPLE)))
            }
        }
    }
}

/// Signals of Linux by number, from 1: signal(7), the numbers of x86-64 and arm64.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The first real-time signal that programs see: the C library keeps 32 and 33.
const REALTIME_MIN: u8 = 34;

/// The last signal.
const SIGNAL_MAX: u8 = 64;

/// The name of a signal as definitions have it, `SIGTERM` or `SIGRTMIN+3`; a number without a name
/// as `signal 99`.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let index = usize::try_from(signal).unwrap_or(0);
    match SIGNALS.get(index.wrapping_sub(1)) {
        Some(name) => (*name).to_owned(),
        None if (i32::from(REALTIME_MIN)..=i32::from(SIGNAL_MAX)).contains(&signal) => {
            format!("SIGRTMIN+{}", signal - i32::from(REALTIME_MIN))
        }
        None => format!("signal {signal}"),
    }
}

/// A signal's number.
pub(super) struct Signal(pub u8);

impl Written for Signal {
    const EXAMPLE: &'static str = "\"SIGTERM\", \"TERM\" or \"SIGRTMIN+3\"";

    fn read(text: &str) -> Result<Self, Fault> {
        let name = if text.starts_with("SIG") { text.to_owned() } else { format!("SIG{text}") };
        if let Some(number) = (1..).zip(SIGNALS).find(|(_, known)| *known == name) {
            return Ok(Self(number.0));
        }
        let offset =
            name.strip_prefix("SIGRTMIN").map(|rest| rest.strip_prefix('+').unwrap_or(rest));
        match offset.map(|digits| if digits.is_empty() { Ok(0) } else { digits.parse::<u8>() }) {
            Some(Ok(offset)) if offset <= SIGNAL_MAX - REALTIME_MIN => {
                Ok(Self(REALTIME_MIN + offset))
            }
            _ => {
                let cure = match nearest(&name, SIGNALS) {
                    Some(known) => format!("write {known:?}"),
                    None => format!("write {}", Self::EXAMPLE),
                };
                Err(Fault::new(format!("no signal is named {text:?}"), cure))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each unit against its length counted by hand; then what is no duration.
    #[test]
    fn durations() {
        let ms = |text| Duration::read(text).map(|duration| duration.0).ok();
        let known =
            [("0s", 0), ("200ms", 200), ("1.5s", 1500), ("5m", 300_000), ("0.25h", 900_000)];
        for (text, expected) in known {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        assert_eq!(ms("365d"), Some(DURATION_MS_MAX));
        for wrong in
            ["", "5", "s", ".5s", "5.s", "-1s", "1s2ms", "1.2345s", "366d", "1e3s", "1.2.3s"]
        {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
        assert_eq!(ms("99999999999999999999d"), None);
        assert_eq!(ms("18446744073709551615d"), None);
    }

    /// Each unit against its power of two; then what is no size.
    #[test]
    fn sizes() {
        let bytes = |text| Size::read(text).map(|size| size.0).ok();
        assert_eq!(bytes("4096"), Some(Some(4096)));
        assert_eq!(bytes("3K"), Some(Some(3072)));
        assert_eq!(bytes("512M"), Some(Some(536_870_912)));
        assert_eq!(bytes("1T"), Some(Some(1 << 40)));
        assert_eq!(bytes("infinity"), Some(None));
        for wrong in ["", "M", "1m", "-1", "1.5G", "20000000T"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    /// Every signal reads back from its own name, with and without `SIG`.
    #[test]
    fn signals() {
        for number in (1..=31).chain(34..=64) {
            let name = signal_name(i32::from(number));
            assert_eq!(Signal::read(&name).unwrap().0, number, "{name}");
            assert_eq!(Signal::read(&name[3..]).unwrap().0, number, "{name}");
        }
        assert_eq!(Signal::read("SIGRTMIN").unwrap().0, 34);
        assert_eq!(Signal::read("SIGTREM").err().unwrap().suggestion, "write \"SIGTERM\"");
        for wrong in ["", "15", "SIGRTMIN+31", "SIGRTMIN+-1", "SIGNOPE"] {
            assert!(Signal::read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(signal_name(0), "signal 0");
        assert_eq!(signal_name(-5), "signal -5");
    }

    /// Octal digits within the permission bits, nothing else.
    #[test]
    fn modes() {
        assert_eq!(Mode::read("0660").unwrap().0, 0o660);
        for wrong in ["", "888", "1777", "rw-", "+7"] {
            assert!(Mode::read(wrong).is_err(), "{wrong}");
        }
    }
}
