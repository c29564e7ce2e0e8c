//! What the error queue and send errors mean: one errno stands for several layers, and only the ICMP message behind
//! it, and whose address that bears, tells them apart.

use std::net::{IpAddr, SocketAddr};

use rping_engine::{Origin, Reason, Refusal};

use crate::cmsg::ExtendedError;

/// Who raised an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorOrigin {
    /// The local stack, during a send call.
    Local,
    /// An ICMP message (from anybody, this host included).
    Icmp,
    /// An ICMPv6 message (from anybody, this host included).
    Icmp6,
}

/// How much of the packet that caused an error is kept: the probe's own headers and more.
const KEPT: usize = 128;

/// One entry of a socket's error queue.
#[derive(Clone, Copy, Debug)]
pub struct SocketError {
    /// The error number the kernel makes of it.
    pub errno: i32,
    /// Who raised it.
    pub origin: ErrorOrigin,
    /// The ICMP message's type, 0 for [`ErrorOrigin::Local`].
    pub kind: u8,
    /// The ICMP message's code, 0 for [`ErrorOrigin::Local`].
    pub code: u8,
    /// Who sent the ICMP message.
    pub offender: Option<IpAddr>,
    /// The largest IP packet that would have passed, in bytes, where that is the error and it was told.
    pub mtu: Option<u32>,
    /// Where the packet that caused it was going (port 0 for ICMP).
    pub destination: Option<SocketAddr>,
    quoted: [u8; KEPT],
    quoted_length: usize,
}

/// What an error makes of the probe that caused it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Somebody out there said no.
    Rejected(Refusal),
    /// This host said so itself: it never left.
    NotSent(Refusal),
}

impl SocketError {
    /// What a control message and the bytes beside it say; `None` for origins unknown here.
    pub(crate) fn new(
        e: ExtendedError,
        destination: Option<SocketAddr>,
        quoted: &[u8],
    ) -> Option<SocketError> {
        let origin = match e.origin {
            libc::SO_EE_ORIGIN_LOCAL => ErrorOrigin::Local,
            libc::SO_EE_ORIGIN_ICMP => ErrorOrigin::Icmp,
            libc::SO_EE_ORIGIN_ICMP6 => ErrorOrigin::Icmp6,
            _ => return None,
        };
        let errno = i32::try_from(e.errno).unwrap_or(0);
        let mtu = (errno == libc::EMSGSIZE && e.info > 0).then_some(e.info);
        let quoted_length = quoted.len().min(KEPT);
        let mut kept = [0; KEPT];
        kept[..quoted_length].copy_from_slice(&quoted[..quoted_length]);
        Some(SocketError {
            errno,
            origin,
            kind: e.kind,
            code: e.code,
            offender: e.offender.filter(|_| origin != ErrorOrigin::Local),
            mtu,
            destination,
            quoted: kept,
            quoted_length,
        })
    }

    /// The payload of the packet that caused it, as far as it was quoted (at most 128 bytes): for UDP what followed the UDP
    /// header, for ICMP sockets the ICMP header and what followed.
    pub fn quoted(&self) -> &[u8] {
        &self.quoted[..self.quoted_length]
    }

    /// What it makes of the probe that caused it. `own` tells whether an address is one of this host's.
    pub fn verdict(&self, mut own: impl FnMut(IpAddr) -> bool) -> Verdict {
        if self.origin == ErrorOrigin::Local {
            return Verdict::NotSent(send_refusal(self.errno, self.mtu));
        }
        let refusal = Refusal {
            reason: self.reason(),
            from: self.offender.map(Origin::Ip),
            icmp: Some((self.kind, self.code)),
            mtu: self.mtu,
            errno: Some(self.errno),
        };
        let to_self = self.destination.is_some_and(|to| own(to.ip()));
        if to_self || !self.offender.is_some_and(&mut own) {
            return Verdict::Rejected(refusal);
        }
        let reason = match refusal.reason {
            Reason::HostUnreachable => Reason::NoNeighbour,
            Reason::NetworkUnreachable => Reason::NoRoute,
            Reason::PortClosed | Reason::AdminProhibited | Reason::ProtocolUnreachable => {
                Reason::LocalFirewall
            }
            other => other,
        };
        Verdict::NotSent(Refusal { reason, ..refusal })
    }

