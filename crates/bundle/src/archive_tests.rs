use std::io::Write;

use flate2::write::GzEncoder;
use flate2::Compression;
use proptest::prelude::*;

use super::*;
use crate::{About, Bundle, Content};

fn good() -> Vec<u8> {
    let mut bundle = Bundle::new(About {
        limit: 1 << 20,
        ..About::default()
    });
    bundle.add("routes.txt", "x", Content::Table, b"default\n".to_vec());
    bundle.pack(Vec::new(), None).unwrap().1
}

/// An archive of these entries: name, type, bytes.
fn archive(entries: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_size(bytes.len() as u64);
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(*bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    zip(&tar)
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn why(bytes: &[u8]) -> String {
    match Archive::read(bytes) {
        Ok(_) => "it is one".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_no_bundle_says_what_it_is() {
    assert!(
        why(b"PK\x03\x04 and so on, no gzip at all").contains("not a gzip file"),
        "{}",
        why(b"PK")
    );
    assert!(why(&zip(b"hello")).contains("damaged") || why(&zip(b"hello")).contains("no bundle"));
    assert!(why(&archive(&[(b"readme", b'0', b"x")])).contains("no MANIFEST"));
    for name in [
        &b"../etc/passwd"[..],
        b"/etc/passwd",
        b"a/../b",
        b"./a",
        b"a//b",
        b"a\\b",
    ] {
        assert!(
            why(&archive(&[(name, b'0', b"x")])).contains("is no name"),
            "{name:?}"
        );
    }
    // A symbolic link, a device, a directory, long names of two kinds.
    for kind in *b"2345LKxg" {
        assert!(
            why(&archive(&[(b"a", kind, b"x")])).contains("is no plain file"),
            "{kind}"
        );
    }
    assert!(why(&archive(&[(b"a", b'0', b"x"), (b"a", b'0', b"y")])).contains("twice"));
    let names: Vec<String> = (0..=MOST_FILES).map(|number| format!("f{number}")).collect();
    let many: Vec<(&[u8], u8, &[u8])> = names
        .iter()
        .map(|name| (name.as_bytes(), b'0', &b""[..]))
        .collect();
    assert!(why(&archive(&many)).contains("more than 4096 files"));
}

#[test]
fn a_bundle_that_was_cut_short_or_changed_is_noticed() {
    let good = good();
    assert_eq!(why(&good), "it is one");
    for end in [good.len() - 4, good.len() - 9, good.len() / 2, 20, 12] {
        assert!(
            why(&good[..end]).contains("damaged"),
            "{end}: {}",
            why(&good[..end])
        );
    }
    let mut other = Bundle::new(About {
        limit: 1 << 20,
        ..About::default()
    });
    other.add("routes.txt", "x", Content::Table, b"another\n".to_vec());
    let read = Archive::read(&good[..]).unwrap();
    let changed = archive(&[
        (b"MANIFEST", b'0', read.file("MANIFEST").unwrap()),
        (b"routes.txt", b'0', b"changed\n"),
        (b"extra.txt", b'0', b"x"),
    ]);
    let altered = Archive::read(&changed[..]).unwrap().altered.join(", ");
    assert!(
        altered.contains("routes.txt is not as") && altered.contains("extra.txt is not in"),
        "{altered}"
    );
    assert!(altered.contains("timeline.ndjson is missing"), "{altered}");
}

#[test]
fn a_file_that_is_too_long_is_hashed_and_not_kept() {
    let mut bundle = Bundle::new(About {
        limit: 64 << 20,
        ..About::default()
    });
    bundle.add(
        "sysctl.txt",
        "x",
        Content::Table,
        "a line\n".repeat(LONGEST / 7 + 1).into_bytes(),
    );
    let read = Archive::read(&bundle.pack(Vec::new(), None).unwrap().1[..]).unwrap();
    assert!(read.is_long("sysctl.txt") && read.file("sysctl.txt").is_none());
    assert_eq!(read.altered, Vec::<String>::new());
    let notes = crate::diff::compare(&read, &read).notes.join(", ");
    assert!(notes.contains("sysctl.txt is too long to be compared"), "{notes}");
}

/// Zeros without an end, for a bomb.
struct Zeros(u64);

impl std::io::Read for Zeros {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = room.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        room[..length].fill(0);
        self.0 -= length as u64;
        Ok(length)
    }
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..1].copy_from_slice(b"a");
    header.set_size(8 << 30);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(header.as_bytes()).unwrap();
    io::copy(&mut Zeros(MOST_BYTES + (1 << 20)), &mut gz).unwrap();
    assert!(why(&gz.finish().unwrap()).contains("more than 256 MiB"));
    // Zeros behind the end of an archive, which nobody reads but who looks for the checksum.
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    io::copy(&mut Zeros(MOST_BYTES + (1 << 20)), &mut gz).unwrap();
    assert!(why(&gz.finish().unwrap()).contains("more than 256 MiB"));
}

#[test]
fn a_disk_that_fails_is_the_disks_fault() {
    struct Bad;
    impl std::io::Read for Bad {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::IsADirectory.into())
        }
    }
    assert!(
        matches!(Archive::read(Bad), Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::IsADirectory)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(at in 0usize..400, byte: u8) {
        let mut bytes = good();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Archive::read(&bytes[..]);
        crate::fuzzing::bundle(&bytes[..at]);
    }
}
