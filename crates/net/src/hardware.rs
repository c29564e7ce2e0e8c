//! Does a network interface stamp packets itself, and is that switched on?
//!
//! What an interface stamps is one setting for the whole machine, which outlives who set it and which PTP daemons hold
//! as theirs. So rping asks and never switches: it gives up its capabilities before the first probe and could not put
//! the setting back, least of all when it is killed. `hwstamp_ctl -i eth0 -t 1 -r 1` switches it on.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::slice::from_mut;

use socket2::{Domain, Socket, Type};

use crate::netlink::route;
use crate::phc::Phc;
use crate::sys;

/// More targets than this are a sweep: it asks who is there, and hardware stamps come too slowly for it.
const MOST_TARGETS: usize = 64;

/// `linux/sockios.h`, `linux/ethtool.h`, `linux/net_tstamp.h`.
pub(crate) const SIOCETHTOOL: u64 = 0x8946;
const SIOCGHWTSTAMP: u64 = 0x89b1;
const ETHTOOL_GET_TS_INFO: u32 = 0x41;
const HWTSTAMP_TX_ON: u32 = 1;
const HWTSTAMP_FILTER_ALL: u32 = 1;

/// `struct ethtool_ts_info`: what an interface can stamp.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Abilities {
    command: u32,
    /// `SOF_TIMESTAMPING_…` flags.
    stamping: u32,
    /// The number of its clock, `/dev/ptpN`; −1 where it has none.
    clock: i32,
    /// A bit for each `HWTSTAMP_TX_…`.
    transmit: u32,
    reserved: [u32; 3],
    /// A bit for each `HWTSTAMP_FILTER_…`.
    receive: u32,
    reserved_too: [u32; 3],
}

/// `struct hwtstamp_config`: what it does stamp at present.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Setting {
    flags: i32,
    transmit: u32,
    receive: u32,
}

impl Abilities {
    /// The number of the clock by which it can stamp both ways, and hand over what it stamped.
    fn clock(&self) -> Option<u32> {
        let needed = libc::SOF_TIMESTAMPING_TX_HARDWARE
            | libc::SOF_TIMESTAMPING_RX_HARDWARE
            | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
        let can_all = self.stamping & needed == needed
            && self.transmit & 1 << HWTSTAMP_TX_ON != 0
            && self.receive & 1 << HWTSTAMP_FILTER_ALL != 0;
        u32::try_from(self.clock).ok().filter(|_| can_all)
    }
}

impl Setting {
    /// Every packet is stamped, both ways: a filter for PTP's packets alone passes no probe.
    const fn is_on(&self) -> bool {
        self.transmit == HWTSTAMP_TX_ON && self.receive == HWTSTAMP_FILTER_ALL
    }
}

/// The clock whose stamps packets of the interface called `name` bear now, by its number (`/dev/ptpN`); `None` where it
/// stamps nothing, or not everything, or not at present.
pub fn stamping_clock(name: &str) -> Option<u32> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)
        .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None))
        .ok()?;
    let mut abilities = Abilities {
        command: ETHTOOL_GET_TS_INFO,
        ..Abilities::default()
    };
    ask(socket.as_fd(), name, SIOCETHTOOL, from_mut(&mut abilities)).ok()?;
    let clock = abilities.clock()?;
    let mut setting = Setting::default();
    ask(socket.as_fd(), name, SIOCGHWTSTAMP, from_mut(&mut setting)).ok()?;
    setting.is_on().then_some(clock)
}

/// An interface request: `struct ifreq` with a pointer to what is asked, which the answer is written over.
pub(crate) fn ask<T: Copy>(
    fd: BorrowedFd<'_>,
    name: &str,
    request: u64,
    values: &mut [T],
) -> std::io::Result<()> {
    /// `struct ifreq`: 16 bytes of name, and a union of 24.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        data: *mut libc::c_void,
        rest: [usize; 2],
    }
    let mut asked = Request {
        name: [0; 16],
        data: values.as_mut_ptr().cast(),
        rest: [0; 2],
    };
    // One byte is left for the closing zero; no interface has a longer name.
    let Some(room) = asked.name.get_mut(..name.len()).filter(|room| room.len() < 16) else {
        return Err(std::io::Error::from_raw_os_error(libc::ENODEV));
    };
    room.copy_from_slice(name.as_bytes());
    sys::retry(|| {
        // SAFETY: `asked` is valid for reads and writes, its name ends with a zero, and `data` points to `values`, which are
        // borrowed for the call, laid out as this request's structure and as long as the caller's command may fill.
        unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut asked) }
    })
    .map(drop)
}

