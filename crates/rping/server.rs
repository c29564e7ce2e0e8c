//! `rping server` and `rpingd`: the far end of two-ended tests.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender};
use std::sync::Arc;
use std::time::Duration;

use rping_diagnose::FarEnd;
use rping_engine::Timestamp;
use rping_net::caps::{drop_all_but, holds, is_reserved, Cap};
use rping_net::Clock;
use rping_peer::agent::Agent;
use rping_peer::{Listen, Server, ServerHandle};

use crate::args::{Place, ServerArgs};
use crate::complain::complain;
use crate::render::escape;
use crate::signals;
use crate::targets::{LocalNet, SystemResolver};

/// Lines of the log within [`LOG_SPAN`]; what is beyond is counted.
const LOG_MOST: u32 = 20;
const LOG_SPAN: Duration = Duration::from_secs(1);

/// Lines that wait to be written; what is beyond is counted.
const LOG_ROOM: usize = 256;

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
    let key = crate::key::load(args.key_file.as_deref())?;
    if args.agent && key.is_none() {
        return Err(format!(
            "--agent tells about this host, and nobody unknown is to be told: give --key-file FILE, or the key in {}",
            crate::key::VARIABLE
        )
        .into());
    }
    let (resolver, local) = (SystemResolver::default(), LocalNet::system());
    let all = |place: Option<&Place>| match place {
        Some(place) => place.addresses(&resolver, &local),
        None => Ok(Vec::new()),
    };
    let listen = Listen {
        tests: all(Some(&args.tests))?,
        stamp: all(args.stamp.as_ref())?,
        echo: all(args.echo.as_ref())?,
        key,
        agent: args.agent.then(|| Arc::new(FarEnd) as Arc<dyn Agent>),
    };
    let (voice, heard) = Voice::new();
    let server = Server::open(&listen, args.limits.clone(), voice.log()).map_err(in_words)?;
    announce(&listen, &server);
    // Each UDP stream of a test has a socket of its own on that port.
    let later = server.local_addrs().any(|address| is_reserved(address.port()));
    let mut kept = Vec::new();
    kept.extend(later.then_some(Cap::NetBindService));
    if args.agent {
        // Its packet sockets are opened for each client, and the packet filter is read for each.
        kept.extend([Cap::NetRaw, Cap::NetAdmin]);
        tell(&agent_rights());
    }
    drop_all_but(&kept).map_err(|error| format!("cannot give up privileges: {error}"))?;
    let handle = server.handle();
    let stopped = handle.clone();
    signals::end_by(move || stopped.stop())?;
    let writer = {
        let (handle, left_out) = (handle.clone(), Arc::clone(&voice.left_out));
        std::thread::Builder::new()
            .name("rping-log".into())
            .spawn(move || write_log(&heard, &left_out, &handle))?
    };
    server.run()?;
    voice.end();
    // A log that nobody reads must not keep the server from ending.
    if writer.is_finished() || waited(&writer) {
        tell(&format!(
            "answered {} packets, dropped {}; {} throughput tests, {} connections turned away or given up",
            handle.answered(),
            handle.dropped(),
            handle.tests(),
            handle.refused()
        ));
    }
    Ok(())
}

/// What keeps it from listening, and what to do about it.
fn in_words(error: rping_peer::Error) -> String {
    let rping_peer::Error::At { address, source } = &error else {
        return error.to_string();
    };
    let port = address.port();
    let what = match source.as_ref() {
        rping_peer::Error::Net(net) if net.is_in_use() => format!(
            "port {port} is in use: `ss -lntup sport = :{port}` shows by whom; another port is given as :PORT, and to the \
             clients as HOST:PORT"
        ),
        rping_peer::Error::Net(net) if net.is_denied() => {
            format!("no permission for port {port}: ports below 1024 are root's; another is given as :PORT")
        }
        other => other.to_string(),
    };
    format!("cannot listen on {address}: {what}")
}

/// What the agent keeps, and what it cannot see for want of it.
fn agent_rights() -> String {
    let may = |cap| holds(cap).unwrap_or(false);
    let lacks = match (may(Cap::NetRaw), may(Cap::NetAdmin)) {
        (true, true) => {
            return "rping server: an agent for rping diagnose --peer; keeps CAP_NET_RAW and CAP_NET_ADMIN for it".to_owned()
        }
        (true, false) => "keeps CAP_NET_RAW; without CAP_NET_ADMIN it does not see the packet filter's rules",
        (false, true) => "keeps CAP_NET_ADMIN; without CAP_NET_RAW it does not see packets",
        (false, false) => "without CAP_NET_RAW and CAP_NET_ADMIN it sees neither packets nor the packet filter's rules",
    };
    format!("rping server: an agent for rping diagnose --peer; {lacks}")
}

/// Waits a moment for a thread to end.
fn waited(thread: &std::thread::JoinHandle<()>) -> bool {
    (0..100).any(|_| {
        rping_net::wait::sleep(Duration::from_millis(1));
        thread.is_finished()
    })
}

