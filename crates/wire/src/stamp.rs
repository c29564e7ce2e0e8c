//! STAMP, RFC 8762: the test packets of Session-Sender and Session-Reflector, unauthenticated mode; [`auth`] is the
//! authenticated one, [`tlv`] what may follow.
//!
//! All fields are big-endian. Timestamps and error estimates are RFC 4656's (section 4.1.2), the format bit is RFC
//! 8186's, the session identifier RFC 8972's. Octets beyond the base packet are TLVs (RFC 8972) or padding: a
//! sender of ours writes zeros there, a reflector of ours copies them.

pub mod auth;
pub mod tlv;

use crate::{take, Error};

/// The UDP port at both ends unless another is agreed on (RFC 8762, section 4.1).
pub const PORT: u16 = 862;

/// Octets of the base packet of either end (RFC 8762, sections 4.2.1 and 4.3.1).
pub const BASE_LEN: usize = 44;

/// The shortest answer that is read: a TWAMP Light reflector may leave out all from the TTL on.
pub const SHORTEST_ANSWER: usize = 38;

// Both packets: RFC 8762, figures 2 and 4; the SSID as in RFC 8972, figures 1 and 2.
const SEQ: usize = 0;
const TIMESTAMP: usize = 4;
const ERROR_ESTIMATE: usize = 12;
const SSID: usize = 14;
/// Must be zero in a sender's packet.
const MBZ: std::ops::Range<usize> = 16..BASE_LEN;
// The reflector's alone: RFC 8762, figure 4.
const RECEIVED: usize = 16;
const SENDER_SEQ: usize = 24;
const SENDER_TIMESTAMP: usize = 28;
const SENDER_ERROR_ESTIMATE: usize = 36;
const SENDER_TTL: usize = 40;

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
const SECOND: u64 = 1_000_000_000;

/// An NTP timestamp: 32 bits of seconds since 1900, 32 bits of fraction (RFC 5905, section 6).
///
/// The seconds wrap on 2036-02-07. Those with the top bit set are read as 1968 to 2036, those without as 2036 to 2104
/// (RFC 4330, section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NtpTimestamp(pub u64);

impl NtpTimestamp {
    /// Of an instant in nanoseconds since 1970 (UTC).
    pub const fn from_unix_nanos(nanos: u64) -> NtpTimestamp {
        let seconds = (nanos / SECOND).wrapping_add(NTP_TO_UNIX);
        let fraction = ((nanos % SECOND) << 32) / SECOND;
        // The shift drops the era.
        NtpTimestamp(seconds << 32 | fraction)
    }

    /// In nanoseconds since 1970 (UTC), to the nearest; what lies before 1970 is 0.
    pub const fn to_unix_nanos(self) -> u64 {
        let seconds = self.0 >> 32;
        let since_1900 = if seconds >> 31 == 1 {
            seconds
        } else {
            seconds + (1 << 32)
        };
        let fraction = ((self.0 & 0xffff_ffff) * SECOND + (1 << 31)) >> 32;
        match since_1900.checked_sub(NTP_TO_UNIX) {
            // At most 136 years: fits.
            Some(unix) => unix * SECOND + fraction,
            None => 0,
        }
    }
}

/// The two timestamp formats of STAMP (RFC 8186, section 2.1; the Z bit).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// Seconds since 1900 and a binary fraction.
    Ntp,
    /// IEEE 1588v2 truncated: 32 bits of seconds since 1970 and 32 bits of nanoseconds. The seconds ought to be TAI;
    /// there are reflectors that put UTC there, and nothing tells.
    Ptp,
}

impl Format {
    /// Eight octets in this format, in nanoseconds since 1970 on the clock that wrote them; `None` when they are none
    /// (a PTP part of a second that is a second or more).
    pub const fn to_unix_nanos(self, bits: u64) -> Option<u64> {
        match self {
            Format::Ntp => Some(NtpTimestamp(bits).to_unix_nanos()),
            Format::Ptp => {
                let nanos = bits & 0xffff_ffff;
                if nanos < SECOND {
                    Some((bits >> 32) * SECOND + nanos)
                } else {
                    None
                }
            }
        }
    }
}

/// How good a clock is said to be, and the format of its timestamps (RFC 4656, section 4.1.2, and RFC 8186).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ErrorEstimate(u16);

impl ErrorEstimate {
    const SYNCHRONISED: u16 = 0x8000;
    const PTP: u16 = 0x4000;
    const SCALE_MAX: u32 = 0x3f;

