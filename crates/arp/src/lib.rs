//! ARP requests (RFC 826) and neighbour solicitations (RFC 4861) as a probe: does the neighbour answer at the link
//! layer, with which address, and how fast.
//!
//! [`ArpProbe`] sends frames of its own over a packet socket, which takes `CAP_NET_RAW`; kernel stamps on both ways.
//! Without it, [`KernelNeighbour`] has the kernel resolve the neighbour and reads off its table what came of that.
//! [`locate`] says beforehand on which link a target is, or why it is on none.
#![forbid(unsafe_code)]

mod claims;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod kernel;
mod locate;
mod probe;
mod scouted;

use std::io;
use std::net::IpAddr;

pub use claims::{who_has, Claim};
pub use kernel::KernelNeighbour;
pub use locate::{locate, locate_each, Place, Target};
pub use probe::ArpProbe;
pub use scouted::Scouted;

/// How the frames are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The interface to send them by. `None`: the one that the route to each target says.
    pub interface: Option<String>,
    /// The address that they bear as their sender's: one of this host's. `None`: the one that the route says.
    pub source: Option<IpAddr>,
    /// Ask the kernel for transmit stamps: about 2 µs per frame.
    pub transmit_stamps: bool,
    /// Take the interface's own stamps where it stamps every frame at present; used beside transmit stamps alone.
    pub hardware_stamps: bool,
    /// Hand frames to the driver past the queueing discipline: for sweeps.
    pub bypass_queue: bool,
}

impl Default for Options {
    /// By the route, with transmit stamps.
    fn default() -> Options {
        Options {
            interface: None,
            source: None,
            transmit_stamps: true,
            hardware_stamps: true,
            bypass_queue: false,
        }
    }
}

/// Why a run of ARP or neighbour solicitation cannot be, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A router is between us and the target.
    #[error(
        "{target} is not on-link: it is reached through {gateway}; ARP ends at the router; try rping arp {gateway}"
    )]
    OffLink {
        /// Who was to be asked.
        target: IpAddr,
        /// The router on our side.
        gateway: IpAddr,
    },
    /// The target is this host.
    #[error(
        "{target} is this host's own address (on {interface}): ask for it from another host of its subnet"
    )]
    Own {
        /// Who was to be asked.
        target: IpAddr,
        /// Which interface has the address.
        interface: String,
    },
    /// A loopback address.
    #[error("{target} is a loopback address: there is no link to ask on")]
    Loopback {
        /// Who was to be asked.
        target: IpAddr,
    },
    /// A broadcast or multicast address, or none at all.
    #[error("{target} names no single host: ARP and neighbour solicitation ask for one")]
    Group {
        /// Who was to be asked.
        target: IpAddr,
    },
    /// The interface has no link-layer addresses.
    #[error(
        "{target} is reached by {interface}, which is no Ethernet: nothing is resolved there; try rping icmp"
    )]
    NotEthernet {
        /// Who was to be asked.
        target: IpAddr,
        /// On which interface.
        interface: String,
    },
    /// The interface is switched off.
    #[error("interface {interface} is down: ip link set {interface} up")]
    Down {
        /// Which.
        interface: String,
    },
    /// There is no route to the target, or one that refuses.
    #[error("no route to {target}, so no link to ask on; name one with -I")]
    NoRoute {
        /// Who was to be asked.
        target: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A link-local target without its link.
    #[error("{target} is a link-local address: say on which link, as in {target}%eth0")]
    NoScope {
        /// Who was to be asked.
        target: IpAddr,
    },
    /// The source address is not this host's.
    #[error("{source_address} is not an address of this host: replies to it would go astray")]
    ForeignSource {
        /// As it was asked for.
        source_address: IpAddr,
    },
    /// The interface has no IPv6 address that could be used.
    #[error("{interface} has no usable IPv6 address to ask from")]
    NoSource {
        /// Which.
        interface: String,
    },
    /// Packet sockets are not allowed.
    #[error(
        "no permission for packet sockets: run `setcap cap_net_raw+ep` on the rping program, or run as root"
    )]
    NoPermission {
        /// What the operating system said.
        source: rping_net::Error,
    },
    /// The local system failed.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
}
