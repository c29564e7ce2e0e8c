//! From a [`Job`] to an open probe kind.

use std::net::SocketAddr;
use std::time::Duration;

use rping_engine::{Control, Probe, Sink};
use rping_net::{Pacing, Waiter, Waker};

use crate::job::{Carrier, Job, Kind, Pace, Stop, UdpProtocol};
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
    /// ARP and NDP.
    #[error(transparent)]
    Arp(#[from] rping_arp::Error),
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

pub(crate) fn source(job: &Job) -> Option<SocketAddr> {
    job.source
        .map(|ip| SocketAddr::new(ip, job.source_port.unwrap_or(0)))
}

fn probe_options(job: &Job, settings: &Settings, addresses: &[SocketAddr]) -> rping_net::ProbeOptions {
    let mut options = rping_net::ProbeOptions {
        net: rping_net::Options {
            source: source(job),
            interface: job.interface.clone(),
            ttl: job.ttl,
            dscp: job.dscp,
            df: job.df,
            mark: job.mark,
            broadcast: job.broadcast,
            transmit_stamps: settings.tx_stamps,
            ..rping_net::Options::default()
        },
        size: job.size,
        pacing: settings.pacing,
        linger: settings.linger,
        wait: matches!(job.kind, Kind::Latency(_)).then_some(job.wait),
        waker: settings.waker.clone(),
        link: job.link,
    };
    if settings.tx_stamps {
        options.net.hardware_clock = rping_net::hardware::clock_for(addresses, &options.net);
    }
    options
}

/// How many half-open probes to one target may be in flight on a path without loss: what a window holds, or a schedule sends
/// within 10 ms.
fn at_once(job: &Job) -> u32 {
    let ahead = match job.pace {
        Pace::WhenSettled => 1,
        Pace::Window(window) => window.most,
        Pace::Every(period) => (0.01 / period.as_secs_f64()) as u32 + 1,
    };
    match job.stop {
        Stop::Count(n) => ahead.min(u32::try_from(n).unwrap_or(u32::MAX)),
        _ => ahead,
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
            let options = probe_options(&job, settings, &addresses);
            let probe = rping_icmp::IcmpProbe::open(&addresses, &options).map_err(OpenError::from)?;
            drop(addresses);
            let pacing = probe.pacing();
            scout(job, probe, pacing, go)
        }
        Kind::Tcp if job.syn => {
            let options = probe_options(&job, settings, &addresses);
            let probe =
                rping_tcp::SynProbe::open(&addresses, &options, at_once(&job)).map_err(OpenError::from)?;
            drop(addresses);
            let pacing = probe.pacing();
            scout(job, probe, pacing, go)
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
            let options = rping_tcp::Options {
                connect,
                max_in_flight: None,
                tell_local_port: job.local_ports,
            };
            let probe =
                rping_tcp::TcpProbe::open(&addresses, options, settings.waiter()).map_err(OpenError::from)?;
            let pacing = probe.waiter().pacing();
            scout(job, probe, pacing, go)
        }
        Kind::Udp(protocol) => {
            let options = probe_options(&job, settings, &addresses);
            let protocol = match protocol {
                UdpProtocol::Auto => rping_udp::Protocol::Auto,
                UdpProtocol::Echo => rping_udp::Protocol::Echo,
                UdpProtocol::Stamp => rping_udp::Protocol::Stamp,
            };
            let probe = rping_udp::UdpProbe::open_with(&addresses, protocol, &terms(&job), &options)
                .map_err(OpenError::from)?;
            let pacing = probe.pacing();
            if job.targets.len() > SCOUT_ABOVE {
                return scout(job, probe, pacing, go);
            }
            go.go_and(job, probe, pacing, conclude_directions)
        }
        Kind::Latency(Carrier::Tcp) => crate::latency::open(job, settings, go),
        Kind::Latency(Carrier::Udp) => {
            let options = probe_options(&job, settings, &addresses);
            let stamp = rping_udp::Protocol::Stamp;
            let probe = rping_udp::UdpProbe::open_with(&addresses, stamp, &terms(&job), &options)
                .map_err(OpenError::from)?;
            let pacing = probe.pacing();
            go.go_and(job, probe, pacing, |probe, report| {
                crate::latency::name_waiting(report.job.wait.here(), None, report);
                conclude_directions(probe, report)
            })
        }
        Kind::Arp => open_arp(job, settings, go),
    }
}

/// What a job asks of STAMP.
fn terms(job: &Job) -> rping_udp::Terms {
    rping_udp::Terms {
        key: job.key.clone(),
        warmup: job.warmup,
    }
}

/// How long closing packets may take in all, and after an interrupt, which promises an end at once.
const CLOSING: Duration = Duration::from_secs(3);
const CLOSING_INTERRUPTED: Duration = Duration::from_millis(100);

/// Sends what places the losses at the end, and tells what happened on which way.
fn conclude_directions(probe: &mut rping_udp::UdpProbe, report: &mut Report) -> Result<(), rping_udp::Error> {
    if report.failure.is_none() {
        let (job, rate) = (&report.job, report.job.max_rate);
        // Sent no quicker than the probes were.
        let turn = rate.map_or(Duration::ZERO, |hz| {
            Duration::try_from_secs_f64(job.targets.len() as f64 / hz).unwrap_or(Duration::ZERO)
        });
        let most = if report.interrupted {
            CLOSING_INTERRUPTED
        } else {
            CLOSING.saturating_add(turn)
        };
        probe.close(job.dscp.unwrap_or(0), most, rate)?;
    }
    report.directions = vec![None; report.job.targets.len()];
    let live: Vec<usize> = report.job.live().map(|(place, _)| place as usize).collect();
    for (number, place) in (0..).zip(live) {
        let counts = report.run.targets.get(place).map(|target| &target.counts);
        if let (Some(counts), Some(told)) = (counts, report.directions.get_mut(place)) {
            let counted = (counts.received + counts.lost, counts.received, counts.lost);
            *told = probe.directions(rping_engine::TargetId(number), counted);
        }
    }
    Ok(())
}

