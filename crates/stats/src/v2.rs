//! HdrHistogram's compressed V2 encoding, and its decoding without believing any length.
//!
//! Outer: cookie, length, zlib stream. Inner: cookie, payload length, normalizing index offset, significant digits,
//! lowest and highest value, conversion ratio; then counts as ZigZag LEB128 of at most nine bytes, where a negative
//! number is a run of empty bins.

use std::io::Read as _;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use hdrhistogram::Histogram;

use crate::Error;

const COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
const COMPRESSED_HEADER: usize = 8;
const HEADER: usize = 40;
const PAYLOAD_LENGTH: std::ops::Range<usize> = 4..8;
const DIGITS: std::ops::Range<usize> = 12..16;
const LOWEST: std::ops::Range<usize> = 16..24;

/// The largest inflated histogram that is read: five digits over the whole of `u64` is 6.4 million bins, nearly all of
/// them runs of zeros; 16 MB holds every histogram that rping writes at its very fullest (39 000 bins of 9 bytes)
/// forty times over, and is no burden.
const MOST_BYTES: u64 = 16 << 20;

/// Writes `h` as compressed V2 in base64.
pub(crate) fn encode(h: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // Cannot fail: it writes to memory, and `Histogram::merge` and `decode` keep every count below 2^63.
    V2DeflateSerializer::new()
        .serialize(h, &mut bytes)
        .expect("counts fit and memory takes them");
    STANDARD.encode(bytes)
}

/// Reads compressed V2 in base64.
pub(crate) fn decode(text: &str) -> Result<Histogram<u64>, Error> {
    let bytes = STANDARD.decode(text.trim_ascii()).map_err(Error::Base64)?;
    let Some(compressed) = bytes
        .strip_prefix(&COMPRESSED_COOKIE)
        .and_then(|b| b.get(COMPRESSED_HEADER - 4..))
    else {
        return Err(Error::Format {
            what: "it does not begin as one",
        });
    };
    let mut plain = Vec::new();
    let inflated = flate2::read::ZlibDecoder::new(compressed)
        .take(MOST_BYTES)
        .read_to_end(&mut plain);
    inflated.map_err(Error::Inflate)?;
    check(&plain)?;
    Deserializer::new()
        .deserialize(&mut plain.as_slice())
        .map_err(Error::Decode)
}

/// Refuses what the library would answer with a panic, an overflow or an allocation of announced size.
fn check(plain: &[u8]) -> Result<(), Error> {
    let format = |what| Error::Format { what };
    let Some((header, payload)) = plain.split_at_checked(HEADER) else {
        return Err(format("its header is cut short"));
    };
    if be(&header[PAYLOAD_LENGTH]) != payload.len() as u64 {
        return Err(format("it is cut short, too long, or its length is wrong"));
    }
    if !(1..=5).contains(&be(&header[DIGITS])) {
        return Err(format("it keeps an impossible number of digits"));
    }
    if be(&header[LOWEST]) != 1 {
        return Err(format("its unit is not 1 ns"));
    }
    let mut total = 0u64;
    let mut rest = payload;
    while let Some(number) = varint(&mut rest) {
        let number = ((number >> 1) as i64) ^ -((number & 1) as i64);
        if number >= 0 {
            total = total
                .checked_add(number as u64)
                .ok_or(format("its counts are impossible"))?;
        } else if number < -i64::from(u32::MAX) {
            return Err(format("it skips more bins than there are"));
        }
    }
    if !rest.is_empty() {
        return Err(format("its last count is cut short"));
    }
    if total > i64::MAX as u64 {
        return Err(format("its counts are impossible"));
    }
    Ok(())
}

/// The big-endian number in at most eight bytes.
fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// Takes one LEB128-64b9B number off the front; `None`, and nothing taken, when it is not all there.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (i, &b) in bytes.iter().enumerate().take(9) {
        if i == 8 || b < 0x80 {
            value |= u64::from(b) << (7 * i);
            *bytes = &bytes[i + 1..];
            return Some(value);
        }
        value |= u64::from(b & 0x7f) << (7 * i);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::ZlibEncoder;
    use std::io::Write as _;

    fn packed(payload: &[u8], announced: u32) -> String {
        let mut plain = vec![0x1c, 0x84, 0x93, 0x13];
        plain.extend(announced.to_be_bytes());
        plain.extend(0u32.to_be_bytes());
        plain.extend(3u32.to_be_bytes());
        plain.extend(1u64.to_be_bytes());
        plain.extend(2047u64.to_be_bytes());
        plain.extend(1f64.to_be_bytes());
        plain.extend(payload);
        wrapped(&plain)
    }

    fn wrapped(plain: &[u8]) -> String {
        let mut z = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        z.write_all(plain).unwrap();
        let z = z.finish().unwrap();
        let mut bytes = COMPRESSED_COOKIE.to_vec();
        bytes.extend((z.len() as u32).to_be_bytes());
        bytes.extend(z);
        STANDARD.encode(bytes)
    }

    #[test]
    fn a_well_formed_histogram_is_read() {
        // three values of 0 ns, a run of four empty bins, one of 5 ns
        let h = decode(&packed(&[6, 7, 2], 3)).unwrap();
        assert_eq!((h.count_at(0), h.count_at(5), h.len()), (3, 1, 4));
    }

    #[test]
    fn the_text_begins_as_every_hdrhistogram_does() {
        assert!(encode(&Histogram::new_with_bounds(1, 2, 3).unwrap()).starts_with("HISTF"));
    }

    #[test]
    fn forged_lengths_counts_and_runs_are_refused() {
        let lowest_i64 = [0xff; 9];
        let cases = [
            packed(&[6], u32::MAX),
            packed(&[6], 0),
            packed(&lowest_i64, 9),
            packed(&[0x80], 1),
            packed(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 10),
            wrapped(&[]),
            wrapped(&[0; HEADER]),
            String::new(),
            "HISTF".into(),
            "not base64!".into(),
            STANDARD.encode([0x1c, 0x84, 0x93, 0x14, 0, 0]),
        ];
        for case in cases {
            assert!(decode(&case).is_err(), "{case}");
        }
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        assert!(decode(&wrapped(&vec![0; 64 << 20])).is_err());
    }

    #[test]
    fn a_text_cut_anywhere_is_refused() {
        let whole = packed(&[6, 7, 2], 3);
        for n in 0..whole.len() - 4 {
            assert!(decode(&whole[..n]).is_err(), "{n}");
        }
    }
}
