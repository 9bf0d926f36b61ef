//! Lists as flat bytes, so that decoding borrows and allocates nothing.

use crate::frame::DecodeError;
use crate::limits::{GROUPS_MAX, RESOURCE_LIMITS_MAX, STRINGS_MAX};
use serde::{Deserialize, Serialize};

/// Strings, each ended by a NUL: what `execve` wants, in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    /// Takes bytes that must be empty or end with a NUL.
    ///
    /// # Errors
    /// `Field` with the given name if they do not, or hold more than [`STRINGS_MAX`] strings.
    pub fn new(bytes: &'a [u8], field: &'static str) -> Result<Self, DecodeError> {
        let strings = Self(bytes);
        strings.check(field)?;
        Ok(strings)
    }

    pub(crate) fn check(&self, field: &'static str) -> Result<(), DecodeError> {
        let ended = self.0.last().is_none_or(|last| *last == 0);
        if ended && self.count() <= STRINGS_MAX { Ok(()) } else { Err(DecodeError::Field(field)) }
    }

    /// The bytes, NULs included.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Number of strings.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|byte| **byte == 0).count()
    }

    /// The strings without their NULs.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split_inclusive(|byte| *byte == 0).map(|string| &string[..string.len() - 1])
    }
}

/// 32-bit numbers, little-endian: supplementary groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    /// Takes bytes whose length must be a multiple of four.
    ///
    /// # Errors
    /// `Field` with the given name if it is not, or if there are more than [`GROUPS_MAX`].
    pub fn new(bytes: &'a [u8], field: &'static str) -> Result<Self, DecodeError> {
        let numbers = Self(bytes);
        numbers.check(field)?;
        Ok(numbers)
    }

    pub(crate) fn check(&self, field: &'static str) -> Result<(), DecodeError> {
        let whole = self.0.len().is_multiple_of(4);
        if whole && self.0.len() / 4 <= GROUPS_MAX {
            Ok(())
        } else {
            Err(DecodeError::Field(field))
        }
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// One resource limit, as prlimit(2) takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// `RLIMIT_*` number.
    pub resource: u8,
    /// Soft limit; `u64::MAX` is infinity.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is infinity.
    pub hard: u64,
}

/// Bytes of one [`ResourceLimit`] on the wire: number, soft, hard.
const LIMIT_BYTES: usize = 17;

/// Resource limits, 17 bytes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits<'a>(&'a [u8]);

impl<'a> Limits<'a> {
    /// Takes bytes whose length must be a multiple of 17.
    ///
    /// # Errors
    /// `Field` with the given name if it is not, or if there are more than the kernel knows.
    pub fn new(bytes: &'a [u8], field: &'static str) -> Result<Self, DecodeError> {
        let limits = Self(bytes);
        limits.check(field)?;
        Ok(limits)
    }

    pub(crate) fn check(&self, field: &'static str) -> Result<(), DecodeError> {
        let whole = self.0.len().is_multiple_of(LIMIT_BYTES);
        let few = self.0.len() / LIMIT_BYTES <= RESOURCE_LIMITS_MAX;
        if whole && few { Ok(()) } else { Err(DecodeError::Field(field)) }
    }

    /// The limits.
    pub fn iter(&self) -> impl Iterator<Item = ResourceLimit> + use<'a> {
        self.0.as_chunks::<LIMIT_BYTES>().0.iter().map(|bytes| {
            let [resource, rest @ ..] = *bytes;
            let (soft, hard) = rest.as_chunks::<8>().0.split_at(1);
            ResourceLimit {
                resource,
                soft: u64::from_le_bytes(soft[0]),
                hard: u64::from_le_bytes(hard[0]),
            }
        })
    }

    /// Appends one limit to bytes that [`Limits::new`] takes.
    pub fn push(bytes: &mut Vec<u8>, limit: ResourceLimit) {
        bytes.push(limit.resource);
        bytes.extend_from_slice(&limit.soft.to_le_bytes());
        bytes.extend_from_slice(&limit.hard.to_le_bytes());
    }
}
