//! One JSON document per run, and the serializer that both JSON formats share.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use rping_engine::Record;

use super::document;
use super::{escape, Out, Render};
use crate::job::Job;
use crate::report::{Epoch, Report};

/// `-o json`: silent until the end, then the whole run, indented.
pub(super) struct Json {
    out: Out,
}

impl Json {
    pub(super) fn new(out: Out) -> Json {
        Json { out }
    }
}

impl Render for Json {
    fn begin(&mut self, _: &Job, _: &Epoch) -> io::Result<()> {
        Ok(())
    }

    fn wants_records(&self) -> bool {
        false
    }

    fn record(&mut self, _: &Record) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        write(&mut self.out, &document::of(report, None), PrettyFormatter::new())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the document with the stream's leading `"type":"summary"`, on one line.
pub(super) fn summary(out: &mut Out, report: &Report) -> io::Result<()> {
    write(out, &document::of(report, Some("summary")), CompactFormatter)?;
    out.write_all(b"\n")
}

/// Any document, laid out for people to read.
pub(super) fn pretty(out: &mut Out, document: &impl Serialize) -> io::Result<()> {
    write(out, document, PrettyFormatter::new())
}

/// Any document, on one line, without the line break.
pub(super) fn compact(out: &mut Out, document: &impl Serialize) -> io::Result<()> {
    write(out, document, CompactFormatter)
}

fn write<F: Formatter>(out: &mut Out, document: &impl Serialize, layout: F) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Careful(layout));
    document.serialize(&mut serializer).map_err(io::Error::from)
}

/// Lays out as `F` does, and escapes in strings whatever a terminal would obey.
struct Careful<F>(F);

impl<F: Formatter> Formatter for Careful<F> {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, w: &mut W, fragment: &str) -> io::Result<()> {
        escape::json_fragment(w, fragment)
    }

    fn begin_array<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_array(w)
    }

    fn end_array<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_array(w)
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(w, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_array_value(w)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_object(w)
    }

    fn end_object<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_object(w)
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(w, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_object_value(w)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_object_value(w)
    }
}
