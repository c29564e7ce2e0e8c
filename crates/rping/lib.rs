//! rping: connectivity probes that measure. See the README for the program; this is the library behind it.
#![forbid(unsafe_code)]

pub mod args;
pub mod job;
pub mod render;
pub mod report;
pub mod targets;

pub use rping_engine as engine;
pub use rping_net as net;
pub use rping_stats as stats;
