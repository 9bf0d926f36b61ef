//! SHA-256 in the ways that Nix writes it.
