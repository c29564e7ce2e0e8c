//! The evidence bundle: what a host shows of its network, in one archive that can be handed to somebody else.
//!
//! A [`Bundle`] takes files as they are gathered, each with the kernel interface behind it, and [`Bundle::pack`] writes
//! them: the verdict first, a manifest with hashes, the rest. [`collect`] reads the state of this host, [`counters`] what
//! it counts, before and after; [`redact`] replaces addresses and names by tokens; [`Archive`] reads a bundle of any
//! origin, and [`diff`] says what changed between two.
//!
//! Everything is held in memory and bounded: a bundle is some hundred kilobytes, and never more than its limit. Nothing here
//! sends a packet or runs a program; what cannot be read is said, with the right that would give it.
#![forbid(unsafe_code)]

mod archive;
pub mod capture;
pub mod collect;
pub mod counters;
pub mod diff;
#[doc(hidden)]
pub mod fuzzing;
mod pack;
pub mod redact;

pub use archive::{Archive, ReadError};
pub use pack::{About, Bundle, Content, Entry, File, Packed, Unread};
