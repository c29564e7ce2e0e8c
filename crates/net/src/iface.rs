//! This host's interfaces and addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::netlink::{attributes, u32_at, Netlink, RouteKind};

/// `struct ifinfomsg`: family, padding, hardware type, index, flags, change mask.
const IFINFOMSG: usize = 16;
/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const IFADDRMSG: usize = 8;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
/// Counters are not wanted: they are most of an answer's bytes.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
/// The hardware type of Ethernet and of what looks like it (`veth`, bridges, Wi-Fi, bonds).
const ARPHRD_ETHER: u16 = 1;

/// One network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name, such as `eth0`.
    pub name: String,
    /// Switched on by the administrator (`IFF_UP`).
    pub up: bool,
    /// Operational (`IFF_RUNNING`).
    pub running: bool,
    /// The line below is up: carrier, link partner (`IFF_LOWER_UP`).
    pub lower_up: bool,
    /// It is the loopback interface.
    pub loopback: bool,
    /// It resolves neighbours (`IFF_NOARP` is not set).
    pub resolves: bool,
    /// The largest IP packet it takes, in bytes.
    pub mtu: u32,
    /// Its link-layer address, where that is six bytes long.
    pub mac: Option<[u8; 6]>,
    /// The `ARPHRD_…` number of its link layer: 1 Ethernet, 772 loopback, 65534 none (TUN, WireGuard).
    pub hardware: u16,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

impl Interface {
    /// Whether ARP and neighbour solicitation run here: Ethernet framing, not loopback, not `NOARP`.
    pub fn is_ethernet(&self) -> bool {
        self.hardware == ARPHRD_ETHER && !self.loopback && self.resolves
    }
}

/// One address of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address itself.
    pub address: IpAddr,
    /// How many bits of it name the subnet.
    pub prefix: u8,
    /// The interface's index.
    pub ifindex: u32,
    /// The IPv4 broadcast address that goes with it.
    pub broadcast: Option<Ipv4Addr>,
    /// Still being checked for duplicates (IPv6): it may not be used yet.
    pub tentative: bool,
    /// Another host has it too (IPv6 duplicate address detection failed).
    pub duplicated: bool,
}

/// All interfaces, with their addresses.
///
/// # Errors
/// What the kernel said to the question.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut netlink = Netlink::open()?;
    let mut found = netlink.dump(
        libc::RTM_GETLINK,
        &[0; IFINFOMSG],
        &[(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())],
        parse_link,
    )?;
    for address in addresses(&mut netlink)? {
        if let Some(interface) = found
            .iter_mut()
            .find(|interface| interface.index == address.ifindex)
        {
            interface.addresses.push(address);
        }
    }
    Ok(found)
}

/// The interface called `name`, or `None`.
///
/// # Errors
/// What the kernel said to the question.
pub fn interface(name: &str) -> io::Result<Option<Interface>> {
    // IFNAMSIZ is 16 with the closing zero; what is longer or holds a zero names nothing.
    if name.is_empty() || name.len() > 15 || name.as_bytes().contains(&0) {
        return Ok(None);
    }
    let mut value = name.as_bytes().to_vec();
    value.push(0);
    one(&[0; IFINFOMSG], &[(IFLA_IFNAME, &value)])
}

/// The interface with this index, or `None`.
///
/// # Errors
/// What the kernel said to the question.
pub fn interface_by_index(index: u32) -> io::Result<Option<Interface>> {
    let mut body = [0; IFINFOMSG];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    one(&body, &[])
}

/// What an interface has been through since it came up: for finding a bad cable, port or driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// Packets received and sent.
    pub received: u64,
    /// As above.
    pub sent: u64,
    /// Bad packets received (checksums, framing, overruns together).
    pub receive_errors: u64,
    /// Packets that could not be sent for an error of the line.
    pub send_errors: u64,
    /// Packets received and dropped for want of room, or because nobody wanted them.
    pub receive_drops: u64,
    /// Packets dropped on their way out.
    pub send_drops: u64,
    /// Received with a wrong checksum.
    pub crc_errors: u64,
    /// Collisions (half duplex alone).
    pub collisions: u64,
    /// How often the carrier came or went.
    pub carrier_changes: u32,
    /// `IF_OPER_…` of RFC 2863: 0 unknown, 2 down, 3 not present, 4 lower layer down, 5 testing, 6 dormant (the link
    /// waits for something, such as authentication), 7 up.
    pub operational: u8,
}

