//! The server's half of NBD, as much as QEMU needs: fixed newstyle, one export, simple replies.
//!
//! Source: doc/proto.md of the NetworkBlockDevice project. All numbers are big-endian.

use super::disk::Disk;
use anyhow::{Result, bail, ensure};
use std::io::{Read, Write};
use std::sync::{Condvar, Mutex, PoisonError};

const GREETING: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// `NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES`, offered and taken.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// `NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA`.
const TRANSMISSION_FLAGS: u16 = 0b1101;

const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;

const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_FLUSH: u16 = 3;
const FLAG_FUA: u16 = 1;

const ERROR_INVALID: u32 = 22;

/// Bytes of an option's body; QEMU sends a name and a few numbers.
const OPTION_BYTES_MAX: u32 = 4096;
/// Bytes of a request: what the protocol lets a client assume.
const REQUEST_BYTES_MAX: u32 = 32 << 20;

/// The disk, and who waits for its power to go.
#[derive(Debug)]
pub struct Shared {
    pub disk: Mutex<Disk>,
    pub went: Condvar,
}

impl Shared {
    /// The disk; a test that panicked with it in hand has failed already.
    pub fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one client until it goes or the power does.
///
/// # Errors
/// Words that are no NBD; a connection that ends in the middle of one.
pub fn serve(mut stream: impl Read + Write, shared: &Shared) -> Result<()> {
    if !negotiate(&mut stream, shared.disk().length())? {
        return Ok(());
    }
    while transmit(&mut stream, shared)? {}
    Ok(())
}

fn number<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Until the client goes on to the disk; false if it goes away.
fn negotiate(stream: &mut (impl Read + Write), length: u64) -> Result<bool> {
    stream.write_all(GREETING)?;
    stream.write_all(OPTION_MAGIC)?;
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    let flags = u32::from_be_bytes(number(stream)?);
    ensure!(flags == u32::from(HANDSHAKE_FLAGS), "a client of another style: flags {flags:#x}");
    loop {
        let magic: [u8; 8] = number(stream)?;
        ensure!(&magic == OPTION_MAGIC, "an option begins with {magic:x?}");
        let option = u32::from_be_bytes(number(stream)?);
        let size = u32::from_be_bytes(number(stream)?);
        ensure!(size <= OPTION_BYTES_MAX, "an option of {size} bytes");
        let mut body = vec![0; usize::try_from(size)?];
        stream.read_exact(&mut body)?;
        match option {
            OPTION_GO => {
                let mut export = INFO_EXPORT.to_be_bytes().to_vec();
                export.extend(length.to_be_bytes());
                export.extend(TRANSMISSION_FLAGS.to_be_bytes());
                reply_option(stream, option, REPLY_INFO, &export)?;
                reply_option(stream, option, REPLY_ACK, &[])?;
                return Ok(true);
            }
            OPTION_ABORT => {
                reply_option(stream, option, REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => reply_option(stream, option, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn reply_option(stream: &mut impl Write, option: u32, reply: u32, body: &[u8]) -> Result<()> {
    let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(reply.to_be_bytes());
    bytes.extend(u32::try_from(body.len())?.to_be_bytes());
    bytes.extend(body);
    Ok(stream.write_all(&bytes)?)
}

/// One request; false if it was the last.
fn transmit(stream: &mut (impl Read + Write), shared: &Shared) -> Result<bool> {
    let magic = u32::from_be_bytes(number(stream)?);
    ensure!(magic == REQUEST_MAGIC, "a request begins with {magic:#x}");
    let flags = u16::from_be_bytes(number(stream)?);
    let command = u16::from_be_bytes(number(stream)?);
    let cookie: [u8; 8] = number(stream)?;
    let offset = u64::from_be_bytes(number(stream)?);
    let length = u32::from_be_bytes(number(stream)?);
    if matches!(command, COMMAND_READ | COMMAND_WRITE) && length > REQUEST_BYTES_MAX {
        bail!("a request for {length} bytes");
    }
    let length = usize::try_from(length)?;
    let mut error = 0;
    let mut answer = Vec::new();
    match command {
        COMMAND_READ => match shared.disk().read(offset, length) {
            Ok(bytes) => answer = bytes,
            Err(_) => error = ERROR_INVALID,
        },
        COMMAND_WRITE => {
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes)?;
            let mut disk = shared.disk();
            if !disk.is_cut() && disk.write(offset, bytes, flags & FLAG_FUA != 0).is_err() {
                error = ERROR_INVALID;
            }
        }
        COMMAND_FLUSH => {
            if !shared.disk().is_cut() && shared.disk().flush()?.is_err() {
                shared.went.notify_all();
            }
        }
        COMMAND_DISCONNECT => return Ok(false),
        _ => error = ERROR_INVALID,
    }
    if shared.disk().is_cut() {
        // No answer: nothing that comes after the cut may count as done.
        return Ok(false);
    }
    let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(u32::to_be_bytes(error));
    reply.extend(cookie);
    if error == 0 {
        reply.extend(answer);
    }
    stream.write_all(&reply)?;
    Ok(true)
}
