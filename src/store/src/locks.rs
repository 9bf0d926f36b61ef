//! Nix's locks: the big one, and one a path.
