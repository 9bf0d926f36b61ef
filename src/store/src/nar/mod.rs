//! Nix archives: read, unpacked and written in one pass.
