//! The payload of ICMP and UDP echo probes: who it belongs to, and whether it came back whole.
//!
//! | octets | field |
//! |---|---|
//! | 0–7 | sequence number, big-endian |
//! | 8–15 | nonce: a keyed function of the sequence number, big-endian |
//! | 16– | filler: a function of the offset alone |
//!
//! No time is carried: a round trip is measured with the sender's own table, and what a reply claims is not read.

/// Octets of sequence number and nonce. A shorter payload holds filler alone and cannot be told apart.
pub const HEADER_LEN: usize = 16;

const SEQ: usize = 0;
const NONCE: usize = 8;

/// So many octets of our filler beyond the header say "this was ours" although the header is damaged: by chance 1 in 2^128.
const TELLING: usize = 16;

/// What a received payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// The probe with this sequence number, byte for byte.
    Whole(u64),
    /// A true prefix of the probe with this sequence number, its header whole.
    Truncated(u64),
    /// Ours, but damaged.
    Corrupt,
    /// Not ours.
    Foreign,
}

/// The filler byte at `offset`.
#[inline]
fn filler(offset: usize) -> u8 {
    // The top byte of a multiplicative hash: no short period, so nothing shifted or swapped passes for whole.
    ((offset as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// Fills the whole of `payload`: header and filler, or filler alone where the header has no room.
pub fn write(payload: &mut [u8], seq: u64, nonce: u64) {
    let mut from = 0;
    if let Some(header) = payload.first_chunk_mut::<HEADER_LEN>() {
        header[SEQ..NONCE].copy_from_slice(&seq.to_be_bytes());
        header[NONCE..].copy_from_slice(&nonce.to_be_bytes());
        from = HEADER_LEN;
    }
    for (offset, byte) in payload.iter_mut().enumerate().skip(from) {
        *byte = filler(offset);
    }
}

/// Compares what was `received` with the probe of `sent_len` octets that its header names.
///
/// `nonce` is the keyed function that the probes were written with. With `sent_len` under [`HEADER_LEN`] everything is
/// [`Match::Foreign`]: see [`is_filler`].
pub fn check(sent_len: usize, received: &[u8], nonce: impl FnOnce(u64) -> u64) -> Match {
    let Some((header, rest)) = received.split_first_chunk::<HEADER_LEN>() else {
        return Match::Foreign;
    };
    let (seq, theirs) = (word(header, SEQ), word(header, NONCE));
    if sent_len < HEADER_LEN {
        return Match::Foreign;
    }
    let intact = received.len() <= sent_len && filled(rest, HEADER_LEN);
    if nonce(seq) == theirs {
        return match received.len() == sent_len {
            _ if !intact => Match::Corrupt,
            true => Match::Whole(seq),
            false => Match::Truncated(seq),
        };
    }
    if received.len() <= sent_len && telling(rest) {
        Match::Corrupt
    } else {
        Match::Foreign
    }
}

/// Whether `received` is what [`write()`] puts into a payload too short for the header, or a prefix of it.
pub fn is_filler(sent_len: usize, received: &[u8]) -> bool {
    received.len() <= sent_len && filled(received, 0)
}

/// Whether what follows a damaged header is our filler. A packet can be damaged on its way there and again on its way back,
/// so a few octets may differ.
fn telling(rest: &[u8]) -> bool {
    let ours = |(i, &b): (usize, &u8)| b == filler(HEADER_LEN.wrapping_add(i));
    let agree = rest.iter().enumerate().filter(|&octet| ours(octet)).count();
    agree >= TELLING && rest.len() - agree <= rest.len() / 8
}

fn filled(bytes: &[u8], from: usize) -> bool {
    // Differences are gathered, not searched for: a plain loop that the compiler makes wide.
    bytes
        .iter()
        .enumerate()
        .fold(0, |differs, (i, &b)| differs | (b ^ filler(from.wrapping_add(i))))
        == 0
}

/// The big-endian word at `offset` of 0 or 8.
fn word(header: &[u8; HEADER_LEN], offset: usize) -> u64 {
    header[offset..]
        .iter()
        .take(8)
        .fold(0, |n, &b| n << 8 | u64::from(b))
}

/// The key behind the nonces of one run: what somebody off the path cannot guess.
///
/// SipHash-2-4 (Aumasson and Bernstein 2012) of the sequence number in eight octets, little-endian.
#[derive(Clone, Copy)]
pub struct NonceKey {
    k0: u64,
    k1: u64,
}

impl NonceKey {
    /// From 16 random octets, fresh for each run (and target, where replies of two must not be mixed up).
    pub const fn new(key: u128) -> NonceKey {
        NonceKey {
            k0: key as u64,
            k1: (key >> 64) as u64,
        }
    }

    /// The nonce of the probe with this sequence number.
    #[inline]
    pub fn nonce(&self, seq: u64) -> u64 {
        let mut v = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        // One block of eight octets, then the length block.
        for block in [seq, 8 << 56] {
            v[3] ^= block;
            round(&mut v);
            round(&mut v);
            v[0] ^= block;
        }
        v[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key that is printed is no key.
        f.debug_struct("NonceKey").finish_non_exhaustive()
    }
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: NonceKey = NonceKey::new(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);

    fn probe(len: usize, seq: u64) -> Vec<u8> {
        let mut p = vec![0xee; len];
        write(&mut p, seq, KEY.nonce(seq));
        p
    }

    fn judge(sent_len: usize, received: &[u8]) -> Match {
        check(sent_len, received, |seq| KEY.nonce(seq))
    }

    #[test]
    fn the_nonce_is_siphash_2_4() {
        // Its authors' vector for the octets 00…07 under the key 00…0f.
        assert_eq!(KEY.nonce(0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{KEY:?}"), "NonceKey { .. }");
    }

    #[test]
    fn what_comes_back_as_sent_is_whole_and_every_prefix_with_the_header_truncated() {
        for len in [16, 17, 31, 32, 33, 64, 1472] {
            let p = probe(len, 0x0102_0304_0506_0708);
            assert_eq!(&p[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
            for cut in 0..len {
                let want = if cut < HEADER_LEN {
                    Match::Foreign
                } else {
                    Match::Truncated(0x0102_0304_0506_0708)
                };
                assert_eq!(judge(len, &p[..cut]), want, "{cut} of {len}");
            }
            assert_eq!(judge(len, &p), Match::Whole(0x0102_0304_0506_0708));
        }
    }

    #[test]
    fn more_than_was_sent_is_corrupt_even_if_it_goes_on_as_ours_would() {
        let p = probe(64, 9);
        assert_eq!(judge(63, &p), Match::Corrupt);
        assert_eq!(judge(16, &p), Match::Corrupt);
    }

    #[test]
    fn a_damaged_header_over_our_filler_is_corrupt_and_over_little_of_it_foreign() {
        for at in 0..HEADER_LEN {
            for len in [16, 20, 31, 32, 56] {
                let mut p = probe(len, 77);
                p[at] ^= 0x10;
                let want = if len >= 32 { Match::Corrupt } else { Match::Foreign };
                assert_eq!(judge(len, &p), want, "octet {at} of {len}");
            }
        }
    }

    #[test]
    fn what_was_damaged_on_its_way_there_and_back_again_is_corrupt() {
        for (header, beyond) in [(0, 16), (9, 40), (15, 63)] {
            let mut p = probe(64, 77);
            p[header] ^= 4;
            p[beyond] ^= 1;
            assert_eq!(judge(64, &p), Match::Corrupt, "octets {header} and {beyond}");
        }
        let mut little_is_ours = probe(64, 77);
        little_is_ours[8..40].fill(0);
        assert_eq!(judge(64, &little_is_ours), Match::Foreign);
    }

    #[test]
    fn another_runs_probe_of_the_same_form_settles_nothing() {
        let mut p = vec![0; 56];
        write(&mut p, 5, NonceKey::new(1).nonce(5));
        assert_eq!(judge(56, &p), Match::Corrupt);
        assert_eq!(judge(16, &p[..16]), Match::Foreign);
    }

    #[test]
    fn what_is_too_short_for_a_header_is_filler_and_foreign() {
        for len in 0..HEADER_LEN {
            let p = probe(len, 3);
            assert!(is_filler(len, &p));
            assert_eq!(judge(len, &p), Match::Foreign);
            if len > 0 {
                let mut bad = p.clone();
                bad[len - 1] ^= 1;
                assert!(is_filler(len, &p[..len - 1]) && !is_filler(len, &bad) && !is_filler(len - 1, &p));
            }
        }
        assert_eq!(judge(15, &probe(16, 3)), Match::Foreign);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), sent in 0usize..200) {
            prop_assert!(matches!(judge(sent, &bytes), Match::Foreign), "chance of 1 in 2^64");
        }

        #[test]
        fn any_change_beyond_the_header_is_corrupt(len in 17usize..600, seq: u64, at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut p = probe(len, seq);
            let at = HEADER_LEN + at.index(len - HEADER_LEN);
            p[at] ^= flip;
            prop_assert_eq!(judge(len, &p), Match::Corrupt);
        }
    }
}
