//! The store directory and what is valid in it.
