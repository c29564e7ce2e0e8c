//! rping: connectivity probes that measure. See the README for the program; this is the library behind it.
#![forbid(unsafe_code)]

pub mod args;
pub mod cli;
pub mod job;
mod open;
mod printer;
pub mod render;
pub mod report;
mod run;
mod server;
mod signals;
pub mod targets;
mod warnings;

pub use rping_engine as engine;
pub use rping_net as net;
pub use rping_peer as peer;
pub use rping_stats as stats;

pub use job::{Close, Job, Kind, Pace, Stop, Target, UdpProtocol};
pub use open::OpenError;
pub use report::{Epoch, Instrument, Report};
pub use run::{Hooks, Opened, RunError};