    fn reason(&self) -> Reason {
        match self.origin {
            ErrorOrigin::Icmp => icmp_reason(self.kind, self.code),
            ErrorOrigin::Icmp6 => icmp6_reason(self.kind, self.code),
            ErrorOrigin::Local => Reason::Other,
        }
    }
}

/// The reason that an ICMP message gives (RFC 792; codes 9, 10 and 13: RFC 1812 section 5.2.7.1).
pub fn icmp_reason(kind: u8, code: u8) -> Reason {
    match (kind, code) {
        (3, 0 | 6 | 11) => Reason::NetworkUnreachable,
        (3, 1 | 5 | 7 | 8 | 12) => Reason::HostUnreachable,
        (3, 2) => Reason::ProtocolUnreachable,
        (3, 3) => Reason::PortClosed,
        (3, 4) => Reason::PacketTooBig,
        (3, 9 | 10 | 13) => Reason::AdminProhibited,
        (11, _) => Reason::TimeExceeded,
        _ => Reason::Other,
    }
}

/// The reason that an ICMPv6 message gives (RFC 4443 section 3).
pub fn icmp6_reason(kind: u8, code: u8) -> Reason {
    match (kind, code) {
        (1, 0) => Reason::NetworkUnreachable,
        // Code 2, beyond the scope of the source address: nobody past that point is reachable from there.
        (1, 2 | 3) => Reason::HostUnreachable,
        (1, 1 | 5 | 6) => Reason::AdminProhibited,
        (1, 4) => Reason::PortClosed,
        (2, _) => Reason::PacketTooBig,
        (3, _) => Reason::TimeExceeded,
        // Unrecognised next header: the counterpart of ICMP's protocol unreachable.
        (4, 1) => Reason::ProtocolUnreachable,
        _ => Reason::Other,
    }
}

