//! RFC 4648's base 64 with padding, strict.
