//! The threads that move the datagrams of UDP streams.

use std::time::Duration;

use rping_net::bulk::{Bulk, Shape};
use rping_net::{wait, Clock, Pacing, Waiter};
use rping_wire::iperf::{DatagramHeader, UDP_ACCEPT};

use super::counting::Counting;
use super::mover::{Early, Schedule, DRAIN, LOOK};
use super::params::Parameters;
use super::spare::Spare;
use super::tally::{Budget, Figures, Tally};

/// How long to wait when a buffer of this host is full.
const FULL: Duration = Duration::from_micros(100);

/// How many refusals in a row (nobody listens there any more) end a sender.
const REFUSALS_MOST: u32 = 1000;

/// Where datagrams come thick and fast the receiver looks this often instead of being woken by each, which costs the
/// sender more than the datagram; as long as the receive buffer holds that much and more.
const REST: Duration = Duration::from_micros(150);
const THICK: usize = 16;
const ROOMY: usize = 4 << 20;

/// A UDP stream's socket; goes back to where it came from.
#[derive(Debug)]
pub(crate) struct Datagrams {
    bulk: Option<Bulk>,
    /// What came before the stream was known to stand.
    pub(super) early: Vec<Early>,
    home: Option<Spare>,
}

impl Datagrams {
    pub(super) fn new(bulk: Bulk, early: Vec<Early>, home: Option<Spare>) -> Datagrams {
        Datagrams {
            bulk: Some(bulk),
            early,
            home,
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        if let (Some(bulk), Some(home)) = (self.bulk.take(), &self.home) {
            home.put(bulk);
        }
    }
}

/// What a socket of these parameters moves.
pub(super) fn shape(parameters: &Parameters) -> Shape {
    Shape {
        length: parameters.length,
        segments: parameters.segments,
        coalesces: parameters.coalesces,
        heads_only: parameters.skip_receive_copy,
    }
}

/// Sends counted datagrams, each when it is due; without a rate as fast as they go.
pub(super) fn send(
    mut datagrams: Datagrams,
    parameters: &Parameters,
    tally: &Tally,
    budget: &Budget,
) -> Schedule {
    let mut schedule = Schedule::new(parameters.bandwidth, Clock.now());
    let Some(socket) = &mut datagrams.bulk else {
        return schedule;
    };
    let length = parameters.length;
    // A paced sender sends what is due, one by one or in one super-packet: nothing before its time.
    let mut bytes = vec![0x5a; length * socket.batch()];
    let mut figures = Figures::default();
    let mut waiter = Waiter::new(Pacing::choose(rate(parameters) / socket.segments() as f64));
    let ahead = (socket.segments() as u64 - 1) * length as u64;
    let mut refusals = 0;
    // Datagrams that are written and paid for, and were not taken yet.
    let mut ready = 0;
    while !tally.is_stopped() {
        let now = Clock.now();
        if ready == 0 {
            // A super-packet goes when its last datagram is due.
            match schedule.due(figures.bytes.saturating_add(ahead)) {
                Some(due) if due > now => {
                    waiter.wait(&[], due.min(now.plus(LOOK)));
                    continue;
                }
                _ => {}
            }
            schedule.catch_up(figures.bytes.saturating_add(ahead), now);
        }
        let room = bytes.chunks_exact_mut(length).enumerate().skip(ready);
        for (place, room) in room {
            let before = figures.bytes + (place * length) as u64;
            let is_due = schedule.due(before).is_none_or(|due| due <= now);
            if !is_due || !budget.take(length) {
                break;
            }
            let header = DatagramHeader::at(now.as_nanos(), figures.packets + place as u64 + 1);
            // The parameters were refused if it did not fit.
            let _ = header.write(room, parameters.wide_counters);
            ready += 1;
            // A super-packet has one due instant: its last datagram's.
            if ready % socket.segments() == 0 {
                schedule.left(before, now);
            }
        }
        if ready == 0 {
            // The budget is used up.
            return schedule;
        }
        let sent = socket.send(&bytes, ready);
        if sent.count > 0 {
            figures.packets += sent.count as u64;
            figures.received += sent.count as u64;
            figures.bytes += (sent.count * length) as u64;
            tally.write(&figures, Clock.now());
            refusals = 0;
        }
        if sent.count < ready && sent.count > 0 {
            bytes.copy_within(sent.count * length..ready * length, 0);
        }
        ready -= sent.count.min(ready);
        if sent.refused {
            refusals += 1;
            if refusals >= REFUSALS_MOST {
                return schedule;
            }
        }
        if sent.full {
            wait::sleep(FULL);
        }
    }
    schedule
}

/// Datagrams per second of one stream; infinity for as fast as they go.
fn rate(parameters: &Parameters) -> f64 {
    match parameters.bandwidth {
        0 => f64::INFINITY,
        bits => bits as f64 / (parameters.length as f64 * 8.0),
    }
}

/// Takes datagrams until it is stopped, and then what is still on its way: until nothing comes for [`LOOK`].
pub(super) fn receive(mut datagrams: Datagrams, parameters: &Parameters, tally: &Tally) {
    let mut counting = Counting::default();
    for early in std::mem::take(&mut datagrams.early) {
        counting.add(early.header, early.length, early.at);
    }
    tally.write(&counting.figures, counting.last);
    let Some(socket) = &mut datagrams.bulk else { return };
    let is_roomy = socket.receive_buffer() >= ROOMY;
    let (mut again, mut waits) = (false, true);
    let mut stopped_at = None;
    while !tally.is_abandoned() {
        let is_last = tally.is_stopped();
        let before = counting.figures.received;
        let got = socket.receive(waits || is_last, |part| {
            if part.length == UDP_ACCEPT.len() {
                // The client has not heard yet that its stream stands.
                again = true;
            } else {
                counting.add_part(&part, parameters.wide_counters);
            }
        });
        let Ok(got) = got else { return };
        if std::mem::take(&mut again) {
            socket.send_one(&UDP_ACCEPT);
        }
        if counting.figures.received != before {
            tally.write(&counting.figures, counting.last);
        }
        let now = Clock.now();
        if is_last && (got == 0 || now.since(*stopped_at.get_or_insert(now)) > DRAIN) {
            break;
        }
        waits = !(is_roomy && got >= THICK.min(socket.slots() / 2));
        if !waits && got < socket.slots() && !is_last {
            wait::sleep(REST);
        }
    }
    // No more than were missed: what came together in pieces is known by the piece.
    let missed = u64::try_from(counting.figures.lost).unwrap_or(0);
    counting.figures.dropped = socket.drops().min(missed);
    tally.write(&counting.figures, counting.last);
}

/// Tells the client that its stream stands.
pub(super) fn accept(bulk: &mut Bulk) {
    bulk.send_one(&UDP_ACCEPT);
}

/// Reads what came in while the stream was being set up: whether it was the answer, and data that overtook it.
pub(super) fn early(part: &rping_net::bulk::Part<'_>, wide: bool, most: usize, early: &mut Vec<Early>) {
    let datagrams = if part.bytes.len() >= part.length {
        part.bytes.chunks(part.segment.max(1))
    } else {
        part.bytes.chunks(part.bytes.len().max(1))
    };
    for (place, datagram) in datagrams.enumerate() {
        let length = part.segment.min(part.length.saturating_sub(place * part.segment));
        if let Ok(header) = DatagramHeader::parse(datagram, wide) {
            if early.len() < most {
                early.push(Early {
                    header,
                    length,
                    at: part.at,
                });
            }
        }
    }
}
