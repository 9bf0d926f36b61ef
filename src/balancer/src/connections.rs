//! The kernel's table of TCP connections (`/proc/net/tcp`, proc(5)): who still talks to a port.
//!
//! An ALB does not tell how many requests of a target are in flight, but each of them has a
//! connection that the kernel knows of. Its idle kept connections count too: nobody can tell them
//! apart from here, so the deregistration delay bounds the wait.

use crate::limits::CONNECTIONS_BYTES_MAX;
use std::io::{self, Read as _};
use std::path::Path;

/// `ESTABLISHED` in the column `st`.
const ESTABLISHED: &str = "01";

/// The tables: IPv4, and IPv6 with IPv4 in it.
const TABLES: [&str; 2] = ["tcp", "tcp6"];

/// Established connections to `port` from other hosts, by the tables in `folder` (`/proc/net`).
///
/// # Errors
/// A table cannot be read, or is longer than anybody expects. One that is not there (a kernel
/// without IPv6) is empty.
pub fn to_port(folder: &Path, port: u16) -> io::Result<u64> {
    let mut count = 0;
    for table in TABLES {
        let file = match std::fs::File::open(folder.join(table)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let limit = u64::try_from(CONNECTIONS_BYTES_MAX).unwrap_or(u64::MAX);
        let mut text = String::new();
        file.take(limit).read_to_string(&mut text)?;
        if text.len() >= CONNECTIONS_BYTES_MAX {
            let words = format!("more than {CONNECTIONS_BYTES_MAX} bytes of connections");
            return Err(io::Error::other(words));
        }
        count += count_in(&text, port);
    }
    Ok(count)
}

/// Connections of one table.
fn count_in(text: &str, port: u16) -> u64 {
    let lines = text.lines().skip(1);
    let counted = lines.filter(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(remote), Some(state)) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        let of = |address: &str| {
            let (ip, port) = address.rsplit_once(':')?;
            Some((ip.to_owned(), u16::from_str_radix(port, 16).ok()?))
        };
        let (Some(local), Some(remote)) = (of(local), of(remote)) else { return false };
        // A connection from the same address is this host asking itself: a probe.
        state == ESTABLISHED && local.1 == port && local.0 != remote.0 && !is_loopback(&remote.0)
    });
    u64::try_from(counted.count()).unwrap_or(u64::MAX)
}

/// 127.0.0.0/8 and its form in IPv6: the kernel writes each word of 32 bits in the host's order.
fn is_loopback(ip: &str) -> bool {
    let first_byte = if cfg!(target_endian = "little") { 6..8 } else { 0..2 };
    match ip.len() {
        8 => ip.get(first_byte) == Some("7F"),
        32 => {
            let (head, tail) = ip.split_at(24);
            let is_mapped = head.starts_with("0000000000000000") && head.contains("FFFF");
            is_mapped && tail.get(first_byte) == Some("7F")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0B4D0A0A:0FA0 014D0A0A:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0B4D0A0A:0FA0 014D0A0A:D432 06 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   3: 0100007F:0FA0 0900007F:D433 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0
   4: 0B4D0A0A:0FA1 014D0A0A:D434 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0
   5: 0B4D0A0A:0FA0 0B4D0A0A:D435 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0
   6: nonsense
";

    #[test]
    fn only_established_connections_of_others_to_that_port_count() {
        assert_eq!(count_in(TABLE, 4000), 1);
        assert_eq!(count_in(TABLE, 4001), 1);
        assert_eq!(count_in(TABLE, 80), 0);
        let mapped = "head\n 0: 0000000000000000FFFF00000B4D0A0A:0FA0 \
                      0000000000000000FFFF0000014D0A0A:D431 01 x\n \
                      1: 0000000000000000FFFF00000100007F:0FA0 \
                      0000000000000000FFFF00000900007F:D431 01 x\n";
        assert_eq!(count_in(mapped, 4000), 1);
    }

    /// The kernel's own table: a connection of ours over loopback is not counted.
    #[test]
    fn the_kernels_own_table_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let _connection = std::net::TcpStream::connect(address).expect("a connection");
        assert_eq!(to_port(Path::new("/proc/net"), address.port()).expect("read"), 0);
        assert_eq!(to_port(Path::new("/nonexistent"), 1).expect("no tables are empty ones"), 0);
    }
}
