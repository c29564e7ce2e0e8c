//! One side's messages on a connection: a length, the message, and what proves that the other side wrote it.

use std::io;

use rping_wire::stamp::auth::Key;

use super::NONCE;

/// Octets of the length before a message.
pub(super) const HEAD: usize = 4;
/// Octets of the proof behind it.
pub(super) const TAIL: usize = 32;

const CLIENT: &[u8] = b"rping agent client";
const SERVER: &[u8] = b"rping agent server";

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    const fn label(self) -> &'static [u8] {
        match self {
            Side::Client => CLIENT,
            Side::Server => SERVER,
        }
    }

    const fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// Seals what one side sends, and opens what it gets.
#[derive(Debug)]
pub(super) struct Seal {
    key: Key,
    side: Side,
    client: [u8; NONCE],
    server: [u8; NONCE],
    sent: u64,
    heard: u64,
}

impl Seal {
    pub(super) fn new(key: Key, side: Side, client: [u8; NONCE], server: [u8; NONCE]) -> Seal {
        Seal {
            key,
            side,
            client,
            server,
            sent: 0,
            heard: 0,
        }
    }

    /// A message as it goes out; `None` where it is longer than `most`.
    pub(super) fn seal(&mut self, message: &[u8], most: usize) -> Option<Vec<u8>> {
        let length = u32::try_from(message.len())
            .ok()
            .filter(|_| message.len() <= most)?;
        let mut out = Vec::with_capacity(HEAD + message.len() + TAIL);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(message);
        let number = self.sent.to_be_bytes();
        let parts: [&[u8]; 5] = [self.side.label(), &self.client, &self.server, &number, message];
        out.extend_from_slice(&self.key.digest(&parts));
        self.sent += 1;
        Some(out)
    }

    /// How many octets follow a head: the message and its proof.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a message longer than `most`, or an empty one.
    pub(super) fn rest(head: [u8; HEAD], most: usize) -> io::Result<usize> {
        match usize::try_from(u32::from_be_bytes(head)) {
            Ok(length) if (1..=most).contains(&length) => Ok(length + TAIL),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message of a length that is not allowed",
            )),
        }
    }

    /// The message in what follows a head, once it is proven to be the other side's next one.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] where it is not.
    pub(super) fn open(&mut self, mut rest: Vec<u8>) -> io::Result<Vec<u8>> {
        let proof = rest.split_off(rest.len().saturating_sub(TAIL));
        let number = self.heard.to_be_bytes();
        let label = self.side.other().label();
        let parts: [&[u8]; 5] = [label, &self.client, &self.server, &number, &rest];
        if proof.len() != TAIL || !self.key.verifies(&parts, &proof) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a message that was not written by the other side, or not now",
            ));
        }
        self.heard += 1;
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides() -> (Seal, Seal) {
        let key = Key::new(b"sixteen octets!!").unwrap();
        let (c, s) = ([1; NONCE], [2; NONCE]);
        (
            Seal::new(key.clone(), Side::Client, c, s),
            Seal::new(key, Side::Server, c, s),
        )
    }

    fn rest(frame: &[u8]) -> Vec<u8> {
        let (head, rest) = frame.split_first_chunk().unwrap();
        assert_eq!(Seal::rest(*head, 4096).unwrap(), rest.len());
        rest.to_vec()
    }

    #[test]
    fn what_one_side_seals_the_other_opens_once_and_in_order() {
        let (mut client, mut server) = sides();
        let frames: Vec<Vec<u8>> = [b"one", b"two"].map(|m| client.seal(m, 4096).unwrap()).into();
        assert!(server.open(rest(&frames[1])).is_err(), "the second comes first");
        assert_eq!(server.open(rest(&frames[0])).unwrap(), b"one");
        assert!(server.open(rest(&frames[0])).is_err(), "the same again");
        assert_eq!(server.open(rest(&frames[1])).unwrap(), b"two");
    }

    #[test]
    fn a_message_changed_anywhere_or_sent_back_is_refused() {
        let (mut client, mut server) = sides();
        let frame = client.seal(b"message", 4096).unwrap();
        let whole = rest(&frame);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(server.open(changed).is_err(), "octet {at}");
            assert!(server.open(whole[..at].to_vec()).is_err(), "cut at {at}");
        }
        assert!(client.open(whole.clone()).is_err(), "its own, sent back");
        assert!(server.open(whole).is_ok());
    }

    #[test]
    fn nothing_longer_than_allowed_is_sent_or_waited_for() {
        let (mut client, _) = sides();
        assert!(client.seal(&[0; 11], 10).is_none() && client.seal(&[0; 10], 10).is_some());
        for length in [0, 11, u32::MAX] {
            assert!(Seal::rest(length.to_be_bytes(), 10).is_err(), "{length}");
        }
        assert_eq!(Seal::rest(10u32.to_be_bytes(), 10).unwrap(), 42);
    }
}