/// Why a send call that failed with `errno` sent nothing. `mtu` is what the kernel said fits, for EMSGSIZE.
pub fn send_refusal(errno: i32, mtu: Option<u32>) -> Refusal {
    let reason = match errno {
        libc::EPERM => Reason::LocalFirewall,
        // One for each type of route that refuses: none, unreachable, prohibit, blackhole.
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL => Reason::NoRoute,
        libc::ENETDOWN | libc::ENODEV | libc::ENXIO => Reason::InterfaceDown,
        libc::EMSGSIZE => Reason::PacketTooBig,
        libc::EADDRNOTAVAIL => Reason::NoLocalPort,
        libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN => Reason::NoBuffer,
        _ => Reason::Other,
    };
    Refusal {
        reason,
        mtu: mtu.filter(|_| errno == libc::EMSGSIZE),
        ..Refusal::of(reason).errno(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));

    fn error(origin: u8, kind: u8, code: u8, errno: i32, offender: Option<IpAddr>, to: &str) -> SocketError {
        let e = ExtendedError {
            errno: errno as u32,
            origin,
            kind,
            code,
            info: 1280,
            offender,
        };
        SocketError::new(e, to.parse().ok(), &[7; 200]).expect("a known origin")
    }

    fn own(ip: IpAddr) -> bool {
        ip == OURS || ip.is_loopback()
    }

    #[test]
    fn a_routers_message_rejects_and_our_own_means_it_never_left() {
        for (kind, code, theirs, ours) in [
            (3, 0, Reason::NetworkUnreachable, Reason::NoRoute),
            (3, 1, Reason::HostUnreachable, Reason::NoNeighbour),
            (3, 2, Reason::ProtocolUnreachable, Reason::LocalFirewall),
            (3, 3, Reason::PortClosed, Reason::LocalFirewall),
            (3, 9, Reason::AdminProhibited, Reason::LocalFirewall),
            (3, 10, Reason::AdminProhibited, Reason::LocalFirewall),
            (3, 13, Reason::AdminProhibited, Reason::LocalFirewall),
            (11, 0, Reason::TimeExceeded, Reason::TimeExceeded),
        ] {
            let to = "198.51.100.1:9";
            match error(2, kind, code, libc::EHOSTUNREACH, Some(ROUTER), to).verdict(own) {
                Verdict::Rejected(r) => {
                    assert_eq!(r.reason, theirs);
                    assert_eq!(
                        (r.from, r.icmp, r.mtu),
                        (Some(Origin::Ip(ROUTER)), Some((kind, code)), None)
                    );
                }
                Verdict::NotSent(r) => panic!("{r:?}"),
            }
            match error(2, kind, code, libc::EHOSTUNREACH, Some(OURS), to).verdict(own) {
                Verdict::NotSent(r) => assert_eq!(r.reason, ours),
                Verdict::Rejected(r) => panic!("{r:?}"),
            }
        }
    }

    #[test]
    fn a_closed_port_of_our_own_address_is_a_closed_port() {
        let loopback = Some(IpAddr::from([127, 0, 0, 1]));
        let verdict = error(2, 3, 3, libc::ECONNREFUSED, loopback, "127.0.0.1:9").verdict(own);
        assert!(
            matches!(verdict, Verdict::Rejected(r) if r.reason == Reason::PortClosed),
            "{verdict:?}"
        );
    }

    #[test]
    fn too_big_tells_the_mtu_whoever_says_it() {
        let router = error(2, 3, 4, libc::EMSGSIZE, Some(ROUTER), "198.51.100.1:9").verdict(own);
        assert!(
            matches!(router, Verdict::Rejected(r) if r.reason == Reason::PacketTooBig && r.mtu == Some(1280))
        );
        let local = error(1, 0, 0, libc::EMSGSIZE, None, "198.51.100.1:9").verdict(own);
        assert!(
            matches!(local, Verdict::NotSent(r) if r.reason == Reason::PacketTooBig && r.mtu == Some(1280))
        );
    }

    #[test]
    fn every_icmpv6_code_of_rfc_4443_has_its_reason() {
        use Reason::*;
        let want = [
            (1, 0, NetworkUnreachable),
            (1, 1, AdminProhibited),
            (1, 3, HostUnreachable),
            (1, 4, PortClosed),
            (1, 5, AdminProhibited),
            (1, 6, AdminProhibited),
            (2, 0, PacketTooBig),
            (3, 0, TimeExceeded),
            (4, 1, ProtocolUnreachable),
            (4, 0, Other),
        ];
        for (kind, code, reason) in want {
            assert_eq!(icmp6_reason(kind, code), reason, "{kind}/{code}");
        }
    }

    #[test]
    fn each_send_error_has_its_reason_and_keeps_its_number() {
        use Reason::*;
        let want = [
            (libc::EPERM, LocalFirewall),
            (libc::ENETUNREACH, NoRoute),
            (libc::EHOSTUNREACH, NoRoute),
            (libc::EACCES, NoRoute),
            (libc::EINVAL, NoRoute),
            (libc::ENETDOWN, InterfaceDown),
            (libc::EMSGSIZE, PacketTooBig),
            (libc::EADDRNOTAVAIL, NoLocalPort),
            (libc::EIO, Other),
        ];
        for (errno, reason) in want {
            let r = send_refusal(errno, Some(1400));
            assert_eq!((r.reason, r.errno), (reason, Some(errno)));
            assert_eq!(r.mtu, (errno == libc::EMSGSIZE).then_some(1400));
        }
    }

    #[test]
    fn the_quoted_packet_is_kept_up_to_its_bound() {
        let e = error(3, 1, 4, libc::ECONNREFUSED, None, "[2001:db8::1]:9");
        assert_eq!(e.quoted(), &[7; 128]);
        assert_eq!(e.destination, "[2001:db8::1]:9".parse().ok());
    }
}
