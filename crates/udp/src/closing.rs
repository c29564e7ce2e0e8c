//! The end of a run: a few more test packets, which count nowhere. A reflector's answer to one of them places what was lost
//! before it; and since their numbers lie far beyond the probes', it also shows whether the reflector counts by itself or copies
//! (RFC 8762 section 4.3.1 allows either, and nothing announces it).

use std::time::Duration;

use rping_engine::{Outgoing, Sequence, TargetId, Timestamp, BATCH};
use rping_net::{Clock, Received};
use rping_wire::stamp::tlv::{write_class_of_service, CLASS_OF_SERVICE_LEN};
use rping_wire::stamp::ReflectorPacket;

use crate::probe::UdpProbe;
use crate::trail::Directions;
use crate::Error;

/// Octets behind the base packet: the question how the packet's class of service arrived (RFC 8972 section 4.4).
pub(crate) const TAIL: usize = CLASS_OF_SERVICE_LEN;

/// How far their numbers lie beyond the last probe's: no copies or losses make up for it.
const BEYOND: u64 = 4096;

/// How often one is sent to a target that does not answer.
const ROUNDS: u32 = 10;

/// How long an answer is waited for beyond what the slowest so far took, and at most.
const GRACE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_millis(500);

impl UdpProbe {
    /// Sends closing packets to the targets whose reflectors answered, until each has answered one, for `most` in all.
    /// `dscp` is the probes' own.
    ///
    /// # Errors
    /// When a socket is of no use any more.
    pub fn close(&mut self, dscp: u8, most: Duration) -> Result<(), Error> {
        let Some(trails) = &self.trails else { return Ok(()) };
        let count = self.exchange.targets().len() as u32;
        let mut open: Vec<TargetId> = (0..count).map(TargetId).filter(|&t| trails.is_heard(t)).collect();
        let end = Clock.now().plus(most);
        let wait = (Duration::from_nanos(trails.slowest()).saturating_mul(2) + GRACE).min(PATIENCE);
        for round in 0..ROUNDS {
            if open.is_empty() || Clock.now() >= end {
                break;
            }
            // A reflector that answers no TLVs answers the others.
            let asks = round % 2 == 0;
            for part in open.clone().chunks(BATCH) {
                let beyond = if round == 0 { BEYOND } else { 0 };
                self.send_closing(part, beyond, asks.then_some(dscp));
                // Many at once are spread a little.
                let pause = Clock.now().plus(Duration::from_micros(200)).min(end);
                if open.len() > BATCH {
                    self.hear_closing(pause, &mut open)?;
                }
            }
            let until = Clock.now().plus(wait).min(end);
            while !open.is_empty() && Clock.now() < until {
                self.hear_closing(until, &mut open)?;
            }
        }
        Ok(())
    }

    fn send_closing(&mut self, to: &[TargetId], beyond: u64, asks: Option<u8>) {
        let UdpProbe {
            exchange,
            speech,
            trails,
            ..
        } = self;
        let Some(trails) = trails else { return };
        let now = Clock.now();
        let due: Vec<Outgoing> = to
            .iter()
            .map(|&target| Outgoing {
                target,
                seq: Sequence(trails.next(target) + beyond),
                due: now,
            })
            .collect();
        for out in &due {
            trails.closing(out.target, out.seq.0);
        }
        let wall = u64::try_from(Clock.wall_nanos(now)).unwrap_or(0);
        let (base, length) = (speech.base(), speech.length());
        exchange.send(&due, &mut Vec::new(), |slot, out| {
            let length = if asks.is_some() {
                length.max(base + TAIL)
            } else {
                length
            };
            let Some(bytes) = slot.bytes.get_mut(..length) else {
                return 0;
            };
            let key = speech.key(out.target);
            let written = speech
                .session
                .write(bytes, out.seq, wall, &key, speech.seal.as_ref());
            if let (Some(dscp), Some(tail)) = (asks, bytes.get_mut(base..)) {
                write_class_of_service(tail, dscp);
            }
            written
        });
    }

    fn hear_closing(&mut self, until: Timestamp, open: &mut Vec<TargetId>) -> Result<(), Error> {
        let UdpProbe {
            exchange,
            speech,
            trails,
            ..
        } = self;
        let base = speech.base();
        exchange.receive(until, &mut Vec::new(), |targets, socket, incoming, here| {
            let heard = |target: TargetId, packet: &ReflectorPacket, received: &Received<'_>| {
                let seq = targets.widen(target, packet.sender_seq.into(), 32);
                if let (Some(trails), Some(seq)) = (trails.as_mut(), seq) {
                    let tail = received.payload.get(base..).unwrap_or_default();
                    let is_closing = trails.is_closing(target, seq.0);
                    trails.answered(target, socket, (seq.0, is_closing), packet, tail, received.at.at);
                    if is_closing {
                        open.retain(|&other| other != target);
                    }
                }
            };
            speech.arrival(targets, incoming, |address| here.is_own(address), heard)
        })?;
        Ok(())
    }

    /// What the answers of a target's reflector told, see [`Directions`]; `None` where none answered. `counts` are the engine's:
    /// sent without what was refused, received, lost.
    pub fn directions(&self, target: TargetId, counts: (u64, u64, u64)) -> Option<Directions> {
        use rping_engine::Probe as _;
        let is_timed = self.clock_steps() == 0;
        self.trails.as_ref()?.conclude(target, counts, is_timed)
    }
}
