//! A program whose syncs do nothing and say that they did. That is for one test: a power cut must
//! find a store and a swap's journal broken then, else it proves nothing when it does not.

use super::arguments::Arguments;
use super::{Outcome, at};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::env::consts::ARCH;
use std::os::unix::process::CommandExt;
use std::process::Command;
use sys::files::SYNC_CALLS;

/// Becomes the program; all that it starts is as forgetful.
pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let program: String = arguments.needed("PROGRAM")?;
    let words = std::iter::from_fn(|| arguments.word());
    let architecture = ARCH.try_into().map_err(at("a filter of system calls"))?;
    let rules = SYNC_CALLS.into_iter().map(|call| (call, Vec::new())).collect();
    // The error of number 0: the call is not made, and has succeeded.
    let (others, syncs) = (SeccompAction::Allow, SeccompAction::Errno(0));
    let filter = SeccompFilter::new(rules, others, syncs, architecture);
    let filter: BpfProgram =
        filter.and_then(TryInto::try_into).map_err(at("a filter of system calls"))?;
    seccompiler::apply_filter(&filter).map_err(at("deny syncs by seccomp(2)"))?;
    Err(at(format!("run {program}"))(Command::new(&program).args(words).exec()))
}
