//! The words for refusals: by others on the way, and by this host.

use std::net::IpAddr;

use rping_engine::{Reason, Refusal};

use super::{brief, icmp, About, Words};
use crate::job::Kind;

/// Somebody answered no.
pub(super) fn rejected(about: &About<'_>, refusal: &Refusal) -> Words {
    let host = &about.host;
    let who = about.who(refusal);
    let by_target = about.is_target(refusal.from);
    match refusal.reason {
        Reason::PortClosed => port_closed(about, refusal),
        Reason::HostUnreachable => Words::new(
            if by_target {
                format!("{host} itself says that it cannot be reached: a firewall on it rejects {}.", about.traffic())
            } else {
                format!(
                    "The path is good as far as {who}, but {who} cannot deliver to {host}: nobody answers to that \
                     address on its segment (or a firewall rejects in this manner)."
                )
            },
            format!(
                "Is {host} switched on, and does it have this address? Probe another host of its subnet to tell a \
                 dead host from a dead subnet."
            ),
        ),
        Reason::NetworkUnreachable => Words::new(
            format!("The path is good as far as {who}, but {who} has no route to the network of {host}."),
            format!("Look at the routing table of {who}, or ask its operator; then at the address: is {host} right?"),
        ),
        Reason::AdminProhibited => Words::new(
            if by_target {
                format!("A policy forbids it: the firewall on {host} rejects {}, and says so.", about.traffic())
            } else {
                format!("A policy forbids it: {who}, a firewall on the way, rejects {}, and says so.", about.traffic())
            },
            format!(
                "The network works; the rule does not allow it. Have {} allowed from this host at {who}.",
                about.traffic()
            ),
        ),
        Reason::ProtocolUnreachable => Words::new(
            format!("{who} is up but refuses the protocol as such, not a port of it: {}.", protocol(about.kind)),
            format!("A firewall's reject rule does this more often than a host without the protocol: look on {who}."),
        ),
        Reason::TimeExceeded if is_reassembly(about, refusal) => Words::new(
            format!("The probe was sent in fragments, and not all of them reached {who}: a fragment was lost."),
            "Try it with a size that needs no fragments (-l 1000): if that is answered, fragments are dropped on the way.",
        ),
        Reason::TimeExceeded => Words::new(
            format!("The packet ran out of hops at {who}: the path is good that far and longer than the TTL, or a loop."),
            format!(
                "If --ttl was given, raise it. If not, routers send the packet in a circle: traceroute {host} shows \
                 which."
            ),
        ),
        Reason::PacketTooBig => too_big(about, refusal, &format!("{who} cannot pass the packet on")),
        // What is this host's own to say may still come back as an answer to a packet.
        Reason::NoRoute
        | Reason::NoNeighbour
        | Reason::LocalFirewall
        | Reason::NoBuffer
        | Reason::NoLocalPort
        | Reason::InterfaceDown => own(about, refusal),
        // The failure that ends the run has the whole of it.
        Reason::Other if matches!(about.kind, Kind::Latency(_)) => Words::new(
            format!("{who} did not agree to the exchange: the last line says why."),
            format!("See that the same version of rping server, with the same --key-file if any, runs on {host}."),
        ),
        Reason::Other => Words::new(
            format!("{who} refused {} in a way of its own: {}.", about.traffic(), brief(about.kind, about.target, refusal)),
            format!("A trace of the exchange shows the message in full. {} asks for less.", about.command(Kind::Icmp)),
        ),
    }
}

/// This host did not let it go.
pub(super) fn not_sent(about: &About<'_>, refusal: &Refusal) -> Words {
    match refusal.reason {
        Reason::PacketTooBig => too_big(about, refusal, "The packet does not fit, and this host did not send it"),
        Reason::PortClosed
        | Reason::HostUnreachable
        | Reason::NetworkUnreachable
        | Reason::AdminProhibited
        | Reason::ProtocolUnreachable
        | Reason::TimeExceeded => Words::new(
            format!(
                "This host itself said \"{}\" and sent nothing: a route or a policy rule here does not let {} out.",
                brief(about.kind, about.target, refusal),
                about.traffic()
            ),
            format!("ip route get {} shows the route that is used; ip rule and nft list ruleset the rest.", about.host),
        ),
        _ => own(about, refusal),
    }
}

