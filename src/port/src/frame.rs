//! The fixed header, and the errors of both directions.

use crate::limits::FRAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// The newest version this crate reads and writes. Version N reads and writes N and N-1.
pub const VERSION: u8 = 1;

/// The oldest version this crate still speaks.
pub const VERSION_MIN: u8 = 1;

/// Bytes of [`Header`] on the wire.
pub const HEADER_BYTES: usize = 16;

/// The body is not in the frame: it lies in the memfd that is the first descriptor.
pub const FLAG_BODY_IN_MEMFD: u16 = 1;

/// The 16 bytes before every body, little-endian: version, kind, flags, length, sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version of this frame.
    pub version: u8,
    /// Which body follows: a request, answer, event or page kind.
    pub kind: u8,
    /// `FLAG_*` bits; unknown ones are an error.
    pub flags: u16,
    /// Body length in bytes, in the frame or in the memfd.
    pub length: u32,
    /// Chosen by the asker; the answer carries it back. Zero in events and pages.
    pub sequence: u64,
}

/// Why bytes are not a frame. The connection that sent them closes; PID 1 lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than a header.
    Short,
    /// A version outside `VERSION_MIN..=VERSION`.
    Version(u8),
    /// A kind nobody defined. Answered with an error, since a newer owner may ask for more.
    Kind(u8),
    /// A flag nobody defined.
    Flags(u16),
    /// The length in the header is not the length that arrived, or is above its cap.
    Length,
    /// The body does not decode, or has bytes left over.
    Body,
    /// The named field is above its cap or malformed.
    Field(&'static str),
}

/// Why a value cannot become a frame. A caller's mistake, never the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer, or the cap of a frame, is too small.
    Full,
    /// The named field is above its cap.
    Field(&'static str),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => write!(f, "fewer than {HEADER_BYTES} bytes"),
            Self::Version(version) => {
                write!(f, "version {version}, understood are {VERSION_MIN} to {VERSION}")
            }
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
            Self::Flags(flags) => write!(f, "unknown flags {flags:#x}"),
            Self::Length => write!(f, "length field and packet disagree"),
            Self::Body => write!(f, "body does not decode"),
            Self::Field(name) => write!(f, "field {name} is malformed or above its cap"),
        }
    }
}

impl core::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Full => write!(f, "does not fit a frame of {FRAME_BYTES_MAX} bytes"),
            Self::Field(name) => write!(f, "field {name} is above its cap"),
        }
    }
}

impl std::error::Error for DecodeError {}
impl std::error::Error for EncodeError {}

impl Header {
    /// The header at the start of a packet, its version and flags checked.
    ///
    /// # Errors
    /// [`DecodeError`] `Short`, `Version` or `Flags`.
    pub fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let bytes: &[u8; HEADER_BYTES] = packet.first_chunk().ok_or(DecodeError::Short)?;
        let [version, kind, f0, f1, l0, l1, l2, l3, s @ ..] = *bytes;
        let header = Self {
            version,
            kind,
            flags: u16::from_le_bytes([f0, f1]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            sequence: u64::from_le_bytes(s),
        };
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(DecodeError::Version(version));
        }
        if header.flags & !FLAG_BODY_IN_MEMFD != 0 {
            return Err(DecodeError::Flags(header.flags));
        }
        Ok(header)
    }

    /// The header as it goes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.version;
        bytes[1] = self.kind;
        bytes[2..4].copy_from_slice(&self.flags.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// The body of a packet whose body is in the frame.
    ///
    /// # Errors
    /// `Length` if the packet is not exactly header and body.
    pub fn body<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let body = packet.get(HEADER_BYTES..).ok_or(DecodeError::Short)?;
        if body.len() == self.length as usize && packet.len() <= FRAME_BYTES_MAX {
            Ok(body)
        } else {
            Err(DecodeError::Length)
        }
    }
}

/// Encodes `body` behind its header into `buffer`; returns the frame's length in bytes.
pub(crate) fn write(
    kind: u8,
    sequence: u64,
    body: &impl Serialize,
    buffer: &mut [u8],
) -> Result<usize, EncodeError> {
    let cap = buffer.len().min(FRAME_BYTES_MAX);
    let (head, rest) =
        buffer[..cap].split_first_chunk_mut::<HEADER_BYTES>().ok_or(EncodeError::Full)?;
    let length = postcard::to_slice(body, rest).map_err(|_| EncodeError::Full)?.len();
    let length_field = u32::try_from(length).map_err(|_| EncodeError::Full)?;
    *head = Header { version: VERSION, kind, flags: 0, length: length_field, sequence }.encode();
    Ok(HEADER_BYTES + length)
}

/// Decodes a whole body; bytes left over are an error.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError::Body),
    }
}
