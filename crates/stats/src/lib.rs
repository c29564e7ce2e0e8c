//! What a stream of durations and losses amounts to, in constant memory.
//!
//! A leaf: no clock, no socket, no other crate of rping. Every time is a `u64` in nanoseconds, every figure without
//! anything to stand on is `None`, and no memory grows with the number of probes.
//!
//! - [`Moments`]: exact count, minimum, maximum and mean, and the standard deviation;
//! - [`Histogram`]: quantiles to three digits, and the HdrHistogram V2 form that other tools read;
//! - [`Recorder`]: one stream of probes: the two above, jitter, delay variation, reordering and loss runs;
//! - [`Sparse`]: a histogram in as much memory as it has bins, for the many short stretches of a run;
//! - [`blocks`]: a stream cut into stretches that are drawn whole, for how sure a difference is;
//! - [`buckets`]: the histogram as people read it, in equal widths or between bounds.
#![forbid(unsafe_code)]

pub mod blocks;
pub mod buckets;
mod histogram;
mod loss;
mod moments;
mod recorder;
pub mod sparse;
mod v2;

pub use buckets::Bucket;
pub use histogram::{replies_needed, Bin, Histogram, DAY_NS};
pub use loss::{LossRuns, RunLengths, CLASSES as LOSS_RUN_CLASSES};
pub use moments::{Moments, MomentsParts};
pub use recorder::{Recorder, Snapshot};
pub use sparse::Sparse;

/// What can be wrong with a histogram that came from elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not base64.
    #[error("the histogram is not valid base64")]
    Base64(#[source] base64::DecodeError),
    /// The bytes are no compressed HdrHistogram V2, or are damaged.
    #[error("the histogram is not in HdrHistogram's compressed V2 format: {what}")]
    Format {
        /// What is wrong with it, in words.
        what: &'static str,
    },
    /// The compressed part could not be inflated.
    #[error("the compressed histogram cannot be inflated")]
    Inflate(#[source] std::io::Error),
    /// The histogram library refuses it.
    #[error("the histogram cannot be decoded")]
    Decode(#[source] hdrhistogram::serialization::DeserializeError),
    /// A number of significant digits outside 1 to 5.
    #[error("a histogram keeps 1 to 5 significant digits, not {0}")]
    Digits(u8),
}
