//! Temporary roots, as Nix's collector reads them.
