//! Every bound of this room, with its unit and its reason.

/// Name servers that are kept: resolv.conf(5) reads three.
pub const NAME_SERVERS_MAX: usize = 3;

/// Domains that are searched: more than any network has reason to name.
pub const SEARCH_MAX: usize = 16;

/// Routes of one lease: a DHCP option has room for some thirty.
pub const ROUTES_MAX: usize = 64;

/// Time servers of one lease.
pub const TIME_SERVERS_MAX: usize = 8;

/// Bytes of a host's or domain's name: RFC 1035, less the root's dot.
pub const NAME_BYTES_MAX: usize = 253;

/// Bytes of one label of it.
pub const LABEL_BYTES_MAX: usize = 63;

/// The smallest packet that a link may be told to carry, in bytes: below it IPv6 ends (RFC 8200).
pub const MTU_BYTES_MIN: u32 = 1280;

/// The largest DHCP message that we take, in bytes: an Ethernet packet less its headers.
pub const MESSAGE_BYTES_MAX: u16 = 1472;

/// First delay before something is sent again, in milliseconds. RFC 2131 says 4 s, of networks
/// whose servers ask around first; a lost packet of a boot shall not cost that much.
pub const RESEND_MS_MIN: u64 = 1_000;

/// Longest such delay, in milliseconds: RFC 2131's.
pub const RESEND_MS_MAX: u64 = 64_000;

/// Requests for one offer before another one is looked for.
pub const REQUESTS_MAX: u32 = 4;

/// Shortest delay between two tries to renew, in milliseconds: RFC 2131, section 4.4.5.
pub const RENEW_MS_MIN: u64 = 60_000;

/// First and longest delays of DHCPv6, in milliseconds: RFC 8415, section 7.6; SOL_MAX_RT is that
/// of RFC 3315, since an hour is long for a host that waits for its network.
pub const SOLICIT_MS: (u64, u64) = (1_000, 120_000);
/// Of a request.
pub const REQUEST_MS: (u64, u64) = (1_000, 30_000);
/// Of a renewal and a rebinding.
pub const RENEW_MS: (u64, u64) = (10_000, 600_000);

/// Interfaces that are looked after: an EC2 instance has at most 15.
pub const INTERFACES_MAX: usize = 32;

/// Bytes of a file of ours that is read again.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;
