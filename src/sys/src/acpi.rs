//! ACPI events over generic netlink: the power button, with no input device in between.
//!
//! The family `acpi_event` is registered by the kernel's ACPI core; its events come as soon as the
//! `button` driver is there, so it may be loaded later. Formats: linux/netlink.h,
//! linux/genetlink.h, and `struct acpi_genl_event` of drivers/acpi/event.c.

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const NETLINK_HEADER_BYTES: usize = 16;
const GENERIC_HEADER_BYTES: usize = 4;
/// linux/genetlink.h: GENL_ID_CTRL, CTRL_CMD_GETFAMILY.
const CONTROL_FAMILY: u16 = 0x10;
const GET_FAMILY: u8 = 3;
/// linux/genetlink.h: CTRL_ATTR_FAMILY_ID, _FAMILY_NAME, _MCAST_GROUPS.
const ATTRIBUTE_FAMILY_ID: u16 = 1;
const ATTRIBUTE_FAMILY_NAME: u16 = 2;
const ATTRIBUTE_GROUPS: u16 = 7;
/// linux/genetlink.h: CTRL_ATTR_MCAST_GRP_ID.
const ATTRIBUTE_GROUP_ID: u16 = 2;
/// drivers/acpi/event.c: ACPI_GENL_ATTR_EVENT.
const ATTRIBUTE_EVENT: u16 = 1;
/// drivers/acpi/event.c: `char device_class[20]` comes first.
const DEVICE_CLASS_BYTES: usize = 20;
/// One datagram in bytes; an event has 64, the family's description some 300.
const DATAGRAM_BYTES_MAX: usize = 8192;
/// The two upper bits of an attribute's type are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// A socket that receives ACPI events; non-blocking.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    family: u16,
}

