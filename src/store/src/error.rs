//! What can go wrong with the store.
