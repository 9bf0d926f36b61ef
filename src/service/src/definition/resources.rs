//! `[service.limits]`.

use super::read::{Fault, File, Section, Written};
use super::sections::integer;
use super::values::Size;
use super::{Limits, ResourceLimit};
use crate::limits::PIDS_MAX_DEFAULT;
use toml::Spanned;
use toml::de::DeValue;

/// `RLIMIT_*` numbers of Linux, the same on x86-64 and arm64 (asm-generic/resource.h), by key; and
/// whether the limit is a size in bytes.
const RESOURCES: [(&str, u8, bool); 16] = [
    ("cpu", 0, false),
    ("fsize", 1, true),
    ("data", 2, true),
    ("stack", 3, true),
    ("core", 4, true),
    ("rss", 5, true),
    ("nproc", 6, false),
    ("nofile", 7, false),
    ("memlock", 8, true),
    ("as", 9, true),
    ("locks", 10, false),
    ("sigpending", 11, false),
    ("msgqueue", 12, true),
    ("nice", 13, false),
    ("rtprio", 14, false),
    ("rttime", 15, false),
];

pub(super) fn limits(file: &mut File, service: &mut Section) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = service.section(file, "limits") else { return limits };
    let pids_max = amount(file, &mut section, "pids-max", false);
    limits.pids_max = pids_max.unwrap_or(Some(PIDS_MAX_DEFAULT));
    limits.memory_max_bytes = amount(file, &mut section, "memory-max", true).flatten();
    limits.memory_high_bytes = amount(file, &mut section, "memory-high", true).flatten();
    limits.swap_max_bytes = amount(file, &mut section, "swap-max", true).flatten();
    let weight = integer(file, &mut section, "cpu-weight", 1..=10_000);
    limits.cpu_weight = weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(100);
    for (key, resource, is_size) in RESOURCES {
        if let Some((soft, hard)) = resource_limit(file, &mut section, key, is_size) {
            limits.resources.push(ResourceLimit { resource, soft, hard });
        }
    }
    section.finish(file);
    limits
}

/// A limit of setrlimit(2): one amount for both, or `{ soft = …, hard = … }`.
fn resource_limit(
    file: &mut File,
    section: &mut Section,
    key: &'static str,
    is_size: bool,
) -> Option<(u64, u64)> {
    let value = section.raw(key)?;
    let span = value.span();
    let number = |amount: Option<u64>| amount.unwrap_or(u64::MAX);
    let DeValue::Table(table) = value.get_ref() else {
        let both = number(read_amount(file, &value, key, is_size)?);
        return Some((both, both));
    };
    let mut pair = Section::new(format!("{}.{key}", section.path()), span.clone(), table.clone());
    let soft = amount(file, &mut pair, "soft", is_size);
    let hard = amount(file, &mut pair, "hard", is_size);
    pair.finish(file);
    let (Some(soft), Some(hard)) = (soft.map(number), hard.map(number)) else {
        let cure = format!("write {key} = {{ soft = …, hard = … }}");
        file.fault(&span, Fault::new(format!("{key} needs soft and hard"), cure));
        return None;
    };
    if soft > hard {
        file.fault(&span, Fault::new(format!("{key}.soft is above {key}.hard"), "raise hard"));
        return None;
    }
    Some((soft, hard))
}

/// A whole number or `"infinity"`; sizes with their units too. The inner none is infinity.
fn amount(
    file: &mut File,
    section: &mut Section,
    key: &'static str,
    is_size: bool,
) -> Option<Option<u64>> {
    let value = section.raw(key)?;
    read_amount(file, &value, key, is_size)
}

fn read_amount(
    file: &mut File,
    value: &Spanned<DeValue>,
    key: &str,
    is_size: bool,
) -> Option<Option<u64>> {
    let example = if is_size { "\"512M\", a number of bytes" } else { "1024" };
    let fault = || {
        let cure = format!("write {key} = {example} or \"infinity\"");
        Fault::new(format!("{key} is not a limit"), cure)
    };
    let read = match value.get_ref() {
        DeValue::Integer(number) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Some)
        }
        DeValue::String(text) if is_size || text == "infinity" => match Size::read(text) {
            Ok(size) => Some(size.0),
            Err(wrong) => {
                file.fault(&value.span(), wrong);
                return None;
            }
        },
        _ => None,
    };
    if read.is_none() {
        file.fault(&value.span(), fault());
    }
    read
}
