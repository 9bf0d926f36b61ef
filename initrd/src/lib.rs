//! `initrd`: the image that the kernel unpacks before stage 1, and what is in it.
//!
//! Is: a deterministic newc writer, the order in which kernel modules load, the image's layout.
//! `rollinit-mkinitrd` and `rollinit-stage1` are its two programs: one writes the image, the other
//! is `/init` in it.
//! May touch: bytes and a module tree that it is pointed at; stage 1, the kernel through `sys`.
//! Never: a shell, the clock, the name of the machine it runs on: same input, same bytes.

pub mod alias;
pub mod drivers;
pub mod image;
pub mod modules;
pub mod newc;
pub mod settings;