/// What the interface with this index has been through; `None` where there is none.
///
/// # Errors
/// What the kernel said to the question.
pub fn condition(index: u32) -> io::Result<Option<Condition>> {
    let mut body = [0; IFINFOMSG];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut found = None;
    match Netlink::open()?.ask(libc::RTM_GETLINK, &body, &[], |body| {
        found = parse_condition(body);
    }) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(error),
        _ => Ok(found),
    }
}

fn parse_condition(body: &[u8]) -> Option<Condition> {
    const IFLA_OPERSTATE: u16 = 16;
    const IFLA_STATS64: u16 = 23;
    const IFLA_CARRIER_CHANGES: u16 = 35;
    let mut condition = Condition::default();
    body.get(..IFINFOMSG)?;
    for (kind, value) in attributes(body, IFINFOMSG) {
        match kind {
            IFLA_OPERSTATE => condition.operational = value.first().copied().unwrap_or(0),
            IFLA_CARRIER_CHANGES => condition.carrier_changes = u32_at(value, 0)?,
            // `struct rtnl_link_stats64`, 64 bits each.
            IFLA_STATS64 => {
                let field = |number: usize| {
                    let bytes = value.get(number * 8..number * 8 + 8)?;
                    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
                };
                condition.received = field(0)?;
                condition.sent = field(1)?;
                condition.receive_errors = field(4)?;
                condition.send_errors = field(5)?;
                condition.receive_drops = field(6)?;
                condition.send_drops = field(7)?;
                condition.collisions = field(9)?;
                condition.crc_errors = field(12)?;
            }
            _ => {}
        }
    }
    Some(condition)
}

/// All addresses of this host.
///
/// # Errors
/// What the kernel said to the question.
pub fn own_addresses() -> io::Result<Vec<Address>> {
    addresses(&mut Netlink::open()?)
}

/// Whether packets to `address` stay on this host: one of its addresses, or any of 127.0.0.0/8.
///
/// # Errors
/// What the kernel said to the question.
pub fn is_own(address: IpAddr) -> io::Result<bool> {
    if let IpAddr::V6(v6) = address {
        // A link-local address names a host only together with its link, which a route lookup would need.
        if v6.is_unicast_link_local() {
            return Ok(own_addresses()?.iter().any(|own| own.address == address));
        }
    }
    Ok(crate::netlink::route(address, None, None, None).is_ok_and(|route| route.kind == RouteKind::Local))
}

/// Whether two addresses agree in their first `prefix` bits; never for addresses of different families.
pub fn same_subnet(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let same = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    same >= u32::from(prefix)
}

fn one(body: &[u8], attributes: &[(u16, &[u8])]) -> io::Result<Option<Interface>> {
    let mut netlink = Netlink::open()?;
    let mask = RTEXT_FILTER_SKIP_STATS.to_ne_bytes();
    let mut asked = attributes.to_vec();
    asked.push((IFLA_EXT_MASK, &mask));
    let mut found = None;
    match netlink.ask(libc::RTM_GETLINK, body, &asked, |body| found = parse_link(body)) {
        Ok(()) => {}
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => return Ok(None),
        Err(error) => return Err(error),
    }
    if let Some(interface) = &mut found {
        interface.addresses = addresses(&mut netlink)?;
        interface
            .addresses
            .retain(|address| address.ifindex == interface.index);
    }
    Ok(found)
}

fn addresses(netlink: &mut Netlink) -> io::Result<Vec<Address>> {
    netlink.dump(libc::RTM_GETADDR, &[0; IFADDRMSG], &[], parse_address)
}

