//! Who signed a path: ed25519, as binary caches do it.
