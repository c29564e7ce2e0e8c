//! Reading captures: pcap in both byte orders with micro- or nanoseconds, and pcapng.
//!
//! Nothing is allocated by a length that the file announces: buffers grow with what really comes, up to a bound. A
//! file that is cut short or damaged gives the packets before the damage, and then says where it is.

use std::io::{self, Read};

use super::LinkType;

/// The longest packet or block that is read, bytes: a loopback interface sends 64 KiB, GSO up to 512 KiB.
const MOST: u32 = 1 << 20;
/// Interfaces of one file that are kept.
const MOST_INTERFACES: usize = 4096;

/// Why a capture cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is none.
    #[error("no capture file: it begins with {0:02x?}, neither pcap nor pcapng")]
    Unknown([u8; 4]),
    /// It holds nothing at all.
    #[error("no capture file: it is empty or shorter than a header")]
    Empty,
    /// The file ends within a packet.
    #[error("cut short after {at} bytes: the packets before are used")]
    Cut {
        /// Where the last whole packet ends.
        at: u64,
    },
    /// What stands there is no packet.
    #[error("damaged after {at} bytes ({what}): the packets before are used")]
    Damaged {
        /// Where.
        at: u64,
        /// In what way.
        what: &'static str,
    },
    /// The system could not read it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A captured packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Nanoseconds since 1970, by the clock of the host that captured it.
    pub stamp: u64,
    /// What `bytes` begins with.
    pub link: LinkType,
    /// The interface's number in the file; its name is in [`Reader::interfaces`].
    pub interface: u32,
    /// How long the packet was.
    pub whole: u32,
    /// As much of it as was captured.
    pub bytes: Vec<u8>,
}

/// An interface of a pcapng file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name, where it was written down. Foreign text: escape it before showing it.
    pub name: Option<String>,
    /// What its packets begin with.
    pub link: LinkType,
    /// Units of a stamp in a second, and seconds to add.
    resolution: Resolution,
    offset: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resolution {
    /// 10^n a second.
    Decimal(u8),
    /// 2^n a second.
    Binary(u8),
}

impl Resolution {
    fn nanos(self, units: u64) -> u64 {
        let nanos = match self {
            Resolution::Decimal(n @ 0..=9) => u128::from(units) * 10u128.pow(9 - u32::from(n)),
            Resolution::Decimal(n) => match 10u128.checked_pow(u32::from(n) - 9) {
                Some(part) => u128::from(units) / part,
                None => 0,
            },
            Resolution::Binary(n) => (u128::from(units) * 1_000_000_000)
                .checked_shr(n.into())
                .unwrap_or(0),
        };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Pcap { nanos: bool, link: LinkType },
    Pcapng,
}

/// Reads one capture from its beginning to its end.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    form: Form,
    /// Numbers in the file are in the other byte order.
    swapped: bool,
    interfaces: Vec<Interface>,
    /// Where in this section the numbers of interfaces begin.
    first: usize,
    at: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// What is no capture file.
    pub fn open(mut from: R) -> Result<Reader<R>, ReadError> {
        let magic: [u8; 4] = take(&mut from, 4)?.try_into().map_err(|_| ReadError::Empty)?;
        let mut reader = Reader {
            from,
            form: Form::Pcapng,
            swapped: false,
            interfaces: Vec::new(),
            first: 0,
            at: 4,
            ended: false,
        };
        let nanos = match u32::from_ne_bytes(magic) {
            0x0a0d_0d0a => {
                reader.section()?;
                return Ok(reader);
            }
            0xa1b2_c3d4 => false,
            0xa1b2_3c4d => true,
            0xd4c3_b2a1 => {
                reader.swapped = true;
                false
            }
            0x4d3c_b2a1 => {
                reader.swapped = true;
                true
            }
            _ => return Err(ReadError::Unknown(magic)),
        };
        let header = take(&mut reader.from, 20)?;
        reader.at = 24;
        // Version, zone, accuracy, length, then the link type: its upper bits tell of frame check sequences.
        let link = reader.u32(&header, 16).ok_or(ReadError::Empty)?;
        let link = LinkType::from_number(link as u16);
        reader.form = Form::Pcap { nanos, link };
        reader.interfaces.push(Interface {
            name: None,
            link,
            resolution: Resolution::Decimal(9),
            offset: 0,
        });
        Ok(reader)
    }

