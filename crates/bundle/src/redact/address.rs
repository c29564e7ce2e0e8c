//! Addresses to addresses, and link-layer addresses to link-layer addresses, by a key.
//!
//! Two addresses that share their first n bits share n bits afterwards, too (Xu, Fan, Ammar and Moon, 2002: each bit is
//! flipped or not by a keyed function of the bits before it), so subnets, routes and neighbours still make sense. What kind of
//! address it is stays: private, link-local, shared, multicast, public. For public IPv4 the relation holds from /16 on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The keyed function.
pub(super) struct Keyed {
    key: Hmac<Sha256>,
    four: Mutex<HashMap<Ipv4Addr, Ipv4Addr>>,
    six: Mutex<HashMap<Ipv6Addr, Ipv6Addr>>,
}

impl Keyed {
    #[allow(clippy::expect_used)]
    pub(super) fn new(key: [u8; 32]) -> Keyed {
        Keyed {
            // Cannot fail: HMAC takes keys of any length.
            key: <Hmac<Sha256> as KeyInit>::new_from_slice(&key).expect("a key of any length"),
            four: Mutex::default(),
            six: Mutex::default(),
        }
    }

    /// 32 bytes that only the holder of the key can tell, of a kind and a value.
    pub(super) fn token(&self, kind: &str, value: &[u8]) -> [u8; 32] {
        let mut mac = self.key.clone();
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }

    /// The first `kept` bits stay, each of the others is flipped or not by those before it.
    fn bits(&self, kind: &str, value: u128, width: u32, kept: u32) -> u128 {
        let mut out = value;
        for place in kept..width {
            let before = if place == 0 { 0 } else { value >> (width - place) };
            let mut input = [0u8; 17];
            input[0] = place as u8;
            input[1..].copy_from_slice(&before.to_be_bytes());
            let flip = u128::from(self.token(kind, &input)[0] & 1);
            out ^= flip << (width - 1 - place);
        }
        out
    }

    pub(super) fn ip(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(four) => self.four(four).into(),
            IpAddr::V6(six) => self.six(six).into(),
        }
    }

    pub(super) fn four(&self, address: Ipv4Addr) -> Ipv4Addr {
        if is_kept_four(address) {
            return address;
        }
        if let Some(known) = self
            .four
            .lock()
            .ok()
            .and_then(|known| known.get(&address).copied())
        {
            return known;
        }
        let kept = class_four(address);
        let mut value = u128::from(u32::from(address));
        let found = loop {
            value = self.bits("ipv4", value, 32, kept.unwrap_or(0));
            let found = Ipv4Addr::from(value as u32);
            // A public address becomes a public one: until it is one, it is mapped on. That is still one to one.
            if kept.is_some() || (class_four(found).is_none() && !is_kept_four(found)) {
                break found;
            }
        };
        if let Ok(mut known) = self.four.lock() {
            known.insert(address, found);
        }
        found
    }

    pub(super) fn six(&self, address: Ipv6Addr) -> Ipv6Addr {
        if let Some(four) = address.to_ipv4_mapped() {
            return self.four(four).to_ipv6_mapped();
        }
        if is_kept_six(address) {
            return address;
        }
        if let Some(known) = self
            .six
            .lock()
            .ok()
            .and_then(|known| known.get(&address).copied())
        {
            return known;
        }
        let found = Ipv6Addr::from(self.bits("ipv6", u128::from(address), 128, class_six(address)));
        if let Ok(mut known) = self.six.lock() {
            known.insert(address, found);
        }
        found
    }

    /// A network address stays one: what lies behind the prefix and was zero is zero again.
    pub(super) fn network(&self, address: IpAddr, prefix: u8) -> IpAddr {
        let mapped = self.ip(address);
        match (address, mapped) {
            (IpAddr::V4(from), IpAddr::V4(to)) if prefix < 32 => {
                let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                match u32::from(from) & host {
                    0 => Ipv4Addr::from(u32::from(to) & !host).into(),
                    _ => mapped,
                }
            }
            (IpAddr::V6(from), IpAddr::V6(to)) if prefix < 128 => {
                let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                match u128::from(from) & host {
                    0 => Ipv6Addr::from(u128::from(to) & !host).into(),
                    _ => mapped,
                }
            }
            _ => mapped,
        }
    }

    pub(super) fn mac(&self, mac: [u8; 6]) -> [u8; 6] {
        match mac {
            [0, 0, 0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => mac,
            // IPv6 multicast: the group's last 32 bits.
            [0x33, 0x33, rest @ ..] => {
                let token = self.token("group", &rest);
                match rest {
                    // Well-known groups.
                    [0, 0, 0, _] => mac,
                    _ => [0x33, 0x33, token[0], token[1], token[2], token[3]],
                }
            }
            _ => {
                let token = self.token("mac", &mac);
                // Locally administered, and a group where it was one.
                let first = token[0] & 0xfc | 2 | mac[0] & 1;
                [first, token[1], token[2], token[3], token[4], token[5]]
            }
        }
    }
}

