//! Disks: whose superblock is on a device, what a partition table says, how both grow.
//!
//! Is: the probing of file systems and partitions by label and UUID, the growth of a partition and
//! its file system, and what a whole volume holds, for stage 1 and for data volumes alike. May
//! touch: block devices it is given, through `sys`. Never: decides which device is meant, makes a
//! file system, mounts.

mod bytes;
pub mod content;
pub mod device;
pub mod growth;
pub mod superblock;
pub mod table;

pub use bytes::{ReadAt, WriteAt};
pub use device::{Device, devices};
