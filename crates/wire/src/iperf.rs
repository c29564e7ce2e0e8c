//! iperf3's protocol: the bytes around its JSON. There is no RFC; the reference is esnet/iperf, `src/iperf_api.h`,
//! `src/iperf_tcp.c` and `src/iperf_udp.c`, versions 3.12 to 3.21. Integers are big-endian.
//!
//! On a control connection: the cookie, then states (one signed byte each) from either side, and JSON texts behind a
//! length of 32 bits. TCP data connections begin with the same cookie. UDP streams begin with four bytes each way.

use crate::{take, Error};

/// The port of both ends unless another is agreed on.
pub const PORT: u16 = 5201;

/// Octets of a cookie: 36 characters and a zero.
pub const COOKIE_LEN: usize = 37;

/// The longest text of parameters that is read: what a server of 3.18 and later takes.
pub const PARAMETERS_MOST: usize = 8 << 10;
/// The longest text of results that is read.
pub const RESULTS_MOST: usize = 1 << 20;

/// What a client sends to begin a UDP stream (3.12 and later).
pub const UDP_CONNECT: [u8; 4] = *b"9876";
/// What a server answers.
pub const UDP_ACCEPT: [u8; 4] = *b"6789";
/// The same from versions up to 3.11, on little-endian hosts.
pub const UDP_CONNECT_OLD: [u8; 4] = 123_456_789u32.to_le_bytes();
/// The answer of those.
pub const UDP_ACCEPT_OLD: [u8; 4] = 987_654_321u32.to_le_bytes();

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What all connections of one test begin with. Whoever knows it can join the test.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cookie([u8; COOKIE_LEN]);

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A secret that is printed is none.
        f.debug_struct("Cookie").finish_non_exhaustive()
    }
}

impl Cookie {
    /// Out of random bits: five of each octet become a character.
    pub fn new(random: [u8; COOKIE_LEN - 1]) -> Cookie {
        let mut cookie = [0; COOKIE_LEN];
        for (to, from) in cookie.iter_mut().zip(random) {
            *to = ALPHABET[usize::from(from & 31)];
        }
        Cookie(cookie)
    }

    /// As it came in.
    ///
    /// # Errors
    /// When it is none of iperf3's: characters outside a–z and 2–7, or no zero at the end.
    pub fn parse(bytes: &[u8; COOKIE_LEN]) -> Result<Cookie, Error> {
        let [characters @ .., 0] = bytes else {
            return Err(Error::Malformed {
                what: "an iperf3 cookie ends with a zero",
            });
        };
        if !characters.iter().all(|&c| begins_cookie(c)) {
            return Err(Error::Malformed {
                what: "an iperf3 cookie is of the characters a-z and 2-7",
            });
        }
        Ok(Cookie(*bytes))
    }

    /// As it goes out.
    pub const fn as_bytes(&self) -> &[u8; COOKIE_LEN] {
        &self.0
    }
}

/// Whether a connection that begins with this octet may be iperf3's.
pub const fn begins_cookie(octet: u8) -> bool {
    matches!(octet, b'a'..=b'z' | b'2'..=b'7')
}

/// What one side tells the other on the control connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum State {
    /// The data flows from now on: sent twice, as start and running.
    TestStart = 1,
    /// See [`State::TestStart`].
    TestRunning = 2,
    /// The client has had enough; it is always the client that says so.
    TestEnd = 4,
    /// The server wants the parameters.
    ParamExchange = 9,
    /// The server wants the streams.
    CreateStreams = 10,
    /// The server was ended.
    ServerTerminate = 11,
    /// The client was ended.
    ClientTerminate = 12,
    /// Results: the client's text first, then the server's.
    ExchangeResults = 13,
    /// The client may show them and close its streams.
    DisplayResults = 14,
    /// The client is done.
    IperfDone = 16,
    /// The server is busy, or does not know the cookie.
    AccessDenied = -1,
    /// The server failed; two 32-bit numbers follow: iperf3's error and an errno.
    ServerError = -2,
}

