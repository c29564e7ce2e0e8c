//! What counts as one source.

use std::net::{IpAddr, Ipv6Addr};

/// One client's addresses: IPv4 one by one, IPv6 by /64, of which every client has all.
pub(crate) fn prefix(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}
