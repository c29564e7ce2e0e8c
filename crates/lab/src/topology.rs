//! The benches that tests are run on. Each is built in well under half a second and goes with its value.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::emulator::wait_usable;
use crate::namespace::Namespace;
use crate::turn::Turn;

/// The namespaces' builder; see the types it returns for addresses and interface names.
#[derive(Debug)]
pub struct Lab;

/// Client and server on one link.
///
/// Client `c0`: 10.77.0.1/24, fd77::1/64. Server `s0`: 10.77.0.2/24, fd77::2/64. No default route.
#[derive(Debug)]
pub struct Pair {
    /// The near end.
    pub client: Namespace,
    /// The far end.
    pub server: Namespace,
}

impl Pair {
    /// The client's IPv4 address.
    pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The server's IPv4 address.
    pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    /// The client's IPv6 address.
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    /// The server's IPv6 address.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
}

/// Client, router and server in a row.
///
/// Client `c0` (10.77.1.1/24, fd77:1::1/64), router `r0` (.254, ::fe) and `r1` (10.77.2.254/24, fd77:2::fe/64),
/// server `s0` (10.77.2.1/24, fd77:2::1/64). Both ends have the router as their default route.
#[derive(Debug)]
pub struct Routed {
    /// The near end.
    pub client: Namespace,
    /// What forwards between them.
    pub router: Namespace,
    /// The far end.
    pub server: Namespace,
}

impl Routed {
    /// The client's IPv4 address.
    pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
    /// The router's IPv4 address on the client's side.
    pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 254);
    /// The server's IPv4 address.
    pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
    /// The client's IPv6 address.
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 1);
    /// The router's IPv6 address on the client's side.
    pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 0xfe);
    /// The server's IPv6 address.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 2, 0, 0, 0, 0, 0, 1);
}

/// Several hosts on one Ethernet.
///
/// Host n (from 0) has `eth0` with 10.79.0.(n+1)/24 and fd79::(n+1)/64.
#[derive(Debug)]
pub struct Bridge {
    /// The hosts.
    pub hosts: Vec<Namespace>,
    /// The switch between them; its ports are `p0`, `p1`, …
    pub switch: Namespace,
}

impl Bridge {
    /// The IPv4 address of a host.
    #[must_use]
    pub fn v4(host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, 0, host + 1)
    }

    /// The IPv6 address of a host.
    #[must_use]
    pub fn v6(host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, u16::from(host) + 1)
    }
}

/// A client (`c0`, 10.80.0.1/18) on one link with a server (`s0`) that answers for half of a block of addresses,
/// in stripes of 16: the first 16 live, the next 16 silent, and so on.
#[derive(Debug)]
pub struct OnLink {
    /// The near end.
    pub client: Namespace,
    /// What answers ARP, ICMP and TCP for every live address; bind to `0.0.0.0` to serve all of them.
    pub server: Namespace,
    count: u32,
}

impl Drop for OnLink {
    fn drop(&mut self) {
        // The kernel clears a deleted namespace up when it has time; neighbours go with their link at once.
        for (end, interface) in [(&self.client, "c0"), (&self.server, "s0")] {
            let _ = end.try_exec(&["ip", "link", "set", interface, "down"]);
        }
    }
}

impl OnLink {
    const STRIPE: u32 = 16;
    /// Blocks up to this size leave the other benches their share of the 1024 neighbours that the machine has room for.
    const BESIDE_OTHERS: u32 = 128;
    const FIRST: u32 = u32::from_be_bytes([10, 80, 16, 0]);

    /// The addresses of the block, as a CIDR.
    #[must_use]
    pub fn cidr(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(Self::FIRST), 32 - self.count.ilog2())
    }

    /// Every address of the block, in order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        (Self::FIRST..Self::FIRST + self.count).map(Ipv4Addr::from)
    }

    /// Whether somebody has this address.
    #[must_use]
    pub fn is_live(&self, address: Ipv4Addr) -> bool {
        let index = u32::from(address).wrapping_sub(Self::FIRST);
        index < self.count && (index / Self::STRIPE).is_multiple_of(2)
    }
}

impl Lab {
    /// Client and server on one link.
    #[must_use]
    pub fn pair() -> Pair {
        let (client, server) = (Namespace::new("client"), Namespace::new("server"));
        join(&client, "c0", &server, "s0");
        address(&client, "c0", Pair::CLIENT_V4, 24, Pair::CLIENT_V6);
        address(&server, "s0", Pair::SERVER_V4, 24, Pair::SERVER_V6);
        Pair { client, server }
    }

