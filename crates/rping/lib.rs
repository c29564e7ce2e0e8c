//! rping: connectivity probes that measure. See the README for the program; this is the library behind it.
#![forbid(unsafe_code)]

pub mod job;
pub mod report;
