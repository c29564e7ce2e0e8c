//! What a reflector remembers of its senders: a table that never grows. A session has a slot or has none; without one
//! it is answered as by a stateless reflector, which every sender understands (RFC 8762 section 4.2).
//!
//! A datagram proves nothing about where it came from, so a session that sent one packet alone gives its slot to
//! the next that wants it, and one that sent more keeps it until it has been idle for the limit. Of one source no more than
//! its share have slots, so nobody takes them all.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::Timestamp;

use crate::prefix::prefix;

/// Slots that one session may be put into.
const WAYS: usize = 8;
/// A tick of the table's clock, as a shift of nanoseconds: 134 ms. Thirty-two bits of them are eighteen years.
const TICK: u32 = 27;
/// How long a session of one packet keeps its slot at least, in ticks: a second packet a second later finds it.
const ONE_PACKET_KEEPS: u32 = 8;
/// Sources that are told apart by their counters; more than that share some.
const SOURCES: usize = 4096;
/// The table is looked through for idle sessions in this many portions.
const PORTIONS: usize = 4;
/// The time from one portion to the next.
pub(crate) const PORTION: Duration = Duration::from_millis(250);

/// What identifies a session (RFC 8972 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Identity {
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<IpAddr>,
    pub(crate) ssid: u16,
}

/// One session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// A keyed hash of its identity; two that share one are as likely as a guessed 64-bit key.
    tag: u64,
    /// Bit n: the number `newest − n` was seen.
    seen: u128,
    /// Answers so far: the number of the next (RFC 8762 section 4.3.1, stateful mode).
    answers: u32,
    newest: u32,
    last: u32,
    source: u16,
    live: bool,
}

const FREE: Session = Session {
    // Not all zeros: the pages of a new table are there from the start, and a flood does not make them.
    tag: u64::MAX,
    seen: 0,
    answers: 0,
    newest: 0,
    last: 0,
    source: 0,
    live: false,
};

impl Session {
    /// The number of the next answer; counts it.
    pub(crate) fn number(&mut self) -> u32 {
        let number = self.answers;
        self.answers = self.answers.wrapping_add(1);
        number
    }

    /// Whether the sender's number `seq` comes for the first time, as far as the window of 128 reaches; remembers it.
    pub(crate) fn is_fresh(&mut self, seq: u32) -> bool {
        if self.seen == 0 {
            (self.newest, self.seen) = (seq, 1);
            return true;
        }
        let ahead = seq.wrapping_sub(self.newest);
        if ahead != 0 && ahead < 1 << 31 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = seq;
            return true;
        }
        let behind = self.newest.wrapping_sub(seq);
        let bit = 1u128.checked_shl(behind).unwrap_or(0);
        let is_fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        is_fresh
    }
}

/// What the table has for a packet.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// A session that it knows.
    Known(&'a mut Session),
    /// One that begins.
    New(&'a mut Session),
    /// No slot.
    Full,
}

/// How much of it there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) sessions: usize,
    pub(crate) per_source: usize,
    /// Packets per second from one source.
    pub(crate) rate: u64,
    pub(crate) idle: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    sessions: u32,
    tick: u32,
    packets: u32,
}

/// The table.
pub(crate) struct Sessions {
    slots: Vec<Session>,
    sources: Vec<Source>,
    random: RandomState,
    per_source: u32,
    /// Packets per tick.
    rate: u32,
    idle: u32,
    live: usize,
    portion: usize,
    look_at: Timestamp,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

fn tick(at: Timestamp) -> u32 {
    (at.as_nanos() >> TICK) as u32
}

impl Sessions {
    pub(crate) fn new(bounds: &Bounds) -> Sessions {
        let ticks = |time: Duration| u32::try_from(time.as_nanos() >> TICK).unwrap_or(u32::MAX >> 1);
        let per_tick = (u128::from(bounds.rate) << TICK) / 1_000_000_000;
        Sessions {
            slots: vec![FREE; bounds.sessions.max(1).next_multiple_of(WAYS)],
            sources: vec![
                Source {
                    sessions: 0,
                    tick: u32::MAX,
                    packets: 0
                };
                SOURCES
            ],
            random: RandomState::new(),
            per_source: u32::try_from(bounds.per_source).unwrap_or(u32::MAX),
            rate: u32::try_from(per_tick).unwrap_or(u32::MAX).max(1),
            idle: ticks(bounds.idle).max(1),
            live: 0,
            portion: 0,
            look_at: Timestamp::ZERO,
        }
    }

