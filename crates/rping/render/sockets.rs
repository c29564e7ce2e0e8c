//! The sockets of a host: a table for people, one document, lines, rows.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use rping_evidence::sockets::{is_listening, Entry, Listing, Protocol, State, TcpInfo, Timer};

use super::style::{Style, Tone};
use super::units::Time;
use super::{clock, escape, json, Out};
use crate::report::Epoch;

/// The document of `-o json`, schema `rping.sockets/1`.
#[derive(Serialize)]
pub(crate) struct Document {
    schema: &'static str,
    version: &'static str,
    command: &'static str,
    started_at: String,
    target: Option<String>,
    over_ns: Option<u64>,
    /// Sockets that the filter held; with `--stuck` not all of them are listed.
    looked_at: usize,
    unseen_processes: usize,
    sockets: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    protocol: &'static str,
    state: String,
    local: String,
    remote: Option<String>,
    recv_queue: u32,
    send_queue: u32,
    timer: Option<&'static str>,
    retransmits_unanswered: Option<u8>,
    probes_unanswered: Option<u8>,
    retransmits: Option<u32>,
    rtt_ns: Option<u64>,
    peer_window: Option<u32>,
    bytes_acked: Option<u64>,
    bytes_received: Option<u64>,
    last_data_sent_ns: Option<u64>,
    last_data_received_ns: Option<u64>,
    drops: Option<u32>,
    uid: u32,
    inode: u32,
    processes: Vec<Process>,
    finding: Option<Finding>,
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    name: String,
}

#[derive(Serialize)]
struct Finding {
    holdup: &'static str,
    sure: bool,
    evidence: String,
    next: &'static str,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn state(entry: &Entry) -> String {
    let name = match entry.socket.state {
        State::Closed if entry.socket.protocol == Protocol::Udp => "unconnected",
        State::Established => "established",
        State::SynSent => "syn_sent",
        State::SynReceived => "syn_received",
        State::FinWait1 => "fin_wait_1",
        State::FinWait2 => "fin_wait_2",
        State::TimeWait => "time_wait",
        State::Closed => "closed",
        State::CloseWait => "close_wait",
        State::LastAck => "last_ack",
        State::Listen => "listen",
        State::Closing => "closing",
        State::Other(number) => return format!("state {number}"),
    };
    name.to_owned()
}

fn end(address: SocketAddr, is_six: bool) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    // `[::]` takes IPv4 as well, unless told otherwise; the kernel shows which family the socket is of.
    match (is_six, address.port()) {
        (true, port) => format!("[::]:{port}"),
        (false, port) => format!("0.0.0.0:{port}"),
    }
}

impl Row {
    fn new(entry: &Entry) -> Row {
        let socket = &entry.socket;
        let listens = is_listening(socket);
        let tcp: Option<TcpInfo> = socket.tcp.filter(|_| !listens);
        // Zero is "none yet": the kernel counts from when it has something to count from.
        let told = |duration: Duration| (!duration.is_zero()).then(|| nanos(duration));
        let moved =
            |bytes: Option<u64>, since: Duration| bytes.is_none_or(|bytes| bytes > 0).then(|| nanos(since));
        Row {
            protocol: match socket.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            },
            state: state(entry),
            local: end(socket.local, socket.is_six),
            remote: (socket.remote.port() != 0).then(|| socket.remote.to_string()),
            recv_queue: socket.receive_queue,
            send_queue: socket.send_queue,
            timer: match socket.timer {
                Timer::Off => None,
                Timer::Retransmit => Some("retransmit"),
                Timer::Keepalive => Some("keepalive"),
                Timer::TimeWait => Some("time_wait"),
                Timer::Probe => Some("window_probe"),
                Timer::Other(_) => Some("other"),
            },
            retransmits_unanswered: tcp.map(|tcp| tcp.retransmits),
            probes_unanswered: tcp.map(|tcp| tcp.probes),
            retransmits: tcp.map(|tcp| tcp.total_retransmits),
            rtt_ns: tcp.and_then(|tcp| told(tcp.rtt)),
            peer_window: tcp.and_then(|tcp| tcp.send_window),
            bytes_acked: tcp.and_then(|tcp| tcp.bytes_acked),
            bytes_received: tcp.and_then(|tcp| tcp.bytes_received),
            last_data_sent_ns: tcp.and_then(|tcp| {
                let sent = tcp.bytes_acked.map(|acked| acked + u64::from(socket.send_queue));
                moved(sent, tcp.last_data_sent)
            }),
            last_data_received_ns: tcp.and_then(|tcp| moved(tcp.bytes_received, tcp.last_data_received)),
            drops: socket.drops,
            uid: socket.uid,
            inode: socket.inode,
            processes: entry
                .owners
                .iter()
                .map(|owner| Process {
                    pid: owner.pid,
                    name: owner.name.clone(),
                })
                .collect(),
            finding: entry.finding.as_ref().map(|finding| Finding {
                holdup: finding.holdup.as_str(),
                sure: finding.sure,
                evidence: finding.evidence.clone(),
                next: finding.next,
            }),
        }
    }

    fn process(&self) -> String {
        match &self.processes[..] {
            [] if self.inode == 0 => "(kernel)".to_owned(),
            [] => "?".to_owned(),
            [first, rest @ ..] => {
                let more = match rest.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{}/{}{more}", first.pid, escape::line(&first.name))
            }
        }
    }
}

