//! The request/response exchange over TCP that `rping latency` measures with, for which no standard has a message.
//!
//! All fields are big-endian; `docs/protocols.md` has them octet by octet. A connection begins with 40 octets from the
//! client and 40 from the server, in which they agree on the two message sizes. Then the client sends requests, each of
//! exactly the size agreed on, and gets one response for each, in order. Sizes are agreed on once and never announced again, so nobody has to believe a length.

use crate::{take, Error};

/// What both hellos begin with. No iperf3 cookie has a capital letter, so one octet tells the two apart.
pub const MAGIC: [u8; 8] = *b"RPINGLAT";
/// The version that is spoken here.
pub const VERSION: u8 = 1;
/// Octets of either hello.
pub const HELLO_LEN: usize = 40;
/// Octets of the header of a request or response; also the smallest message.
pub const HEADER_LEN: usize = 16;
/// The largest message, bytes.
pub const LARGEST: u32 = 1 << 20;

/// The sequence number of no request: a response that bears it ends the exchange and says why.
const FAREWELL: u64 = u64::MAX;

const VERSION_AT: usize = 8;
const KIND_AT: usize = 9;
const FLAGS_AT: usize = 10;
const STATUS_AT: usize = 11;
const FIRST_AT: usize = 12;
const SECOND_AT: usize = 16;
const THIRD_AT: usize = 20;

/// Zeros. They make a hello longer than the 37 octets that an iperf3 server waits for, so that one shows itself.
const ZEROS_AT: usize = 24;

const FROM_CLIENT: u8 = 1;
const FROM_SERVER: u8 = 2;
/// The client asks the server to sleep for requests; the server says that it may look without sleeping.
const BLOCK: u8 = 1;
const SPINS: u8 = 1;

/// Whether a connection that begins with this octet may be a latency exchange.
pub const fn begins_hello(octet: u8) -> bool {
    octet == MAGIC[0]
}

/// What the client begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientHello {
    /// The server is to sleep while it waits for requests instead of looking for a while first.
    pub block: bool,
    /// Octets of each request, header included.
    pub request: u32,
    /// Octets of each response, header included.
    pub response: u32,
    /// The longest silence to be expected between two requests, seconds.
    pub idle: u32,
}

impl ClientHello {
    /// As it goes out.
    pub fn to_bytes(&self) -> [u8; HELLO_LEN] {
        let flags = if self.block { BLOCK } else { 0 };
        hello(
            [VERSION, FROM_CLIENT, flags, 0],
            [self.request, self.response, self.idle],
        )
    }

    /// Reads it. Whether the sizes are acceptable is for [`ClientHello::is_within_bounds`] to say, so that the client can be
    /// told.
    ///
    /// # Errors
    /// When it is no client's hello of this protocol.
    pub fn parse(bytes: &[u8; HELLO_LEN]) -> Result<ClientHello, Error> {
        let [version, kind, flags, zero] = begun(bytes)?;
        if version != VERSION {
            return Err(Error::Malformed {
                what: "a version of the latency exchange that is not spoken here",
            });
        }
        let zeros = bytes[ZEROS_AT..].iter().all(|&octet| octet == 0);
        if kind != FROM_CLIENT || flags & !BLOCK != 0 || zero != 0 || !zeros {
            return Err(Error::Malformed {
                what: "no hello of a client",
            });
        }
        Ok(ClientHello {
            block: flags & BLOCK != 0,
            request: word(bytes, FIRST_AT)?,
            response: word(bytes, SECOND_AT)?,
            idle: word(bytes, THIRD_AT)?,
        })
    }

    /// Both sizes are from [`HEADER_LEN`] to [`LARGEST`].
    pub const fn is_within_bounds(&self) -> bool {
        is_size(self.request) && is_size(self.response)
    }
}

const fn is_size(octets: u32) -> bool {
    octets >= HEADER_LEN as u32 && octets <= LARGEST
}

/// What the server makes of a client's hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Requests are answered from now on.
    Ready = 0,
    /// Too many tests run already.
    Busy = 1,
    /// A size out of bounds.
    Size = 2,
    /// A version that the server does not speak.
    Version = 3,
}

impl Status {
    const ALL: [Status; 4] = [Status::Ready, Status::Busy, Status::Size, Status::Version];
}

