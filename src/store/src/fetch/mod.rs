//! A closure from binary caches into the store.
