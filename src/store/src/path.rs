//! Store paths.