/// What the server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerHello {
    /// Whether it will serve.
    pub status: Status,
    /// It looks for requests for a while before it sleeps.
    pub spins: bool,
    /// The largest message it takes or sends, octets.
    pub largest: u32,
    /// The longest test it allows, seconds.
    pub longest: u32,
}

impl ServerHello {
    /// As it goes out.
    pub fn to_bytes(&self) -> [u8; HELLO_LEN] {
        let flags = if self.spins { SPINS } else { 0 };
        hello(
            [VERSION, FROM_SERVER, flags, self.status as u8],
            [self.largest, self.longest, 0],
        )
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is no server's hello of this protocol.
    pub fn parse(bytes: &[u8; HELLO_LEN]) -> Result<ServerHello, Error> {
        let [version, kind, flags, status] = begun(bytes)?;
        let status = Status::ALL.into_iter().find(|&known| known as u8 == status);
        let (FROM_SERVER, Some(status)) = (kind, status) else {
            return Err(Error::Malformed {
                what: "no hello of a server",
            });
        };
        // One that refuses for the version speaks another by definition.
        if version != VERSION && status != Status::Version {
            return Err(Error::Malformed {
                what: "a version of the latency exchange that is not spoken here",
            });
        }
        Ok(ServerHello {
            status,
            spins: flags & SPINS != 0,
            largest: word(bytes, FIRST_AT)?,
            longest: word(bytes, SECOND_AT)?,
        })
    }
}

const HELLO: &str = "a hello of the latency exchange";

fn hello(fields: [u8; 4], words: [u32; 3]) -> [u8; HELLO_LEN] {
    let mut bytes = [0; HELLO_LEN];
    bytes[..VERSION_AT].copy_from_slice(&MAGIC);
    bytes[VERSION_AT..FIRST_AT].copy_from_slice(&fields);
    for (at, word) in [FIRST_AT, SECOND_AT, THIRD_AT].into_iter().zip(words) {
        bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// The four octets behind the magic: version, kind, flags, status.
fn begun(bytes: &[u8; HELLO_LEN]) -> Result<[u8; 4], Error> {
    if bytes[..VERSION_AT] != MAGIC {
        return Err(Error::Malformed {
            what: "not the latency exchange",
        });
    }
    Ok([
        bytes[VERSION_AT],
        bytes[KIND_AT],
        bytes[FLAGS_AT],
        bytes[STATUS_AT],
    ])
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Error> {
    take(bytes, at, HELLO).map(u32::from_be_bytes)
}

/// The header of a request: the sequence number, and once more the size that was agreed on. Zeros follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Counts up, by any step.
    pub seq: u64,
    /// Octets of this request, header included.
    pub length: u32,
}

impl Request {
    /// As it goes out.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is not of the length agreed on, or its last octets are not zero.
    pub fn parse(bytes: &[u8; HEADER_LEN], agreed: u32) -> Result<Request, Error> {
        let request = Request {
            seq: u64::from_be_bytes(take(bytes, 0, "a request")?),
            length: u32::from_be_bytes(take(bytes, 8, "a request")?),
        };
        if request.length != agreed || bytes[12..] != [0; 4] || request.seq == FAREWELL {
            return Err(Error::Malformed {
                what: "no request of the size that was agreed on",
            });
        }
        Ok(request)
    }
}

/// The header of a response. Zeros follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response {
    /// The answer to the request of this sequence number.
    Answer {
        /// The request's.
        seq: u64,
        /// From when the whole request was read until just before the response is written, nanoseconds.
        residence: u64,
    },
    /// The server ends the exchange.
    Farewell(Farewell),
}

/// Why a server ends an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Farewell {
    /// The longest test it allows is over.
    TooLong = 1,
    /// There was no request for longer than the client had said.
    Idle = 2,
    /// A request that is none.
    Nonsense = 3,
    /// It is being ended itself.
    Stopping = 4,
}

impl Farewell {
    const ALL: [Farewell; 4] = [
        Farewell::TooLong,
        Farewell::Idle,
        Farewell::Nonsense,
        Farewell::Stopping,
    ];
}

impl Response {
    /// As it goes out.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let (seq, second) = match *self {
            Response::Answer { seq, residence } => (seq, residence),
            Response::Farewell(why) => (FAREWELL, why as u64),
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&seq.to_be_bytes());
        bytes[8..].copy_from_slice(&second.to_be_bytes());
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is a farewell for no known reason.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Response, Error> {
        let seq = u64::from_be_bytes(take(bytes, 0, "a response")?);
        let second = u64::from_be_bytes(take(bytes, 8, "a response")?);
        if seq != FAREWELL {
            return Ok(Response::Answer {
                seq,
                residence: second,
            });
        }
        let why = Farewell::ALL.into_iter().find(|&known| known as u64 == second);
        why.map(Response::Farewell).ok_or(Error::Malformed {
            what: "a farewell for no known reason",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIENT: ClientHello = ClientHello {
        block: true,
        request: 64,
        response: 1 << 20,
        idle: 3600,
    };

    const SERVER: ServerHello = ServerHello {
        status: Status::Busy,
        spins: true,
        largest: LARGEST,
        longest: 3600,
    };

    #[test]
    fn hellos_stand_on_the_wire_as_the_protocols_page_says() {
        let bytes = CLIENT.to_bytes();
        assert_eq!(bytes[..12], *b"RPINGLAT\x01\x01\x01\x00");
        assert_eq!(bytes[12..24], [0, 0, 0, 64, 0, 16, 0, 0, 0, 0, 14, 16]);
        let bytes = SERVER.to_bytes();
        assert_eq!(bytes[..12], *b"RPINGLAT\x01\x02\x01\x01");
        assert_eq!(bytes[12..24], [0, 16, 0, 0, 0, 0, 14, 16, 0, 0, 0, 0]);
    }

    #[test]
    fn what_one_side_writes_the_other_reads() {
        assert_eq!(ClientHello::parse(&CLIENT.to_bytes()), Ok(CLIENT));
        for status in Status::ALL {
            let hello = ServerHello { status, ..SERVER };
            assert_eq!(ServerHello::parse(&hello.to_bytes()), Ok(hello));
        }
        let request = Request { seq: 7, length: 64 };
        assert_eq!(Request::parse(&request.to_bytes(), 64), Ok(request));
        let answer = Response::Answer {
            seq: 7,
            residence: 81,
        };
        assert_eq!(Response::parse(&answer.to_bytes()), Ok(answer));
        for why in Farewell::ALL {
            let farewell = Response::Farewell(why);
            assert_eq!(Response::parse(&farewell.to_bytes()), Ok(farewell));
        }
    }

    #[test]
    fn a_request_of_another_size_than_agreed_on_is_none() {
        let bytes = Request { seq: 7, length: 64 }.to_bytes();
        for agreed in [16, 63, 65, u32::MAX] {
            assert!(Request::parse(&bytes, agreed).is_err(), "{agreed}");
        }
    }

    #[test]
    fn sizes_out_of_bounds_are_told_apart_from_nonsense() {
        for (request, within) in [
            (0, false),
            (15, false),
            (16, true),
            (LARGEST, true),
            (LARGEST + 1, false),
            (u32::MAX, false),
        ] {
            let hello = ClientHello { request, ..CLIENT };
            let read = ClientHello::parse(&hello.to_bytes()).expect("a hello");
            assert_eq!(read.is_within_bounds(), within, "{request}");
        }
    }

    #[test]
    fn a_servers_hello_is_no_clients_and_neither_are_other_protocols() {
        assert!(ClientHello::parse(&SERVER.to_bytes()).is_err());
        assert!(ServerHello::parse(&CLIENT.to_bytes()).is_err());
        let mut web = [b' '; HELLO_LEN];
        web[..8].copy_from_slice(b"HTTP/1.1");
        assert!(ServerHello::parse(&web).is_err());
        assert!(!crate::iperf::begins_cookie(MAGIC[0]) && begins_hello(MAGIC[0]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes: [u8; 20], more: [u8; 20], agreed: u32, begins: bool) {
            let mut hello = [0; HELLO_LEN];
            hello[..20].copy_from_slice(&bytes);
            hello[20..].copy_from_slice(&more);
            if begins {
                hello[..8].copy_from_slice(&MAGIC);
            }
            if let Ok(read) = ClientHello::parse(&hello) {
                prop_assert_eq!(read.to_bytes(), hello);
            }
            let _ = ServerHello::parse(&hello);
            let header: [u8; HEADER_LEN] = *bytes.first_chunk().expect("20 octets hold 16");
            let _ = Request::parse(&header, agreed);
            if let Ok(read) = Response::parse(&header) {
                prop_assert_eq!(read.to_bytes(), header);
            }
        }
    }
}