/// Runs of more targets than this ask for on-link neighbours themselves, where they may: up to it, the kernel's
/// neighbour table and a socket's buffer (256 unresolved sends were measured to fill it) hold them all.
pub(crate) const SCOUT_ABOVE: usize = 128;

/// Puts a scout before a sweep over many on-link targets.
fn scout<P, O: Opened, S: Sink, C: Control>(
    job: Job,
    probe: P,
    pacing: Pacing,
    go: Go<'_, O, S, C>,
) -> Result<Report, RunError>
where
    P: Probe,
    P::Error: std::fmt::Display,
{
    if job.targets.len() <= SCOUT_ABOVE {
        return go.go(job, probe, pacing);
    }
    let options = rping_arp::Options {
        interface: job.interface.clone(),
        source: job.source,
        transmit_stamps: false,
        hardware_stamps: false,
        bypass_queue: false,
    };
    match rping_arp::Scouted::new(probe, &asked(&job), &options, SCOUT_ABOVE) {
        Ok(scouted) => go.go(job, scouted, pacing),
        Err(probe) => go.go(job, probe, pacing),
    }
}

/// ARP and NDP. A target that is on none of our links is refused by itself; the others run.
fn open_arp<O: Opened, S: Sink, C: Control>(
    mut job: Job,
    settings: &Settings,
    go: Go<'_, O, S, C>,
) -> Result<Report, RunError> {
    let options = rping_arp::Options {
        interface: job.interface.clone(),
        source: job.source,
        transmit_stamps: settings.tx_stamps,
        hardware_stamps: true,
        bypass_queue: !settings.tx_stamps,
    };
    let mut targets = asked(&job);
    let located = rping_arp::locate_each(&targets, &options).map_err(OpenError::from)?;
    // In a block of ours there is this host too, which would have to answer itself: it is left out, as the network and
    // broadcast addresses are, and that is said.
    let mut ours = Vec::new();
    let live = job
        .targets
        .iter_mut()
        .filter(|target| target.error.is_none() && target.address.is_some());
    for (target, located) in live.zip(located) {
        if target.from_block && matches!(located, Err(rping_arp::Error::Own { .. })) {
            ours.push(target.label());
        }
        target.error = located.err().map(|error| error.to_string().into());
    }
    if !ours.is_empty() && ours.len() < job.targets.len() {
        job.notes
            .push(format!("left out: {} of this host", ours.join(", ")));
        job.targets
            .retain(|target| !(target.from_block && ours.contains(&target.label())));
    }
    targets = asked(&job);
    if targets.is_empty() {
        let mut errors = job.targets.iter_mut().filter_map(|target| target.error.take());
        return Err(errors.next().map_or(RunError::NoTargets, |error| {
            OpenError::Refused(error.into()).into()
        }));
    }
    match rping_arp::ArpProbe::open(&targets, &options, settings.waiter()) {
        Err(rping_arp::Error::NoPermission { .. }) => {
            let probe = rping_arp::KernelNeighbour::open(&targets, &options, settings.waiter())
                .map_err(OpenError::from)?;
            let pacing = settings.waiter().pacing();
            go.go_and(job, probe, pacing, |probe, report| {
                conclude_kernel_neighbours(probe, report);
                Ok(())
            })
        }
        other => {
            let probe = other.map_err(OpenError::from)?;
            let pacing = probe.waiter().pacing();
            go.go(job, probe, pacing)
        }
    }
}

fn ask(address: SocketAddr) -> rping_arp::Target {
    let scope_id = match address {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    rping_arp::Target {
        address: address.ip(),
        scope_id,
    }
}

fn asked(job: &Job) -> Vec<rping_arp::Target> {
    job.live().map(|(_, address)| ask(address)).collect()
}

/// Without the right to send frames of our own the kernel's table is all there is: it is shown, and what it does not
/// confirm is no answer.
fn conclude_kernel_neighbours(probe: &rping_arp::KernelNeighbour, report: &mut Report) {
    let mut unconfirmed = false;
    let live: Vec<usize> = report.job.live().map(|(place, _)| place as usize).collect();
    for (number, place) in (0..).zip(live) {
        let (Some(target), Some(figures)) = (report.job.targets.get(place), report.run.targets.get(place))
        else {
            continue;
        };
        unconfirmed |= figures.counts.received == 0;
        let entry = match probe.entry(rping_engine::TargetId(number)) {
            None => "no entry".to_owned(),
            Some(entry) => {
                let mac = entry.mac.map_or("no link-layer address".to_owned(), |mac| {
                    rping_engine::Origin::Mac(mac).to_string()
                });
                // An entry without an address was never confirmed, whatever its age field holds.
                let confirmed = entry.confirmed_ago.filter(|_| entry.mac.is_some());
                let age = confirmed.map_or("never confirmed".to_owned(), |age| {
                    format!(
                        "confirmed {} ago",
                        humantime::format_duration(Duration::from_millis(age.as_millis() as u64))
                    )
                });
                format!("{:?}, {mac}, {age}", entry.state).to_lowercase()
            }
        };
        report
            .instrument
            .warnings
            .push(format!("kernel_neighbour: {}: {entry}", target.label()));
    }
    if unconfirmed {
        let remedy = "no permission for packet sockets, and the kernel's table confirms no answer: run `setcap cap_net_raw+ep` on the rping program, or run as root";
        report.failure = Some(remedy.to_owned());
    }
}