/// The first lines: what it serves, and where.
fn announce(listen: &Listen, server: &Server) {
    let sealed = if listen.key.is_some() {
        ", authenticated"
    } else {
        ""
    };
    let mut bound = server.datagram_addrs();
    let tests = bound
        .by_ref()
        .take(listen.tests.len())
        .map(|address| (Serves::Tests, address));
    let tests: Vec<_> = tests.collect();
    let stamp = bound
        .by_ref()
        .take(listen.stamp.len())
        .map(|address| (Serves::Stamp, address));
    let stamp: Vec<_> = stamp.collect();
    let echo = bound.map(|address| (Serves::Echo, address));
    for (serves, address) in tests.into_iter().chain(stamp).chain(echo) {
        let what = match serves {
            Serves::Tests => "STAMP (UDP) and iperf3 (TCP, UDP)",
            Serves::Stamp => "any STAMP or TWAMP Light sender (UDP)",
            Serves::Echo => "echo (UDP, TCP)",
        };
        tell(&format!(
            "rping server: {what}{sealed} on {}; Ctrl-C ends it",
            place(address)
        ));
    }
}

enum Serves {
    Tests,
    Stamp,
    Echo,
}

fn place(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(six) if six.ip().is_unspecified() => {
            format!("port {}, on every address of this host", six.port())
        }
        SocketAddr::V4(four) if four.ip().is_unspecified() => {
            format!("port {}, on every IPv4 address of this host", four.port())
        }
        other => other.to_string(),
    }
}

enum Word {
    Line(String),
    End,
}

/// What the server's threads say goes through a queue: none of them ever waits for a terminal.
struct Voice {
    to: SyncSender<Word>,
    left_out: Arc<AtomicU64>,
}

impl Voice {
    fn new() -> (Voice, Receiver<Word>) {
        let (to, heard) = sync_channel(LOG_ROOM);
        let left_out = Arc::default();
        (Voice { to, left_out }, heard)
    }

    fn log(&self) -> rping_peer::Log {
        let (to, left_out) = (self.to.clone(), Arc::clone(&self.left_out));
        Arc::new(move |line: &str| {
            if to.try_send(Word::Line(line.to_owned())).is_err() {
                left_out.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    fn end(&self) {
        let _ = self.to.try_send(Word::End);
    }
}

/// Writes lines on standard error, so many in a second and no more: clients decide how often something happens. On a
/// terminal a last line says how the server stands.
fn write_log(heard: &Receiver<Word>, left_out: &AtomicU64, handle: &ServerHandle) {
    let is_terminal = io::stderr().is_terminal();
    let mut log = Log::default();
    let mut status = String::new();
    loop {
        let word = heard.recv_timeout(LOG_SPAN);
        let wipe = |status: &mut String| {
            if !std::mem::take(status).is_empty() {
                let _ = write!(io::stderr().lock(), "\r\x1b[K");
            }
        };
        match word {
            Ok(Word::Line(line)) => {
                if log.may_tell(Clock.now(), left_out) {
                    wipe(&mut status);
                    log.tell_left_out();
                    tell(&escape::line(&line));
                }
            }
            Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => {
                wipe(&mut status);
                log.left_out += left_out.swap(0, Ordering::Relaxed);
                log.tell_left_out();
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if is_terminal {
            let now = standing(handle);
            if now != status {
                let _ = write!(io::stderr().lock(), "\r{now}\x1b[K");
                status = now;
            }
        }
    }
}

fn standing(handle: &ServerHandle) -> String {
    format!(
        "{} STAMP sessions, {} throughput tests; {} packets answered, {} dropped",
        handle.sessions(),
        handle.running(),
        handle.answered(),
        handle.dropped()
    )
}

#[derive(Debug, Default)]
struct Log {
    began: Timestamp,
    told: u32,
    left_out: u64,
}

impl Log {
    /// Whether one more line may be written now; counts it, or counts that it is left out.
    fn may_tell(&mut self, now: Timestamp, elsewhere: &AtomicU64) -> bool {
        self.left_out += elsewhere.swap(0, Ordering::Relaxed);
        if now.since(self.began) >= LOG_SPAN {
            (self.began, self.told) = (now, 0);
        }
        let may = self.told < LOG_MOST;
        if may {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
        may
    }

    fn tell_left_out(&mut self) {
        match std::mem::take(&mut self.left_out) {
            0 => {}
            n => tell(&format!("… {n} lines left out")),
        }
    }
}

/// What a server says goes to standard error, line by line; nobody reading it is no reason to stop.
fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_are_written_and_the_rest_is_counted() {
        let mut log = Log::default();
        let elsewhere = AtomicU64::new(5);
        let at = |ms: u64| Timestamp::from_nanos(10_000_000_000 + ms * 1_000_000);
        let told = (0..100).filter(|&ms| log.may_tell(at(ms), &elsewhere)).count();
        assert_eq!((told, log.left_out), (20, 85));
        assert!(log.may_tell(at(1000), &elsewhere));
    }
}