    /// The smallest estimate that covers an error of `error_ns` nanoseconds; NTP format.
    pub const fn new(synchronised: bool, error_ns: u64) -> ErrorEstimate {
        // The error in units of 2^−32 s, rounded up; then as many doublings as make it fit eight bits.
        let units = ((error_ns as u128) << 32).div_ceil(SECOND as u128);
        let mut scale = 0;
        while scale < Self::SCALE_MAX && (units.div_ceil(1 << scale)) > 0xff {
            scale += 1;
        }
        let multiplier = units.div_ceil(1 << scale);
        // RFC 4656: the multiplier must not be 0.
        let multiplier = if multiplier == 0 { 1 } else { multiplier as u16 };
        let s = if synchronised { Self::SYNCHRONISED } else { 0 };
        ErrorEstimate(s | (scale as u16) << 8 | multiplier)
    }

    /// As it stands on the wire.
    pub const fn from_bits(bits: u16) -> ErrorEstimate {
        ErrorEstimate(bits)
    }

    /// As it stands on the wire.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether it says anything: a multiplier of 0 is forbidden (RFC 4656, section 4.1.2).
    pub const fn is_valid(self) -> bool {
        self.0 & 0xff != 0
    }

    /// The S bit: the clock is synchronised to UTC, says its owner. Without it the error is of no use.
    pub const fn is_synchronised(self) -> bool {
        self.0 & Self::SYNCHRONISED != 0
    }

    /// The Z bit: the format of the timestamps that this estimate stands beside.
    pub const fn format(self) -> Format {
        if self.0 & Self::PTP == 0 {
            Format::Ntp
        } else {
            Format::Ptp
        }
    }

    /// The error in nanoseconds, rounded up: multiplier · 2^(scale − 32) seconds. Stays at `u64::MAX`.
    pub const fn error_ns(self) -> u64 {
        let scale = self.0 >> 8 & 0x3f;
        // At most 255 · 10^9 · 2^63: fits 128 bits.
        let nanos = (((self.0 & 0xff) as u128 * SECOND as u128) << scale).div_ceil(1 << 32);
        if nanos > u64::MAX as u128 {
            u64::MAX
        } else {
            nanos as u64
        }
    }
}

/// A Session-Sender's test packet (RFC 8762, section 4.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderPacket {
    /// Counts from 0, one per packet of the session.
    pub seq: u32,
    /// T1, in the format that the error estimate names.
    pub timestamp: u64,
    /// Of T1.
    pub error_estimate: ErrorEstimate,
    /// The session identifier (RFC 8972, section 3); 0 is none.
    pub ssid: u16,
}

impl SenderPacket {
    /// Fills the whole of `packet`, zeros beyond the fields.
    ///
    /// # Errors
    /// When it holds fewer than [`BASE_LEN`] octets.
    pub fn write(&self, packet: &mut [u8]) -> Result<(), Error> {
        let got = packet.len();
        let Some(base) = packet.first_chunk_mut::<BASE_LEN>() else {
            return Err(Error::Truncated {
                what: "a STAMP sender's packet",
                needed: BASE_LEN,
                got,
            });
        };
        base[SEQ..TIMESTAMP].copy_from_slice(&self.seq.to_be_bytes());
        base[TIMESTAMP..ERROR_ESTIMATE].copy_from_slice(&self.timestamp.to_be_bytes());
        base[ERROR_ESTIMATE..SSID].copy_from_slice(&self.error_estimate.bits().to_be_bytes());
        base[SSID..MBZ.start].copy_from_slice(&self.ssid.to_be_bytes());
        packet[MBZ.start..].fill(0);
        Ok(())
    }

    /// Reads the fields of a packet that [`is_sender_packet`].
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &[u8]) -> Result<SenderPacket, Error> {
        const WHAT: &str = "a STAMP sender's packet";
        let base: [u8; BASE_LEN] = take(bytes, 0, WHAT)?;
        let packet = SenderPacket {
            seq: u32::from_be_bytes(take(&base, SEQ, WHAT)?),
            timestamp: u64::from_be_bytes(take(&base, TIMESTAMP, WHAT)?),
            error_estimate: ErrorEstimate(u16::from_be_bytes(take(&base, ERROR_ESTIMATE, WHAT)?)),
            ssid: u16::from_be_bytes(take(&base, SSID, WHAT)?),
        };
        if !packet.error_estimate.is_valid() {
            return Err(Error::Malformed {
                what: "the error estimate's multiplier is 0",
            });
        }
        if base[MBZ].iter().any(|&b| b != 0) {
            return Err(Error::Malformed {
                what: "fields that a STAMP sender leaves zero are not",
            });
        }
        Ok(packet)
    }
}

