//! The threads that move the datagrams of UDP streams.

use std::time::Duration;

use rping_engine::{Left, Timestamp, BATCH};
use rping_net::{receive_from_any, wait, Clock, Datagram, Incoming, Pacing, Packet, Waiter};
use rping_wire::iperf::{DatagramHeader, UDP_ACCEPT};

use super::mover::{due, Early, LOOK};
use super::params::Parameters;
use super::tally::{Budget, Figures, Tally};

/// How long to wait when a buffer of this host is full.
const FULL: Duration = Duration::from_micros(100);

/// How many refusals in a row (nobody listens there any more) end a sender.
const REFUSALS_MOST: u32 = 1000;

/// Sends counted datagrams, each when it is due; without a rate as fast as they go.
pub(super) fn send(mut socket: Datagram, parameters: &Parameters, tally: &Tally, budget: &Budget) {
    let length = parameters.length;
    let mut bytes = vec![0x5a; length * BATCH];
    let mut packets: Vec<Packet> = Vec::with_capacity(BATCH);
    let mut figures = Figures::default();
    let mut waiter = Waiter::new(Pacing::choose(rate(parameters)));
    let mut refusals = 0;
    let start = Clock.now();
    while !tally.is_stopped() {
        packets.clear();
        let now = Clock.now();
        // Each has its own due instant: what is due already goes in one call, nothing before its time.
        for (place, room) in bytes.chunks_exact_mut(length).enumerate() {
            let before = figures.bytes + (place * length) as u64;
            let is_due = due(start, before, parameters.bandwidth).is_none_or(|due| due <= now);
            if !is_due || !budget.take(length) {
                break;
            }
            let header = DatagramHeader::at(now.as_nanos(), figures.packets + place as u64 + 1);
            // The parameters were refused if it did not fit.
            let _ = header.write(room, parameters.wide_counters);
            packets.push(Packet {
                bytes: place * length..(place + 1) * length,
                to: None,
                from: None,
                tag: 0,
            });
        }
        if packets.is_empty() {
            match due(start, figures.bytes, parameters.bandwidth) {
                // The budget is used up.
                None => return,
                Some(due) if due <= now => return,
                Some(due) => {
                    waiter.wait(&[], due.min(now.plus(LOOK)));
                }
            }
            continue;
        }
        let mut is_full = false;
        let mut refused = 0;
        let (mut sent, mut tried, mut numbers) = (0, 0, 0);
        socket.send(&bytes, &packets, |_, left| {
            tried += 1;
            match left {
                Left::At(_) => {
                    sent += 1;
                    numbers = tried;
                }
                Left::NotSent(_) => refused += 1,
                Left::Deferred | Left::Held => is_full = true,
            }
        });
        refusals = if sent > 0 { 0 } else { refusals + refused };
        if refusals >= REFUSALS_MOST {
            return;
        }
        // The numbers of those at the end that this host would not take are given to the next. One amid others is
        // missed by the receiver; `received` says how many really left.
        figures.packets += numbers;
        figures.received += sent;
        figures.bytes += sent * length as u64;
        tally.write(&figures, Clock.now());
        if is_full {
            wait::sleep(FULL);
        }
    }
}

/// Datagrams per second of one stream; infinity for as fast as they go.
fn rate(parameters: &Parameters) -> f64 {
    match parameters.bandwidth {
        0 => f64::INFINITY,
        bits => bits as f64 / (parameters.length as f64 * 8.0),
    }
}

