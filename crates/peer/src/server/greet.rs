//! A connection from its first octet on: what it is, and who serves it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rping_wire::iperf::{begins_cookie, Cookie, COOKIE_LEN};
use rping_wire::latency::begins_hello;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Shared;
use crate::agent::begins_agent;
use crate::agent::server::Desk;
use crate::auth;
use crate::iperf::server::{serve, Place, Summary};
use crate::iperf::Protocol;
use crate::latency::LatencySummary;
use crate::prefix::prefix;
use crate::reflector::shown;

/// How long a connection may be silent before it has said what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Finds out what a connection is, and serves it.
pub(super) async fn greet(stream: TcpStream, from: SocketAddr, port: u16, shared: Arc<Shared>) {
    let Some(mut seat) = shared.waiting.enter(from.ip()) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let met = tokio::select! {
        biased;
        met = meet(stream, from, &shared) => met,
        () = seat.displaced() => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    drop(seat);
    let Some((stream, cookie)) = met else { return };
    match shared.tests.of(&cookie) {
        Some(test) => {
            // Full or over: one stream too many.
            let _ = test.try_send(stream);
        }
        None => test(stream, from, port, cookie, &shared).await,
    }
}

/// What iperf3's client begins with; `None` where it was something else, which is then seen to.
async fn meet(mut stream: TcpStream, from: SocketAddr, shared: &Arc<Shared>) -> Option<(TcpStream, Cookie)> {
    let refused = || {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        None
    };
    let _ = stream.set_nodelay(true);
    if let Some(key) = &shared.key {
        let admitted = timeout(PATIENCE, auth::admit(&mut stream, key)).await;
        if !matches!(admitted, Ok(Ok(()))) {
            (shared.log)(&format!("{}: turned away, not authenticated", shown(from)));
            return refused();
        }
    }
    let Ok(Ok(first)) = timeout(PATIENCE, stream.read_u8()).await else {
        return refused();
    };
    if begins_hello(first) {
        exchange(first, stream, from, shared).await;
        return None;
    }
    if let Some(desk) = shared.agent.as_ref().filter(|_| begins_agent(first)) {
        tell(desk, stream, from, shared).await;
        return None;
    }
    if !begins_cookie(first) {
        return refused();
    }
    let mut cookie = [first; COOKIE_LEN];
    let Ok(Ok(_)) = timeout(PATIENCE, stream.read_exact(&mut cookie[1..])).await else {
        return refused();
    };
    match Cookie::parse(&cookie) {
        Ok(cookie) => Some((stream, cookie)),
        Err(_) => refused(),
    }
}

/// A client that asks what this host sees of a flow.
async fn tell(desk: &Desk, stream: TcpStream, from: SocketAddr, shared: &Arc<Shared>) {
    let client = SocketAddr::new(from.ip().to_canonical(), from.port());
    let told = desk.serve(stream, client.ip()).await;
    let line = match told {
        Ok(flow) => {
            let port = flow.port.map(|port| format!(" port {port}")).unwrap_or_default();
            format!(
                "{client}: told what is seen here of its packets to {}{port}",
                flow.to
            )
        }
        Err(why) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            format!("{client}: not told anything: {why}")
        }
    };
    (shared.log)(&line);
}

/// A latency exchange: agreed on here, carried out by a thread of its own.
async fn exchange(first: u8, stream: TcpStream, from: SocketAddr, shared: &Arc<Shared>) {
    let client = SocketAddr::new(from.ip().to_canonical(), from.port());
    let agreed = shared
        .exchanges
        .agree(first, stream, || Running::begin(shared, client.ip()))
        .await;
    let refuse = |why: &dyn std::fmt::Display| {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        (shared.log)(&format!("{client}: latency test turned away: {why}"));
    };
    match agreed {
        Ok((agreed, seat)) => {
            let log = Arc::clone(&shared.log);
            let done = move |summary: &LatencySummary| {
                drop(seat);
                log(&format!("{client}: {summary}"));
            };
            if let Err(error) = shared.exchanges.start(agreed, done) {
                refuse(&error);
            }
        }
        Err(why) => refuse(&why),
    }
}

async fn test(stream: TcpStream, from: SocketAddr, port: u16, cookie: Cookie, shared: &Arc<Shared>) {
    let client = SocketAddr::new(from.ip().to_canonical(), from.port());
    let Some(_seat) = Running::begin(shared, client.ip()) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        (shared.log)(&format!("{client}: turned away, too many tests run already"));
        turn_away(stream).await;
        return;
    };
    let (_entry, streams) = shared.tests.begin(cookie, 2 * usize::from(shared.limits.streams));
    let place = Place {
        limits: shared.limits.clone(),
        claims: shared.claims.clone(),
        port,
        spare: shared.tests.spare(),
    };
    let ended = serve(stream, client, streams, &place).await;
    match ended {
        Ok(summary) => {
            shared.finished.fetch_add(1, Ordering::Relaxed);
            (shared.log)(&format!("{client}: {}", describe(&summary)));
        }
        Err(error) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            (shared.log)(&format!("{client}: test given up: {error}"));
        }
    }
}

/// iperf3's word for "busy".
async fn turn_away(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    let denied = [rping_wire::iperf::State::AccessDenied.octet()];
    let _ = timeout(PATIENCE, stream.write_all(&denied)).await;
}

fn describe(summary: &Summary) -> String {
    let protocol = match summary.parameters.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let seconds = summary.took.as_secs_f64();
    let rate = |bytes: u64| {
        let bits = bytes as f64 * 8.0 / seconds.max(1e-9);
        format!("{bytes} bytes, {:.1} Mbit/s", bits / 1e6)
    };
    let mut line = format!(
        "{protocol} test of {} {}, {seconds:.1} s",
        summary.parameters.streams(),
        if summary.parameters.streams() == 1 {
            "stream"
        } else {
            "streams"
        },
    );
    for (word, bytes) in [("received", summary.received), ("sent", summary.sent)] {
        if bytes > 0 {
            line.push_str(&format!("; {word} {}", rate(bytes)));
        }
    }
    line
}

/// Counts a running test.
struct Running {
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Running {
    fn begin(shared: &Arc<Shared>, client: IpAddr) -> Option<Running> {
        let source = prefix(client);
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = running.values().sum();
        let of_source = running.get(&source).copied().unwrap_or(0);
        if all >= shared.limits.tests || of_source >= shared.limits.tests_per_source {
            return None;
        }
        running.insert(source, of_source + 1);
        Some(Running {
            shared: Arc::clone(shared),
            source,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.source);
            }
        }
    }
}
