//! Mappings: state in a sealed memfd, stacks with a guard page, and bodies read out of memfds.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use std::ffi::{CStr, c_void};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// One page, in bytes. x86-64 has no other base size.
pub const PAGE_BYTES: usize = 4096;

/// A mapping that is unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of one mmap call, and nobody else unmaps it.
        // A failure would leave it mapped, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr(), self.bytes) };
    }
}

/// Bytes in a shared memfd: zero at first, touched lazily, never moved, never resized (sealed, so
/// that no access can end in `SIGBUS`).
#[derive(Debug)]
pub struct Memory {
    fd: OwnedFd,
    mapping: Mapping,
}

impl Memory {
    /// A new memfd of `bytes`, mapped shared, close-on-exec.
    ///
    /// # Errors
    /// Those of memfd_create(2), ftruncate(2), fcntl(2) `F_ADD_SEALS` and mmap(2).
    pub fn create(name: &CStr, bytes: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(name, flags)?;
        ftruncate(&fd, bytes as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
        let start =
            unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, &fd, 0)? };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { fd, mapping: Mapping { start, bytes } })
    }

    /// The memfd itself.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, initialised by the kernel, as long as `self`, sealed
        // against shrinking, and mapped by nobody else: the descriptor never leaves this process.
        unsafe {
            std::slice::from_raw_parts(self.mapping.start.as_ptr().cast(), self.mapping.bytes)
        }
    }

    /// All bytes, to write.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes any other reference into it.
        unsafe {
            std::slice::from_raw_parts_mut(self.mapping.start.as_ptr().cast(), self.mapping.bytes)
        }
    }
}

/// A stack with an unreadable page below it: an overflow faults instead of writing elsewhere.
#[derive(Debug)]
pub struct Stack {
    mapping: Mapping,
}

impl Stack {
    /// A stack of `bytes`, rounded up to whole pages, and its guard page.
    ///
    /// # Errors
    /// Those of mmap(2) and mprotect(2).
    pub fn new(bytes: usize) -> io::Result<Self> {
        let total = bytes.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::STACK;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), total, protection, flags)? };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        let stack = Self { mapping: Mapping { start, bytes: total } };
        // SAFETY: the first page of our own mapping, to which no reference exists.
        unsafe { mprotect(start.as_ptr(), PAGE_BYTES, MprotectFlags::empty())? };
        Ok(stack)
    }

    /// Lowest usable address, above the guard page.
    #[must_use]
    pub fn base(&self) -> NonNull<c_void> {
        // SAFETY: the mapping is always longer than its guard page.
        unsafe { self.mapping.start.byte_add(PAGE_BYTES) }
    }

    /// Usable bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.mapping.bytes - PAGE_BYTES
    }
}

/// A memfd with the given content: a frame's body that is too long for the frame.
///
/// # Errors
/// Those of memfd_create(2) and write(2).
pub fn memfd_with(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < content.len() {
        written += rustix::io::pwrite(&fd, &content[written..], written as u64)?;
    }
    Ok(fd)
}

/// Copies `buffer.len()` bytes out of a memfd into `buffer`. Not by mapping it, so its sender may
/// change or shrink it meanwhile and harm only itself.
///
/// # Errors
/// `EINVAL` if it is no memfd (a pipe or a dead disk's file could hold the reader),
/// `UnexpectedEof` if it is shorter.
pub fn read_memfd(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<()> {
    // Only files in memory know seals; fcntl(2) answers EINVAL for all others.
    fcntl_get_seals(fd)?;
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[done..], done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => done += bytes,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written through the mapping is what the memfd holds; growing it is refused.
    #[test]
    fn memory_is_shared_and_sealed() {
        let mut memory = Memory::create(c"test", 2 * PAGE_BYTES).expect("memory");
        memory.bytes_mut()[PAGE_BYTES] = 7;
        let mut byte = [0];
        rustix::io::pread(memory.fd(), &mut byte, PAGE_BYTES as u64).expect("pread");
        assert_eq!((byte[0], memory.bytes()[0]), (7, 0));
        assert!(ftruncate(memory.fd(), 0).is_err());
    }

    /// A body comes back as written; a shorter memfd and a pipe are refused without waiting.
    #[test]
    fn bodies_come_only_from_memfds() {
        let fd = memfd_with(c"body", b"hello").expect("memfd");
        let mut buffer = [0; 5];
        read_memfd(fd.as_fd(), &mut buffer).expect("read");
        assert_eq!(&buffer, b"hello");
        let error = read_memfd(fd.as_fd(), &mut [0; 6]).expect_err("shorter");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let (reader, _writer) = rustix::pipe::pipe().expect("pipe");
        let error = read_memfd(reader.as_fd(), &mut [0; 1]).expect_err("a pipe would block");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