/// Addresses that name nobody: unspecified, loopback, broadcast, multicast.
fn is_kept_four(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0 || address.is_loopback() || address.is_multicast() || address.octets()[0] >= 240
}

/// How many first bits say what kind of address it is; `None` for a public one.
fn class_four(address: Ipv4Addr) -> Option<u32> {
    match address.octets() {
        [10, ..] => Some(8),
        [172, b, ..] if b & 0xf0 == 16 => Some(12),
        [192, 168, ..] | [169, 254, ..] => Some(16),
        [100, b, ..] if b & 0xc0 == 64 => Some(10),
        _ => None,
    }
}

/// Unspecified, loopback, and the groups that every host or router is in.
fn is_kept_six(address: Ipv6Addr) -> bool {
    let value = u128::from(address);
    let is_well_known_group = address.is_multicast() && value & ((1 << 112) - 1) < 1 << 9;
    address.is_unspecified() || address.is_loopback() || is_well_known_group
}

fn class_six(address: Ipv6Addr) -> u32 {
    let segments = address.segments();
    match segments[0] {
        // A group: its scope; of a solicited-node group all but the 24 bits of the address.
        first if first & 0xff00 == 0xff00 => match segments {
            [_, 0, 0, 0, 0, 1, last, _] if last & 0xff00 == 0xff00 => 104,
            _ => 16,
        },
        first if first & 0xffc0 == 0xfe80 => 64,
        first if first & 0xfe00 == 0xfc00 => 8,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keyed() -> Keyed {
        Keyed::new([7; 32])
    }

    fn shared(a: u128, b: u128, width: u32) -> u32 {
        (a ^ b).leading_zeros().saturating_sub(128 - width).min(width)
    }

    #[test]
    fn what_names_nobody_stays_and_kinds_of_addresses_stay_kinds() {
        let keyed = keyed();
        for kept in [
            "0.0.0.0",
            "127.0.0.53",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "ff02::fb",
        ] {
            let address: IpAddr = kept.parse().unwrap();
            assert_eq!(keyed.ip(address), address);
        }
        let four = |text: &str| keyed.four(text.parse().unwrap());
        assert!(
            four("10.77.0.2").octets()[0] == 10 && four("192.168.3.4").to_string().starts_with("192.168.")
        );
        assert!(class_four(four("8.8.8.8")).is_none() && !is_kept_four(four("8.8.8.8")));
        let six = |text: &str| keyed.six(text.parse().unwrap());
        assert_eq!(six("fe80::1:2").segments()[..4], [0xfe80, 0, 0, 0]);
        assert_eq!(six("ff02::1:ff12:3456").segments()[..6], [0xff02, 0, 0, 0, 0, 1]);
        assert_eq!(six("::ffff:10.1.2.3").to_ipv4_mapped(), Some(four("10.1.2.3")));
        assert_ne!(six("fe80::1:2"), "fe80::1:2".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn another_key_gives_other_addresses_and_a_network_stays_one() {
        let address: IpAddr = "10.77.1.0".parse().unwrap();
        assert_ne!(keyed().ip(address), Keyed::new([8; 32]).ip(address));
        let IpAddr::V4(network) = keyed().network(address, 24) else {
            unreachable!()
        };
        assert_eq!(network.octets()[3], 0);
        let IpAddr::V4(host) = keyed().ip("10.77.1.9".parse().unwrap()) else {
            unreachable!()
        };
        assert_eq!(network.octets()[..3], host.octets()[..3]);
    }

    #[test]
    fn group_addresses_stay_groups_and_hosts_hosts() {
        let keyed = keyed();
        assert_eq!(keyed.mac([0xff; 6]), [0xff; 6]);
        assert_eq!(keyed.mac([0x33, 0x33, 0xff, 1, 2, 3])[..2], [0x33, 0x33]);
        let host = keyed.mac([0x52, 0x54, 0, 1, 2, 3]);
        assert!(host[0] & 3 == 2 && host != [0x52, 0x54, 0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn what_private_addresses_share_they_share_afterwards(a: u32, b: u32) {
            let keyed = keyed();
            let private = |value: u32| Ipv4Addr::from(0x0a00_0000 | value & 0x00ff_ffff);
            let (a, b) = (private(a), private(b));
            let (x, y) = (keyed.four(a), keyed.four(b));
            let bits = |address: Ipv4Addr| u128::from(u32::from(address));
            prop_assert_eq!(shared(bits(a), bits(b), 32), shared(bits(x), bits(y), 32));
        }

        #[test]
        fn public_neighbours_stay_neighbours(a: u32, host: u16) {
            let keyed = keyed();
            let (a, b) = (Ipv4Addr::from(a), Ipv4Addr::from(a & 0xffff_0000 | u32::from(host)));
            prop_assume!(class_four(a).is_none() && !is_kept_four(a) && class_four(b).is_none() && !is_kept_four(b));
            let bits = |address: Ipv4Addr| u128::from(u32::from(address));
            let before = shared(bits(a), bits(b), 32);
            prop_assert_eq!(before, shared(bits(keyed.four(a)), bits(keyed.four(b)), 32));
        }
    }
}