/// The clock whose stamps a run of probes to these targets can use: all leave by one interface, which stamps every
/// packet, and whose clock can be read. To be asked while the privileges for `/dev/ptpN` are still held.
pub fn clock_for(targets: &[SocketAddr], options: &crate::Options) -> Option<u32> {
    if targets.len() > MOST_TARGETS {
        return None;
    }
    let interface = match &options.interface {
        Some(name) => name.clone(),
        None => {
            let source = options.source.map(|source| source.ip());
            let leaves_by = |target: &SocketAddr| match target {
                SocketAddr::V6(six) if six.scope_id() != 0 => Some(six.scope_id()),
                _ => Some(route(target.ip(), source, None, options.mark).ok()?.ifindex),
            };
            let index = all_alike(targets.iter().map(leaves_by))?;
            crate::options::interface_name(index)?
        }
    };
    stamping_clock(&interface).filter(|&clock| Phc::open(clock).is_ok())
}

/// What all of them are, where they are all one and the same thing that is known.
fn all_alike<T: PartialEq>(mut all: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = all.next()??;
    all.all(|one| one.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = libc::SOF_TIMESTAMPING_TX_HARDWARE
        | libc::SOF_TIMESTAMPING_RX_HARDWARE
        | libc::SOF_TIMESTAMPING_RAW_HARDWARE;

    fn able() -> Abilities {
        Abilities {
            stamping: ALL | libc::SOF_TIMESTAMPING_SOFTWARE,
            clock: 3,
            transmit: 0b11,
            receive: 0b11,
            ..Abilities::default()
        }
    }

    #[test]
    fn only_an_interface_that_stamps_everything_both_ways_by_a_clock_of_its_own_is_used() {
        assert_eq!(able().clock(), Some(3));
        let cases = [
            ("no clock", Abilities { clock: -1, ..able() }),
            (
                "transmits unstamped",
                Abilities {
                    stamping: ALL & !libc::SOF_TIMESTAMPING_TX_HARDWARE,
                    ..able()
                },
            ),
            (
                "receives unstamped",
                Abilities {
                    stamping: ALL & !libc::SOF_TIMESTAMPING_RX_HARDWARE,
                    ..able()
                },
            ),
            (
                "keeps its stamps to itself",
                Abilities {
                    stamping: ALL & !libc::SOF_TIMESTAMPING_RAW_HARDWARE,
                    ..able()
                },
            ),
            (
                "cannot be switched on",
                Abilities {
                    transmit: 0b01,
                    ..able()
                },
            ),
            (
                "stamps PTP's packets alone",
                Abilities {
                    receive: 1 | 1 << 12,
                    ..able()
                },
            ),
        ];
        for (name, abilities) in cases {
            assert_eq!(abilities.clock(), None, "{name}");
        }
    }

    #[test]
    fn a_setting_for_less_than_everything_is_off() {
        let setting = |transmit, receive| Setting {
            flags: 0,
            transmit,
            receive,
        };
        assert!(setting(1, 1).is_on());
        // Off; receive off; PTP event packets alone (HWTSTAMP_FILTER_PTP_V2_EVENT); one-step synchronisation.
        for (transmit, receive) in [(0, 0), (1, 0), (0, 1), (1, 12), (2, 1)] {
            assert!(!setting(transmit, receive).is_on(), "{transmit} {receive}");
        }
    }

    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        assert_eq!((size_of::<Abilities>(), size_of::<Setting>()), (44, 12));
    }

    #[test]
    fn loopback_answers_the_question_and_offers_no_clock() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("socket");
        let mut abilities = Abilities {
            command: ETHTOOL_GET_TS_INFO,
            ..Abilities::default()
        };
        ask(socket.as_fd(), "lo", SIOCETHTOOL, from_mut(&mut abilities))
            .expect("the kernel answers for every interface");
        let software = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        assert_eq!((abilities.stamping & software, abilities.clock), (software, -1));
        let error = ask(
            socket.as_fd(),
            "lo",
            SIOCGHWTSTAMP,
            from_mut(&mut Setting::default()),
        )
        .expect_err("lo has none");
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(stamping_clock("lo"), None);
    }

    #[test]
    fn names_that_cannot_be_interfaces_are_no_interface() {
        for name in [
            "",
            "no-such-if0",
            "a-name-longer-than-fifteen",
            "exactly-sixteen0",
        ] {
            assert_eq!(stamping_clock(name), None, "{name:?}");
        }
    }

    #[test]
    fn targets_by_different_interfaces_or_none_have_no_clock_in_common() {
        assert_eq!(all_alike([Some(2), Some(2)].into_iter()), Some(2));
        for indices in [&[Some(2), Some(3)][..], &[Some(2), None], &[None, None], &[]] {
            assert_eq!(all_alike(indices.iter().copied()), None);
        }
        let here = [SocketAddr::from(([127, 0, 0, 1], 9))];
        assert_eq!(clock_for(&here, &crate::Options::default()), None);
    }
}
