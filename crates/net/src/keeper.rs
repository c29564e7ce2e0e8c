//! Keeps the kernel's receive stamps switched on.
//!
//! The first socket on the machine that asks for receive stamps makes the kernel patch itself, in the background: packets
//! that arrive before that is done bear no stamp. So a socket asks ahead of the first probe, loops a datagram
//! to itself until one is stamped, and stays open, so that it is not all undone between two probe sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rping_engine::{Left, StampSource};

use crate::clock::Clock;
use crate::datagram::{Datagram, Packet};
use crate::incoming::Incoming;
use crate::options::Options;
use crate::wait::{Pacing, Waiter, Woken};
use crate::Result;

/// How long stamps may take to appear. They take 30 µs when they are on already, and a few milliseconds else; on a
/// machine whose workers starve they may never come.
const PATIENCE: Duration = Duration::from_millis(250);

/// Receive stamps are on as long as this lives.
#[derive(Debug)]
pub struct StampKeeper {
    _socket: Datagram,
    confirmed: bool,
}

impl StampKeeper {
    /// Switches receive stamps on and waits, for at most 250 ms, until a packet bears one.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn start() -> Result<StampKeeper> {
        let options = Options {
            source: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            transmit_stamps: false,
            receive_buffer: 1 << 16,
            payload: 1,
            ..Options::default()
        };
        let mut socket = match Datagram::udp(false, None, &options) {
            Ok(socket) => socket,
            // Without a loopback interface that is up there is no packet to see stamped; asking still helps.
            Err(_) => Datagram::udp(
                false,
                None,
                &Options {
                    source: None,
                    ..options
                },
            )?,
        };
        let confirmed = confirm(&mut socket);
        Ok(StampKeeper {
            _socket: socket,
            confirmed,
        })
    }

    /// Whether a stamped packet was seen. If not, the first probes may lack the kernel's receive stamp; each such
    /// stamp says that it is not the kernel's.
    pub fn confirmed(&self) -> bool {
        self.confirmed
    }
}

fn confirm(socket: &mut Datagram) -> bool {
    let Some(own) = socket.local_addr() else {
        return false;
    };
    let end = Clock.now().plus(PATIENCE);
    let mut waiter = Waiter::new(Pacing::Precise);
    let mut pause = Duration::from_micros(50);
    loop {
        let packet = Packet {
            bytes: 0..1,
            to: Some(own),
            from: None,
            tag: 0,
        };
        let mut gone = false;
        socket.send(&[0], &[packet], |_, left| gone = matches!(left, Left::At(_)));
        // Loopback delivers within the send call: what is not here now was lost.
        let mut stamped = false;
        let heard = socket.receive(|incoming| {
            if let Incoming::Packet(packet) = incoming {
                stamped |= packet.at.source == StampSource::Kernel;
            }
        });
        if stamped {
            return true;
        }
        if !gone || heard.is_err() || Clock.now() >= end {
            return false;
        }
        while waiter.wait(&[], Clock.now().plus(pause)) != Woken::Due {}
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_on_after_the_start_of_the_first_and_of_the_second() {
        let first = StampKeeper::start().expect("a keeper");
        assert!(first.confirmed());
        assert!(StampKeeper::start().expect("a keeper").confirmed());
    }
}
