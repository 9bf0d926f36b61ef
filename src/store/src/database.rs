//! Nix's own database: what is valid, and its registration.
