use super::super::write::{Way, Writer};
use super::*;
use proptest::prelude::*;

fn pcap(order: fn(u32) -> [u8; 4], magic: u32, link: u32) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [
        magic,
        order_version(order),
        0,
        0,
        65_535,
        link,
        1_700_000_000,
        5,
        3,
        60,
    ] {
        file.extend(order(word));
    }
    file.extend([1, 2, 3]);
    file
}

/// Two 16-bit numbers, which no reader looks at.
fn order_version(_: fn(u32) -> [u8; 4]) -> u32 {
    0x0002_0004
}

fn all(file: &[u8]) -> (Vec<Record>, Option<ReadError>) {
    let mut records = Vec::new();
    for record in Reader::open(file).expect("a capture") {
        match record {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

#[test]
fn pcap_is_read_in_both_byte_orders_with_micro_and_nanoseconds() {
    for order in [u32::to_le_bytes as fn(u32) -> [u8; 4], u32::to_be_bytes] {
        for (magic, fraction) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            let (records, error) = all(&pcap(order, magic, 276));
            assert!(error.is_none());
            assert_eq!(records[0].stamp, 1_700_000_000_000_000_000 + fraction);
            assert_eq!((records[0].link, records[0].whole), (LinkType::Cooked2, 60));
            assert_eq!(records[0].bytes, [1, 2, 3]);
        }
    }
}

fn written() -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), "rping", "a comment", 65_535).unwrap();
    let first = writer.interface("eth0", LinkType::Cooked2).unwrap();
    let second = writer.interface("tun0", LinkType::Raw).unwrap();
    writer
        .packet(
            first,
            1_700_000_000_123_456_789,
            100,
            &[1, 2, 3, 4, 5],
            Some(Way::Out),
        )
        .unwrap();
    writer.packet(second, 7, 2, &[9, 9], None).unwrap();
    writer.statistics(first, 8, 1, 0, Some("the end")).unwrap();
    let written = writer.written() as usize;
    let file = writer.into_inner();
    assert_eq!(written, file.len());
    file
}

#[test]
fn what_is_written_reads_back() {
    let file = written();
    let mut reader = Reader::open(&file[..]).unwrap();
    let first = reader.next().unwrap().unwrap();
    assert_eq!((first.stamp, first.whole), (1_700_000_000_123_456_789, 100));
    assert_eq!(first.bytes, [1, 2, 3, 4, 5]);
    let second = reader.next().unwrap().unwrap();
    assert_eq!(
        (second.interface, second.link, second.stamp),
        (1, LinkType::Raw, 7)
    );
    assert!(reader.next().is_none());
    assert_eq!(reader.interfaces()[0].name.as_deref(), Some("eth0"));
}

#[test]
fn a_file_cut_anywhere_gives_the_whole_packets_before_and_says_so() {
    let file = written();
    for end in 0..file.len() {
        let Ok(reader) = Reader::open(&file[..end]) else {
            continue;
        };
        let results: Vec<_> = reader.collect();
        let packets = results.iter().filter(|result| result.is_ok()).count();
        assert!(packets <= 2);
        assert!(
            results.iter().rev().skip(1).all(Result::is_ok),
            "an error is the last item"
        );
    }
    let mut cut = pcap(u32::to_le_bytes, 0xa1b2_c3d4, 1);
    let whole = cut.len() as u64;
    cut.extend([0; 10]);
    let (records, error) = all(&cut);
    assert_eq!(records.len(), 1);
    assert!(
        matches!(error, Some(ReadError::Cut { at }) if at == whole),
        "{error:?}"
    );
}

#[test]
fn lengths_that_lie_are_damage_and_cost_no_memory() {
    let mut file = pcap(u32::to_le_bytes, 0xa1b2_c3d4, 1);
    for word in [1u32, 2, u32::MAX, u32::MAX] {
        file.extend(word.to_le_bytes());
    }
    let (records, error) = all(&file);
    assert_eq!(records.len(), 1);
    assert!(matches!(error, Some(ReadError::Damaged { .. })));
    assert!(matches!(
        Reader::open(&b"GIF89a.."[..]),
        Err(ReadError::Unknown(_))
    ));
    assert!(matches!(Reader::open(&b"GI"[..]), Err(ReadError::Empty)));
}

#[test]
fn every_resolution_comes_out_in_nanoseconds() {
    assert_eq!(Resolution::Decimal(6).nanos(5), 5_000);
    assert_eq!(Resolution::Decimal(9).nanos(5), 5);
    assert_eq!(Resolution::Decimal(12).nanos(5_000), 5);
    assert_eq!(Resolution::Binary(10).nanos(1024), 1_000_000_000);
    for odd in [Resolution::Decimal(127), Resolution::Binary(127)] {
        assert_eq!(odd.nanos(u64::MAX), 0);
    }
    assert_eq!(Resolution::Decimal(0).nanos(u64::MAX), u64::MAX);
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic_or_run_forever(
        start in 0usize..5,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let magic: [&[u8]; 5] = [
            &[], &[0xd4, 0xc3, 0xb2, 0xa1], &[0xa1, 0xb2, 0x3c, 0x4d],
            &[10, 13, 13, 10, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a], &[10, 13, 13, 10, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d],
        ];
        let file = [magic[start], &bytes].concat();
        if let Ok(reader) = Reader::open(&file[..]) {
            prop_assert!(reader.count() <= file.len());
        }
    }

    #[test]
    fn a_damaged_byte_makes_no_panic(at in 0usize..200, value in any::<u8>()) {
        let mut file = written();
        let length = file.len();
        file[at % length] = value;
        if let Ok(reader) = Reader::open(&file[..]) {
            prop_assert!(reader.count() <= 4);
        }
    }
}
