//! Numbers that an outsider cannot guess, so that an answer is one to a question of ours.

use std::hash::{BuildHasher, RandomState};

use rping_net::Clock;

/// A new one with each call.
pub(crate) fn nonce() -> u64 {
    RandomState::new().hash_one(Clock.now().as_nanos())
}