impl State {
    const ALL: [State; 12] = [
        State::TestStart,
        State::TestRunning,
        State::TestEnd,
        State::ParamExchange,
        State::CreateStreams,
        State::ServerTerminate,
        State::ClientTerminate,
        State::ExchangeResults,
        State::DisplayResults,
        State::IperfDone,
        State::AccessDenied,
        State::ServerError,
    ];

    /// The state that this octet stands for; `None` for what neither side sends.
    pub fn from_octet(octet: u8) -> Option<State> {
        State::ALL.into_iter().find(|state| state.octet() == octet)
    }

    /// As it goes out.
    pub const fn octet(self) -> u8 {
        (self as i8).cast_unsigned()
    }
}

/// iperf3's error numbers, of those that a server sends behind [`State::ServerError`] (`iperf_api.h`).
pub mod errors {
    /// Too many streams.
    pub const STREAMS: i32 = 6;
    /// Datagrams longer or shorter than UDP takes.
    pub const UDP_LENGTH: i32 = 20;
    /// A rate above what the server allows.
    pub const RATE: i32 = 27;
    /// A test longer than the server allows.
    pub const TOO_LONG: i32 = 37;
    /// The parameters could not be read.
    pub const PARAMETERS: i32 = 114;
    /// The results could not be read.
    pub const RESULTS: i32 = 117;
    /// The client ended early.
    pub const CLIENT_TERMINATED: i32 = 119;
    /// The server's own time limit passed.
    pub const TIME_LIMIT: i32 = 160;

    /// What a number means, in words; `None` for one that is not known here.
    pub fn describe(number: i32) -> Option<&'static str> {
        Some(match number {
            STREAMS => "too many parallel streams",
            12 => "the start-up phase to be left out is too long",
            UDP_LENGTH => "it does not take UDP datagrams of that length",
            RATE => "it does not allow that rate",
            TOO_LONG => "it does not allow tests that long",
            102 => "it could not listen",
            106 => "it did not get the cookie",
            PARAMETERS => "it could not read the parameters",
            RESULTS => "it could not read the results",
            CLIENT_TERMINATED => "it was told that the client ended early",
            142 => "it wants authentication",
            TIME_LIMIT => "its own time limit passed",
            208 => "it was told of a stream that it does not know",
            _ => return None,
        })
    }
}

/// The header of every datagram of a UDP test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatagramHeader {
    /// When it was sent, on the sender's monotonic clock: good for jitter, not for one-way delay.
    pub seconds: u32,
    /// The microseconds of it.
    pub micros: u32,
    /// Counts from 1 in each stream.
    pub count: u64,
}

impl DatagramHeader {
    /// Octets with a count of 32 bits; the shortest datagram.
    pub const LEN: usize = 12;
    /// Octets with a count of 64 bits (`udp_counters_64bit`).
    pub const LEN_64: usize = 16;

    /// Of an instant in nanoseconds on the sender's monotonic clock.
    pub const fn at(nanos: u64, count: u64) -> DatagramHeader {
        DatagramHeader {
            seconds: (nanos / 1_000_000_000) as u32,
            micros: (nanos % 1_000_000_000 / 1000) as u32,
            count,
        }
    }

    /// When it was sent, in nanoseconds on the sender's monotonic clock. Microseconds beyond a second count as they are.
    pub const fn nanos(&self) -> u64 {
        self.seconds as u64 * 1_000_000_000 + self.micros as u64 * 1000
    }

