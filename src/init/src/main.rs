//! `rollinit-init`: PID 1.
//!
//! Is: spawn, reap, kill, keep descriptors, first mounts, power off. One thread.
//! May touch: the kernel through `sys`, its owner through `port`.
//! Never: policy, text formats, async, a call that can sleep once it has booted, an end.

mod boot;
mod console;
mod options;
mod power;
mod teardown;

fn main() {
    let (options, unknown) = options::read(std::env::args().skip(1));
    let _ = (options, unknown);
}
