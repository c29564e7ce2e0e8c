//! Saved runs: a file that is whole up to the last second, whatever happens to the program or the machine.
//!
//! The format is `rping.saved/1`, described in `docs/saved-runs.md`: lines of text, each a CRC-32 in eight hex digits, a
//! space, and a JSON object. A header and the targets come first, then at least a line for each second in which something
//! happened, and, when the run came to its end, every target's figures and the run's own. A line that is cut short or
//! damaged is left out by its checksum and costs no other.

mod line;
mod lines;
mod merge;
mod read;
mod restore;
mod sampled;
mod tally;
pub(crate) mod throughput;
mod ways;
mod write;

#[cfg(test)]
mod tests;

pub use line::{Line, Machine};
pub use merge::{merge, MergeError};
pub use read::{open, read, read_any, Damage, Kept, ReadError, Saved};
pub use throughput::{Test, TestWriter};
pub use write::Writer;

/// The name and version of the format.
pub const FORMAT: &str = "rping.saved/1";

/// The longest line that is written or read, bytes.
const LONGEST_LINE: usize = 16 << 20;
