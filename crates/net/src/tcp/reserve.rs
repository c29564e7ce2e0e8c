//! Local ports that belong to nobody else while a raw socket uses them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::open::Ports;
use crate::{Error, Result};

/// How many ports are taken at most.
const MOST: u16 = 1024;
/// How many rows are tried before fewer will do.
const TRIES: usize = 8;

/// Local ports, held by sockets that are bound and neither listen nor connect: no program gets them, and what comes to
/// them the kernel's TCP refuses with a reset.
#[derive(Debug)]
pub struct Reserved {
    _held: Vec<Socket>,
    ports: Ports,
}

impl Reserved {
    /// Takes `port`, or as many in a row as can be had, up to `wanted` (rounded up to a power of two, at most 1024), on each of
    /// these addresses of this host.
    ///
    /// # Errors
    /// `EADDRINUSE` where `port` is somebody else's, or where no port is free at all.
    pub fn take(addresses: &[IpAddr], port: Option<u16>, wanted: u16) -> Result<Reserved> {
        let fail = Error::os("reserve a local TCP port");
        if let Some(port) = port {
            let ports = Ports { base: port, free: 0 };
            return match hold(addresses, ports) {
                Ok(held) => Ok(Reserved { _held: held, ports }),
                Err(error) => Err(fail(error)),
            };
        }
        let mut error = io::Error::from_raw_os_error(libc::EADDRINUSE);
        let mut wide = wanted.clamp(1, MOST).next_power_of_two();
        while wide > 0 {
            for _ in 0..TRIES {
                // The kernel names a free port; those around it may be free, too.
                let ports = match any(addresses) {
                    Ok(port) => Ports {
                        base: port & !(wide - 1),
                        free: wide - 1,
                    },
                    Err(other) => return Err(fail(other)),
                };
                match hold(addresses, ports) {
                    Ok(held) => return Ok(Reserved { _held: held, ports }),
                    Err(other) => error = other,
                }
            }
            wide /= 2;
        }
        Err(fail(error))
    }

    /// Which ports those are.
    pub fn ports(&self) -> Ports {
        self.ports
    }
}

/// A port that is free just now.
fn any(addresses: &[IpAddr]) -> io::Result<u16> {
    let address = addresses.iter().find(|address| !address.is_unspecified());
    let address = address.copied().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let local = bound(SocketAddr::new(address, 0))?.local_addr()?;
    local
        .as_socket()
        .map(|local| local.port())
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn hold(addresses: &[IpAddr], ports: Ports) -> io::Result<Vec<Socket>> {
    let mut held = Vec::new();
    for port in ports.base..=ports.base | ports.free {
        for address in addresses.iter().filter(|address| !address.is_unspecified()) {
            held.push(bound(SocketAddr::new(*address, port))?);
        }
    }
    Ok(held)
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.cloexec(), None)?;
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn reserved_ports_are_nobody_elses_until_they_are_given_back() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let reserved = Reserved::take(&[here], None, 16).unwrap();
        let ports = reserved.ports();
        for port in ports.base..=ports.base | ports.free {
            assert!(TcpListener::bind((here, port)).is_err(), "{port}");
            let twice = Reserved::take(&[here], Some(port), 1).expect_err("taken");
            assert_eq!(twice.errno(), Some(libc::EADDRINUSE));
        }
        drop(reserved);
        let again = Reserved::take(&[here], Some(ports.base), 1).unwrap();
        assert_eq!(
            again.ports(),
            Ports {
                base: ports.base,
                free: 0
            }
        );
    }
}
