//! Who claims an address: a few questions in a row, and everybody who answers. For diagnosis, where the second answer
//! matters as much as the first.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rping_net::packet::{self, PacketSocket};
use rping_net::{Clock, Pacing, Waiter, Woken};

use crate::frame::{self, Heard};
use crate::{Error, Place};

/// The most link-layer addresses that are told apart.
const MOST: usize = 8;

/// Somebody who answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// With which link-layer address.
    pub mac: [u8; 6],
    /// How often, within all questions.
    pub answers: u32,
    /// How long after the question before it the first answer came.
    pub after: Duration,
}

/// Asks for `target` on the link of `place`, `questions` times, `spacing` apart, and listens until `spacing` after the last.
/// Ends early, after the second question, when an answer to each has come and nobody else has spoken up.
///
/// With `0.0.0.0` as [`Place::source`] this is the probe of RFC 5227 section 2.1.1, which may ask for an address of our
/// own: whoever answers that has it too.
///
/// # Errors
/// [`Error::NoPermission`] without `CAP_NET_RAW`; when the packet socket fails.
pub fn who_has(
    place: &Place,
    target: IpAddr,
    questions: u32,
    spacing: Duration,
) -> Result<Vec<Claim>, Error> {
    let v6 = target.is_ipv6();
    let options = packet::Options {
        filter: frame::filter(v6, place.mac),
        transmit_stamps: false,
        receive_buffer: 1 << 16,
        ..packet::Options::new(place.ifindex, if v6 { frame::TYPE_IPV6 } else { frame::TYPE_ARP })
    };
    let mut socket = PacketSocket::open(&options).map_err(|error| match error.errno() {
        Some(libc::EPERM) => Error::NoPermission { source: error },
        _ => Error::Net(error),
    })?;
    let Some(question) = frame::question(place.mac, place.source, target) else {
        return Err(Error::Group { target });
    };
    let claims = ask(&mut socket, &question, place.mac, target, questions, spacing);
    socket.close_beside();
    Ok(claims)
}

fn ask(
    socket: &mut PacketSocket,
    question: &frame::Frame,
    own: [u8; 6],
    target: IpAddr,
    questions: u32,
    spacing: Duration,
) -> Vec<Claim> {
    let mut waiter = Waiter::new(Pacing::Eco);
    let mut claims: Vec<Claim> = Vec::new();
    for asked in 1..=questions {
        let at = Clock.now();
        let until = at.plus(spacing);
        // A frame that the driver does not take is as good as one that is lost: the next one is due soon.
        let _ = socket.send(&[question]);
        loop {
            let woken = waiter.wait(&[socket.as_fd()], until);
            // When the interface goes down, whatever was going to be said was said.
            while socket.receive().unwrap_or(0) > 0 {
                let now = Clock.now();
                for frame in socket.frames() {
                    match frame::heard(frame.bytes, own) {
                        Heard::Answer(who, mac) if who == target => note(&mut claims, mac, now.since(at)),
                        _ => {}
                    }
                }
            }
            if woken != Woken::Ready {
                break;
            }
        }
        if asked >= 2 && claims.len() == 1 && claims[0].answers >= asked {
            break;
        }
    }
    claims
}

fn note(claims: &mut Vec<Claim>, mac: [u8; 6], after: Duration) {
    if let Some(claim) = claims.iter_mut().find(|claim| claim.mac == mac) {
        claim.answers = claim.answers.saturating_add(1);
    } else if claims.len() < MOST {
        claims.push(Claim {
            mac,
            answers: 1,
            after,
        });
    }
}
