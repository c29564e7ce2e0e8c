//! Few sockets for many targets: one per family, and where there are several targets a second one for those that
//! have not answered yet.
//!
//! Packets to a neighbour that does not resolve wait in the socket's buffer for three seconds, and a few hundred fill it: then
//! the socket refuses everything, loopback included. So first contacts go by a socket of their own.

use std::net::{IpAddr, SocketAddr};

use rping_engine::{Departure, Drained, Left, Outgoing, SeqRef, TargetId, Timestamp, BATCH};

use crate::datagram::{Datagram, Packet};
use crate::incoming::{receive_from_all, Incoming};
use crate::lane::Lane;
use crate::sources::Sources;
use crate::targets::Targets;
use crate::wait::Waiter;
use crate::Result;

/// How large the send buffer may grow: large payloads are sent in smaller batches.
const BYTES: usize = 1 << 20;

/// What a socket of a [`Fan`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Role {
    /// For IPv6 targets.
    pub v6: bool,
    /// For targets that have not answered yet.
    pub first_contact: bool,
}

/// Where a message is written.
#[derive(Debug)]
pub struct Slot<'a> {
    /// The number of the socket that it will leave by.
    pub socket: usize,
    /// To whom.
    pub to: SocketAddr,
    /// From which of this host's addresses, where [`Fan::leave_from`] said so.
    pub from: Option<IpAddr>,
    /// Its place, as the last message left it.
    pub bytes: &'a mut [u8],
}

/// The sockets of one run, with its targets.
#[derive(Debug)]
pub struct Fan {
    sockets: Vec<Datagram>,
    roles: Vec<Role>,
    targets: Targets,
    /// Slots of `length` bytes, one per packet of a batch.
    bytes: Vec<u8>,
    length: usize,
    packets: Vec<Packet>,
    sources: Option<Sources>,
    /// The way past the IP stack, with its place among the sockets: that of the one which hears the errors.
    lane: Option<(usize, Lane)>,
}

