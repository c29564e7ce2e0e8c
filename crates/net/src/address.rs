//! Socket addresses as the kernel writes them, in safe code.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A `sockaddr_in` or `sockaddr_in6` with room to spare, aligned for both.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name([u8; Name::SIZE]);

impl Name {
    pub(crate) const SIZE: usize = 32;
    /// Sizes of `sockaddr_in` and `sockaddr_in6`.
    const FOUR: usize = 16;
    const SIX: usize = 28;

    pub(crate) const fn empty() -> Name {
        Name([0; Name::SIZE])
    }

    /// Writes `address`; returns the length the kernel wants to hear.
    pub(crate) fn write(&mut self, address: SocketAddr) -> usize {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(four) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&four.ip().octets());
                bytes[8..16].fill(0);
                Name::FOUR
            }
            SocketAddr::V6(six) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&six.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&six.ip().octets());
                bytes[24..28].copy_from_slice(&six.scope_id().to_ne_bytes());
                Name::SIX
            }
        }
    }

    /// Reads what the kernel wrote, `length` bytes of it. `None` for other families and for none at all.
    pub(crate) fn read(&self, length: usize) -> Option<SocketAddr> {
        let bytes = &self.0;
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
            libc::AF_INET if length >= Name::FOUR => {
                let ip: [u8; 4] = bytes[4..8].try_into().ok()?;
                Some(SocketAddr::new(IpAddr::from(ip), port))
            }
            libc::AF_INET6 if length >= Name::SIX => {
                let ip: [u8; 16] = bytes[8..24].try_into().ok()?;
                let scope = u32::from_ne_bytes(bytes[24..28].try_into().ok()?);
                Some(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(ip),
                    port,
                    0,
                    scope,
                )))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_library_writes_them_and_read_back() {
        for text in ["192.0.2.1:7", "[2001:db8::1]:862", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            let theirs = socket2::SockAddr::from(address);
            let mut name = Name([0xff; Name::SIZE]);
            let length = name.write(address);
            assert_eq!(length, theirs.len() as usize);
            // SAFETY: the storage behind `theirs` is at least `length` bytes long.
            let expected = unsafe { std::slice::from_raw_parts(theirs.as_ptr().cast::<u8>(), length) };
            assert_eq!(&name.0[..length], expected, "{text}");
            assert_eq!(name.read(length), Some(address));
            assert_eq!(name.read(length - 1), None);
        }
        assert_eq!(Name::empty().read(Name::SIZE), None);
    }
}
