//! How results are shown.

pub use crate::keep::Wanted;

/// The format on standard output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// A stream of JSON documents, one a line.
    Ndjson,
    /// The same stream as rows.
    Csv,
    /// As PsPing prints it; asked for with `rping psping`, not with `-o`.
    PsPing {
        /// With the lines that name the program.
        banner: bool,
    },
}

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The histogram that text output prints.
#[derive(Clone, PartialEq, Debug)]
pub enum Buckets {
    /// So many buckets of equal width between the smallest and the largest round trip.
    Equal(usize),
    /// These bounds, in nanoseconds, ascending.
    Bounds(Vec<u64>),
}

/// How results are shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OutputOptions {
    /// The format.
    pub format: Format,
    /// No line per probe; over a block or range: totals only.
    pub quiet: bool,
    /// List silent members of a block or range too.
    pub all: bool,
    /// A histogram at the end of each target's block.
    pub histogram: Option<Buckets>,
    /// Colours.
    pub color: Color,
    /// The wall clock on each line.
    pub timestamps: bool,
    /// Files that the run leaves behind.
    pub keep: Wanted,
    /// A live picture on the terminal while the run goes on.
    pub graph: bool,
    /// A capture of the run's own packets.
    pub pcap: Option<Pcap>,
    /// Of a block or range only targets that replied are listed.
    pub answering: bool,
    /// It is shown while it is made, on the host that makes it: what the host knows about the targets may be asked.
    pub live: bool,
}

/// Where a capture is written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pcap {
    /// The file; one that is there is replaced.
    pub file: std::path::PathBuf,
    /// It holds at most so many bytes.
    pub limit: u64,
}