    /// How many sessions there are.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    fn source(&self, from: IpAddr) -> usize {
        self.random.hash_one(prefix(from)) as usize % SOURCES
    }

    /// Whether its source keeps to the rate; counts the packet.
    pub(crate) fn admits(&mut self, from: IpAddr, now: Timestamp) -> bool {
        let (at, now) = (self.source(from), tick(now));
        let rate = self.rate;
        let Some(source) = self.sources.get_mut(at) else {
            return false;
        };
        if source.tick != now {
            (source.tick, source.packets) = (now, 0);
        }
        source.packets = source.packets.saturating_add(1);
        source.packets <= rate
    }

    /// The session of this identity, found or begun. `may_begin` is asked before a new one is.
    pub(crate) fn place(
        &mut self,
        identity: &Identity,
        now: Timestamp,
        may_begin: impl FnOnce() -> bool,
    ) -> Option<Place<'_>> {
        let now = tick(now);
        let tag = self.random.hash_one(identity);
        let sets = self.slots.len() / WAYS;
        // The upper half of the product: spreads evenly over any number of sets.
        let first = ((u128::from(tag) * sets as u128) >> 64) as usize * WAYS;
        let idle = self.idle;
        let ways = self.slots.get(first..first + WAYS)?;
        let known = ways
            .iter()
            .position(|s| s.live && s.tag == tag && now.wrapping_sub(s.last) <= idle);
        if let Some(way) = known {
            let session = self.slots.get_mut(first + way)?;
            session.last = now;
            return Some(Place::Known(session));
        }
        if !may_begin() {
            return None;
        }
        let source = self.source(identity.from.ip());
        let age = |s: &Session| now.wrapping_sub(s.last);
        let free = ways.iter().position(|s| !s.live || age(s) > idle);
        let way = free.or_else(|| {
            let weak = ways
                .iter()
                .enumerate()
                .filter(|(_, s)| s.answers <= 1 && age(s) > ONE_PACKET_KEEPS);
            weak.max_by_key(|(_, s)| age(s)).map(|(way, _)| way)
        });
        let Some(way) = way else {
            return Some(Place::Full);
        };
        if self.sources.get(source)?.sessions >= self.per_source {
            return Some(Place::Full);
        }
        self.free(first + way);
        self.sources.get_mut(source)?.sessions += 1;
        self.live += 1;
        let session = self.slots.get_mut(first + way)?;
        *session = Session {
            tag,
            last: now,
            source: source as u16,
            live: true,
            ..FREE
        };
        Some(Place::New(session))
    }

    fn free(&mut self, at: usize) {
        let Some(session) = self.slots.get_mut(at).filter(|session| session.live) else {
            return;
        };
        session.live = false;
        self.live = self.live.saturating_sub(1);
        if let Some(source) = self.sources.get_mut(usize::from(session.source)) {
            source.sessions = source.sessions.saturating_sub(1);
        }
    }

    /// Frees what has been idle too long, a portion of the table at a time.
    pub(crate) fn tidy(&mut self, now: Timestamp) {
        if self.live == 0 || now < self.look_at {
            return;
        }
        self.look_at = now.plus(PORTION);
        let now = tick(now);
        let size = self.slots.len().div_ceil(PORTIONS);
        let start = self.portion * size;
        for at in start..(start + size).min(self.slots.len()) {
            let over = |s: &Session| s.live && now.wrapping_sub(s.last) > self.idle;
            if self.slots.get(at).is_some_and(over) {
                self.free(at);
            }
        }
        self.portion = (self.portion + 1) % PORTIONS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        sessions: 64,
        per_source: 64,
        rate: 1_000_000,
        idle: Duration::from_secs(60),
    };

    fn identity(port: u16) -> Identity {
        Identity {
            from: SocketAddr::from(([192, 0, 2, 1], port)),
            to: None,
            ssid: 1,
        }
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_nanos(10_000_000_000 + (seconds * 1e9) as u64)
    }

    /// What a packet's answer is numbered; `None` without a slot.
    fn number(sessions: &mut Sessions, identity: &Identity, now: Timestamp) -> Option<u32> {
        match sessions.place(identity, now, || true) {
            Some(Place::Known(session) | Place::New(session)) => Some(session.number()),
            _ => None,
        }
    }

    #[test]
    fn each_session_counts_its_own_answers() {
        let mut sessions = Sessions::new(&BOUNDS);
        for n in 0..5 {
            for port in [1, 2] {
                assert_eq!(number(&mut sessions, &identity(port), at(n.into())), Some(n));
            }
        }
        let other = Identity {
            ssid: 2,
            ..identity(1)
        };
        assert_eq!(number(&mut sessions, &other, at(5.0)), Some(0));
        assert_eq!(sessions.live(), 3);
    }

    #[test]
    fn an_idle_session_is_freed_and_one_that_comes_back_later_begins_anew() {
        let mut sessions = Sessions::new(&BOUNDS);
        number(&mut sessions, &identity(1), at(0.0));
        number(&mut sessions, &identity(1), at(59.0));
        for n in 0..4 {
            sessions.tidy(at(100.0 + f64::from(n)));
        }
        assert_eq!(sessions.live(), 1);
        for n in 0..4 {
            sessions.tidy(at(120.0 + f64::from(n)));
        }
        assert_eq!(sessions.live(), 0);
        assert_eq!(number(&mut sessions, &identity(1), at(130.0)), Some(0));
        assert_eq!(
            number(&mut sessions, &identity(1), at(200.0)),
            Some(0),
            "found idle when it came"
        );
        assert_eq!(sessions.live(), 1);
    }

    #[test]
    fn a_flood_of_single_packets_grows_nothing_and_takes_no_slot_from_who_sent_more() {
        let mut sessions = Sessions::new(&Bounds {
            per_source: 1000,
            ..BOUNDS
        });
        let honest: Vec<Identity> = (1..4).map(identity).collect();
        for n in 0..2u32 {
            for one in &honest {
                assert_eq!(number(&mut sessions, one, at(f64::from(n) / 10.0)), Some(n));
            }
        }
        for n in 0..20_000u32 {
            let spoofed = Identity {
                from: SocketAddr::from((n.to_be_bytes(), 9)),
                ..identity(1)
            };
            number(&mut sessions, &spoofed, at(0.2 + f64::from(n) / 1000.0));
        }
        assert!(sessions.live() <= 64);
        for one in &honest {
            assert_eq!(number(&mut sessions, one, at(21.0)), Some(2));
        }
    }

    #[test]
    fn one_source_has_no_more_than_its_share_and_no_more_than_its_rate() {
        let mut sessions = Sessions::new(&Bounds {
            sessions: 4096,
            per_source: 10,
            rate: 100,
            ..BOUNDS
        });
        let got = (0..50).filter(|&port| number(&mut sessions, &identity(port), at(0.0)).is_some());
        assert_eq!(got.count(), 10);
        let admitted = (0..1000)
            .filter(|_| sessions.admits([192, 0, 2, 1].into(), at(0.0)))
            .count();
        assert_eq!(admitted, 13, "a tick's part of 100 per second");
        assert!(sessions.admits([192, 0, 2, 1].into(), at(1.0)));
    }

    #[test]
    fn a_number_is_fresh_once_within_the_window_and_across_the_wrap() {
        let mut session = FREE;
        let all = [u32::MAX - 1, u32::MAX, 1, 0, 200, 73, 71];
        let fresh: Vec<bool> = all.iter().map(|&seq| session.is_fresh(seq)).collect();
        assert_eq!(
            fresh,
            [true, true, true, true, true, true, false],
            "71 is beyond the window"
        );
        assert!(all.iter().all(|&seq| !session.is_fresh(seq)));
    }
}
