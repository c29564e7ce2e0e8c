//! Reading a bundle that anybody may have made: in memory, bounded, nothing unpacked to disk.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::pack::{hex, MANIFEST, SUMS};

/// The most that is unpacked, bytes: more than the largest bundle that is written.
pub const MOST_BYTES: u64 = 256 << 20;
/// The longest file that is looked into, bytes: tables are some kilobytes, and what is understood takes several times the
/// room of what is read.
pub const LONGEST: usize = 4 << 20;
/// Files of one bundle.
const MOST_FILES: usize = 4_096;
/// The longest name; longer ones take extensions of the format that a bundle never uses.
const LONGEST_NAME: usize = 100;

/// Why a file is no bundle that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system could not read it.
    #[error(transparent)]
    Io(io::Error),
    /// Not compressed as a bundle is.
    #[error("no bundle: it is not a gzip file")]
    NotCompressed,
    /// It ends too early, or its checksum is wrong.
    #[error("damaged or cut short: {0}")]
    Damaged(String),
    /// It unpacks to more than any bundle holds.
    #[error("no bundle: it unpacks to more than {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    /// More files than a bundle has.
    #[error("no bundle: it holds more than {MOST_FILES} files")]
    TooMany,
    /// A name that leads out of the archive, or a link, a device, a directory.
    #[error("no bundle: {0}")]
    Strange(String),
    /// Without a manifest it is some other archive.
    #[error("no bundle: it holds no MANIFEST of rping's")]
    NoManifest,
}

/// A file of a bundle.
#[derive(Clone, Debug)]
struct Held {
    /// `None` for one that is longer than what is looked into.
    bytes: Option<Vec<u8>>,
    sha256: String,
}

/// A bundle that was read.
#[derive(Clone, Debug)]
pub struct Archive {
    files: BTreeMap<String, Held>,
    manifest: Value,
    /// Files whose hash is not that of the manifest, files without one, and those that the manifest names in vain.
    pub altered: Vec<String>,
}

impl Archive {
    /// Reads and checks it.
    ///
    /// # Errors
    /// What is no bundle, or a damaged one.
    pub fn read(from: impl Read) -> Result<Archive, ReadError> {
        // One more byte than allowed, so that what is too large is told from what fits.
        let mut unpacked = GzDecoder::new(Told::new(from)).take(MOST_BYTES + 1);
        let files = read_files(&mut unpacked);
        if unpacked.limit() == 0 {
            return Err(ReadError::TooLarge);
        }
        let files = files?;
        // What stands behind the archive: the checksum at the end is looked at only when all was read.
        let rest = io::copy(&mut unpacked, &mut io::sink());
        if unpacked.limit() == 0 {
            return Err(ReadError::TooLarge);
        }
        rest.map_err(damaged)?;
        let manifest: Value = files
            .get(MANIFEST)
            .and_then(|held| held.bytes.as_ref())
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .filter(|manifest: &Value| manifest["schema"] == "rping.bundle/1")
            .ok_or(ReadError::NoManifest)?;
        let altered = altered(&files, &manifest);
        Ok(Archive {
            files,
            manifest,
            altered,
        })
    }

    /// The bytes of a file; `None` where there is none, or one longer than 4 MiB.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name)?.bytes.as_deref()
    }

    /// Whether there is a file of this name that is longer than 4 MiB.
    pub fn is_long(&self, name: &str) -> bool {
        self.files.get(name).is_some_and(|held| held.bytes.is_none())
    }

    /// A file as text; what is no UTF-8 is replaced. `None` for one longer than 4 MiB.
    pub fn text(&self, name: &str) -> Option<String> {
        self.file(name)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The names of all files, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A text of the manifest, such as `host` or `created_at`.
    pub fn about(&self, key: &str) -> Option<&str> {
        self.manifest[key].as_str()
    }

    /// Whether it was redacted: then its tokens are its own.
    pub fn is_redacted(&self) -> bool {
        self.manifest["redacted"] == true
    }
}

fn read_files(unpacked: &mut impl Read) -> Result<BTreeMap<String, Held>, ReadError> {
    let mut tar = tar::Archive::new(unpacked);
    let mut files = BTreeMap::new();
    // Raw: extensions of the format are entries like others, and refused, so none of them is taken into memory.
    for entry in tar.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        if files.len() >= MOST_FILES {
            return Err(ReadError::TooMany);
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(ReadError::Strange(format!("{name:?} is no plain file")));
        }
        let is_safe = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_safe || name.len() > LONGEST_NAME || name.contains('\\') || name.contains('\0') {
            return Err(ReadError::Strange(format!(
                "{name:?} is no name of a bundle's file"
            )));
        }
        let announced = entry.size();
        let (held, length) = hold(&mut entry)?;
        if length != announced {
            return Err(ReadError::Damaged(format!("{name} ends too early")));
        }
        if files.insert(name.clone(), held).is_some() {
            return Err(ReadError::Strange(format!("it holds {name:?} twice")));
        }
    }
    Ok(files)
}

/// Reads a file to its end: its hash, and its bytes unless they are more than are looked into. Grows with what comes, not
/// with what is announced.
fn hold(entry: &mut impl Read) -> Result<(Held, u64), ReadError> {
    let (mut hasher, mut bytes, mut length) = (Sha256::new(), Vec::new(), 0u64);
    let mut piece = [0; 16 << 10];
    loop {
        let got = match entry.read(&mut piece) {
            Ok(0) => break,
            Ok(got) => piece.get(..got).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error)),
        };
        hasher.update(got);
        length += got.len() as u64;
        if length <= LONGEST as u64 {
            bytes.extend_from_slice(got);
        } else {
            bytes = Vec::new();
        }
    }
    let held = Held {
        bytes: (length <= LONGEST as u64).then_some(bytes),
        sha256: hex(&hasher.finalize()),
    };
    Ok((held, length))
}

fn damaged(error: io::Error) -> ReadError {
    // `Told` marks what the system said, so that a bad disk is not called a bad archive.
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<OfTheSystem>())
    {
        Some(OfTheSystem(kind)) => ReadError::Io(io::Error::from(*kind)),
        None if error.kind() == io::ErrorKind::InvalidInput && error.to_string().contains("gzip header") => {
            ReadError::NotCompressed
        }
        None => ReadError::Damaged(error.to_string()),
    }
}

/// What the system said, not the unpacker.
#[derive(Debug)]
struct OfTheSystem(io::ErrorKind);

impl std::fmt::Display for OfTheSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        io::Error::from(self.0).fmt(f)
    }
}

impl std::error::Error for OfTheSystem {}

struct Told<R>(R);

impl<R> Told<R> {
    fn new(from: R) -> Told<R> {
        Told(from)
    }
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::other(OfTheSystem(kind)),
        })
    }
}

fn altered(files: &BTreeMap<String, Held>, manifest: &Value) -> Vec<String> {
    let mut altered = Vec::new();
    let mut named = BTreeMap::new();
    for entry in manifest["files"].as_array().into_iter().flatten() {
        if let (Some(name), Some(hash)) = (entry["name"].as_str(), entry["sha256"].as_str()) {
            named.insert(name, hash);
        }
    }
    for (name, held) in files {
        if name == MANIFEST || name == SUMS {
            continue;
        }
        match named.remove(name.as_str()) {
            Some(hash) if hash == held.sha256 => {}
            Some(_) => altered.push(format!("{name} is not as the manifest says")),
            None => altered.push(format!("{name} is not in the manifest")),
        }
    }
    altered.extend(named.keys().map(|name| format!("{name} is missing")));
    altered
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
