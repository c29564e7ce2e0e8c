//! Is the default gateway alive? Asks the layer below first: a gateway that answers ARP and no ping is well.
//!
//! `cargo run --example gateway_check -- 192.0.2.1` checks the gateway on the way to that address.

use std::net::IpAddr;
use std::time::Duration;

use rping::{Job, Kind, Pace, Report, Stop};

fn ask(kind: Kind, gateway: IpAddr) -> Result<Report, Box<dyn std::error::Error>> {
    let every = Pace::Every(Duration::from_millis(100));
    Ok(Job {
        pace: every,
        stop: Stop::Count(3),
        ..Job::to(kind, [gateway.to_string()])?
    }
    .run()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let beyond: IpAddr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "192.0.2.1".into())
        .parse()?;
    let Ok(route) = rping::net::netlink::route(beyond, None, None, None) else {
        println!("no route to {beyond}: there is no default gateway");
        return Ok(());
    };
    let Some(gateway) = route.gateway else {
        println!("{beyond} is on this host's own network: no gateway is needed");
        return Ok(());
    };
    let neighbour = ask(Kind::Arp, gateway)?;
    let echo = ask(Kind::Icmp, gateway)?;
    let answered = |report: &Report| report.run.targets[0].counts.received > 0;
    println!(
        "{}",
        match (answered(&neighbour), answered(&echo)) {
            (true, true) => "the gateway is alive",
            (true, false) => "the gateway is alive and does not answer ping",
            (false, true) => "the gateway answers ping only: its neighbour entry is static or proxied",
            (false, false) => "the gateway is dead, or the cable, switch or VLAN before it",
        }
    );
    Ok(())
}
