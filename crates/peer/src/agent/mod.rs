//! The agent: a host that was started to do so tells a client with the key what it sees of one flow of that client.
//!
//! | from | octets | what |
//! |---|---|---|
//! | client | 8 | `"AGENT" 00 00 01` |
//! | client | 32 | a nonce C |
//! | server | 8 | `"AGENT" 00 00 01` |
//! | server | 32 | a nonce S |
//! | each | 4 | the length of the message, big-endian |
//! | each | that many | one JSON value |
//! | each | 32 | HMAC-SHA-256 over `"rping agent client"` or `"rping agent server"`, C, S, the message's number, the message |
//!
//! All of that after the proof of the key that every connection to a server with a key begins with ([`crate::auth`]). Both nonces
//! are in every message's HMAC, and its number (8 octets, each side's own, from 0), so nothing that was recorded is of use
//! again, and nobody in between can change or repeat a message. A client asks [`Request::Watch`] once, and then
//! [`Request::Seen`] once; each question gets one answer. No standard has this.

mod client;
mod frame;
pub mod message;
pub(crate) mod server;

pub use client::{Client, Fault};
pub use message::{Flow, Request, Response};
pub use server::{Agent, Watching};

use std::time::Duration;

/// What the client and then the server begin with. No iperf3 cookie has a capital letter, and the latency exchange begins
/// with another one.
pub const MAGIC: [u8; 8] = *b"AGENT\0\0\x01";

/// The longest request, octets.
pub const LONGEST_REQUEST: usize = 4 << 10;
/// The longest response, octets.
pub const LONGEST_RESPONSE: usize = 64 << 10;

/// Octets of a nonce.
const NONCE: usize = 32;

/// How long a client may take from the first request to the last, and so how long a flow is watched at most.
const LONGEST: Duration = Duration::from_secs(20);
/// How long one side may take over what it has begun to send, or to read.
const STEP: Duration = Duration::from_secs(5);

/// Whether a connection that begins with this octet may be one to the agent.
pub(crate) const fn begins_agent(octet: u8) -> bool {
    octet == MAGIC[0]
}
