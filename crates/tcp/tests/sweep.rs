//! Many targets at once.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{run, Outcome};
use rping_engine::Reason;
use rping_lab::{require_root, Acceptor, Lab};
use rping_net::{Clock, Pacing, Waiter};
use rping_tcp::{Options, TcpProbe};

#[test]
fn of_512_on_link_targets_half_silent_every_live_one_replies_without_a_lost_syn() {
    if !require_root("of_512_on_link_targets") {
        return;
    }
    // RPING_SWEEP=4096 takes a minute: two tablefuls of live neighbours.
    let count = std::env::var("RPING_SWEEP").map_or(512, |count| count.parse().expect("a count"));
    let lab = Lab::on_link(count);
    let _server = Acceptor::start(&lab.server, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 445));
    let addresses: Vec<Ipv4Addr> = lab.addresses().collect();
    let targets: Vec<SocketAddr> = addresses
        .iter()
        .map(|ip| SocketAddr::new((*ip).into(), 445))
        .collect();
    let begun = Clock.now();
    let settled = lab.client.run(|| {
        let waiter = Waiter::new(Pacing::Precise);
        let mut probe = TcpProbe::open(&targets, Options::default(), waiter).expect("open");
        run(&mut probe, targets.len(), Duration::from_secs(1))
    });
    let took = Clock.now().since(begun);
    let (mut replies, mut lost_syns, mut unresolved, mut others) = (0, 0, 0, 0);
    for (address, settled) in addresses.iter().zip(&settled) {
        match settled.outcome {
            Outcome::Reply(answer) if lab.is_live(*address) => {
                replies += 1;
                lost_syns += u32::from(answer.syn_retransmits);
            }
            Outcome::NotSent(refusal) if refusal.reason == Reason::NoNeighbour => {
                unresolved += u32::from(!lab.is_live(*address));
            }
            _ => others += 1,
        }
    }
    println!("{} on-link targets in {took:?}", targets.len());
    assert_eq!(
        (replies, lost_syns, unresolved, others),
        (count / 2, 0, count / 2, 0)
    );
}

#[test]
fn more_connects_than_may_be_under_way_wait_for_their_turn() {
    if !require_root("more_connects_than") {
        return;
    }
    let lab = Lab::on_link(128);
    let _server = Acceptor::start(&lab.server, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 445));
    let targets: Vec<SocketAddr> = lab
        .addresses()
        .map(|ip| SocketAddr::new(ip.into(), 445))
        .collect();
    let settled = lab.client.run(|| {
        let options = Options {
            max_in_flight: Some(8),
            ..Options::default()
        };
        let mut probe = TcpProbe::open(&targets, options, Waiter::new(Pacing::Precise)).expect("open");
        run(&mut probe, targets.len(), Duration::from_millis(100))
    });
    let replies = settled
        .iter()
        .filter(|settled| matches!(settled.outcome, Outcome::Reply(_)))
        .count();
    assert_eq!(replies, 64);
}
