//! Control messages: what the kernel tells about a datagram beside its bytes.
//!
//! Read and written as plain bytes, in safe code: a length that lies ends the iteration, nothing else.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `struct cmsghdr`: length (with this header), level, type.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();
/// `SO_EE_ORIGIN_TIMESTAMPING`: an error-queue entry that is a transmit stamp.
const ORIGIN_TIMESTAMPING: u8 = libc::SO_EE_ORIGIN_TIMESTAMPING;
/// `SCM_TSTAMP_SND` of `linux/errqueue.h`: the stamp was taken as the driver got the packet.
const STAMP_SENT: u32 = 0;
/// `SCM_TS_OPT_ID` of Linux 6.13: the sender chooses the number that comes back with the transmit stamp.
pub(crate) const SCM_TS_OPT_ID: i32 = 81;
/// `struct sock_extended_err` without the offender's address behind it.
const EXTENDED_ERROR: usize = 16;

const fn align(length: usize) -> usize {
    length.saturating_add(size_of::<usize>() - 1) & !(size_of::<usize>() - 1)
}

/// The room that a message with `data` bytes takes.
pub(crate) const fn space(data: usize) -> usize {
    align(HEADER) + align(data)
}

/// One control message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) level: i32,
    pub(crate) kind: i32,
    pub(crate) data: &'a [u8],
}

/// Iterates over what `recvmsg` wrote.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::from_ne_bytes(bytes(self.0, 0)?);
        let level = i32::from_ne_bytes(bytes(self.0, size_of::<usize>())?);
        let kind = i32::from_ne_bytes(bytes(self.0, size_of::<usize>() + size_of::<i32>())?);
        let data = self.0.get(align(HEADER)..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some(Message { level, kind, data })
    }
}

/// Appends a message; returns the new length, or the old one where there is no room.
pub(crate) fn append(buffer: &mut [u8], used: usize, level: i32, kind: i32, data: &[u8]) -> usize {
    let end = used + space(data.len());
    let Some(room) = buffer.get_mut(used..end) else {
        return used;
    };
    room.fill(0);
    room[..size_of::<usize>()].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    room[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
    room[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
    room[align(HEADER)..][..data.len()].copy_from_slice(data);
    end
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// An entry of the error queue that is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ExtendedError {
    pub(crate) errno: u32,
    pub(crate) origin: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) info: u32,
    pub(crate) offender: Option<IpAddr>,
}

/// All that the control messages of one datagram or error-queue entry said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Control {
    /// The software stamp, nanoseconds of `CLOCK_REALTIME` since 1970.
    pub(crate) stamp: Option<i64>,
    /// The interface's stamp, nanoseconds by its own clock.
    pub(crate) hardware: Option<i64>,
    /// Received TTL or hop limit.
    pub(crate) ttl: Option<u8>,
    /// Received TOS or traffic class.
    pub(crate) tos: Option<u8>,
    /// The address it was sent to, and the interface it came in by.
    pub(crate) to: Option<(IpAddr, u32)>,
    /// For a transmit stamp: the number of the packet it belongs to.
    pub(crate) sent: Option<u32>,
    /// For an error-queue entry: the error.
    pub(crate) error: Option<ExtendedError>,
}

impl Control {
    pub(crate) fn read(control: &[u8]) -> Control {
        let mut all = Control::default();
        for message in Messages(control) {
            all.add(&message);
        }
        all
    }

    fn add(&mut self, m: &Message<'_>) {
        match (m.level, m.kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                (self.stamp, self.hardware) =
                    (timestamping(m.data, SOFTWARE), timestamping(m.data, HARDWARE));
            }
            // IP_TTL comes as an int, IP_TOS as one byte, the IPv6 ones as ints.
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.ttl = bytes(m.data, 0).and_then(|b| u8::try_from(i32::from_ne_bytes(b)).ok());
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => self.tos = m.data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.tos = bytes(m.data, 0).and_then(|b| u8::try_from(i32::from_ne_bytes(b)).ok());
            }
            // struct in_pktinfo: interface, local address, header's destination.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let (Some(index), Some(to)) = (bytes(m.data, 0), bytes::<4>(m.data, 8)) {
                    self.to = Some((IpAddr::from(to), u32::from_ne_bytes(index)));
                }
            }
            // struct in6_pktinfo: destination, interface.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let (Some(to), Some(index)) = (bytes::<16>(m.data, 0), bytes(m.data, 16)) {
                    self.to = Some((IpAddr::from(to), u32::from_ne_bytes(index)));
                }
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                self.add_error(m.data);
            }
            _ => {}
        }
    }

    fn add_error(&mut self, data: &[u8]) {
        let (Some(errno), Some([origin, kind, code, _]), Some(info), Some(number)) =
            (bytes(data, 0), bytes(data, 4), bytes(data, 8), bytes(data, 12))
        else {
            return;
        };
        let info = u32::from_ne_bytes(info);
        if origin == ORIGIN_TIMESTAMPING {
            // Other kinds (SCHED, ACK) are never asked for.
            self.sent = (info == STAMP_SENT).then_some(u32::from_ne_bytes(number));
            return;
        }
        let offender = data.get(EXTENDED_ERROR..).and_then(offender);
        let errno = u32::from_ne_bytes(errno);
        self.error = Some(ExtendedError {
            errno,
            origin,
            kind,
            code,
            info,
            offender,
        });
    }
}

/// `struct scm_timestamping` is three `timespec`s: the kernel's stamp, one that is no longer used, and the interface's as
/// it took it. What was not stamped is zero.
const SOFTWARE: usize = 0;
const HARDWARE: usize = 2;