/// The gateway on the way to the target is what does not answer.
pub(super) fn no_gateway(about: &About<'_>, gateway: IpAddr) -> Words {
    let host = &about.host;
    Words::new(
        format!(
            "No neighbour: {host} is behind the gateway {gateway}, and nobody answered {} for {gateway}, so nothing was sent \
             (\"Destination host unreachable\"). It says nothing about {host}.",
            about.asking()
        ),
        format!(
            "Is {gateway} the right gateway (ip route get {host}), switched on and in this VLAN? {} asks it alone; ip neigh \
             shows the entry that failed.",
            match gateway.is_ipv6() {
                true => format!("rping arp -6 {gateway}"),
                false => format!("rping arp {gateway}"),
            }
        ),
    )
}

/// Reasons that are this host's own.
fn own(about: &About<'_>, refusal: &Refusal) -> Words {
    let host = &about.host;
    match refusal.reason {
        Reason::NoRoute if refusing_route(refusal).is_some() => {
            let kind = refusing_route(refusal).unwrap_or_default();
            Words::new(
                format!(
                    "A {kind} route on this host covers {host}, so nothing was sent: somebody told this host not to go \
                     there."
                ),
                format!("ip route show table all type {kind} lists such routes; ip route get {host} names the one in force."),
            )
        }
        Reason::NoRoute => Words::new(
            format!(
                "This host has no route to {host}, so nothing was sent (\"General failure\" on Windows): the fault is \
                 here and not in the network."
            ),
            format!(
                "ip route get {host}: is the interface up, does it have an address, is a default gateway set that \
                 lies in the interface's own subnet?"
            ),
        ),
        Reason::NoNeighbour => Words::new(
            format!(
                "No neighbour: host down, wrong VLAN or wrong address. Nobody answered {} for the next hop towards \
                 {host} ({host} itself on this subnet, else the gateway), so nothing was sent (\"Destination host \
                 unreachable\").",
                about.asking()
            ),
            super::NEIGHBOUR_NEXT,
        ),
        Reason::LocalFirewall => Words::new(
            format!("This host's own firewall does not let {} to {host} out; nothing was sent.", about.traffic()),
            "nft list ruleset (or iptables-save) shows the output rule that does it; switch it off for a moment to be sure.",
        ),
        Reason::NoBuffer => Words::new(
            "This host's send buffers stayed full: probes are asked for faster than they can leave. It says nothing \
             about the network.",
            "Ask for fewer: a longer --interval, a lower --rate or --max-rate, a smaller size.",
        ),
        Reason::NoLocalPort => Words::new(
            format!(
                "Every local port to {host} port {} is in use, so no connection could be begun; the target was not \
                 asked.",
                about.port_or_a_port()
            ),
            format!(
                "ss -tan dst {host} counts them (TIME-WAIT ones free themselves within a minute); probe more slowly, \
                 or widen net.ipv4.ip_local_port_range."
            ),
        ),
        Reason::InterfaceDown => Words::new(
            format!("The interface that leads to {host} is down or has no carrier; nothing was sent."),
            "ip link shows its state: is the cable plugged in, is the switch port in error, was the interface set down?",
        ),
        _ => Words::new(
            format!("This host could not send: {}.", brief(about.kind, about.target, refusal)),
            format!("ip route get {host} shows how it would be sent; rping icmp 127.0.0.1 whether the local stack works."),
        ),
    }
}

