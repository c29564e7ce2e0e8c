//! `rping server`: the far end of two-ended tests. For now its UDP side: a stateless STAMP reflector (RFC 8762, section 4.3).

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rping_peer::{Handle, Reflector};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::ServerArgs;
use crate::cli::complain;
use crate::targets::{LocalNet, SystemResolver};

/// Serves until it is interrupted; returns the exit code.
pub(crate) fn run(args: &ServerArgs) -> u8 {
    match serve(args) {
        Ok(()) => 0,
        Err(error) => complain(&error.to_string()),
    }
}

fn serve(args: &ServerArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = args.addresses(&SystemResolver::default(), &LocalNet::system())?;
    let everywhere = addresses.is_empty();
    if everywhere {
        addresses.push(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), args.port));
    }
    let mut reflectors = Vec::new();
    for address in addresses {
        let reflector =
            Reflector::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let bound = reflector.local_addr().unwrap_or(address);
        if everywhere {
            tell(&format!(
                "rping server: STAMP reflector on UDP port {}, on every address of this host; Ctrl-C ends it",
                bound.port()
            ));
        } else {
            tell(&format!(
                "rping server: STAMP reflector on UDP {bound}; Ctrl-C ends it"
            ));
        }
        reflectors.push(reflector);
    }
    rping_net::caps::drop_all().map_err(|error| format!("cannot give up privileges: {error}"))?;
    let handles: Vec<Handle> = reflectors.iter().map(Reflector::handle).collect();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let theirs = handles.clone();
    std::thread::Builder::new()
        .name("rping-signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                theirs.iter().for_each(Handle::stop);
            }
        })?;
    let mut threads = Vec::new();
    for mut reflector in reflectors {
        threads.push(
            std::thread::Builder::new()
                .name("rping-reflect".into())
                .spawn(move || reflector.run())?,
        );
    }
    for thread in threads {
        thread.join().map_err(|_| "a reflector's thread failed")??;
    }
    let sum = |count: fn(&Handle) -> u64| handles.iter().map(count).sum::<u64>();
    tell(&format!(
        "answered {} packets, dropped {}",
        sum(Handle::answered),
        sum(Handle::dropped)
    ));
    Ok(())
}

/// What a server says goes to standard error, line by line; nobody reading it is no reason to stop.
fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
