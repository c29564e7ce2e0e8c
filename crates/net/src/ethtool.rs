//! What drives an interface, and what work it takes off the processor: the questions of `ethtool`, `ethtool -i` and
//! `ethtool -k`. They ask and never set; none takes a privilege.

use std::io;
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};

use crate::hardware::{ask, SIOCETHTOOL};

const GET_SETTINGS: u32 = 0x01;
const GET_DRIVER: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES`.
const FEATURES: u32 = 4;
/// `ETH_GSTRING_LEN`.
const NAME: usize = 32;
/// Kernels have some sixty features; the room is for many more.
const MOST: usize = 512;

/// The program that drives an interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Driver {
    /// Its name, such as `e1000e` or `veth`.
    pub name: String,
    /// Its version; the kernel's where it has none of its own.
    pub version: String,
    /// The firmware's version.
    pub firmware: String,
    /// Where the device is attached.
    pub bus: String,
}

/// What the interface and the other end of its cable have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Medium {
    /// Megabits per second, where known.
    pub megabits: Option<u32>,
    /// Both directions at once, where known.
    pub full_duplex: Option<bool>,
    /// It was agreed on, not set by hand.
    pub negotiated: bool,
}

/// A kind of work that an interface can do for the processor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feature {
    /// As `ethtool -k` calls it.
    pub name: String,
    /// It is in force.
    pub active: bool,
    /// It cannot be changed.
    pub fixed: bool,
}

/// A conversation with the drivers of this network namespace.
#[derive(Debug)]
pub struct Ethtool(Socket);

impl Ethtool {
    /// Opens it.
    ///
    /// # Errors
    /// What the system said.
    pub fn open() -> io::Result<Ethtool> {
        Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)
            .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None))
            .map(Ethtool)
    }

    /// What drives the interface called `name`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where nothing is told, `ENODEV` where there is no such interface.
    pub fn driver(&self, name: &str) -> io::Result<Driver> {
        // `struct ethtool_drvinfo`: command, then texts of 32 bytes each, 12 spare bytes and five numbers.
        let mut words = [0u32; 49];
        words[0] = GET_DRIVER;
        ask(self.0.as_fd(), name, SIOCETHTOOL, &mut words)?;
        let bytes = bytes(&words);
        let at = |place: usize| {
            text(
                bytes
                    .get(4 + place * NAME..4 + (place + 1) * NAME)
                    .unwrap_or_default(),
            )
        };
        Ok(Driver {
            name: at(0),
            version: at(1),
            firmware: at(2),
            bus: at(3),
        })
    }

    /// Speed and duplex of the interface called `name`.
    ///
    /// # Errors
    /// As for [`Ethtool::driver`]; interfaces without a cable have none.
    pub fn medium(&self, name: &str) -> io::Result<Medium> {
        // `struct ethtool_cmd`: command, supported, advertised; 16 bits of speed, then bytes: duplex, port, address,
        // transceiver, autonegotiation; then more, the upper half of the speed at byte 28.
        let mut words = [0u32; 11];
        words[0] = GET_SETTINGS;
        ask(self.0.as_fd(), name, SIOCETHTOOL, &mut words)?;
        let bytes = bytes(&words);
        let half = |at: usize| {
            let pair = [
                bytes.get(at).copied().unwrap_or(0),
                bytes.get(at + 1).copied().unwrap_or(0),
            ];
            u32::from(u16::from_ne_bytes(pair))
        };
        let speed = half(12) | half(28) << 16;
        Ok(Medium {
            megabits: Some(speed).filter(|&speed| speed != 0 && speed != u32::MAX && speed != 0xffff),
            full_duplex: match bytes.get(14) {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            negotiated: bytes.get(18) == Some(&1),
        })
    }

    /// The offloads of the interface called `name`, in the kernel's order.
    ///
    /// # Errors
    /// As for [`Ethtool::driver`].
    pub fn features(&self, name: &str) -> io::Result<Vec<Feature>> {
        // `struct ethtool_sset_info`: command, spare, 64 bits of which sets, then a count for each.
        let mut info = [GET_SET_INFO, 0, 0, 0, 0];
        let wanted = u64::from(1u32 << FEATURES).to_ne_bytes();
        info[2] = u32::from_ne_bytes([wanted[0], wanted[1], wanted[2], wanted[3]]);
        info[3] = u32::from_ne_bytes([wanted[4], wanted[5], wanted[6], wanted[7]]);
        ask(self.0.as_fd(), name, SIOCETHTOOL, &mut info)?;
        let count = info[4] as usize;
        // The kernel writes as many names as it has, whatever room it was told of.
        if count > MOST {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        // `struct ethtool_gstrings`: command, set, count, names.
        let mut names = vec![0u32; 3 + MOST * NAME / 4];
        names[..3].copy_from_slice(&[GET_STRINGS, FEATURES, info[4]]);
        ask(self.0.as_fd(), name, SIOCETHTOOL, &mut names)?;
        // `struct ethtool_gfeatures`: command, blocks; a block is available, requested, active, never changed.
        let blocks = count.div_ceil(32);
        let mut states = vec![0u32; 2 + blocks * 4];
        states[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
        ask(self.0.as_fd(), name, SIOCETHTOOL, &mut states)?;
        let names = bytes(&names);
        let features = (0..count).map(|number| {
            let from = 12 + number * NAME;
            let word = |which: usize| states.get(2 + number / 32 * 4 + which).copied().unwrap_or(0);
            let bit = |which: usize| word(which) & 1 << (number % 32) != 0;
            Feature {
                name: text(names.get(from..from + NAME).unwrap_or_default()),
                active: bit(2),
                fixed: bit(3) || !bit(0),
            }
        });
        Ok(features.filter(|feature| !feature.name.is_empty()).collect())
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default())
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_features_and_no_cable() {
        let ethtool = Ethtool::open().expect("a socket");
        let features = ethtool.features("lo").expect("the features of loopback");
        let of = |name: &str| features.iter().find(|feature| feature.name == name);
        assert!(features.len() >= 30, "{features:?}");
        assert!(
            of("tx-checksum-ip-generic").is_some_and(|feature| feature.active) && of("rx-gro").is_some(),
            "{features:?}"
        );
    }

    #[test]
    fn what_is_no_interface_is_an_error() {
        let ethtool = Ethtool::open().expect("a socket");
        for name in ["nobody0", "a-name-of-sixteen", ""] {
            assert!(ethtool.driver(name).is_err(), "{name}");
            assert!(
                ethtool.features(name).is_err() && ethtool.medium(name).is_err(),
                "{name}"
            );
        }
    }
}
