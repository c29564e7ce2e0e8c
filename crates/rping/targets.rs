//! Targets: the grammar they are written in, lists of them, names, and the addresses that come out.

mod expand;
mod list;
mod local;
mod resolve;
mod services;
mod spec;

pub(crate) use expand::{expand, Expanded, Rules};
pub(crate) use list::read;
pub use local::{LocalInterface, LocalNet};
pub use resolve::{Answer, Resolver, SystemResolver};
pub(crate) use services::port as service_port;
pub(crate) use spec::{is_number, parse_address, parse_port};
pub use spec::{Host, Ports, Spec};

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The most targets of one run.
pub const MOST: u64 = 1 << 20;

/// How long one name may keep others waiting.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The port of a service by name, whatever the protocol.
pub(crate) fn service(file: &std::path::Path, name: &str) -> Option<u16> {
    services::port(file, name, "tcp")
}

/// An address with a port, and for IPv6 a scope id.
pub(crate) fn socket_address(ip: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
    }
}
