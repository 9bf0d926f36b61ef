//! `rollinit-cache DIR [--listen ADDRESS:PORT]`: a binary cache for tests and benchmarks.
//!
//! Prints the address it serves on, and serves until it is killed.

use anyhow::{Context, Result, bail};
use qemu_tests::cache::Server;
use std::net::SocketAddr;
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (mut folder, mut address) = (None, SocketAddr::from(([127, 0, 0, 1], 0)));
    while let Some(argument) = arguments.next() {
        if argument == "--listen" {
            let text = arguments.next().context("--listen: an address is due")?;
            let text = text.to_string_lossy();
            address = text.parse().with_context(|| format!("--listen {text}: no ADDRESS:PORT"))?;
        } else if folder.is_none() {
            folder = Some(PathBuf::from(argument));
        } else {
            bail!("usage: rollinit-cache DIR [--listen ADDRESS:PORT]");
        }
    }
    let folder = folder.context("usage: rollinit-cache DIR [--listen ADDRESS:PORT]")?;
    let server = Server::start_on(&folder, address).with_context(|| format!("listen {address}"))?;
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}