/// Takes datagrams until it is stopped, and then whatever is there already.
pub(super) fn receive(mut socket: Datagram, early: &[Early], parameters: &Parameters, tally: &Tally) {
    let mut waiter = Waiter::new(Pacing::Eco);
    let mut counting = Counting::default();
    early
        .iter()
        .for_each(|early| counting.add(early.header, early.length, early.at));
    let mut again = false;
    loop {
        let is_last = tally.is_stopped();
        let before = counting.figures.received;
        let until = if is_last {
            Timestamp::ZERO
        } else {
            Clock.now().plus(LOOK)
        };
        let got = receive_from_any(
            std::slice::from_mut(&mut socket),
            &mut waiter,
            until,
            |_, incoming| {
                let Incoming::Packet(received) = incoming else {
                    return;
                };
                if received.payload.len() == UDP_ACCEPT.len() {
                    // The client has not heard yet that its stream stands.
                    again = true;
                } else if let Ok(header) = DatagramHeader::parse(received.payload, parameters.wide_counters) {
                    counting.add(header, received.payload.len(), received.at.at);
                }
            },
        );
        if got.is_err() {
            return;
        }
        if std::mem::take(&mut again) {
            accept(&mut socket);
        }
        if counting.figures.received != before {
            tally.write(&counting.figures, counting.last);
        } else if is_last {
            return;
        }
    }
}

/// Tells the client that its stream stands.
pub(super) fn accept(socket: &mut Datagram) {
    let packet = Packet {
        bytes: 0..UDP_ACCEPT.len(),
        to: None,
        from: None,
        tag: 0,
    };
    socket.send(&UDP_ACCEPT, &[packet], |_, _| {});
}

/// Loss, reordering and jitter as iperf3's receiver counts them.
#[derive(Debug, Default)]
struct Counting {
    figures: Figures,
    transit: Option<i128>,
    jitter: f64,
    last: Timestamp,
}

impl Counting {
    fn add(&mut self, header: DatagramHeader, length: usize, at: Timestamp) {
        let f = &mut self.figures;
        f.received += 1;
        f.bytes += length as u64;
        match header.count.checked_sub(f.packets.saturating_add(1)) {
            Some(gap) => {
                f.lost = f.lost.saturating_add(i64::try_from(gap).unwrap_or(i64::MAX));
                f.packets = header.count;
            }
            // It fills a gap that was taken for a loss.
            None => {
                f.reordered += 1;
                f.lost = (f.lost - 1).max(0);
            }
        }
        // RFC 1889, appendix A.8, with a gain of 1/16; the two clocks' offset falls out.
        let transit = i128::from(at.as_nanos()) - i128::from(header.nanos());
        if let Some(before) = self.transit.replace(transit) {
            let off = (transit - before).unsigned_abs() as f64;
            self.jitter += (off - self.jitter) / 16.0;
            f.jitter_ns = self.jitter as u64;
        }
        self.last = self.last.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(counts: &[u64]) -> Figures {
        let mut counting = Counting::default();
        for (place, &count) in counts.iter().enumerate() {
            let at = place as u64 * 1_000_000;
            counting.add(
                DatagramHeader::at(at, count),
                100,
                Timestamp::from_nanos(at + 5_000),
            );
        }
        counting.figures
    }

    #[test]
    fn gaps_are_losses_until_the_missing_come() {
        let f = counted(&[1, 2, 5, 6, 3]);
        assert_eq!((f.lost, f.reordered, f.received, f.packets), (1, 1, 5, 6));
        assert_eq!(counted(&[1, 2, 2]).lost, 0, "a duplicate is no negative loss");
        assert_eq!(counted(&[4]).lost, 3);
    }

    #[test]
    fn even_spacing_has_no_jitter_and_a_late_one_a_sixteenth_of_its_delay() {
        assert_eq!(counted(&[1, 2, 3]).jitter_ns, 0);
        let mut counting = Counting::default();
        counting.add(DatagramHeader::at(0, 1), 9, Timestamp::from_nanos(100));
        counting.add(DatagramHeader::at(1_000, 2), 9, Timestamp::from_nanos(17_100));
        assert_eq!(counting.figures.jitter_ns, 1000);
    }

    proptest! {
        #[test]
        fn no_counts_make_it_panic(counts in proptest::collection::vec(any::<u64>(), 0..50)) {
            let f = counted(&counts);
            prop_assert!(f.lost >= 0);
            prop_assert_eq!(f.received, counts.len() as u64);
        }
    }
}
