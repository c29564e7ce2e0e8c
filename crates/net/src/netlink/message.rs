//! The framing of rtnetlink: a header, a fixed body, then attributes, each padded to four bytes.
//!
//! Layouts are `linux/netlink.h` and `linux/rtnetlink.h`, in the machine's byte order. Reading goes by checked
//! slices alone: a length that does not fit ends the iteration.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct rtattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// A request under construction.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts a request of this type with this fixed body. `NLM_F_REQUEST` is added to `flags`.
    pub(super) fn new(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Request {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(&seq.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(body);
        let mut request = Request { bytes };
        request.pad();
        request
    }

    /// Appends one attribute. `value` is at most a few dozen bytes (an address, a name, a number).
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        debug_assert!(value.len() < 1024);
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// The finished message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = (self.bytes.len() as u32).to_ne_bytes();
        self.bytes[..4].copy_from_slice(&length);
        self.bytes
    }

    fn pad(&mut self) {
        let padded = align(self.bytes.len());
        self.bytes.resize(padded, 0);
    }
}

/// One message of an answer.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) seq: u32,
    pub(super) body: &'a [u8],
}

/// The messages in one datagram from the kernel.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32_at(self.0, 0)? as usize;
        let body = self.0.get(HEADER..length)?;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            seq: u32_at(self.0, 8)?,
            body,
        };
        self.0 = self.0.get(align(length)..).unwrap_or(&[]);
        Some(message)
    }
}

/// The attributes behind a fixed body.
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes of a message whose fixed body is `fixed` bytes long.
    pub(super) fn after(body: &'a [u8], fixed: usize) -> Attributes<'a> {
        Attributes(body.get(align(fixed)..).unwrap_or(&[]))
    }
}

impl<'a> Iterator for Attributes<'a> {
    /// Type (without the nested and byte-order bits) and value.
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The 16-bit number at `offset`, if it is there.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let slice = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_ne_bytes(slice.try_into().ok()?))
}

/// The 32-bit number at `offset`, if it is there.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let slice = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(slice.try_into().ok()?))
}

/// An address attribute: 4 bytes are IPv4, 16 are IPv6.
pub(crate) fn address(value: &[u8]) -> Option<std::net::IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(value).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_reads_back() {
        let bytes = Request::new(22, 0x300, 7, &[1, 2, 3, 4, 5])
            .attribute(1, b"veth0\0")
            .attribute(2, &[9])
            .finish();
        let mut messages = Messages(&bytes);
        let message = messages.next().unwrap();
        assert_eq!((message.kind, message.flags, message.seq), (22, 0x301, 7));
        assert!(messages.next().is_none());
        let attributes: Vec<_> = Attributes::after(message.body, 5).collect();
        assert_eq!(attributes, [(1, &b"veth0\0"[..]), (2, &[9][..])]);
    }

    #[test]
    fn a_cut_or_lying_message_ends_the_iteration_without_panic() {
        let bytes = Request::new(22, 0, 7, &[0; 8])
            .attribute(1, &[1, 2, 3, 4])
            .finish();
        for end in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..end]).count(), 0);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 15, 255] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                for message in Messages(&damaged) {
                    assert!(Attributes::after(message.body, 8).count() <= 8);
                }
            }
        }
        assert_eq!(Messages(&[0; 64]).count(), 0);
        assert_eq!(Attributes(&[0; 64]).count(), 0);
    }
}
