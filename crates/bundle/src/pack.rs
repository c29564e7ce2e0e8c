//! A bundle while it is gathered, and how it becomes an archive.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use flate2::write::GzEncoder;
use flate2::Compression;
use rping_engine::Timestamp;
use rping_net::Clock;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::redact::Redactor;

/// The first file of every bundle.
pub const VERDICT: &str = "verdict.txt";
/// What is in the bundle, with hashes.
pub const MANIFEST: &str = "MANIFEST";
/// The same hashes as `sha256sum -c` reads them.
pub const SUMS: &str = "SHA256SUMS";
/// What was done when.
pub const TIMELINE: &str = "timeline.ndjson";
/// What could not be read.
pub const UNREAD: &str = "unread.txt";

/// Kept free for what is written at the end: the manifest, the time line, the list of what could not be read.
const END: u64 = 64 << 10;
/// Moments of the time line that are kept.
const MOST_MOMENTS: usize = 10_000;

/// What a file holds, which decides how it is redacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Text whose words are the kernel's or ours: addresses and known names are replaced in it.
    Table,
    /// Text that may hold names which nobody knows ahead: whatever looks like a domain name is replaced, too.
    Words,
    /// A file that somebody has written by hand: as `Words`, and its comments are left out.
    Settings,
    /// JSON: as `Words`, in its strings alone.
    Json,
    /// JSON documents, a line each.
    Lines,
    /// pcapng.
    Capture,
}

/// One file of a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its name in the archive.
    pub name: String,
    /// The kernel interface, the file or the command behind it.
    pub source: String,
    /// What it holds.
    pub content: Content,
    /// When it was read.
    pub taken: Timestamp,
    /// The file.
    pub bytes: Vec<u8>,
    /// Bytes that were left out for the limit's sake.
    pub cut: u64,
}

/// Something that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unread {
    /// What is missing in the bundle.
    pub what: String,
    /// The kernel interface or the file.
    pub source: String,
    /// Why.
    pub why: String,
    /// The right that would give it; empty where none would.
    pub right: String,
}

/// What a bundle is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// The target as it was written.
    pub target: Option<String>,
    /// This host's name.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// The most bytes that all files together may have.
    pub limit: u64,
}

/// An entry of the time line.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Moment {
    at: Timestamp,
    event: String,
}

/// A bundle while it is gathered.
#[derive(Debug)]
pub struct Bundle {
    about: About,
    started: Timestamp,
    started_unix_ns: i128,
    files: Vec<File>,
    unread: Vec<Unread>,
    moments: Vec<Moment>,
    used: u64,
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Packed {
    /// Each file, in the archive's order.
    pub files: Vec<Entry>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// A file in the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// Its name in the archive.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash, in hexadecimal.
    pub sha256: String,
    /// What is behind it.
    pub source: String,
    /// When it was read.
    pub taken_at: String,
    /// Bytes left out for the limit's sake.
    pub cut_bytes: u64,
}

#[derive(Serialize)]
struct Manifest<'a> {
    schema: &'static str,
    version: &'a str,
    created_at: String,
    duration_ns: u64,
    host: &'a str,
    target: Option<&'a str>,
    redacted: bool,
    limit_bytes: u64,
    files: &'a [Entry],
    unread: &'a [Unread],
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    offset_ns: u64,
    event: &'a str,
}

impl Bundle {
    /// An empty one that begins now.
    pub fn new(about: About) -> Bundle {
        let started = Clock.now();
        Bundle {
            about,
            started,
            started_unix_ns: Clock.wall_nanos(started),
            files: Vec::new(),
            unread: Vec::new(),
            moments: Vec::new(),
            used: 0,
        }
    }

    /// Bytes that may still be added.
    pub fn room(&self) -> u64 {
        self.about.limit.saturating_sub(END + self.used)
    }

    /// Adds a file that was read just now. What exceeds the limit is left out and counted: text loses its end, a capture
    /// that does not fit is left out whole.
    pub fn add(&mut self, name: &str, source: &str, content: Content, mut bytes: Vec<u8>) {
        let room = self.room();
        let mut cut = (bytes.len() as u64).saturating_sub(room);
        if cut > 0 && matches!(content, Content::Capture | Content::Json) {
            self.unread(
                name,
                source,
                &format!("{} bytes do not fit", bytes.len()),
                "a larger --limit",
            );
            return;
        }
        if cut > 0 {
            // At the end of a line, so that no record is half there.
            let keep = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let keep = bytes[..keep]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            cut = (bytes.len() - keep) as u64;
            bytes.truncate(keep);
            if content != Content::Lines {
                bytes.extend(format!("[{cut} more bytes were left out: --limit]\n").bytes());
            }
        }
        self.used += bytes.len() as u64;
        self.push(name, source, content, bytes, cut);
    }

    /// Says what could not be read.
    pub fn unread(&mut self, what: &str, source: &str, why: &str, right: &str) {
        self.unread.push(Unread {
            what: what.to_owned(),
            source: source.to_owned(),
            why: why.to_owned(),
            right: right.to_owned(),
        });
    }

    /// Writes down what is done now.
    pub fn note(&mut self, event: impl Into<String>) {
        self.note_at(Clock.now(), event);
    }

    /// Writes down what was done then.
    pub fn note_at(&mut self, at: Timestamp, event: impl Into<String>) {
        if self.moments.len() < MOST_MOMENTS {
            self.moments.push(Moment {
                at,
                event: event.into(),
            });
        }
    }

