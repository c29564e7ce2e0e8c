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

/// How many go at once, and the time that each takes up: never more than a millisecond's worth in one burst.
fn pace(rate: Option<f64>) -> (usize, Duration) {
    match rate.filter(|rate| *rate > 0.0 && rate.is_finite()) {
        Some(rate) => {
            let apart = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
            (((rate / 1000.0) as usize).clamp(1, BATCH), apart)
        }
        // Many at once are spread a little.
        None => (BATCH, Duration::from_micros(200) / BATCH as u32),
    }
}

impl UdpProbe {
    /// Sends closing packets to the targets whose reflectors answered, until each has answered one, for `most` in all.
    /// `dscp` is the probes' own, `rate` the most packets a second over all targets.
    ///
    /// # Errors
    /// When a socket is of no use any more.
    pub fn close(&mut self, dscp: u8, most: Duration, rate: Option<f64>) -> Result<(), Error> {
        let Some(trails) = &self.trails else { return Ok(()) };
        let count = self.exchange.targets().len() as u32;
        let mut open: Vec<TargetId> = (0..count).map(TargetId).filter(|&t| trails.is_heard(t)).collect();
        let end = Clock.now().plus(most);
        let (at_once, apart) = pace(rate);
        let mut next = Clock.now();
        let wait = (Duration::from_nanos(trails.slowest()).saturating_mul(2) + GRACE).min(PATIENCE);
        for round in 0..ROUNDS {
            if open.is_empty() || Clock.now() >= end {
                break;
            }
            // A reflector that answers no TLVs answers the others.
            let asks = round % 2 == 0;
            for part in open.clone().chunks(at_once) {
                while Clock.now() < next.min(end) {
                    self.hear_closing(next.min(end), &mut open)?;
                }
                if Clock.now() >= end {
                    break;
                }
                let beyond = if round == 0 { BEYOND } else { 0 };
                self.send_closing(part, beyond, asks.then_some(dscp));
                next = Clock.now().plus(apart.saturating_mul(part.len() as u32));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_leave_in_a_second_than_were_allowed() {
        for rate in [0.5, 10.0, 1000.0, 1234.5, 100_000.0, 1e9] {
            let (at_once, apart) = pace(Some(rate));
            assert!((1..=BATCH).contains(&at_once) && at_once as f64 <= (rate / 1000.0).max(1.0));
            assert!(apart.as_secs_f64() * rate > 0.99, "{rate}: {apart:?}");
        }
        for none in [None, Some(0.0), Some(f64::INFINITY), Some(f64::NAN)] {
            assert_eq!(pace(none).0, BATCH);
        }
    }
}
