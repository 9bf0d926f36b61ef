//! Modes that are about being a process: ending, not ending, and being many.

use super::arguments::Arguments;
use super::signals::Termination;
use super::{Failure, Outcome, at};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

/// Children of one parent that leaves them behind. Each is a zombie until it is adopted, and this
/// machine's other processes need pids too.
const ORPHANS_AT_ONCE: u64 = 500;

/// Pause of a bomb's process that cannot fork, in milliseconds: pids may be free again by then.
const BOMB_PAUSE_MS: u64 = 1;

pub(super) fn crash(arguments: &mut Arguments) -> Outcome {
    let code: u8 = arguments.option("--code", 1)?;
    let after_ms = arguments.option("--after-ms", 0)?;
    arguments.finish()?;
    let termination = Termination::watch()?;
    let asked_to_end = termination.wait_for(Duration::from_millis(after_ms))?;
    Ok(if asked_to_end { ExitCode::SUCCESS } else { ExitCode::from(code) })
}

pub(super) fn exit(arguments: &mut Arguments) -> Outcome {
    let code: u8 = arguments.needed("N")?;
    arguments.finish()?;
    Ok(ExitCode::from(code))
}

pub(super) fn hang() -> Outcome {
    Termination::watch()?.wait()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn ignore_term() -> Outcome {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&seen)).map_err(at("watch signals"))?;
    }
    for_ever()
}

/// How much of each second the kernel keeps for ordinary processes; -1 for nothing.
const REALTIME_SHARE: &str = "/proc/sys/kernel/sched_rt_runtime_us";

/// A hang as a kernel's own looks from outside: interrupts work, and no process turns but this one
/// on its processor.
pub(super) fn starve() -> Outcome {
    std::fs::write(REALTIME_SHARE, "-1").map_err(at(format!("write {REALTIME_SHARE}")))?;
    sys::process::go_first().map_err(at("go before all others"))?;
    loop {
        std::hint::spin_loop();
    }
}

/// Waits for nothing.
fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

pub(super) fn chatty(arguments: &mut Arguments) -> Outcome {
    let lines: u64 = arguments.option("--lines", u64::MAX)?;
    arguments.finish()?;
    let termination = Termination::watch()?;
    let mut output = std::io::stdout().lock();
    for number in 0..lines {
        writeln!(output, "line {number}").map_err(at("print"))?;
        if number % 1000 == 0 && termination.wait_for(Duration::from_nanos(1))? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    output.flush().map_err(at("print"))?;
    termination.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Parents, one after the other, that end without waiting for their children.
pub(super) fn orphans(arguments: &mut Arguments) -> Outcome {
    let is_parent = arguments.flag("--parent");
    let count: u64 = arguments.needed("COUNT")?;
    arguments.finish()?;
    if is_parent {
        for _ in 0..count {
            sys::helper::start(|| 0).map_err(at("fork"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut left = count;
    while left > 0 {
        let now = left.min(ORPHANS_AT_ONCE);
        let parent = itself(&["orphans", "--parent", &now.to_string()])?.status();
        let status = parent.map_err(at("run a parent"))?;
        if !status.success() {
            return Err(Failure(format!("a parent of orphans: {status}")));
        }
        left -= now;
    }
    println!("left {count} orphans");
    Ok(ExitCode::SUCCESS)
}

/// This program with other arguments.
fn itself(arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(at("find this program"))?);
    command.args(arguments);
    Ok(command)
}

pub(super) fn children(arguments: &mut Arguments) -> Outcome {
    let count: u64 = arguments.needed("COUNT")?;
    arguments.finish()?;
    for _ in 0..count {
        sys::helper::start(|| for_ever()).map_err(at("fork"))?;
    }
    println!("started {count} children");
    hang()
}

/// The leader stays as any service would. The others ignore SIGTERM and are a moving target: each
/// leaves two others behind and ends, so that no list of their pids is ever true.
pub(super) fn fork_bomb(arguments: &mut Arguments) -> Outcome {
    let is_lit = arguments.flag("--lit");
    arguments.finish()?;
    if !is_lit {
        let mut first = itself(&["forkbomb", "--lit"])?.spawn().map_err(at("start a process"))?;
        first.wait().map_err(at("wait for a process"))?;
        println!("the bomb is lit");
        return hang();
    }
    let seen = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, seen).map_err(at("watch signals"))?;
    let (_never, nothing) = mpsc::channel::<()>();
    let mut left = 2;
    while left > 0 {
        match itself(&["forkbomb", "--lit"])?.spawn() {
            Ok(_) => left -= 1,
            Err(_) => {
                let _ = nothing.recv_timeout(Duration::from_millis(BOMB_PAUSE_MS));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
