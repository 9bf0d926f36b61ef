//! Fault handlers, in a copy of this test program that faults on purpose.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::fd::OwnedFd;
use std::process::{Command, Output};
use sys::signal::{AfterCrash, install_fault_handlers};

/// Says which fault the helper below makes.
const VARIABLE: &str = "ROLLINIT_TEST_FAULT";

fn crash(fault: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "helper", "--ignored", "--nocapture"]);
    command.env(VARIABLE, fault).output().unwrap()
}

/// Not a test: the process that faults. Ends by the fault, or with success if it survived.
#[test]
#[ignore = "dies on purpose; every test below starts it, in a process of its own, so it does run"]
fn helper() {
    let Ok(fault) = std::env::var(VARIABLE) else { return };
    // Tests run on a thread of their own; an alternate stack belongs to a thread.
    let log: OwnedFd = rustix::io::dup(std::io::stderr()).unwrap();
    install_fault_handlers(log, AfterCrash::Exit).unwrap();
    match fault.as_str() {
        "null" => {
            // SAFETY: none; the fault is the point.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
        }
        "stack" => {
            std::hint::black_box(descend(0));
        }
        "abort" => std::process::abort(),
        // The shell sends it, so that the sender is another process.
        _ => {
            let kill =
                format!("kill -SEGV {}; kill -ABRT {}", std::process::id(), std::process::id());
            assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
        }
    }
}

/// Never ends but by running out of stack.
#[allow(unconditional_recursion)]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    descend(depth + 1) + frame[1]
}

/// A wild write, an overflown stack and abort(3) each say one line and exit with 70.
#[test]
fn faults_say_a_line_and_end_the_process() {
    for (fault, line) in [
        ("null", "rollinit-init: fault 11"),
        ("stack", "rollinit-init: fault 11"),
        ("abort", "rollinit-init: raised signal 6"),
    ] {
        let output = crash(fault);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{fault}: {text}");
        assert!(text.contains(line), "{fault}: {text}");
    }
}

/// Fault signals that another process sent are said and ignored: the helper lives on to succeed.
#[test]
fn sent_faults_are_ignored() {
    let output = crash("sent");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ignored signal 11 sent by process"), "{text}");
    assert!(text.contains("ignored signal 6 sent by process"), "{text}");
}