fn timestamping(data: &[u8], which: usize) -> Option<i64> {
    let start = which * 2 * size_of::<isize>();
    let seconds = i64::try_from(isize::from_ne_bytes(bytes(data, start)?)).ok()?;
    let nanos = i64::try_from(isize::from_ne_bytes(bytes(data, start + size_of::<isize>())?)).ok()?;
    let stamp = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    (stamp > 0).then_some(stamp)
}

/// The `sockaddr` behind a `sock_extended_err`: `AF_UNSPEC` where nobody is known.
fn offender(address: &[u8]) -> Option<IpAddr> {
    match i32::from(u16::from_ne_bytes(bytes(address, 0)?)) {
        libc::AF_INET => Some(IpAddr::V4(Ipv4Addr::from(bytes::<4>(address, 4)?))),
        libc::AF_INET6 => {
            let six = Ipv6Addr::from(bytes::<16>(address, 8)?);
            Some(six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_appended_is_read_back_and_is_laid_out_as_libc_says() {
        let mut buffer = [0xaa; 128];
        let used = append(
            &mut buffer,
            0,
            libc::IPPROTO_IP,
            libc::IP_TTL,
            &64i32.to_ne_bytes(),
        );
        // SAFETY: CMSG_SPACE is arithmetic alone.
        assert_eq!(used, unsafe { libc::CMSG_SPACE(4) } as usize);
        let used = append(&mut buffer, used, libc::SOL_SOCKET, SCM_TS_OPT_ID, &[1, 2, 3]);
        let read: Vec<_> = Messages(&buffer[..used]).collect();
        assert_eq!(
            read[0],
            Message {
                level: 0,
                kind: libc::IP_TTL,
                data: &64i32.to_ne_bytes()
            }
        );
        assert_eq!(
            read[1],
            Message {
                level: libc::SOL_SOCKET,
                kind: SCM_TS_OPT_ID,
                data: &[1, 2, 3]
            }
        );
        assert_eq!(read.len(), 2);
        assert_eq!(Control::read(&buffer[..used]).ttl, Some(64));
    }

    #[test]
    fn a_message_that_does_not_fit_is_left_out() {
        let mut buffer = [0; 24];
        assert_eq!(append(&mut buffer, 0, 1, 2, &[0; 16]), 0);
        assert_eq!(append(&mut buffer, 0, 1, 2, &[0; 8]), 24);
        assert_eq!(append(&mut buffer, 24, 1, 2, &[0; 1]), 24);
    }

    #[test]
    fn the_kernels_stamp_and_the_interfaces_are_told_apart() {
        let stamps = |times: [(isize, isize); 3], length: usize| {
            let data: Vec<u8> = times
                .iter()
                .flat_map(|(seconds, nanos)| [seconds.to_ne_bytes(), nanos.to_ne_bytes()])
                .flatten()
                .collect();
            let mut buffer = [0; 96];
            let used = append(
                &mut buffer,
                0,
                libc::SOL_SOCKET,
                libc::SCM_TIMESTAMPING,
                &data[..length],
            );
            let control = Control::read(&buffer[..used]);
            (control.stamp, control.hardware)
        };
        let whole = 6 * size_of::<isize>();
        let cases = [
            (
                [(1, 2), (0, 0), (3, 4)],
                whole,
                (Some(1_000_000_002), Some(3_000_000_004)),
            ),
            ([(1, 2), (0, 0), (0, 0)], whole, (Some(1_000_000_002), None)),
            ([(0, 0), (0, 0), (3, 4)], whole, (None, Some(3_000_000_004))),
            ([(0, 0), (9, 9), (0, 0)], whole, (None, None)),
            ([(1, 2), (0, 0), (3, 4)], whole - 1, (Some(1_000_000_002), None)),
            ([(1, 2), (0, 0), (-3, 4)], whole, (Some(1_000_000_002), None)),
        ];
        for (times, length, want) in cases {
            assert_eq!(stamps(times, length), want, "{times:?}");
        }
    }

    #[test]
    fn an_icmp_error_is_read_with_its_offender() {
        let mut data = Vec::new();
        data.extend(113u32.to_ne_bytes());
        data.extend([libc::SO_EE_ORIGIN_ICMP, 3, 13, 0]);
        data.extend(1400u32.to_ne_bytes());
        data.extend(0u32.to_ne_bytes());
        data.extend((libc::AF_INET as u16).to_ne_bytes());
        data.extend([0, 0, 192, 0, 2, 7]);
        let mut buffer = [0; 96];
        let used = append(&mut buffer, 0, libc::IPPROTO_IP, libc::IP_RECVERR, &data);
        let error = Control::read(&buffer[..used]).error.expect("an error");
        assert_eq!(
            (error.errno, error.kind, error.code, error.info),
            (113, 3, 13, 1400)
        );
        assert_eq!(error.offender, Some(IpAddr::from([192, 0, 2, 7])));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_run_forever(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER);
            let _ = Control::read(&bytes);
        }

        #[test]
        fn no_data_in_well_formed_messages_makes_reading_panic(
            kinds in proptest::collection::vec((0usize..7, proptest::collection::vec(any::<u8>(), 0..60)), 0..5)
        ) {
            let known = [
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING), (libc::IPPROTO_IP, libc::IP_TTL),
                (libc::IPPROTO_IP, libc::IP_TOS), (libc::IPPROTO_IP, libc::IP_PKTINFO),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), (libc::IPPROTO_IP, libc::IP_RECVERR),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
            ];
            let mut buffer = [0; 512];
            let used = kinds.iter().fold(0, |used, (kind, data)| {
                append(&mut buffer, used, known[*kind].0, known[*kind].1, data)
            });
            prop_assert_eq!(Messages(&buffer[..used]).count(), kinds.len());
            let _ = Control::read(&buffer[..used]);
        }
    }
}