/// The kind of a route that refuses, by the error it gives (`fib_props` in Linux); a plain lack of routes, and a `throw`
/// route, which is one, give `ENETUNREACH`.
fn refusing_route(refusal: &Refusal) -> Option<&'static str> {
    use std::io::ErrorKind;
    match std::io::Error::from_raw_os_error(refusal.errno?).kind() {
        ErrorKind::InvalidInput => Some("blackhole"),
        ErrorKind::HostUnreachable => Some("unreachable"),
        ErrorKind::PermissionDenied => Some("prohibit"),
        _ => None,
    }
}

fn port_closed(about: &About<'_>, refusal: &Refusal) -> Words {
    let host = &about.host;
    let who = about.who(refusal);
    let port = about.port_or_a_port();
    let by_target = about.is_target(refusal.from);
    match about.kind {
        Kind::Tcp if refusal.icmp.is_none() => Words::new(
            format!(
                "The host is up and nothing listens on port {port}: {host} answered the SYN with a reset. (A firewall \
                 that rejects with resets looks the same.)"
            ),
            format!(
                "Is the service running on {host}, and in LISTEN state on this address? There: ss -ltn, or netstat \
                 -nato | findstr :{port} on Windows."
            ),
        ),
        Kind::Tcp => Words::new(
            format!(
                "A firewall rejects port {port}: {who} answered with port unreachable, where a host without a \
                 listener answers with a reset."
            ),
            format!("Look for a reject rule for {} on {who}; it says nothing about the service.", about.traffic()),
        ),
        Kind::Latency(_) => Words::new(
            format!("The host is up and nothing listens on TCP port {port}: {host} answered the SYN with a reset."),
            format!("Start `rping server` on {host}, and let its port through the firewall there."),
        ),
        Kind::Udp(_) if by_target => Words::new(
            format!(
                "The host is up and nothing listens on UDP port {port}: {host} answered with port unreachable. (A \
                 firewall that rejects looks the same.)"
            ),
            format!("Start `{}` there, which answers these probes, or see ss -lun for what listens.", about.server()),
        ),
        Kind::Udp(_) => Words::new(
            format!("A firewall on the way rejects {}: {who}, and not {host}, says port unreachable.", about.traffic()),
            format!("Have it allowed at {who}; it says nothing about the service."),
        ),
        Kind::Icmp | Kind::Arp => Words::new(
            format!(
                "A firewall on {who} rejects {}: it answers with port unreachable, and there is no port in it.",
                about.traffic()
            ),
            format!("That says nothing about its services; connect to one: {}.", about.command(Kind::Tcp)),
        ),
    }
}

fn too_big(about: &About<'_>, refusal: &Refusal, what: &str) -> Words {
    // IP header and the 8 bytes of an ICMP or UDP header.
    let headers = if about.v6 { 48 } else { 28 };
    match refusal.mtu {
        Some(mtu) => Words::new(
            format!("{what}: packets to {} may hold {mtu} bytes from there on and must not be fragmented.", about.host),
            match mtu.checked_sub(headers) {
                Some(fits) if about.kind != Kind::Tcp => {
                    format!("-l {fits} fits. If larger ones should: some link or tunnel on the way has a smaller MTU than meant.")
                }
                _ => "Some link or tunnel on the way has a smaller MTU than meant.".to_owned(),
            },
        ),
        None => Words::new(
            format!("{what}: it is larger than the path takes, and must not be fragmented."),
            "Try smaller sizes (-l 1472 is the most that fits an Ethernet frame over IPv4), or leave --df out.",
        ),
    }
}

const fn protocol(kind: Kind) -> &'static str {
    match kind {
        Kind::Icmp => "ICMP",
        Kind::Tcp | Kind::Latency(_) => "TCP",
        Kind::Udp(_) => "UDP",
        Kind::Arp => "neighbour discovery",
    }
}

fn is_reassembly(about: &About<'_>, refusal: &Refusal) -> bool {
    let name = |(kind, code)| icmp::name(about.v6, kind, code);
    refusal
        .icmp
        .and_then(name)
        .is_some_and(|name| name.starts_with("fragments"))
}
