//! Whether the disk has room.
