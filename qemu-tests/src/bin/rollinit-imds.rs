//! `rollinit-imds STATE [--listen ADDRESS:PORT | --stdio]`: EC2's metadata service for tests.
//!
//! With `--stdio` it serves the one connection that its standard input and output are, as QEMU's
//! `guestfwd` wants it; else it prints its address and serves until it is killed.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::PathBuf;

const USAGE: &str = "usage: rollinit-imds STATE [--listen ADDRESS:PORT | --stdio]";

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (mut state, mut address) = (None, SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut is_stdio = false;
    while let Some(argument) = arguments.next() {
        if argument == "--listen" {
            let text = arguments.next().context("--listen: an address is due")?;
            let text = text.to_string_lossy();
            address = text.parse().with_context(|| format!("--listen {text}: no ADDRESS:PORT"))?;
        } else if argument == "--stdio" {
            is_stdio = true;
        } else if state.is_none() {
            state = Some(PathBuf::from(argument));
        } else {
            bail!(USAGE);
        }
    }
    let state = state.context(USAGE)?;
    if is_stdio {
        return imds::stdio(&state).with_context(|| format!("serve {}", state.display()));
    }
    let server = imds::listen(address, &state).with_context(|| format!("listen {address}"))?;
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}
