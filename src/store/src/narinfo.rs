//! What a binary cache says about one path.
