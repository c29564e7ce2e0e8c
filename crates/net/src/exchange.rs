//! What every probe kind that sends datagrams does alike: a [`Fan`] of sockets, and around it what is known of this
//! host, how to wait, and the socket that keeps the kernel's stamps switched on.

use std::net::IpAddr;
use std::time::Duration;

use rping_engine::{
    Arrival, Departure, Drained, Event, Outgoing, Reason, Refusal, Silence, TargetId, Timestamp,
};

use crate::fan::{Fan, Slot};
use crate::incoming::Incoming;
use crate::keeper::StampKeeper;
use crate::spin::Wait;
use crate::surroundings::Surroundings;
use crate::targets::Targets;
use crate::wait::{Pacing, Waiter, Waker};
use crate::Result;

/// What can be asked of a probe kind that sends datagrams.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// Where packets leave from, and their header fields. [`crate::Options::payload`] is set by the probe kind.
    pub net: crate::Options,
    /// Payload, bytes.
    pub size: usize,
    /// How the time until the next send is spent.
    pub pacing: Pacing,
    /// How long to look for answers without sleeping, see [`Waiter::set_linger`].
    pub linger: Duration,
    /// How to wait for answers, where that is said; else as `linger` says.
    pub wait: Option<Wait>,
    /// Ends a wait from another thread.
    pub waker: Option<Waker>,
    /// Send whole frames, past the IP stack, to the IPv4 targets where that can be.
    pub link: bool,
}

impl Default for ProbeOptions {
    fn default() -> ProbeOptions {
        ProbeOptions {
            net: crate::Options::default(),
            size: 32,
            pacing: Pacing::Precise,
            linger: Duration::ZERO,
            wait: None,
            waker: None,
            link: false,
        }
    }
}

/// Datagrams out to many targets and what comes back.
#[derive(Debug)]
pub struct Exchange {
    fan: Fan,
    surroundings: Surroundings,
    waiter: Waiter,
    _keeper: StampKeeper,
}

impl Exchange {
    /// Around these sockets; `keeper` was started before they were opened.
    pub fn new(keeper: StampKeeper, fan: Fan, options: &ProbeOptions) -> Exchange {
        let mut waiter = Waiter::new(options.pacing);
        if let Some(waker) = &options.waker {
            waiter = waiter.with_waker(waker.clone());
        }
        match options.wait {
            None => waiter.set_linger(options.linger),
            Some(wait) => waiter.set_wait(wait),
        }
        Exchange {
            fan,
            surroundings: Surroundings::new(),
            waiter,
            _keeper: keeper,
        }
    }

    /// The targets.
    pub fn targets(&self) -> &Targets {
        self.fan.targets()
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.waiter.pacing()
    }

    /// Sends these probes, as [`Fan::send`] does, and looks behind the reasons of those that did not leave.
    pub fn send(
        &mut self,
        due: &[Outgoing],
        left: &mut Vec<Departure>,
        write: impl FnMut(Slot<'_>, &Outgoing) -> usize,
    ) {
        let before = left.len();
        self.fan.send(due, left, write);
        let targets = self.fan.targets();
        self.surroundings
            .refine_departures(left.get_mut(before..).unwrap_or_default(), |target| {
                address(targets, target)
            });
    }

    /// Waits until `until` at the latest and appends what `judge` makes of what comes in. It is given the targets, the
    /// number of the socket, what came, and this host, to ask whether an address is its own.
    ///
    /// # Errors
    /// When a socket is of no use any more.
    pub fn receive(
        &mut self,
        until: Timestamp,
        arrived: &mut Vec<Arrival>,
        mut judge: impl FnMut(&Targets, usize, Incoming<'_>, &mut Surroundings) -> Option<Arrival>,
    ) -> Result<Drained> {
        let Exchange {
            fan,
            surroundings,
            waiter,
            ..
        } = self;
        let before = arrived.len();
        let drained = fan.receive(waiter, until, |targets, socket, incoming| {
            let arrival = judge(targets, socket, incoming, surroundings);
            if let Some(Arrival { target, event, .. }) = arrival {
                match event {
                    Event::Reply(_) | Event::Rejected(..) => targets.set_heard(target, true),
                    Event::NotSent(..) => targets.set_heard(target, false),
                    _ => {}
                }
            }
            arrived.extend(arrival);
        })?;
        let targets = fan.targets();
        surroundings.refine_arrivals(arrived.get_mut(before..).unwrap_or_default(), |target| {
            address(targets, target)
        });
        Ok(drained)
    }

    /// What the silence of a probe means: one that bears no transmit stamp, to a neighbour that does not resolve, never
    /// left this host.
    pub fn silent(&mut self, target: TargetId, stamped: bool) -> Silence {
        self.fan.doubt(target);
        let address = address(self.fan.targets(), target);
        let unresolved = |here: &mut Surroundings| address.filter(|&address| here.is_unresolved(address));
        let Some(address) = (!stamped).then(|| unresolved(&mut self.surroundings)).flatten() else {
            return Silence::Lost;
        };
        self.fan.targets_mut().set_heard(target, false);
        let refusal = Refusal::of(Reason::NoNeighbour);
        Silence::NotSent(self.surroundings.refine(address, refusal))
    }

    /// Whether probes may be handed over ahead of time.
    pub fn holds(&self) -> bool {
        self.waiter.may_hold()
    }

    /// Datagrams dropped on the way in because a receive buffer was full.
    pub fn local_drops(&self) -> u64 {
        self.fan.drops()
    }

    /// How often the wall clock was seen to step.
    pub fn clock_steps(&self) -> u64 {
        self.fan.clock_steps()
    }
}

fn address(targets: &Targets, target: TargetId) -> Option<IpAddr> {
    targets.get(target).map(|target| target.address.ip())
}