fn parse_link(body: &[u8]) -> Option<Interface> {
    let hardware = u16::from_ne_bytes([*body.get(2)?, *body.get(3)?]);
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)? as i32;
    let set = |flag: libc::c_int| flags & flag != 0;
    let mut interface = Interface {
        index,
        name: String::new(),
        up: set(libc::IFF_UP),
        running: set(libc::IFF_RUNNING),
        lower_up: set(libc::IFF_LOWER_UP),
        loopback: set(libc::IFF_LOOPBACK),
        resolves: !set(libc::IFF_NOARP),
        mtu: 0,
        mac: None,
        hardware,
        addresses: Vec::new(),
    };
    for (kind, value) in attributes(body, IFINFOMSG) {
        match kind {
            IFLA_ADDRESS => interface.mac = <[u8; 6]>::try_from(value).ok(),
            IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or(&[]);
                interface.name = String::from_utf8_lossy(name).into_owned();
            }
            IFLA_MTU => interface.mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(interface)
}

fn parse_address(body: &[u8]) -> Option<Address> {
    let prefix = *body.get(1)?;
    let mut flags = u32::from(*body.get(2)?);
    let ifindex = u32_at(body, 4)?;
    let (mut local, mut peer, mut broadcast) = (None, None, None);
    for (kind, value) in attributes(body, IFADDRMSG) {
        match kind {
            IFA_LOCAL => local = crate::netlink::address(value),
            // On point-to-point links this is the other end; where there is no IFA_LOCAL (IPv6) it is ours.
            IFA_ADDRESS => peer = crate::netlink::address(value),
            IFA_BROADCAST => broadcast = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
            IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(Address {
        address: local.or(peer)?,
        prefix,
        ifindex,
        broadcast,
        tentative: flags & IFA_F_TENTATIVE != 0,
        duplicated: flags & IFA_F_DADFAILED != 0,
    })
}

/// For the fuzzer.
pub(crate) fn read_all(body: &[u8]) {
    let _ = (parse_link(body), parse_address(body), parse_condition(body));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_by_name_by_index_and_in_the_list() {
        let lo = interface("lo").unwrap().unwrap();
        assert!(lo.loopback && !lo.is_ethernet());
        assert_eq!(lo.index, 1);
        assert_eq!(lo.hardware, 772);
        assert_eq!(interface_by_index(1).unwrap().unwrap(), lo);
        assert!(interfaces().unwrap().contains(&lo));
    }

    #[test]
    fn names_that_cannot_be_interfaces_name_none() {
        for name in ["", "no-such-if0", "a-name-longer-than-fifteen", "l\0o"] {
            assert_eq!(interface(name).unwrap(), None, "{name:?}");
        }
        assert_eq!(interface_by_index(0x7fff_fff0).unwrap(), None);
    }

    #[test]
    fn loopback_addresses_are_our_own_and_documentation_ones_are_not() {
        assert!(is_own(IpAddr::from([127, 0, 0, 1])).unwrap());
        assert!(is_own(IpAddr::from([127, 5, 0, 1])).unwrap());
        assert!(!is_own(IpAddr::from([192, 0, 2, 1])).unwrap());
        assert!(!is_own("fe80::dead:beef:1:1".parse().unwrap()).unwrap());
    }

    #[test]
    fn cut_messages_do_not_panic() {
        let link = [0u8; 64];
        for end in 0..link.len() {
            let _ = (parse_link(&link[..end]), parse_address(&link[..end]));
        }
    }

    #[test]
    fn addresses_read_with_prefix_and_flags() {
        let mut body = vec![10, 64, 0x48, 0, 2, 0, 0, 0];
        body.extend_from_slice(&[20, 0, 1, 0]);
        body.extend_from_slice(&"fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let address = parse_address(&body).unwrap();
        assert_eq!(address.address, "fe80::1".parse::<IpAddr>().unwrap());
        assert_eq!((address.prefix, address.ifindex), (64, 2));
        assert!(address.tentative && address.duplicated);
    }

    #[test]
    fn subnets_are_compared_bit_by_bit() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(same_subnet(ip("10.0.0.1"), ip("10.0.0.254"), 24));
        assert!(!same_subnet(ip("10.0.0.1"), ip("10.0.1.1"), 24));
        assert!(same_subnet(ip("10.0.0.1"), ip("192.0.2.1"), 0));
        assert!(!same_subnet(ip("10.0.0.1"), ip("10.0.0.2"), 32));
        assert!(same_subnet(ip("fd00::1"), ip("fd00::2"), 64));
        assert!(!same_subnet(ip("fd00::1"), ip("10.0.0.1"), 0));
    }
}