impl Listener {
    /// Joins the kernel's ACPI events.
    ///
    /// # Errors
    /// `ENOENT` on a kernel or machine without ACPI; else those of socket(2), send(2), recv(2).
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::GENERIC);
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &family_request(), SendFlags::empty(), &kernel)?;
        // The kernel answers within the send, so a non-blocking receive finds the answer.
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        let (_, length) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let (family, group) =
            family_of(&buffer[..length]).ok_or(io::Error::from_raw_os_error(libc::ENOENT))?;
        join(&socket, group)?;
        Ok(Self { socket, family })
    }

    /// Takes all waiting events; true if one of them was a press of the power button.
    ///
    /// # Errors
    /// Those of recv(2) other than `EAGAIN`; `ENOBUFS` says that events were lost.
    pub fn power_pressed(&self) -> io::Result<bool> {
        let mut pressed = false;
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => pressed |= is_power_button(&buffer[..length], self.family),
                Err(rustix::io::Errno::AGAIN) => return Ok(pressed),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `NETLINK_ADD_MEMBERSHIP` of netlink(7).
fn join(socket: &OwnedFd, group: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<u32>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and length describe a live u32, as netlink(7) asks for.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the control family for the number and groups of `acpi_event`.
fn family_request() -> Vec<u8> {
    const NAME: &[u8] = b"acpi_event\0";
    let attribute_bytes = 4 + NAME.len();
    let total = (NETLINK_HEADER_BYTES + GENERIC_HEADER_BYTES + attribute_bytes).next_multiple_of(4);
    let mut bytes = Vec::with_capacity(total);
    let request = u16::try_from(libc::NLM_F_REQUEST).unwrap_or(1);
    bytes.extend(u32::try_from(total).unwrap_or(0).to_ne_bytes());
    bytes.extend(CONTROL_FAMILY.to_ne_bytes());
    bytes.extend(request.to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port
    bytes.extend([GET_FAMILY, 1, 0, 0]);
    bytes.extend(u16::try_from(attribute_bytes).unwrap_or(0).to_ne_bytes());
    bytes.extend(ATTRIBUTE_FAMILY_NAME.to_ne_bytes());
    bytes.extend(NAME);
    bytes.resize(total, 0);
    bytes
}

/// The attributes in `bytes`: type and payload each. Ends at the first that is malformed.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [l0, l1, t0, t1, ..] = *rest else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([t0, t1]) & ATTRIBUTE_TYPE_MASK, payload))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, payload)| (kind == wanted).then_some(payload))
}

/// The family that a message is of, and its attributes.
fn message(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let kind = u16::from_ne_bytes([*datagram.get(4)?, *datagram.get(5)?]);
    Some((kind, datagram.get(NETLINK_HEADER_BYTES + GENERIC_HEADER_BYTES..)?))
}

/// The family's number and its first group's, from the control family's answer.
fn family_of(datagram: &[u8]) -> Option<(u16, u32)> {
    let (kind, body) = message(datagram)?;
    if kind != CONTROL_FAMILY {
        return None; // NLMSG_ERROR: there is no such family
    }
    let family = attribute(body, ATTRIBUTE_FAMILY_ID)?.first_chunk::<2>()?;
    let (_, first) = attributes(attribute(body, ATTRIBUTE_GROUPS)?).next()?;
    let group = attribute(first, ATTRIBUTE_GROUP_ID)?.first_chunk::<4>()?;
    Some((u16::from_ne_bytes(*family), u32::from_ne_bytes(*group)))
}

/// Whether a datagram is a press of the power button.
fn is_power_button(datagram: &[u8], family: u16) -> bool {
    let event = match message(datagram) {
        Some((kind, body)) if kind == family => attribute(body, ATTRIBUTE_EVENT),
        _ => None,
    };
    event.is_some_and(|event| {
        let class = &event[..event.len().min(DEVICE_CLASS_BYTES)];
        class.starts_with(b"button/power")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_bytes(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(payload.len() + 4).expect("short").to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn datagram(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; NETLINK_HEADER_BYTES + GENERIC_HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    /// The family's description as the kernel lays it out: id, then nested groups.
    #[test]
    fn family_and_group_are_found() {
        let group =
            [attribute_bytes(2, &7_u32.to_ne_bytes()), attribute_bytes(1, b"acpi_mc_group\0")];
        let groups = attribute_bytes(1, &group.concat());
        let body = [
            attribute_bytes(2, b"acpi_event\0"),
            attribute_bytes(1, &23_u16.to_ne_bytes()),
            attribute_bytes(7 | 0x8000, &groups),
        ];
        assert_eq!(family_of(&datagram(CONTROL_FAMILY, &body.concat())), Some((23, 7)));
        assert_eq!(family_of(&datagram(2, &[0; 20])), None, "an error is no family");
    }

    /// Only the power button of this family counts, not the lid, not another family's message.
    #[test]
    fn only_the_power_button_counts() {
        let mut event = b"button/power\0\0\0\0\0\0\0\0LNXPWRBN:00\0\0\0\0".to_vec();
        event.extend([0x80, 0, 0, 0, 1, 0, 0, 0]);
        assert!(is_power_button(&datagram(23, &attribute_bytes(1, &event)), 23));
        assert!(!is_power_button(&datagram(24, &attribute_bytes(1, &event)), 23));
        event[7..12].copy_from_slice(b"lid\0\0");
        assert!(!is_power_button(&datagram(23, &attribute_bytes(1, &event)), 23));
    }

    /// No prefix of a real message, and no length field, makes the parser read out of bounds.
    #[test]
    fn broken_datagrams_are_nothing() {
        let whole = datagram(23, &attribute_bytes(1, b"button/power\0"));
        for length in 0..whole.len() - 1 {
            let _ = is_power_button(&whole[..length], 23);
            let _ = family_of(&whole[..length]);
        }
        let mut zero = whole.clone();
        zero[20..22].copy_from_slice(&0_u16.to_ne_bytes());
        assert!(!is_power_button(&zero, 23));
    }
}
