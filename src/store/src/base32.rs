//! Nix's own base 32: its alphabet, its order of bits.