    /// The file of this name, as it was added.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Writes the archive: the verdict first, then the manifest, then the rest. With a redactor every byte goes through it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn pack<W: Write>(self, out: W, redactor: Option<&Redactor>) -> io::Result<(Packed, W)> {
        self.pack_until(out, redactor, &|| false)
    }

    /// The same. Files that are not redacted when `stop` says so are left out, with that reason; the archive is whole.
    ///
    /// # Errors
    /// What `out` says.
    pub fn pack_until<W: Write>(
        mut self,
        out: W,
        redactor: Option<&Redactor>,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<(Packed, W)> {
        self.note("the bundle is packed");
        let timeline = self.timeline();
        self.used = 0;
        self.push(TIMELINE, "this program's own clock", Content::Lines, timeline, 0);
        if let Some(redactor) = redactor {
            self.redact(redactor, stop);
        }
        let unread = self.unread_text();
        self.push(UNREAD, "this program's own list", Content::Table, unread, 0);
        // The verdict is what a person opens first.
        self.files.sort_by_key(|file| file.name != VERDICT);
        let entries: Vec<Entry> = self.files.iter().map(|file| self.entry(file)).collect();
        let manifest = self.manifest(&entries, redactor.is_some())?;
        let mut sums = String::new();
        for (name, hash) in entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.sha256.clone()))
        {
            sums.push_str(&format!("{hash}  {name}\n"));
        }
        sums.push_str(&format!("{}  {MANIFEST}\n", hex(&Sha256::digest(&manifest))));

        let seconds = u64::try_from(self.started_unix_ns / 1_000_000_000).unwrap_or(0);
        let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::default()));
        for (place, file) in self.files.iter().enumerate() {
            append(&mut tar, &file.name, &file.bytes, seconds)?;
            if place == 0 {
                append(&mut tar, MANIFEST, &manifest, seconds)?;
                append(&mut tar, SUMS, sums.as_bytes(), seconds)?;
            }
        }
        let mut out = tar.into_inner()?.finish()?;
        out.flush()?;
        let packed = Packed {
            files: entries,
            unread: self.unread,
        };
        Ok((packed, out))
    }

    fn push(&mut self, name: &str, source: &str, content: Content, bytes: Vec<u8>, cut: u64) {
        self.files.push(File {
            name: name.to_owned(),
            source: source.to_owned(),
            content,
            taken: Clock.now(),
            bytes,
            cut,
        });
    }

    fn redact(&mut self, redactor: &Redactor, stop: &dyn Fn() -> bool) {
        // The verdict has to be there, captures take the longest.
        self.files
            .sort_by_key(|file| (file.name != VERDICT, file.content == Content::Capture));
        let mut kept = Vec::new();
        for mut file in std::mem::take(&mut self.files) {
            match redactor.file_until(file.content, &file.bytes, stop) {
                Ok(bytes) => {
                    file.bytes = bytes;
                    file.source = redactor.words(&file.source);
                    kept.push(file);
                }
                Err(why) => {
                    let (name, source) = (file.name.clone(), redactor.words(&file.source));
                    self.unread(&name, &source, &why, "a bundle without --redact");
                    if name == VERDICT {
                        file.bytes = b"The verdict could not be redacted and is left out.\n".to_vec();
                        kept.push(file);
                    }
                }
            }
        }
        self.files = kept;
        for unread in &mut self.unread {
            for text in [&mut unread.what, &mut unread.source, &mut unread.why] {
                *text = redactor.words(text);
            }
        }
        self.about.host = redactor.name(&self.about.host);
        self.about.target = self.about.target.as_deref().map(|target| redactor.words(target));
    }

    fn entry(&self, file: &File) -> Entry {
        Entry {
            name: file.name.clone(),
            bytes: file.bytes.len() as u64,
            sha256: hex(&Sha256::digest(&file.bytes)),
            source: file.source.clone(),
            taken_at: self.label(file.taken),
            cut_bytes: file.cut,
        }
    }

    fn manifest(&self, files: &[Entry], redacted: bool) -> io::Result<Vec<u8>> {
        let manifest = Manifest {
            schema: "rping.bundle/1",
            version: &self.about.version,
            created_at: self.label(self.started),
            duration_ns: Clock.now().nanos_since(self.started),
            host: &self.about.host,
            target: self.about.target.as_deref(),
            redacted,
            limit_bytes: self.about.limit,
            files,
            unread: &self.unread,
        };
        let mut bytes = serde_json::to_vec_pretty(&manifest)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn timeline(&mut self) -> Vec<u8> {
        self.moments.sort_by_key(|moment| moment.at);
        let mut bytes = Vec::new();
        for moment in &self.moments {
            let line = Line {
                at: self.label(moment.at),
                offset_ns: moment.at.nanos_since(self.started),
                event: &moment.event,
            };
            if let Ok(line) = serde_json::to_vec(&line) {
                bytes.extend(line);
                bytes.push(b'\n');
            }
        }
        bytes
    }

    fn unread_text(&self) -> Vec<u8> {
        let mut text = String::new();
        if self.unread.is_empty() {
            text.push_str("Everything was read.\n");
        }
        for unread in &self.unread {
            text.push_str(&format!("{} ({}): {}", unread.what, unread.source, unread.why));
            match unread.right.is_empty() {
                true => text.push('\n'),
                false => text.push_str(&format!("; it takes {}\n", unread.right)),
            }
        }
        text.into_bytes()
    }

    /// What could not be read so far.
    pub fn missing(&self) -> &[Unread] {
        &self.unread
    }

    /// An instant as the wall clock showed it: RFC 3339 with nanoseconds.
    pub fn label(&self, at: Timestamp) -> String {
        let ns = self.started_unix_ns + i128::from(at.as_nanos()) - i128::from(self.started.as_nanos());
        let ns = u64::try_from(ns).unwrap_or(0);
        humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
    }

    /// When it was begun.
    pub fn started(&self) -> Timestamp {
        self.started
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8], seconds: u64) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(seconds);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, name, bytes)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