impl Document {
    pub(crate) fn new(listing: &Listing, target: Option<&str>, epoch: &Epoch, looked_at: usize) -> Document {
        Document {
            schema: "rping.sockets/1",
            version: env!("CARGO_PKG_VERSION"),
            command: "sockets",
            started_at: clock::nanos(epoch, epoch.started).to_string(),
            target: target.map(str::to_owned),
            over_ns: listing.over.map(nanos),
            looked_at,
            unseen_processes: listing.unseen_processes,
            sockets: listing.entries.iter().map(Row::new).collect(),
        }
    }
}

/// One document.
pub(crate) fn json(out: &mut Out, document: &Document) -> io::Result<()> {
    json::pretty(out, document)?;
    out.write_all(b"\n")
}

/// One line a socket, then the document.
pub(crate) fn ndjson(out: &mut Out, document: &Document) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        r#type: &'static str,
        #[serde(flatten)]
        of: &'a T,
    }
    for row in &document.sockets {
        json::compact(
            out,
            &Line {
                r#type: "socket",
                of: row,
            },
        )?;
        out.write_all(b"\n")?;
    }
    json::compact(
        out,
        &Line {
            r#type: "summary",
            of: document,
        },
    )?;
    out.write_all(b"\n")
}

/// Rows with a header.
pub(crate) fn csv(out: &mut Out, document: &Document) -> io::Result<()> {
    writeln!(
        out,
        "protocol,state,recv_queue,send_queue,local,remote,rtt_ns,retransmits,retransmits_unanswered,process,holdup,evidence"
    )?;
    for row in &document.sockets {
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        write!(
            out,
            "{},{},{},{},{},{},{},{},{},",
            row.protocol,
            row.state,
            row.recv_queue,
            row.send_queue,
            row.local,
            row.remote.as_deref().unwrap_or_default(),
            number(row.rtt_ns),
            number(row.retransmits.map(u64::from)),
            number(row.retransmits_unanswered.map(u64::from)),
        )?;
        let (holdup, evidence) = row
            .finding
            .as_ref()
            .map_or(("", ""), |finding| (finding.holdup, &finding.evidence));
        escape::csv_cell(out, &row.process())?;
        write!(out, ",{holdup},")?;
        escape::csv_cell(out, evidence)?;
        writeln!(out)?;
    }
    Ok(())
}

const HEAD: [&str; 9] = [
    "proto", "state", "recv-q", "send-q", "local", "remote", "rtt", "resent", "process",
];

/// A table, and under each socket that holds something up the sentence about it.
pub(crate) fn text(out: &mut Out, document: &Document, style: Style) -> io::Result<()> {
    let rows: Vec<[String; 9]> = document
        .sockets
        .iter()
        .map(|row| {
            [
                row.protocol.to_owned(),
                row.state.clone(),
                row.recv_queue.to_string(),
                row.send_queue.to_string(),
                row.local.clone(),
                row.remote.clone().unwrap_or_else(|| "-".to_owned()),
                row.rtt_ns
                    .map_or_else(|| "-".to_owned(), |ns| Time(ns).to_string()),
                row.retransmits
                    .map_or_else(|| "-".to_owned(), |times| times.to_string()),
                row.process(),
            ]
        })
        .collect();
    let mut widths = HEAD.map(|word| word.len());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; 9]| -> String {
        let mut line = String::new();
        for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let padded = match place {
                2 | 3 | 6 | 7 => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
            line.push_str(&padded);
        }
        line.trim_end().to_owned()
    };
    if !rows.is_empty() {
        writeln!(out, "{}", style.paint(Tone::Head, line(HEAD)))?;
    }
    for (row, cells) in document.sockets.iter().zip(&rows) {
        writeln!(out, "{}", line(cells.each_ref().map(String::as_str)))?;
        if let Some(finding) = &row.finding {
            let tone = if finding.sure { Tone::Bad } else { Tone::Warn };
            let unsure = if finding.sure {
                ""
            } else {
                " (one look: --stuck makes sure)"
            };
            let who = words(finding.holdup);
            writeln!(
                out,
                "    {}{unsure}",
                style.paint(tone, format_args!("{who}: {}", finding.evidence))
            )?;
            writeln!(out, "    next: {}", finding.next)?;
        }
    }
    tail(out, document, style)
}

fn tail(out: &mut Out, document: &Document, style: Style) -> io::Result<()> {
    let of = match &document.target {
        Some(target) => format!(" with {}", escape::line(target)),
        None => String::new(),
    };
    match document.over_ns {
        Some(over) => writeln!(
            out,
            "{} of {} sockets{of} stuck: two looks, {} apart",
            document.sockets.len(),
            document.looked_at,
            Time(over)
        )?,
        None => writeln!(out, "{} sockets{of}", document.looked_at)?,
    }
    if document.unseen_processes == 0 && document.sockets.iter().any(|row| row.process() == "?") {
        let note = "? : held by no process that is visible from here (another PID namespace, or the kernel)";
        writeln!(out, "{}", style.paint(Tone::Aside, note))?;
    }
    if document.unseen_processes > 0 {
        let note = format!(
            "? : the open files of {} processes of other users could not be read; root (CAP_SYS_PTRACE) sees them",
            document.unseen_processes
        );
        writeln!(out, "{}", style.paint(Tone::Aside, note))?;
    }
    Ok(())
}

fn words(holdup: &str) -> &'static str {
    match holdup {
        "local_application" => "the local application does not read",
        "peer_application" => "the peer does not read",
        "network" => "the network loses",
        "connect" => "no answer",
        "accept_queue" => "the local application does not accept",
        "not_closed" => "the local application does not close",
        _ => "nothing moves",
    }
}
