//! From a [`Job`] to an open probe kind.

use std::net::SocketAddr;
use std::time::Duration;

use rping_engine::{Control, Sink};
use rping_net::{Pacing, Waiter, Waker};

use crate::job::{Job, Kind, UdpProtocol};
use crate::report::Report;
use crate::run::{Go, Opened, RunError};

/// Why no probe can be sent.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// ICMP.
    #[error(transparent)]
    Icmp(#[from] rping_icmp::Error),
    /// TCP.
    #[error(transparent)]
    Tcp(#[from] rping_tcp::Error),
    /// UDP.
    #[error(transparent)]
    Udp(#[from] rping_udp::Error),
    /// The program itself said no, in words.
    #[error("{0}")]
    Refused(String),
}

/// How a probe kind waits and stamps.
pub(crate) struct Settings {
    pub(crate) pacing: Pacing,
    pub(crate) linger: Duration,
    pub(crate) waker: Option<Waker>,
    pub(crate) tx_stamps: bool,
}

impl Settings {
    fn waiter(&self) -> Waiter {
        let mut waiter = Waiter::new(self.pacing);
        waiter.set_linger(self.linger);
        match &self.waker {
            Some(waker) => waiter.with_waker(waker.clone()),
            None => waiter,
        }
    }
}

fn source(job: &Job) -> Option<SocketAddr> {
    job.source.map(|ip| SocketAddr::new(ip, job.source_port.unwrap_or(0)))
}

fn net_options(job: &Job, settings: &Settings) -> rping_net::Options {
    rping_net::Options {
        source: source(job),
        interface: job.interface.clone(),
        ttl: job.ttl,
        dscp: job.dscp,
        df: job.df,
        mark: job.mark,
        broadcast: job.broadcast,
        transmit_stamps: settings.tx_stamps,
        ..rping_net::Options::default()
    }
}

/// Opens what the job needs and runs it.
pub(crate) fn open<O: Opened, S: Sink, C: Control>(
    job: Job,
    settings: &Settings,
    go: Go<'_, O, S, C>,
) -> Result<Report, RunError> {
    let addresses: Vec<SocketAddr> = job.live().map(|(_, address)| address).collect();
    if addresses.is_empty() {
        return Err(RunError::NoTargets);
    }
    match job.kind {
        Kind::Icmp => {
            let options = rping_icmp::Options {
                net: net_options(&job, settings),
                size: job.size,
                pacing: settings.pacing,
                linger: settings.linger,
                waker: settings.waker.clone(),
            };
            let probe = rping_icmp::IcmpProbe::open(&addresses, &options).map_err(OpenError::from)?;
            let pacing = probe.pacing();
            go.go(job, probe, pacing)
        }
        Kind::Tcp => {
            let connect = rping_net::tcp::Options {
                source: source(&job),
                interface: job.interface.clone(),
                ttl: job.ttl,
                dscp: job.dscp,
                mark: job.mark,
                close: job.close,
            };
            let options = rping_tcp::Options { connect, max_in_flight: None };
            let probe = rping_tcp::TcpProbe::open(&addresses, options, settings.waiter()).map_err(OpenError::from)?;
            let pacing = probe.waiter().pacing();
            go.go(job, probe, pacing)
        }
        Kind::Udp(protocol) => {
            let options = rping_udp::Options {
                net: net_options(&job, settings),
                size: job.size,
                pacing: settings.pacing,
                linger: settings.linger,
                waker: settings.waker.clone(),
            };
            let protocol = match protocol {
                UdpProtocol::Auto => rping_udp::Protocol::Auto,
                UdpProtocol::Echo => rping_udp::Protocol::Echo,
                UdpProtocol::Stamp => rping_udp::Protocol::Stamp,
            };
            let probe = rping_udp::UdpProbe::open(&addresses, protocol, &options).map_err(OpenError::from)?;
            let pacing = probe.pacing();
            go.go(job, probe, pacing)
        }
        Kind::Arp => Err(OpenError::Refused("not yet".into()).into()),
    }
}
