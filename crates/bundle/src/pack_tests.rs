use super::*;
use crate::{Archive, ReadError};

pub(crate) fn about(limit: u64) -> About {
    About {
        target: Some("host:445".to_owned()),
        host: "here".to_owned(),
        version: "0".to_owned(),
        limit,
    }
}

fn bundle(limit: u64) -> Bundle {
    let mut bundle = Bundle::new(about(limit));
    bundle.add(
        "routes.txt",
        "rtnetlink",
        Content::Table,
        b"default via 10.77.0.254 dev eth0\n".to_vec(),
    );
    bundle.add(
        VERDICT,
        "rping diagnose",
        Content::Words,
        b"VERDICT layer=none\n".to_vec(),
    );
    bundle.unread(
        "firewall.txt",
        "netlink",
        "Operation not permitted",
        "CAP_NET_ADMIN or root",
    );
    bundle
}

#[test]
fn the_verdict_is_first_the_manifest_second_and_every_hash_is_right() {
    let (packed, bytes) = bundle(1 << 20).pack(Vec::new(), None).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
    let names: Vec<String> = tar
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            entry.path().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    assert_eq!(names[..3], [VERDICT, MANIFEST, SUMS]);
    let archive = Archive::read(&bytes[..]).unwrap();
    assert_eq!(archive.altered, Vec::<String>::new());
    assert_eq!(packed.unread.len(), 1);
    let sums = archive.text(SUMS).unwrap();
    for name in archive.names().filter(|name| *name != SUMS) {
        let hash = hex(&Sha256::digest(archive.file(name).unwrap()));
        assert!(sums.contains(&format!("{hash}  {name}\n")), "{name}");
    }
    assert!(archive.text(UNREAD).unwrap().contains("firewall.txt"));
    assert!(archive.text(TIMELINE).unwrap().contains("\"offset_ns\":"));
}

#[test]
fn what_exceeds_the_limit_is_left_out_and_says_so() {
    let mut bundle = bundle(END + 200);
    let lines = "a line of text\n".repeat(1_000);
    bundle.add("long.txt", "x", Content::Table, lines.clone().into_bytes());
    bundle.add("capture.pcapng", "x", Content::Capture, vec![0; 1_000]);
    let (packed, bytes) = bundle.pack(Vec::new(), None).unwrap();
    let archive = Archive::read(&bytes[..]).unwrap();
    let text = archive.text("long.txt").unwrap();
    assert!(
        text.starts_with("a line of text\n") && text.contains("more bytes were left out"),
        "{text}"
    );
    let entry = packed
        .files
        .iter()
        .find(|entry| entry.name == "long.txt")
        .unwrap();
    assert!(
        entry.cut_bytes > 14_000 && entry.cut_bytes < lines.len() as u64,
        "{entry:?}"
    );
    assert!(archive.file("capture.pcapng").is_none());
    assert!(packed.unread.iter().any(|unread| unread.what == "capture.pcapng"));
}

#[test]
fn a_redacted_bundle_holds_no_secret_in_any_file_the_manifest_included() {
    let mut bundle = bundle(1 << 20);
    bundle.note("connected to 10.77.0.254 at fileserver");
    let mut redactor = Redactor::with_key([5; 32]);
    for name in ["here", "host", "fileserver"] {
        redactor.learn(name);
    }
    redactor.learn_address("10.77.0.254".parse().unwrap());
    let (_, bytes) = bundle.pack(Vec::new(), Some(&redactor)).unwrap();
    let archive = Archive::read(&bytes[..]).unwrap();
    assert!(archive.is_redacted() && archive.altered.is_empty());
    for name in archive.names() {
        let text = archive.text(name).unwrap();
        for secret in ["10.77.0.254", "fileserver", "\"here\"", "host:445"] {
            assert!(!text.contains(secret), "{secret} in {name}: {text}");
        }
    }
    assert!(archive.text("routes.txt").unwrap().contains(" dev eth0"));
}

#[test]
fn a_redaction_that_is_ended_leaves_files_out_with_the_reason_and_the_archive_is_whole() {
    let redactor = Redactor::with_key([5; 32]);
    let (packed, bytes) = bundle(1 << 20)
        .pack_until(Vec::new(), Some(&redactor), &|| true)
        .unwrap();
    let archive = Archive::read(&bytes[..]).unwrap();
    assert!(archive.is_redacted() && archive.altered.is_empty());
    assert!(archive.text(VERDICT).unwrap().contains("left out"));
    assert!(archive.file("routes.txt").is_none());
    let why = packed.unread.iter().find(|unread| unread.what == "routes.txt");
    assert!(why.unwrap().why.contains("a signal came"));
    assert!(archive
        .text(UNREAD)
        .unwrap()
        .contains("a signal came before it was redacted"));
}

#[test]
fn a_writer_that_fails_is_an_error() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let Err(error) = bundle(1 << 20).pack(Full, None) else {
        panic!("it was written")
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(matches!(
        Archive::read(&b""[..]),
        Err(ReadError::Damaged(_) | ReadError::NotCompressed)
    ));
}
