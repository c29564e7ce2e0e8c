//! `rping sockets`: from what was typed to the exit code.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rping_engine::Timestamp;
use rping_evidence::sockets::{self, Filter, Listing};
use rping_net::{Clock, Pacing, Waiter, Waker, Woken};

use crate::args::output::Format;
use crate::args::{SocketsRequest, Usage};
use crate::complain::complain;
use crate::render::{self, sockets as show};
use crate::report::Epoch;
use crate::signals::end_by;
use crate::targets::{self, Host, LocalNet, Ports, Resolver, SystemResolver};

/// Two looks that are closer together say nothing: what waits for a moment is not stuck.
const ENOUGH: Duration = Duration::from_millis(500);

/// Looks and shows what it saw. Exit code 0; 1 where a host or port was named and has no socket, or where `--stuck`
/// found one.
pub(crate) fn run(request: &SocketsRequest) -> u8 {
    let filter = match filter(request, &SystemResolver::default(), &LocalNet::system()) {
        Ok(filter) => filter,
        Err(usage) => return complain(&usage.to_string()),
    };
    let started = Clock.now();
    let epoch = Epoch {
        started,
        started_unix_ns: Clock.wall_nanos(started),
    };
    let (listing, found) = match observe(request, &filter) {
        Ok(seen) => seen,
        Err(why) => return complain(&why),
    };
    let written = write(request, &listing, &epoch, found);
    let code = match request.stuck {
        _ if found == 0 && request.typed.is_some() => 1,
        Some(_) => u8::from(!listing.entries.is_empty()),
        None => 0,
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => code,
    }
}

/// What is to be shown, and how many sockets the filter held.
fn observe(request: &SocketsRequest, filter: &Filter) -> Result<(Listing, usize), String> {
    let asked = |error: io::Error| format!("asking the kernel for its sockets: {error}");
    let Some(over) = request.stuck else {
        let listing = sockets::list(filter).map_err(asked)?;
        let found = listing.entries.len();
        return Ok((listing, found));
    };
    let began = Clock.now();
    let first = sockets::look(filter).map_err(asked)?;
    let is_whole = wait(over).map_err(|error| format!("cannot listen for signals: {error}"))?;
    if !is_whole && Clock.now().since(began) < ENOUGH.min(over) {
        return Err(
            "interrupted before it could be told what moves and what does not: let it wait".to_owned(),
        );
    }
    let second = sockets::look(filter).map_err(asked)?;
    let found = second.len();
    let between = Timestamp::since(Clock.now(), began);
    // What is said is the whole time, in milliseconds: more digits would claim more than the looks are exact to.
    let between = Duration::from_millis(u64::try_from(between.as_millis()).unwrap_or(u64::MAX));
    let mut listing = sockets::compare(&first, second, between);
    listing.entries.retain(|entry| entry.finding.is_some());
    Ok((listing, found))
}

/// Waits for so long; `false` when a signal ended it before.
fn wait(over: Duration) -> io::Result<bool> {
    let waker = Waker::new().map_err(io::Error::other)?;
    let called = waker.clone();
    end_by(move || called.wake())?;
    let until = Clock.now().plus(over);
    let mut waiter = Waiter::new(Pacing::Eco).with_waker(waker);
    Ok(waiter.wait(&[], until) == Woken::Due)
}

fn filter(request: &SocketsRequest, resolver: &dyn Resolver, local: &LocalNet) -> Result<Filter, Usage> {
    let mut filter = Filter {
        listening: request.listening,
        ports: request.port.map(|port| (port, port)).into_iter().collect(),
        ..Filter::default()
    };
    let Some(spec) = &request.host else {
        return Ok(filter);
    };
    match spec.host() {
        Host::Address { ip, .. } => filter.addresses.push(ip.to_canonical()),
        Host::Name(name) => {
            let answer = resolver
                .resolve(std::slice::from_ref(name), targets::PATIENCE)
                .pop();
            let found = answer
                .unwrap_or_else(|| Err("no answer".to_owned()))
                .map_err(|why| Usage::about(name, why))?;
            filter
                .addresses
                .extend(found.iter().map(|address| address.ip().to_canonical()));
        }
        Host::Span { .. } => {
            return Err(Usage::new(
                "rping sockets takes one host: name it, or filter by port as in :445",
            ))
        }
    }
    for entry in spec.ports() {
        filter.ports.push(match entry {
            Ports::Range(low, high) => (*low, *high),
            Ports::Service(name) => {
                let port = targets::service(&local.services, name).ok_or_else(|| {
                    Usage::new(format_args!("no service is called {name}: give its number"))
                })?;
                (port, port)
            }
        });
    }
    filter.own = filter
        .addresses
        .iter()
        .copied()
        .filter(|&address| local.is_own(address))
        .collect();
    Ok(filter)
}

fn write(request: &SocketsRequest, listing: &Listing, epoch: &Epoch, found: usize) -> io::Result<()> {
    let mut out: render::Out = io::BufWriter::new(Box::new(io::stdout()));
    let document = show::Document::new(listing, request.typed.as_deref(), epoch, found);
    match request.format {
        Format::Json => show::json(&mut out, &document)?,
        Format::Ndjson => show::ndjson(&mut out, &document)?,
        Format::Csv => show::csv(&mut out, &document)?,
        Format::Text | Format::PsPing { .. } => {
            let style = render::style(request.color, io::stdout().is_terminal());
            show::text(&mut out, &document, style)?;
        }
    }
    out.flush()
}