/// Whether a reflector of ours answers these bytes: 44 octets or more, an error estimate that is one, and zeros where
/// a sender has nothing to say.
///
/// Stricter than RFC 8762, which has a reflector ignore the zeros: a reflector's answer always has the sender's error
/// estimate there, so no answer is ever answered, and two reflectors cannot be set upon each other.
pub fn is_sender_packet(bytes: &[u8]) -> bool {
    SenderPacket::parse(bytes).is_ok()
}

/// Whether a packet of a sender whose padding need not be zero (RFC 5357 section 4.1.2) bears what only an answer does: beside
/// its own time another of the same hour, T2 or the T1 that was copied. Padding of chance does so twice in a million times.
pub fn looks_like_answer(bytes: &[u8]) -> bool {
    const HOUR: u32 = 3600;
    let seconds = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let Some(sent) = seconds(TIMESTAMP) else {
        return false;
    };
    [RECEIVED, SENDER_TIMESTAMP]
        .iter()
        .filter_map(|&at| seconds(at))
        .any(|other| other != 0 && other.abs_diff(sent) <= HOUR)
}

/// A Session-Reflector's test packet (RFC 8762, section 4.3.1), or a TWAMP Light reflector's (RFC 5357, appendix I).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReflectorPacket {
    /// The sender's number again from a stateless reflector, the reflector's own count from a stateful one.
    pub seq: u32,
    /// T3, when the answer left, in the reflector's format.
    pub timestamp: u64,
    /// Of T2 and T3.
    pub error_estimate: ErrorEstimate,
    /// The session identifier as copied by the reflector; 0 from one that does not know RFC 8972.
    pub ssid: u16,
    /// T2, when the sender's packet arrived, in the reflector's format.
    pub received: u64,
    /// The sender's number, copied.
    pub sender_seq: u32,
    /// T1, copied.
    pub sender_timestamp: u64,
    /// The sender's estimate, copied.
    pub sender_error_estimate: ErrorEstimate,
    /// TTL or hop limit with which the sender's packet arrived (255 when the reflector cannot see it); `None` when the
    /// answer is too short to say.
    pub sender_ttl: Option<u8>,
}

impl ReflectorPacket {
    /// Reads an answer. Whether it answers anything of ours is for the caller to see: `sender_seq` and
    /// `sender_timestamp` must be what was sent.
    ///
    /// # Errors
    /// When it holds fewer than [`SHORTEST_ANSWER`] octets.
    pub fn parse(bytes: &[u8]) -> Result<ReflectorPacket, Error> {
        const WHAT: &str = "a STAMP reflector's packet";
        let base: [u8; SHORTEST_ANSWER] = take(bytes, 0, WHAT)?;
        Ok(ReflectorPacket {
            seq: u32::from_be_bytes(take(&base, SEQ, WHAT)?),
            timestamp: u64::from_be_bytes(take(&base, TIMESTAMP, WHAT)?),
            error_estimate: ErrorEstimate(u16::from_be_bytes(take(&base, ERROR_ESTIMATE, WHAT)?)),
            ssid: u16::from_be_bytes(take(&base, SSID, WHAT)?),
            received: u64::from_be_bytes(take(&base, RECEIVED, WHAT)?),
            sender_seq: u32::from_be_bytes(take(&base, SENDER_SEQ, WHAT)?),
            sender_timestamp: u64::from_be_bytes(take(&base, SENDER_TIMESTAMP, WHAT)?),
            sender_error_estimate: ErrorEstimate(u16::from_be_bytes(take(
                &base,
                SENDER_ERROR_ESTIMATE,
                WHAT,
            )?)),
            sender_ttl: bytes.get(SENDER_TTL).copied(),
        })
    }

    /// T2 in nanoseconds since 1970 on the reflector's clock; `None` when it is no timestamp.
    pub const fn received_unix_nanos(&self) -> Option<u64> {
        self.error_estimate.format().to_unix_nanos(self.received)
    }

    /// T3 in nanoseconds since 1970 on the reflector's clock; `None` when it is no timestamp.
    pub const fn sent_unix_nanos(&self) -> Option<u64> {
        self.error_estimate.format().to_unix_nanos(self.timestamp)
    }

    /// T3 − T2: how long the reflector held the packet, in nanoseconds; `None` when it claims less than nothing.
    pub fn turnaround_nanos(&self) -> Option<u64> {
        self.sent_unix_nanos()?.checked_sub(self.received_unix_nanos()?)
    }
}

