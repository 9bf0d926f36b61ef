//! One NAR: from the body's bytes to a tree under its staging name, in one pass.

use crate::error::{Fault, is_full};
use crate::fetch::body::Body;
use crate::fetch::frame;
use crate::fetch::settle::settle;
use crate::nar::{self, DumpError, Expected, NarError, UnpackError};
use liblzma::stream as xz;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

/// Bytes that an open unpacker takes beside its window: the decompressor's own tables and block,
/// the NAR reader's buffer, pieces in the channel.
pub(crate) const UNPACKER_BYTES: u64 = 512 << 10;

/// What it takes of these before the NAR has filled anything.
pub(crate) const UNPACKER_BYTES_MIN: u64 = 256 << 10;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    /// With the window that was admitted, in bytes.
    Zstd {
        window: u64,
    },
    /// With the largest dictionary that is admitted, in bytes.
    Xz {
        dictionary: u64,
    },
}

/// Unpacks `body` as `name` in `folder`; on any error nothing of it is left.
pub(crate) fn unpack<B: AsRef<[u8]>>(
    body: Body<B>,
    packing: Packing,
    expected: &Expected,
    folder: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(), Fault> {
    let unpacked = match packing {
        Packing::None => nar::unpack(body, expected, folder, name),
        Packing::Zstd { window } => {
            let input = decoder(body, window).map_err(Fault::Io)?;
            nar::unpack(input, expected, folder, name)
        }
        Packing::Xz { dictionary } => {
            let input = xz_decoder(body, dictionary).map_err(Fault::Io)?;
            nar::unpack(input, expected, folder, name)
        }
    };
    unpacked.map(drop).map_err(|error| fault(error, expected))
}

fn decoder<B: AsRef<[u8]>>(body: Body<B>, window: u64) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    // A later frame that asks for more than the first one was admitted with is refused by zstd.
    decoder.window_log_max(frame::exponent(window))?;
    Ok(decoder)
}

/// What the decoder takes beside the dictionary, in bytes: tables and coders are some 64 KiB.
const XZ_TABLES_BYTES: u64 = 256 << 10;

/// The way of xz(1): one stream or several, and nothing after them.
fn xz_decoder<B: AsRef<[u8]>>(body: Body<B>, dictionary: u64) -> io::Result<impl Read> {
    let limit = dictionary.saturating_add(XZ_TABLES_BYTES);
    let stream = xz::Stream::new_stream_decoder(limit, xz::CONCATENATED)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(body, stream))
}

/// Whether liblzma was asked for more memory than it was given.
fn is_over_limit(source: &io::Error) -> bool {
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<xz::Error>());
    matches!(inner, Some(xz::Error::MemLimit))
}

fn fault(error: UnpackError, expected: &Expected) -> Fault {
    let size = expected.size;
    match error {
        UnpackError::Hash { expected, found } => Fault::WrongHash { expected, found },
        UnpackError::File { source, .. } if is_full(&source) => Fault::Full,
        UnpackError::File { step, name, source } => {
            Fault::Io(io::Error::new(source.kind(), format!("{step} `{name}`: {source}")))
        }
        UnpackError::LeftBehind { error, .. } => fault(*error, expected),
        UnpackError::Nar(NarError::Truncated { at }) => {
            Fault::Truncated { expected: size, found: at }
        }
        UnpackError::Nar(NarError::Input { at, source })
            if source.kind() == io::ErrorKind::UnexpectedEof =>
        {
            Fault::Truncated { expected: size, found: at }
        }
        UnpackError::Nar(NarError::Input { source, .. }) if is_over_limit(&source) => {
            Fault::Dictionary
        }
        UnpackError::Nar(NarError::Input { source, .. }) => Fault::Damaged(source.to_string()),
        UnpackError::Nar(NarError::TooLong { .. } | NarError::Trailing { .. }) => {
            Fault::TooLarge { expected: size }
        }
        UnpackError::Nar(error) => Fault::Nar(error),
    }
}

/// Whether `name` in `folder`, which a fetch before this one left behind, is already all of it.
/// What a NAR does not tell, modes and times, is given to it anew: a power cut may have lost them.
pub(crate) fn is_whole(folder: BorrowedFd<'_>, name: &OsStr, expected: &Expected) -> bool {
    let dumped = nar::dump(folder, name, io::sink());
    let same = |dumped: nar::Dumped| dumped.hash == expected.hash && dumped.size == expected.size;
    dumped.is_ok_and(same) && settle(folder, name).is_ok()
}

/// Why a tree has no hash, as a fault.
pub(crate) fn dump_fault(error: DumpError) -> Fault {
    match error {
        DumpError::File { step, name, source } => {
            Fault::Io(io::Error::new(source.kind(), format!("{step} `{name}`: {source}")))
        }
        other => Fault::Io(io::Error::other(other)),
    }
}