    /// Client, router and server in a row.
    #[must_use]
    pub fn routed() -> Routed {
        let (client, server) = (Namespace::new("client"), Namespace::new("server"));
        let router = Namespace::new("router");
        join(&client, "c0", &router, "r0");
        join(&server, "s0", &router, "r1");
        let far_v4 = Ipv4Addr::new(10, 77, 2, 254);
        let far_v6 = Ipv6Addr::new(0xfd77, 2, 0, 0, 0, 0, 0, 0xfe);
        address(&client, "c0", Routed::CLIENT_V4, 24, Routed::CLIENT_V6);
        address(&router, "r0", Routed::ROUTER_V4, 24, Routed::ROUTER_V6);
        address(&router, "r1", far_v4, 24, far_v6);
        address(&server, "s0", Routed::SERVER_V4, 24, Routed::SERVER_V6);
        router.sysctl("net.ipv4.ip_forward", "1");
        router.sysctl("net.ipv6.conf.all.forwarding", "1");
        default_route(&client, Routed::ROUTER_V4, Routed::ROUTER_V6);
        default_route(&server, far_v4, far_v6);
        Routed {
            client,
            router,
            server,
        }
    }

    /// `count` hosts on one Ethernet.
    #[must_use]
    pub fn bridge(count: u8) -> Bridge {
        let switch = Namespace::new("switch");
        switch.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up");
        let hosts = (0..count)
            .map(|number| {
                let host = Namespace::new(&format!("host{number}"));
                let port = format!("p{number}");
                join(&host, "eth0", &switch, &port);
                switch.ip(&format!("link set {port} master br0"));
                address(&host, "eth0", Bridge::v4(number), 24, Bridge::v6(number));
                host
            })
            .collect();
        Bridge { hosts, switch }
    }

    /// A block of `count` on-link addresses, half of them live.
    ///
    /// A large block fills the machine's neighbour table, so it waits until no other bench is up on this machine, and
    /// keeps others waiting: build no second bench beside it in one test.
    ///
    /// # Panics
    /// When `count` is not a power of two from 32 to 4096.
    #[must_use]
    pub fn on_link(count: u32) -> OnLink {
        assert!(
            count.is_power_of_two() && (32..=4096).contains(&count),
            "{count} addresses"
        );
        let alone = count > OnLink::BESIDE_OTHERS;
        let turn = Arc::new(if alone { Turn::alone() } else { Turn::shared() });
        let (client, server) = (
            Namespace::in_turn("client", &turn),
            Namespace::in_turn("server", &turn),
        );
        join(&client, "c0", &server, "s0");
        client.ip("addr add 10.80.0.1/18 dev c0");
        // A local route is as good as an address: the kernel answers ARP, ICMP and TCP for all of it.
        let mut routes = String::from("addr add 10.80.0.2/18 dev s0\n");
        for stripe in (OnLink::FIRST..OnLink::FIRST + count).step_by(2 * OnLink::STRIPE as usize) {
            // Writing to a string cannot fail.
            let _ = writeln!(routes, "route add local {}/28 dev s0", Ipv4Addr::from(stripe));
        }
        server.ip(&routes);
        wait_usable(&client, &[Ipv4Addr::new(10, 80, 0, 1).into()]);
        OnLink {
            client,
            server,
            count,
        }
    }
}

/// Joins two namespaces by a veth pair, both ends up; nothing appears in the namespace we stand in.
fn join(left: &Namespace, left_name: &str, right: &Namespace, right_name: &str) {
    left.ip(&format!(
        "link add {left_name} type veth peer name {right_name} netns {}",
        right.name()
    ));
    left.link_up(left_name);
    right.link_up(right_name);
}

fn address(namespace: &Namespace, interface: &str, v4: Ipv4Addr, length: u8, v6: Ipv6Addr) {
    namespace.ip(&format!(
        "addr add {v4}/{length} dev {interface}\naddr add {v6}/64 dev {interface} nodad\n"
    ));
    wait_usable(namespace, &[IpAddr::V4(v4), IpAddr::V6(v6)]);
}

fn default_route(namespace: &Namespace, v4: Ipv4Addr, v6: Ipv6Addr) {
    namespace.ip(&format!(
        "route add default via {v4}\nroute add default via {v6}\n"
    ));
}