    /// The interfaces that were declared so far.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let number = u32::from_ne_bytes(four);
        Some(if self.swapped { number.swap_bytes() } else { number })
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let two = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        let number = u16::from_ne_bytes(two);
        Some(if self.swapped { number.swap_bytes() } else { number })
    }

    fn damaged<T>(&self, what: &'static str) -> Result<T, ReadError> {
        Err(ReadError::Damaged { at: self.at, what })
    }

    /// A section header, whose type has been read.
    fn section(&mut self) -> Result<(), ReadError> {
        let head = take(&mut self.from, 8)?;
        let order = head.get(4..8).and_then(|bytes| bytes.try_into().ok());
        self.swapped = match order.map(u32::from_ne_bytes) {
            Some(0x1a2b_3c4d) => false,
            Some(0x4d3c_2b1a) => true,
            Some(_) => return self.damaged("a section header without its byte-order mark"),
            None => return Err(ReadError::Cut { at: self.at }),
        };
        let length = self.u32(&head, 0).unwrap_or(0);
        if !(28..=MOST).contains(&length) {
            return self.damaged("a section header of impossible length");
        }
        let rest = take(&mut self.from, length - 12)?;
        if rest.len() < length as usize - 12 {
            return Err(ReadError::Cut { at: self.at });
        }
        self.first = self.interfaces.len();
        self.at += u64::from(length) - 4;
        Ok(())
    }

    fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        match self.form {
            Form::Pcap { nanos, link } => self.pcap_record(nanos, link),
            Form::Pcapng => self.pcapng_record(),
        }
    }

    fn pcap_record(&mut self, nanos: bool, link: LinkType) -> Result<Option<Record>, ReadError> {
        let head = take(&mut self.from, 16)?;
        if head.is_empty() {
            return Ok(None);
        }
        let (Some(seconds), Some(fraction), Some(length), Some(whole)) = (
            self.u32(&head, 0),
            self.u32(&head, 4),
            self.u32(&head, 8),
            self.u32(&head, 12),
        ) else {
            return Err(ReadError::Cut { at: self.at });
        };
        if length > MOST {
            return self.damaged("a packet of impossible length");
        }
        let bytes = take(&mut self.from, length)?;
        if bytes.len() < length as usize {
            return Err(ReadError::Cut { at: self.at });
        }
        self.at += 16 + u64::from(length);
        let fraction = u64::from(fraction) * if nanos { 1 } else { 1000 };
        Ok(Some(Record {
            stamp: u64::from(seconds) * 1_000_000_000 + fraction,
            link,
            interface: 0,
            whole,
            bytes,
        }))
    }

    fn pcapng_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            let kind = take(&mut self.from, 4)?;
            if kind.is_empty() {
                return Ok(None);
            }
            let Some(kind) = self.u32(&kind, 0) else {
                return Err(ReadError::Cut { at: self.at });
            };
            // Reads the same in both byte orders.
            if kind == 0x0a0d_0d0a {
                self.at += 4;
                self.section()?;
                continue;
            }
            let head = take(&mut self.from, 4)?;
            let Some(length) = self.u32(&head, 0) else {
                return Err(ReadError::Cut { at: self.at });
            };
            if !(12..=MOST).contains(&length) || !length.is_multiple_of(4) {
                return self.damaged("a block of impossible length");
            }
            let mut body = take(&mut self.from, length - 8)?;
            if body.len() < length as usize - 8 {
                return Err(ReadError::Cut { at: self.at });
            }
            if self.u32(&body, body.len() - 4) != Some(length) {
                return self.damaged("a block whose two lengths differ");
            }
            body.truncate(body.len() - 4);
            self.at += u64::from(length);
            match kind {
                1 => self.interface(&body)?,
                3 | 2 | 6 => return self.packet(kind, body).map(Some),
                // Names, statistics, secrets, and what others have added.
                _ => {}
            }
        }
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), ReadError> {
        if self.interfaces.len() >= MOST_INTERFACES {
            return self.damaged("more interfaces than a host has");
        }
        let Some(link) = self.u16(body, 0) else {
            return self.damaged("an interface without a link type");
        };
        let mut interface = Interface {
            name: None,
            link: LinkType::from_number(link),
            resolution: Resolution::Decimal(6),
            offset: 0,
        };
        let mut at = 8;
        while let (Some(code), Some(length)) = (self.u16(body, at), self.u16(body, at + 2)) {
            let value = body.get(at + 4..at + 4 + usize::from(length));
            match (code, value) {
                (0, _) | (_, None) => break,
                (2, Some(name)) => interface.name = Some(String::from_utf8_lossy(name).into_owned()),
                (9, Some(&[units])) => {
                    interface.resolution = match units & 0x80 {
                        0 => Resolution::Decimal(units),
                        _ => Resolution::Binary(units & 0x7f),
                    };
                }
                (14, Some(offset)) => {
                    if let (Some(a), Some(b)) = (self.u32(offset, 0), self.u32(offset, 4)) {
                        let (low, high) = if self.swapped == cfg!(target_endian = "little") {
                            (b, a)
                        } else {
                            (a, b)
                        };
                        interface.offset = (u64::from(high) << 32 | u64::from(low)) as i64;
                    }
                }
                _ => {}
            }
            at += 4 + usize::from(length).next_multiple_of(4);
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn packet(&self, kind: u32, mut body: Vec<u8>) -> Result<Record, ReadError> {
        // Enhanced and obsolete packets differ in the first word; simple ones are of the first interface, unstamped.
        let (number, stamp, data, whole_at) = match kind {
            3 => (Some(0), Some((0, 0)), 4, 0),
            2 => (
                self.u16(&body, 0).map(u32::from),
                self.u32(&body, 4).zip(self.u32(&body, 8)),
                20,
                16,
            ),
            _ => (
                self.u32(&body, 0),
                self.u32(&body, 4).zip(self.u32(&body, 8)),
                20,
                16,
            ),
        };
        let (Some(number), Some((high, low)), Some(whole)) = (number, stamp, self.u32(&body, whole_at))
        else {
            return self.damaged("a packet block that is too short");
        };
        let length = match kind {
            3 => (whole as usize).min(body.len().saturating_sub(4)),
            _ => self.u32(&body, 12).unwrap_or(0) as usize,
        };
        let place = self.first.saturating_add(number as usize);
        let Some(interface) = self.interfaces.get(place) else {
            return self.damaged("a packet of an interface that was not declared");
        };
        if body.len() < data + length {
            return self.damaged("a packet longer than its block");
        }
        body.drain(..data);
        body.truncate(length);
        let stamp = interface.resolution.nanos(u64::from(high) << 32 | u64::from(low));
        let offset = interface.offset.saturating_mul(1_000_000_000);
        Ok(Record {
            stamp: stamp.saturating_add_signed(offset),
            link: interface.link,
            interface: u32::try_from(place).unwrap_or(u32::MAX),
            whole,
            bytes: body,
        })
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    /// The next packet; an error is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_record();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Up to `length` bytes: fewer where the file ends. Grows with what comes.
fn take(from: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
