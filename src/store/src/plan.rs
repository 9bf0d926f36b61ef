//! What a fetch would do, before it does it.