/// What a reflector adds to a sender's packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reflection {
    /// The sender's own number where the reflector keeps no state, else the count of answers in this session.
    pub seq: u32,
    /// T2, when the packet arrived.
    pub received: NtpTimestamp,
    /// T3, when the answer leaves; [`set_sent`] puts a later one in its place.
    pub sent: NtpTimestamp,
    /// Of T2 and T3. NTP format, which TWAMP Light senders need.
    pub error_estimate: ErrorEstimate,
    /// TTL or hop limit with which the packet arrived; 255 when it cannot be seen (RFC 5357, section 4.2.1).
    pub ttl: u8,
}

/// Writes the answer to `request` to the front of `answer` and returns its length: exactly the request's, with
/// everything beyond the base packet copied (RFC 8762, section 4.3; RFC 8972, section 4).
///
/// # Errors
/// When `request` is not to be answered ([`is_sender_packet`]) or `answer` is shorter than it.
pub fn reflect(request: &[u8], with: &Reflection, answer: &mut [u8]) -> Result<usize, Error> {
    let sender = SenderPacket::parse(request)?;
    let (needed, got) = (request.len(), answer.len());
    let Some(answer) = answer.get_mut(..needed) else {
        return Err(Error::Truncated {
            what: "the answer to a STAMP packet",
            needed,
            got,
        });
    };
    // `parse` has seen to 44 octets, so no range below can miss.
    answer.copy_from_slice(request);
    answer[SEQ..TIMESTAMP].copy_from_slice(&with.seq.to_be_bytes());
    answer[TIMESTAMP..ERROR_ESTIMATE].copy_from_slice(&with.sent.0.to_be_bytes());
    answer[ERROR_ESTIMATE..SSID].copy_from_slice(&with.error_estimate.bits().to_be_bytes());
    answer[SSID..RECEIVED].copy_from_slice(&sender.ssid.to_be_bytes());
    answer[RECEIVED..SENDER_SEQ].copy_from_slice(&with.received.0.to_be_bytes());
    answer[SENDER_SEQ..SENDER_TIMESTAMP].copy_from_slice(&sender.seq.to_be_bytes());
    answer[SENDER_TIMESTAMP..SENDER_ERROR_ESTIMATE].copy_from_slice(&sender.timestamp.to_be_bytes());
    answer[SENDER_ERROR_ESTIMATE..SHORTEST_ANSWER]
        .copy_from_slice(&sender.error_estimate.bits().to_be_bytes());
    answer[SENDER_TTL] = with.ttl;
    Ok(needed)
}

/// The shortest request that [`reflect_any`] answers: a TWAMP Light sender's whose packets are as long as the answers
/// (RFC 6038 section 5.1). What is shorter would be answered by more than it is.
pub const SHORTEST_REQUEST: usize = 41;

/// As [`reflect`], to any STAMP or TWAMP Light sender: what follows the error estimate is padding that need not be zero (RFC
/// 5357 section 4.1.2), the session identifier included, and 41 octets are enough. For a listener of its own: nothing in such
/// a packet tells a request from an answer.
///
/// # Errors
/// When `request` is no sender's packet or `answer` is shorter than it.
pub fn reflect_any(request: &[u8], with: &Reflection, answer: &mut [u8]) -> Result<usize, Error> {
    let mut whole = [0; BASE_LEN];
    let got = request.len();
    if got < SHORTEST_REQUEST {
        return Err(Error::Truncated {
            what: "a STAMP sender's packet",
            needed: SHORTEST_REQUEST,
            got,
        });
    }
    // What is the sender's own, without the padding.
    whole[..MBZ.start].copy_from_slice(&request[..MBZ.start]);
    let mut base = [0; BASE_LEN];
    reflect(&whole, with, &mut base)?;
    let Some(answer) = answer.get_mut(..got) else {
        return Err(Error::Truncated {
            what: "the answer to a STAMP packet",
            needed: got,
            got: answer.len(),
        });
    };
    answer.copy_from_slice(request);
    let head = got.min(BASE_LEN);
    answer[..head].copy_from_slice(&base[..head]);
    Ok(got)
}

/// Puts another T3 into a written answer, just before it leaves. Does nothing to what is too short to be one.
pub fn set_sent(answer: &mut [u8], sent: NtpTimestamp) {
    if let Some(field) = answer.get_mut(TIMESTAMP..ERROR_ESTIMATE) {
        field.copy_from_slice(&sent.0.to_be_bytes());
    }
}

#[cfg(test)]
#[path = "stamp_tests.rs"]
mod tests;
