//! How a run is shown: lines for people, one JSON document, a stream of JSON lines, rows.
//!
//! A renderer lives on the printing thread. It takes records as they come, buffers, and writes when it is asked to
//! [`flush`](Render::flush) or its buffer is full: whoever feeds it flushes when nothing more is waiting, so a slow
//! run appears line by line and a fast one in large pieces. Nothing here can hold up the sending loop.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use rping_engine::{Record, Timestamp};

use crate::args::output::{Color, Format, OutputOptions};
use crate::job::{Carrier, Job, Kind, UdpProtocol};
use crate::report::{Epoch, Report};

pub(crate) mod bandwidth;
pub(crate) mod bundle;
pub(crate) mod clock;
pub(crate) mod comparison;
mod course;
mod csv;
pub(crate) mod diagnosis;
mod directions;
mod document;
pub mod escape;
mod event;
mod figures;
mod frame;
mod histogram;
pub mod icmp;
mod json;
mod ndjson;
mod psping;
pub(crate) mod sockets;
mod style;
mod text;
pub(crate) mod trace;
pub mod units;
pub mod words;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub(crate) use course::show;
pub(crate) use figures::{loss_with_syns, warnings};

/// How the run stands, for standard error, in the words of the format that was asked for.
pub fn interim(format: Format, report: &Report) -> String {
    match format {
        Format::PsPing { .. } => psping::statistics(report),
        _ => text::interim_text(report),
    }
}

/// Where renderers write: buffered, so that one record is no system call.
pub(crate) type Out = BufWriter<Box<dyn Write + Send>>;

/// How much is written at once when records come faster than they can be flushed.
const BUFFER: usize = 64 * 1024;

/// Stands for the run's beginning until [`Render::begin`] tells it.
const UNSET: Epoch = Epoch {
    started: Timestamp::ZERO,
    started_unix_ns: 0,
};

/// Whether nothing is shown before the run's end, so that a person waits in silence.
pub fn is_silent(options: &OutputOptions, job: &Job) -> bool {
    match options.format {
        Format::Text => options.quiet || options.answering || !text::few(job),
        Format::Json => true,
        // PsPing has a counter of its own.
        Format::Ndjson | Format::Csv | Format::PsPing { .. } => false,
    }
}

/// One way to show a run. Every method fails with what the underlying writer fails with.
pub trait Render {
    /// The run is about to begin; called once, first.
    ///
    /// # Errors
    /// What the writer says.
    fn begin(&mut self, job: &Job, epoch: &Epoch) -> io::Result<()>;

    /// Whether [`Render::record`] does anything: a run that is shown at its end alone need not hand records over.
    fn wants_records(&self) -> bool {
        true
    }

    /// Something happened. Written into the buffer; see [`Render::flush`].
    ///
    /// # Errors
    /// What the writer says.
    fn record(&mut self, record: &Record) -> io::Result<()>;

    /// Somebody asked how it stands ([`interim`], on standard error): what happened before is shown before.
    ///
    /// # Errors
    /// What the writer says.
    fn interim(&mut self, report: &Report) -> io::Result<()> {
        let _ = report;
        self.flush()
    }

    /// The run is over; called once, last. Everything is written and flushed when it returns.
    ///
    /// # Errors
    /// What the writer says.
    fn end(&mut self, report: &Report) -> io::Result<()>;

    /// Hands on what is buffered: called when no more records are waiting.
    ///
    /// # Errors
    /// What the writer says.
    fn flush(&mut self) -> io::Result<()>;
}

/// The renderer that `options` ask for, writing to `out`; `is_terminal` tells whether that is a terminal, for colours.
///
/// Reads the environment for `NO_COLOR` and `TERM`.
pub fn renderer(
    options: &OutputOptions,
    job: Arc<Job>,
    out: Box<dyn Write + Send>,
    is_terminal: bool,
) -> Box<dyn Render + Send> {
    let out = BufWriter::with_capacity(BUFFER, out);
    match options.format {
        Format::Text => Box::new(text::Text::new(
            out,
            job,
            options.clone(),
            colored(options.color, is_terminal),
        )),
        Format::Json => Box::new(json::Json::new(out)),
        Format::Ndjson => Box::new(ndjson::Ndjson::new(out, job)),
        Format::Csv => Box::new(csv::Csv::new(out, job)),
        Format::PsPing { banner } => Box::new(psping::PsPing::new(out, options, banner, is_terminal)),
    }
}

/// The wall clock at an instant of the run, to a millisecond.
pub(crate) fn wall_clock(epoch: &Epoch, at: Timestamp) -> String {
    clock::millis(epoch, at).to_string()
}

/// The colours that were asked for.
pub(crate) fn style(color: Color, is_terminal: bool) -> style::Style {
    style::Style(colored(color, is_terminal))
}

/// Colours or none.
pub(crate) fn styled(on: bool) -> style::Style {
    style::Style(on)
}

fn colored(color: Color, is_terminal: bool) -> bool {
    // https://no-color.org: set and not empty.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    style::wanted(color, is_terminal, no_color, dumb)
}

/// STAMP's smallest packet, RFC 8762, section 4.2.1.
const STAMP_MIN: usize = 44;
/// The same of authenticated mode, RFC 8762, section 4.2.2.
const STAMP_MIN_SEALED: usize = 112;

/// A latency exchange's smallest message.
const MESSAGE_MIN: usize = rping_wire::latency::HEADER_LEN;

/// Payload bytes of a job's probes; `None` for kinds without a payload.
fn payload_size(job: &Job) -> Option<usize> {
    let all_echo = || job.targets.iter().all(|t| t.port() == Some(7));
    match job.kind {
        Kind::Tcp | Kind::Arp => None,
        Kind::Latency(Carrier::Tcp) => Some(job.size.max(MESSAGE_MIN)),
        Kind::Icmp | Kind::Udp(UdpProtocol::Echo) => Some(job.size),
        Kind::Udp(UdpProtocol::Auto) if !job.targets.is_empty() && all_echo() => Some(job.size),
        Kind::Udp(_) if job.key.is_some() => Some(job.size.max(STAMP_MIN_SEALED)),
        Kind::Udp(_) | Kind::Latency(Carrier::Udp) => Some(job.size.max(STAMP_MIN)),
    }
}
