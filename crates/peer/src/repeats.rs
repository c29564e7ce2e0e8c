//! What a plain echo cannot tell from a request: what comes back from another echo that it was set upon. Between two echoes a
//! datagram goes round unchanged and for good; so one that comes from the same port with the same octets again and again is let
//! fall now and then, which ends its round.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::SocketAddr;

/// So many of the same in a row are answered before one is not: a round ends after a fraction of a second on a fast link, and a
/// sender without a number in its datagrams loses one in thousands. One that numbers them never notices.
const ROUNDS: u32 = 4096;
/// Datagrams that are remembered.
const SLOTS: usize = 8192;

/// How often each of the latest datagrams came. The table never grows.
pub(crate) struct Repeats {
    random: RandomState,
    slots: Vec<(u64, u32)>,
}

impl std::fmt::Debug for Repeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repeats").finish_non_exhaustive()
    }
}

impl Repeats {
    pub(crate) fn new() -> Repeats {
        Repeats {
            random: RandomState::new(),
            // Not all zeros: the pages are there before strangers make them be.
            slots: vec![(u64::MAX, 0); SLOTS],
        }
    }

    /// Whether this datagram is to be let fall; counts it.
    pub(crate) fn goes_round(&mut self, from: SocketAddr, payload: &[u8]) -> bool {
        let mut hasher = self.random.build_hasher();
        from.hash(&mut hasher);
        hasher.write(payload);
        let tag = hasher.finish();
        let Some((known, count)) = self.slots.get_mut(tag as usize % SLOTS) else {
            return false;
        };
        if *known != tag {
            (*known, *count) = (tag, 0);
        }
        *count += 1;
        let falls = *count > ROUNDS;
        if falls {
            *count = 0;
        }
        falls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_and_again_is_let_fall_and_what_is_numbered_is_not() {
        let mut repeats = Repeats::new();
        let from = SocketAddr::from(([192, 0, 2, 1], 40_000));
        let rounds = ROUNDS as usize;
        let fell: Vec<usize> = (0..2 * rounds + 2)
            .filter(|_| repeats.goes_round(from, b"same"))
            .collect();
        assert_eq!(fell, [rounds, 2 * rounds + 1]);
        assert!((0..100_000u32).all(|n| !repeats.goes_round(from, &n.to_be_bytes())));
        let ports = 1..=1000;
        assert!(ports
            .map(|port| SocketAddr::from(([192, 0, 2, 1], port)))
            .all(|from| !repeats.goes_round(from, b"same")));
    }
}
