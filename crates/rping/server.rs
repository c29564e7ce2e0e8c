//! `rping server`: the far end of two-ended tests.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::Clock;
use rping_peer::Server;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::ServerArgs;
use crate::cli::complain;
use crate::render::escape;
use crate::targets::{LocalNet, SystemResolver};

/// Lines of the log within [`LOG_SPAN`]; what is beyond is counted.
const LOG_MOST: u32 = 20;
const LOG_SPAN: Duration = Duration::from_secs(1);

/// Serves until it is interrupted; returns the exit code.
pub(crate) fn run(args: &ServerArgs) -> u8 {
    match serve(args) {
        Ok(()) => 0,
        Err(error) => complain(&error.to_string()),
    }
}

fn serve(args: &ServerArgs) -> Result<(), Box<dyn std::error::Error>> {
    // A connection takes a descriptor; where the limit cannot be raised, fewer are open at once.
    let _ = rping_net::caps::raise_nofile();
    let mut addresses = args.addresses(&SystemResolver::default(), &LocalNet::system())?;
    let everywhere = addresses.is_empty();
    if everywhere {
        addresses.push(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), args.port));
    }
    let log = Arc::new(Mutex::new(Log::default()));
    let told = Arc::clone(&log);
    let server = Server::bind(
        &addresses,
        args.limits.clone(),
        Arc::new(move |line: &str| told.lock().unwrap_or_else(PoisonError::into_inner).tell(line)),
    )?;
    for bound in server.local_addrs() {
        let place = match everywhere {
            true => format!("port {}, on every address of this host", bound.port()),
            false => bound.to_string(),
        };
        tell(&format!(
            "rping server: STAMP (UDP) and iperf3 (TCP, UDP) on {place}; Ctrl-C ends it"
        ));
    }
    rping_net::caps::drop_all().map_err(|error| format!("cannot give up privileges: {error}"))?;
    let handle = server.handle();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let stopped = handle.clone();
    std::thread::Builder::new()
        .name("rping-signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                stopped.stop();
            }
        })?;
    server.run()?;
    tell(&format!(
        "answered {} packets, dropped {}; {} throughput tests, {} connections turned away or given up",
        handle.answered(),
        handle.dropped(),
        handle.tests(),
        handle.refused()
    ));
    Ok(())
}

/// Lines on standard error, so many in a second and no more: clients decide how often something happens.
#[derive(Debug, Default)]
struct Log {
    began: Timestamp,
    told: u32,
    left_out: u32,
}

impl Log {
    fn tell(&mut self, line: &str) {
        let now = Clock.now();
        if now.since(self.began) >= LOG_SPAN {
            if self.left_out > 0 {
                tell(&format!("… {} lines left out", self.left_out));
            }
            *self = Log {
                began: now,
                ..Log::default()
            };
        }
        if self.told >= LOG_MOST {
            self.left_out += 1;
            return;
        }
        self.told += 1;
        tell(&escape::line(line));
    }
}

/// What a server says goes to standard error, line by line; nobody reading it is no reason to stop.
fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
