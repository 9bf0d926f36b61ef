//! The kernel's random numbers: taking some, and giving it a seed. Sources: getrandom(2),
//! random(4), include/uapi/linux/random.h.

use rustix::rand::GetRandomFlags;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Bytes of one [`seed`]: the kernel's pool has 256 bits.
pub const SEED_BYTES: usize = 32;

/// Where the kernel takes entropy.
const DEVICE: &str = "/dev/urandom";

/// Random bytes, and whether the kernel vouches for them: early in a boot it may not have gathered
/// enough, and then these are its best and still worth keeping.
///
/// # Errors
/// Those of getrandom(2).
pub fn random() -> io::Result<([u8; SEED_BYTES], bool)> {
    let mut bytes = [0; SEED_BYTES];
    match fill(&mut bytes, GetRandomFlags::NONBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            fill(&mut bytes, GetRandomFlags::INSECURE)?;
            Ok((bytes, false))
        }
        filled => filled.map(|()| (bytes, true)),
    }
}

/// Random bytes that the kernel vouches for: waits until it does. Since Linux 5.6 it gathers what
/// it lacks by itself, which takes a second or two.
///
/// # Errors
/// Those of getrandom(2).
pub fn random_when_ready() -> io::Result<[u8; SEED_BYTES]> {
    let mut bytes = [0; SEED_BYTES];
    fill(&mut bytes, GetRandomFlags::empty()).map(|()| bytes)
}

fn fill(bytes: &mut [u8; SEED_BYTES], flags: GetRandomFlags) -> io::Result<()> {
    // Up to 256 bytes are never cut short once the pool is ready (getrandom(2)).
    let length = rustix::rand::getrandom(&mut bytes[..], flags)?;
    if length == SEED_BYTES { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// struct `rand_pool_info` with room for one seed.
#[repr(C)]
struct PoolInfo {
    /// What the bytes count as, in bits.
    entropy_bits: libc::c_int,
    /// How many there are.
    size_bytes: libc::c_int,
    bytes: [u8; SEED_BYTES],
}

/// _IOW('R', 0x03, int[2])
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;

/// Mixes a seed into the kernel's pool. With `credit` it counts in full: only for one that nobody
/// else has and that is used this once.
///
/// # Errors
/// Those of open(2), write(2), and of the ioctl: `EPERM` without privilege.
pub fn seed(bytes: &[u8; SEED_BYTES], credit: bool) -> io::Result<()> {
    const SEED_BITS: libc::c_int = 256;
    const SIZE_BYTES: libc::c_int = 32;
    let mut device = File::options().write(true).open(DEVICE)?;
    if !credit {
        return device.write_all(bytes);
    }
    let info = PoolInfo { entropy_bits: SEED_BITS, size_bytes: SIZE_BYTES, bytes: *bytes };
    // SAFETY: the descriptor is open, and the kernel only reads the two numbers and as many bytes
    // behind them as the second says, which are those of the array.
    if unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, &raw const info) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two calls differ, the machine that runs tests has long been ready, and a seed is taken.
    #[test]
    fn random_bytes_and_seeds() {
        let (first, ready) = random().expect("random bytes");
        assert!(ready);
        assert_ne!(first, random().expect("more").0);
        assert_ne!(first, random_when_ready().expect("more"));
        seed(&first, false).expect("anybody may mix something in");
        match seed(&first, true) {
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
            Ok(()) => assert!(rustix::process::geteuid().is_root()),
        }
    }
}