    /// Writes it to the beginning of a datagram that has room for it.
    ///
    /// # Errors
    /// When it has none.
    pub fn write(&self, datagram: &mut [u8], wide: bool) -> Result<(), Error> {
        let needed = if wide { Self::LEN_64 } else { Self::LEN };
        let got = datagram.len();
        let Some(room) = datagram.get_mut(..needed) else {
            return Err(Error::Truncated {
                what: "an iperf3 datagram",
                needed,
                got,
            });
        };
        room[..4].copy_from_slice(&self.seconds.to_be_bytes());
        room[4..8].copy_from_slice(&self.micros.to_be_bytes());
        if wide {
            room[8..].copy_from_slice(&self.count.to_be_bytes());
        } else {
            // The low bits: iperf3 counts past 2^32 the same way.
            room[8..].copy_from_slice(&(self.count as u32).to_be_bytes());
        }
        Ok(())
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the datagram is too short for it.
    pub fn parse(datagram: &[u8], wide: bool) -> Result<DatagramHeader, Error> {
        const WHAT: &str = "an iperf3 datagram";
        let count = if wide {
            u64::from_be_bytes(take(datagram, 8, WHAT)?)
        } else {
            u64::from(u32::from_be_bytes(take(datagram, 8, WHAT)?))
        };
        Ok(DatagramHeader {
            seconds: u32::from_be_bytes(take(datagram, 0, WHAT)?),
            micros: u32::from_be_bytes(take(datagram, 4, WHAT)?),
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cookie_is_36_characters_of_the_alphabet_and_a_zero() {
        let cookie = Cookie::new(std::array::from_fn(|i| (i * 73) as u8));
        assert_eq!(Cookie::parse(cookie.as_bytes()), Ok(cookie));
        assert!(begins_cookie(cookie.as_bytes()[0]));
        assert_eq!(format!("{cookie:?}"), "Cookie { .. }");
        for at in [0, 35, 36] {
            let mut wrong = *cookie.as_bytes();
            wrong[at] = b'1';
            assert!(Cookie::parse(&wrong).is_err(), "{at}");
        }
    }

    #[test]
    fn states_are_the_octets_of_iperf3() {
        for state in State::ALL {
            assert_eq!(State::from_octet(state.octet()), Some(state));
        }
        assert_eq!(State::AccessDenied.octet(), 0xff);
        assert_eq!(State::ServerError.octet(), 0xfe);
        assert_eq!(State::from_octet(15), None, "internal to iperf3");
        assert_eq!(State::from_octet(0), None);
    }

    #[test]
    fn the_words_of_stream_creation_are_those_seen_on_the_wire() {
        assert_eq!(UDP_CONNECT_OLD, [0x15, 0xcd, 0x5b, 0x07]);
        assert_eq!(UDP_ACCEPT_OLD, [0xb1, 0x68, 0xde, 0x3a]);
    }

    #[test]
    fn a_datagram_header_is_laid_out_as_iperf3_does() {
        let header = DatagramHeader::at(3_000_007_000, 5);
        let mut datagram = [0xee; 18];
        header.write(&mut datagram, false).unwrap();
        assert_eq!(datagram[..13], [0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 5, 0xee]);
        assert_eq!(header.nanos(), 3_000_007_000);
        header.write(&mut datagram, true).unwrap();
        assert_eq!(datagram[8..17], [0, 0, 0, 0, 0, 0, 0, 5, 0xee]);
        assert!(header.write(&mut datagram[..11], false).is_err());
        assert!(header.write(&mut datagram[..15], true).is_err());
    }

    proptest! {
        #[test]
        fn headers_survive_the_wire(seconds: u32, micros in 0u32..1_000_000, count: u64, wide: bool) {
            let count = if wide { count } else { count & 0xffff_ffff };
            let header = DatagramHeader { seconds, micros, count };
            let mut datagram = [0; 16];
            header.write(&mut datagram, wide).unwrap();
            prop_assert_eq!(DatagramHeader::parse(&datagram, wide), Ok(header));
            prop_assert_eq!(DatagramHeader::at(header.nanos(), count), header);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), wide: bool) {
            if let Ok(header) = DatagramHeader::parse(&bytes, wide) {
                header.nanos();
            }
            if let Some(cookie) = bytes.first_chunk() {
                let _ = Cookie::parse(cookie);
            }
            bytes.first().map(|&octet| State::from_octet(octet));
        }
    }
}
