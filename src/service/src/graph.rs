//! Who waits for whom.
