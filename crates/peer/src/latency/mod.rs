//! Request/response latency over TCP: `rping latency` and what answers it in `rping server`. `rping_wire::latency` and
//! `docs/protocols.md` have the octets.
//!
//! Both ends run on plain threads and blocking sockets: an event loop in between would cost more than what is measured.

mod client;
mod fault;
mod hello;
mod server;

pub use client::{LatencyProbe, Options};
pub use fault::Fault;
pub(crate) use server::{Exchanges, Summary as LatencySummary};

use rping_wire::latency::HEADER_LEN;

/// How much is read at once, bytes.
const READ: usize = 64 << 10;

/// Cuts a stream into messages of one size and keeps of each the header, and whether the rest was zeros: no message is
/// held whole, whatever its size.
#[derive(Debug)]
struct Cutter {
    size: usize,
    got: usize,
    header: [u8; HEADER_LEN],
    zeros: bool,
}

impl Cutter {
    /// For messages of `size` octets, at least [`HEADER_LEN`].
    fn new(size: u32) -> Cutter {
        Cutter {
            size: (size as usize).max(HEADER_LEN),
            got: 0,
            header: [0; HEADER_LEN],
            zeros: true,
        }
    }

    /// Takes octets off the front of `bytes` up to the end of a message: its header, and whether zeros followed.
    /// `None` when `bytes` is used up before.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<([u8; HEADER_LEN], bool)> {
        if let Some(room) = self.header.get_mut(self.got..) {
            let (head, rest) = bytes.split_at(bytes.len().min(room.len()));
            room[..head.len()].copy_from_slice(head);
            self.got += head.len();
            *bytes = rest;
        }
        if self.got >= HEADER_LEN {
            let (body, rest) = bytes.split_at(bytes.len().min(self.size - self.got));
            self.zeros &= body.iter().all(|&octet| octet == 0);
            self.got += body.len();
            *bytes = rest;
        }
        if self.got < self.size {
            return None;
        }
        self.got = 0;
        Some((self.header, std::mem::replace(&mut self.zeros, true)))
    }

    /// The header of a message that has begun, once that is whole.
    fn begun(&self) -> Option<&[u8; HEADER_LEN]> {
        (self.got >= HEADER_LEN).then_some(&self.header)
    }

    /// Whether a message has begun and not ended.
    fn is_inside(&self) -> bool {
        self.got > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_whole_however_the_stream_was_cut(
            size in 16u32..80, count in 1usize..20, cut in 1usize..50, damaged in any::<bool>(),
        ) {
            let mut stream = Vec::new();
            for number in 0..count {
                let mut message = vec![0; size as usize];
                message[..HEADER_LEN].fill(number as u8 + 1);
                if damaged && size > 16 {
                    message[size as usize - 1] = 1;
                }
                stream.extend(message);
            }
            let mut cutter = Cutter::new(size);
            let mut found = Vec::new();
            for mut piece in stream.chunks(cut) {
                while let Some(message) = cutter.next(&mut piece) {
                    found.push(message);
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert!(!cutter.is_inside());
            let wanted: Vec<_> = (0..count)
                .map(|number| ([number as u8 + 1; HEADER_LEN], !(damaged && size > 16)))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
