//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rping_engine::{Answer, Arrival, Departure, Event, Outgoing, Probe, Sequence, TargetId};
use rping_icmp::IcmpProbe;
use rping_net::Clock;

pub fn targets(list: &[&str]) -> Vec<SocketAddr> {
    list.iter()
        .map(|a| SocketAddr::new(a.parse::<IpAddr>().expect("an address"), 0))
        .collect()
}

pub fn due(target: u32, seq: u64) -> Outgoing {
    Outgoing {
        target: TargetId(target),
        seq: Sequence(seq),
        due: Clock.now(),
    }
}

pub fn send(probe: &mut IcmpProbe, out: &[Outgoing]) -> Vec<Departure> {
    let mut left = Vec::new();
    probe.send(out, &mut left).expect("send");
    assert_eq!(left.len(), out.len(), "one departure for each probe");
    left
}

/// What arrives until there are `want` events beside transmit stamps, or for two seconds.
pub fn hear(probe: &mut IcmpProbe, want: usize) -> Vec<Arrival> {
    let end = Clock.now().plus(Duration::from_secs(2));
    let mut arrived = Vec::new();
    while Clock.now() < end && arrived.iter().filter(|a| !is_stamp(a)).count() < want {
        probe.recv(end, &mut arrived).expect("receive");
    }
    arrived
}

pub fn is_stamp(arrival: &Arrival) -> bool {
    matches!(arrival.event, Event::Left(_))
}

pub fn answers(arrived: &[Arrival]) -> Vec<(u32, Answer)> {
    arrived
        .iter()
        .filter_map(|a| match a.event {
            Event::Reply(answer) => Some((a.target.0, answer)),
            _ => None,
        })
        .collect()
}