impl Fan {
    /// Opens, by `open`, the sockets that `targets` take. Messages are up to `length` bytes long.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open<E>(
        targets: Targets,
        length: usize,
        mut open: impl FnMut(Role) -> std::result::Result<Datagram, E>,
    ) -> std::result::Result<Fan, E> {
        let (mut sockets, mut roles) = (Vec::new(), Vec::new());
        for v6 in [false, true] {
            if !targets.addresses().any(|address| address.is_ipv6() == v6) {
                continue;
            }
            // A target alone has nobody to be held up by.
            for first_contact in [false, true] {
                if !first_contact || targets.len() > 1 {
                    let role = Role { v6, first_contact };
                    sockets.push(open(role)?);
                    roles.push(role);
                }
            }
        }
        let length = length.max(1);
        let batch = (BYTES / length).clamp(1, BATCH);
        let packets = Vec::with_capacity(batch);
        Ok(Fan {
            sockets,
            roles,
            targets,
            bytes: vec![0; batch * length],
            length,
            packets,
            sources: None,
            lane: None,
        })
    }

    /// The sockets; their places are the numbers that the calls below speak of.
    pub fn sockets(&self) -> &[Datagram] {
        &self.sockets
    }

    /// The targets.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The targets, to note that one has answered or has not.
    pub fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    /// Sends by `lane` to the targets that it leads to. `ears` is a socket of the same kind as the others, which hears the errors of what
    /// goes by the lane and nothing else; its place is the number that the calls below speak of.
    ///
    /// # Errors
    /// When `ears` cannot be stopped from hearing more.
    pub fn add_lane(&mut self, lane: Lane, ears: Datagram) -> Result<()> {
        ears.hear_errors_alone()?;
        let mut all = (0..self.targets.len() as u32).map(TargetId);
        if all.all(|target| lane.leads_to(target)) {
            self.sockets.iter().for_each(Datagram::hear_nothing);
        }
        self.lane = Some((self.sockets.len(), lane));
        self.sockets.push(ears);
        Ok(())
    }

    /// Has each packet leave from the address that `sources` give its target.
    pub fn leave_from(&mut self, sources: Sources) {
        self.sources = Some(sources);
    }

    /// Lets `fill` prepare what stays the same in every message of a slot.
    pub fn prepare(&mut self, fill: impl FnMut(&mut [u8])) {
        let mut fill = fill;
        if let Some((_, lane)) = &mut self.lane {
            lane.prepare(&mut fill);
        }
        self.bytes.chunks_exact_mut(self.length).for_each(fill);
    }

    /// Sends these probes and appends a departure for each. `write` returns how many bytes of the slot the message takes.
    pub fn send(
        &mut self,
        due: &[Outgoing],
        left: &mut Vec<Departure>,
        mut write: impl FnMut(Slot<'_>, &Outgoing) -> usize,
    ) {
        due.iter().for_each(|out| self.targets.sent(out.target, out.seq));
        if self.lane.is_some() {
            self.send_by_lane(due, left, &mut write);
        }
        for socket in 0..self.roles.len() {
            self.send_by(socket, due, left, &mut write);
        }
    }

    fn send_by_lane(
        &mut self,
        due: &[Outgoing],
        left: &mut Vec<Departure>,
        write: &mut impl FnMut(Slot<'_>, &Outgoing) -> usize,
    ) {
        let Some((socket, lane)) = &mut self.lane else {
            return;
        };
        let mut mine = [0u8; BATCH];
        let mut count = 0;
        let mut last_due = Timestamp::ZERO;
        lane.clear();
        let from = lane.source();
        for (place, out) in due.iter().enumerate().take(BATCH) {
            let Some(to) = self.targets.get(out.target).map(|target| target.address) else {
                continue;
            };
            if !lane.leads_to(out.target) {
                continue;
            }
            lane.push(out.target, to, |bytes| {
                let slot = Slot {
                    socket: *socket,
                    to,
                    from: Some(from.into()),
                    bytes,
                };
                write(slot, out)
            });
            mine[count] = place as u8;
            count += 1;
            last_due = last_due.max(out.due);
        }
        if count == 0 {
            return;
        }
        let out = |place: usize| due.get(usize::from(mine[place])).copied().unwrap_or(due[0]);
        lane.send(
            last_due,
            |place| tag(&out(place)),
            |place, how| {
                left.push(Departure {
                    target: out(place).target,
                    seq: out(place).seq,
                    left: how,
                });
            },
        );
    }

    fn send_by(
        &mut self,
        socket: usize,
        due: &[Outgoing],
        left: &mut Vec<Departure>,
        write: &mut impl FnMut(Slot<'_>, &Outgoing) -> usize,
    ) {
        let Fan {
            sockets,
            roles,
            targets,
            bytes,
            length,
            packets,
            sources,
            lane,
        } = self;
        let (Some(datagram), Some(role)) = (sockets.get_mut(socket), roles.get(socket)) else {
            return;
        };
        let mut mine = due
            .iter()
            .filter(|out| lane.as_ref().is_none_or(|(_, lane)| !lane.leads_to(out.target)))
            .filter(|out| socket_for(roles, targets, out.target) == Some(socket));
        loop {
            packets.clear();
            // Results come in the order of the packets.
            let mut results = mine.clone();
            let mut last_due = Timestamp::ZERO;
            for (slot, out) in bytes.chunks_exact_mut(*length).zip(&mut mine) {
                let start = packets.len() * *length;
                let to = targets.get(out.target).map(|target| target.address);
                let from = sources.as_ref().and_then(|sources| sources.of(out.target));
                let used = to
                    .map_or(0, |to| {
                        write(
                            Slot {
                                socket,
                                to,
                                from,
                                bytes: slot,
                            },
                            out,
                        )
                    })
                    .min(*length);
                last_due = last_due.max(out.due);
                packets.push(Packet {
                    bytes: start..start + used,
                    to,
                    from: from.map(|from| (from, 0)),
                    tag: tag(out),
                });
            }
            if packets.is_empty() {
                return;
            }
            // All that are handed over ahead of time are due at one instant.
            datagram.hold_until(last_due);
            datagram.send(bytes, packets, |_, how| {
                let how = match how {
                    // Full of packets that wait for neighbours, each for three seconds at most.
                    Left::Deferred if role.first_contact => Left::Held,
                    other => other,
                };
                left.extend(results.next().map(|out| Departure {
                    target: out.target,
                    seq: out.seq,
                    left: how,
                }));
            });
        }
    }

    /// Hands over what arrives, with the number of the socket, as `receive_from_any` does.
    ///
    /// # Errors
    /// As [`Datagram::receive`].
    pub fn receive(
        &mut self,
        waiter: &mut Waiter,
        until: Timestamp,
        mut each: impl FnMut(&mut Targets, usize, Incoming<'_>),
    ) -> Result<Drained> {
        let targets = &mut self.targets;
        let lane = self.lane.as_mut().map(|(number, lane)| (*number, lane));
        receive_from_all(&mut self.sockets, lane, waiter, until, |socket, incoming| {
            each(targets, socket, incoming)
        })
    }

    /// A probe to this target met silence.
    pub(crate) fn doubt(&mut self, target: TargetId) {
        if let Some((_, lane)) = &mut self.lane {
            lane.doubt(target);
        }
    }

    /// Whose transmit stamp bears this tag.
    pub fn stamped(tag: u64) -> (TargetId, SeqRef) {
        (TargetId((tag >> 32) as u32), SeqRef::Low32(tag as u32))
    }

    /// Datagrams dropped on the way in because a receive buffer was full. Costs a system call per socket.
    pub fn drops(&self) -> u64 {
        let by_lane = self.lane.as_ref().map_or(0, |(_, lane)| lane.drops());
        self.sockets.iter().map(Datagram::drops).sum::<u64>() + by_lane
    }

    /// How often the wall clock was seen to step.
    pub fn clock_steps(&self) -> u64 {
        // Each socket sees the same steps.
        let by_lane = self.lane.as_ref().map(|(_, lane)| lane.clock_steps());
        let steps = self.sockets.iter().map(Datagram::clock_steps);
        steps.chain(by_lane).max().unwrap_or(0)
    }
}

fn tag(out: &Outgoing) -> u64 {
    u64::from(out.target.0) << 32 | u64::from(out.seq.low32())
}

fn socket_for(roles: &[Role], targets: &Targets, target: TargetId) -> Option<usize> {
    let target = targets.get(target)?;
    let v6 = target.address.is_ipv6();
    let wanted = Role {
        v6,
        first_contact: !target.heard,
    };
    let exactly = roles.iter().position(|&role| role == wanted);
    exactly.or_else(|| roles.iter().position(|role| role.v6 == v6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use rping_engine::Sequence;
    use std::net::UdpSocket;

    fn fan(addresses: &[SocketAddr], length: usize) -> Fan {
        Fan::open(Targets::new(addresses), length, |role| {
            Datagram::udp(role.v6, None, &Options::default())
        })
        .expect("sockets")
    }

    #[test]
    fn there_are_as_many_sockets_as_the_targets_take() {
        let addresses: Vec<SocketAddr> = ["127.0.0.1:9", "127.0.0.2:9", "[::1]:9"]
            .iter()
            .map(|a| a.parse().expect("address"))
            .collect();
        assert_eq!(fan(&addresses[..1], 8).sockets().len(), 1);
        assert_eq!(fan(&addresses[..2], 8).sockets().len(), 2);
        assert_eq!(fan(&addresses, 8).sockets().len(), 4);
    }

    #[test]
    fn every_probe_departs_once_and_large_ones_in_smaller_batches() {
        let sinks: Vec<UdpSocket> = (0..2)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("bind"))
            .collect();
        let addresses: Vec<SocketAddr> = sinks.iter().map(|s| s.local_addr().expect("address")).collect();
        let mut fan = fan(&addresses, 300_000);
        fan.targets_mut().set_heard(TargetId(1), true);
        let due: Vec<Outgoing> = (0..8)
            .map(|i| Outgoing {
                target: TargetId(i % 2),
                seq: Sequence(u64::from(i)),
                due: Timestamp::ZERO,
            })
            .collect();
        let mut left = Vec::new();
        let mut by = Vec::new();
        fan.send(&due, &mut left, |slot, out| {
            by.push((slot.socket, out.target.0));
            slot.bytes[0] = out.seq.0 as u8;
            1
        });
        assert!(
            by.iter()
                .all(|&(socket, target)| socket == usize::from(target == 0)),
            "{by:?}"
        );
        assert!(left.iter().all(|d| matches!(d.left, Left::At(_))));
        let mut seqs: Vec<u64> = left.iter().map(|d| d.seq.0).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..8).collect::<Vec<_>>());
        let mut byte = [9];
        for seq in [0, 2, 4, 6] {
            assert_eq!(sinks[0].recv(&mut byte).expect("receive"), 1);
            assert_eq!(byte[0], seq);
        }
    }
}
