//! What comes in by datagram sockets, and waiting for it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rping_engine::{Drained, Stamp, Timestamp};

use crate::batch::Slot;
use crate::clock::{Clock, Realtime};
use crate::cmsg::Control;
use crate::datagram::Datagram;
use crate::errqueue::SocketError;
use crate::interface_clock::InterfaceClock;
use crate::lane::Lane;
use crate::wait::{Waiter, Woken};
use crate::Result;

/// A datagram that came in.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// From whom (port 0 for ICMP).
    pub from: SocketAddr,
    /// When.
    pub at: Stamp,
    /// When by the interface's clock, where [`crate::Options::hardware_clock`] asked for it.
    pub hardware: Option<Timestamp>,
    /// The TTL or hop limit that it arrived with.
    pub ttl: Option<u8>,
    /// The TOS byte or traffic class, where [`crate::Options::tell_destination`] asked for it.
    pub tos: Option<u8>,
    /// The address that it was sent to and the interface it came in by, where [`crate::Options::tell_destination`] asked;
    /// of packets that come with an IPv4 header the address alone, with interface 0.
    pub to: Option<(IpAddr, u32)>,
    /// The payload, see [`crate::datagram::Kind`]; without an IP header.
    pub payload: &'a [u8],
    /// It was longer than [`crate::Options::payload`]; the rest is gone.
    pub cut: bool,
    /// Its ICMP checksum is wrong (raw IPv4 sockets alone; elsewhere the kernel checks and drops).
    pub damaged: bool,
}

/// What [`Datagram::receive`] hands over.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A packet left: its tag, and when.
    Left {
        /// As in [`crate::Packet::tag`].
        tag: u64,
        /// The kernel's stamp, or our own where that cannot be trusted; the interface's comes beside it, after it.
        at: Stamp,
    },
    /// An error came in.
    Error {
        /// The error.
        error: &'a SocketError,
        /// When the ICMP message arrived.
        at: Stamp,
    },
    /// A datagram came in.
    Packet(&'a Received<'a>),
}

/// What stands before a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Header {
    /// Nothing.
    None,
    /// An IPv4 header, before an ICMP message whose checksum nobody has verified.
    ThenIcmp,
    /// An IPv4 header, before a TCP segment.
    ThenTcp,
}

/// `None` for what bears no address or no whole IPv4 header.
pub(crate) fn read<'a>(
    slot: &Slot<'a>,
    header: Header,
    realtime: &Realtime,
    interface: &InterfaceClock,
    now: Timestamp,
) -> Option<Received<'a>> {
    let control = Control::read(slot.control);
    let mut received = Received {
        from: slot.name.read(slot.name_length)?,
        at: realtime.received(control.stamp, now),
        hardware: interface.instant(control.hardware, Timestamp::ZERO, now),
        ttl: control.ttl,
        tos: control.tos,
        to: control.to,
        payload: slot.bytes,
        cut: slot.cut,
        damaged: false,
    };
    if header != Header::None {
        // RFC 791 section 3.1: header length in words of four bytes; a raw socket's port is the protocol number.
        let words = usize::from(slot.bytes.first()? & 0x0f);
        received.ttl = Some(*slot.bytes.get(8)?);
        received.payload = slot.bytes.get(words * 4..)?;
        received.damaged =
            header == Header::ThenIcmp && !slot.cut && internet_checksum(received.payload) != 0;
        received.from.set_port(0);
        let to: [u8; 4] = slot.bytes.get(16..20)?.try_into().ok()?;
        received.to = Some((IpAddr::from(to), 0));
    }
    Some(received)
}

/// RFC 1071: the one's complement of the one's complement sum; zero over a message that bears its own right checksum.
pub fn internet_checksum(message: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut words = message.chunks_exact(4);
    for word in &mut words {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    sum += u64::from(u32::from_be_bytes(last));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The most sockets that are waited for together.
const SOCKETS: usize = 5;

/// The most sockets that are looked at by trying to receive from each; with more of them a poll is quicker.
const LOOKED_AT: usize = 2;

/// Hands over what arrives at any of `sockets` (at most five): at once if something is there, else waits for it until
/// `until`. `each` is told the socket's index. Transmit stamps alone end no wait.
///
/// Says [`Drained::More`] after a wait that ended by time, for what arrived during its last stretch was not looked at:
/// the send that is due goes first.
///
/// # Errors
/// As [`Datagram::receive`].
pub fn receive_from_any(
    sockets: &mut [Datagram],
    waiter: &mut Waiter,
    until: Timestamp,
    each: impl FnMut(usize, Incoming<'_>),
) -> Result<Drained> {
    receive_from_all(sockets, None, waiter, until, each)
}

/// The same, and by `lane` too, whose number is given beside it.
pub(crate) fn receive_from_all(
    sockets: &mut [Datagram],
    mut lane: Option<(usize, &mut Lane)>,
    waiter: &mut Waiter,
    until: Timestamp,
    mut each: impl FnMut(usize, Incoming<'_>),
) -> Result<Drained> {
    // Looking is tried once, by receiving, before each sleep.
    let mut look = None;
    let looks = sockets.len() <= LOOKED_AT;
    let mut may_look = looks;
    // Where the last packet had to be waited for, as in a ping-pong, a receive before the wait is in vain, and costs what a
    // packet does.
    let mut waits_first = std::mem::take(&mut waiter.is_quiet) && looks && lane.is_none();
    let mut waited = false;
    loop {
        let mut all = Drained::All;
        let mut any = false;
        let at_once = std::mem::take(&mut waits_first);
        if let Some((number, lane)) = &mut lane {
            let (drained, heard) = lane.receive(|incoming| each(*number, incoming));
            any |= heard;
            all = drained;
        }
        let asked = if at_once { 0 } else { sockets.len() };
        for (i, socket) in sockets.iter_mut().take(asked).enumerate() {
            let take = |incoming: Incoming<'_>| each(i, incoming);
            let (drained, heard) = match look {
                Some(_) => socket.receive_one(take)?,
                None => socket.receive(take)?,
            };
            any |= heard;
            if drained == Drained::More {
                all = Drained::More;
            }
        }
        let now = Clock.now();
        if at_once && now >= until {
            continue;
        }
        if any || all == Drained::More || now >= until {
            waiter.is_quiet = any && waited;
            return Ok(all);
        }
        waited = true;
        if std::mem::take(&mut may_look) {
            look = waiter.look(now, until);
        }
        if let Some(looking) = &mut look {
            if waiter.is_called() {
                return Ok(all);
            }
            if looking.goes_on(now) {
                continue;
            }
            look = None;
        }
        let count = sockets.len().min(SOCKETS);
        let Some(first) = sockets.first() else {
            return Ok(all);
        };
        let mut fds = [first.as_fd(); SOCKETS + 1];
        for (fd, socket) in fds.iter_mut().zip(sockets.iter()) {
            *fd = socket.as_fd();
        }
        let mut waited_for = count;
        if let Some((_, lane)) = &lane {
            fds[count] = lane.as_fd();
            waited_for += 1;
        }
        let fds = &fds[..waited_for];
        let woken = match looks {
            true => waiter.wait_after_look(fds, until),
            false => waiter.wait(fds, until),
        };
        match woken {
            Woken::Due => return Ok(Drained::More),
            Woken::Interrupted => return Ok(all),
            Woken::Ready => may_look = looks,
        }
        for (i, socket) in sockets.iter_mut().enumerate() {
            if waiter.readiness(i).error {
                socket.look_for_errors();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        assert_eq!(
            internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2]), !0xf201);
        assert_eq!(internet_checksum(&[]), 0xffff);
    }
}
