//! A file that grows by whole lines.

use std::fs::File;
use std::io::{self, Seek, Write};

use super::line::Line;
use crate::files::Aside;

/// The file, its first lines written. After a failure nothing more is written.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    /// Everything up to here is whole lines.
    whole: u64,
    failure: Option<io::Error>,
}

impl Lines {
    /// Puts the file in its place, with the lines that it begins with.
    pub(super) fn after(first: Aside) -> io::Result<Lines> {
        let mut file = first.settle()?;
        // Where it is no file but a pipe there is no position, and nothing to take back.
        let whole = file.stream_position().unwrap_or(0);
        Ok(Lines {
            file,
            whole,
            failure: None,
        })
    }

    pub(super) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Adds lines. What a full disk cuts short is taken back, so that the file stays whole.
    pub(super) fn append(&mut self, text: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        match self.file.write_all(text) {
            Ok(()) => self.whole += text.len() as u64,
            Err(error) => {
                // A reader would leave the torn line out by its checksum, too.
                let _ = self.file.set_len(self.whole);
                self.failure = Some(error);
            }
        }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: &Line) {
        let mut text = Vec::new();
        match put(&mut text, line) {
            Ok(()) => self.append(&text),
            Err(error) => self.fail(error),
        }
    }

    /// Why the file is not whole, where it is not.
    pub(super) fn finish(self) -> io::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// Adds a line with its checksum.
pub(super) fn put(text: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    let start = text.len();
    text.extend_from_slice(b"00000000 ");
    serde_json::to_writer(&mut *text, line)?;
    let sum = crc32fast::hash(&text[start + 9..]);
    text[start..start + 8].copy_from_slice(format!("{sum:08x}").as_bytes());
    text.push(b'\n');
    Ok(())
}
