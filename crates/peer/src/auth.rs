//! Who has the key, over TCP: what a connection to a server with a key begins with, before any protocol.
//!
//! | from | octets | what |
//! |---|---|---|
//! | client | 8 | `00 "rping" 00 01` |
//! | client | 32 | a nonce C |
//! | server | 32 | a nonce S |
//! | server | 32 | HMAC-SHA-256 over `"rping server"`, C, S |
//! | client | 32 | HMAC-SHA-256 over `"rping client"`, C, S |
//!
//! Both nonces are in both proofs, so nothing that was recorded is of use again. No standard has this: iperf3's own
//! authentication encrypts a password by RSA, and STAMP's is datagrams'.

use std::io::{self, Read, Write};

use rping_wire::stamp::auth::Key;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client that has a key begins with. No protocol that is spoken here begins with a zero.
pub const BEGINS: [u8; 8] = *b"\0rping\0\x01";

const NONCE: usize = 32;
const SERVER: &[u8] = b"rping server";
const CLIENT: &[u8] = b"rping client";

/// What nobody can guess and nobody sees twice.
fn nonce() -> io::Result<[u8; NONCE]> {
    random()
}

/// Octets from the system's generator of random numbers.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
    Ok(octets)
}

fn denied() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the other side does not have the same key",
    )
}

/// What a client sends first, and what it needs to answer the server's part.
#[derive(Debug)]
pub struct Proof<'a> {
    key: &'a Key,
    first: [u8; BEGINS.len() + NONCE],
}

/// Octets of the server's part.
pub const SERVER_PART: usize = NONCE + 32;

impl<'a> Proof<'a> {
    /// Of somebody who has `key`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(key: &'a Key) -> io::Result<Proof<'a>> {
        let mut first = [0; BEGINS.len() + NONCE];
        let (begins, own) = first.split_at_mut(BEGINS.len());
        begins.copy_from_slice(&BEGINS);
        own.copy_from_slice(&nonce()?);
        Ok(Proof { key, first })
    }

    /// What the client sends first.
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// The client's proof, once the server has given its own.
    ///
    /// # Errors
    /// When the server does not have the key.
    pub fn answer(&self, server: &[u8; SERVER_PART]) -> io::Result<[u8; 32]> {
        let (theirs, proof) = server.split_at(NONCE);
        let own = self.first.get(BEGINS.len()..).unwrap_or_default();
        if !self.key.verifies(&[SERVER, own, theirs], proof) {
            return Err(denied());
        }
        Ok(self.key.digest(&[CLIENT, own, theirs]))
    }
}

/// Proves to the server at the other end of `stream` that we have the key, and has it prove the same. The stream's own
/// timeouts hold.
///
/// # Errors
/// The stream's; [`io::ErrorKind::PermissionDenied`] when the server has another key; an end of file when it has none, or
/// refuses ours.
pub fn prove(stream: &mut (impl Read + Write), key: &Key) -> io::Result<()> {
    let proof = Proof::new(key)?;
    stream.write_all(proof.first())?;
    let mut server = [0; SERVER_PART];
    stream.read_exact(&mut server)?;
    stream.write_all(&proof.answer(&server)?)
}

/// The same over a stream of an event loop.
///
/// # Errors
/// As [`prove`].
pub async fn prove_async(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), key: &Key) -> io::Result<()> {
    let proof = Proof::new(key)?;
    stream.write_all(proof.first()).await?;
    let mut server = [0; SERVER_PART];
    stream.read_exact(&mut server).await?;
    stream.write_all(&proof.answer(&server)?).await
}

/// The server's side: ends well when the client has the key.
///
/// # Errors
/// The stream's; [`io::ErrorKind::PermissionDenied`] for whoever has not.
pub(crate) async fn admit(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), key: &Key) -> io::Result<()> {
    // Whoever begins otherwise is turned away at once.
    for expected in BEGINS {
        if stream.read_u8().await? != expected {
            return Err(denied());
        }
    }
    let mut theirs = [0; NONCE];
    stream.read_exact(&mut theirs).await?;
    let own = nonce()?;
    let mut part = [0; SERVER_PART];
    let (nonce, proof) = part.split_at_mut(NONCE);
    nonce.copy_from_slice(&own);
    proof.copy_from_slice(&key.digest(&[SERVER, &theirs, &own]));
    stream.write_all(&part).await?;
    let mut proof = [0; 32];
    stream.read_exact(&mut proof).await?;
    if key.verifies(&[CLIENT, &theirs, &own], &proof) {
        Ok(())
    } else {
        Err(denied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(octets: &[u8]) -> Key {
        Key::new(octets).unwrap()
    }

    fn meet(server: &Key, client: &Key) -> (io::Result<()>, io::Result<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut here, mut there) = tokio::io::duplex(256);
            tokio::join!(async move { admit(&mut here, server).await }, async move {
                prove_async(&mut there, client).await
            })
        })
    }

    #[test]
    fn two_that_share_a_key_meet_and_two_that_do_not_part() {
        let (one, other) = (key(b"sixteen octets!!"), key(b"sixteen others!!"));
        let (server, client) = meet(&one, &one);
        assert!(server.is_ok() && client.is_ok());
        let (server, client) = meet(&one, &other);
        assert!(server.is_err());
        assert_eq!(client.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn no_nonce_comes_twice_and_no_octet_of_it_stands_still() {
        let all: std::collections::HashSet<[u8; NONCE]> = (0..1000).map(|_| nonce().unwrap()).collect();
        assert_eq!(all.len(), 1000);
        for at in 0..NONCE {
            let values: std::collections::HashSet<u8> = all.iter().map(|nonce| nonce[at]).collect();
            assert!(values.len() > 128, "octet {at}");
        }
    }

    #[test]
    fn what_was_recorded_of_one_meeting_opens_no_other() {
        let key = key(b"sixteen octets!!");
        let proof = Proof::new(&key).unwrap();
        let mut part = [7; SERVER_PART];
        let own = &proof.first()[BEGINS.len()..];
        part[NONCE..].copy_from_slice(&key.digest(&[SERVER, own, &[7; NONCE]]));
        assert!(proof.answer(&part).is_ok());
        assert!(Proof::new(&key).unwrap().answer(&part).is_err());
    }
}
