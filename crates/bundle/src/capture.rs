//! Captures that go through a bundle: packets of other programs taken out, or each packet rewritten.

use std::collections::HashSet;
use std::net::SocketAddr;

use rping_evidence::capture::packet::{self, Network, Transport};
use rping_evidence::capture::{LinkType, ReadError, Reader, Way, Writer};
use rping_evidence::sockets::{Protocol, Socket};

/// `PACKET_OUTGOING`, and where a Linux cooked header, version 2, has it.
const OUTGOING: u8 = 4;
const KIND: usize = 10;

/// Conversations that go on already, which are not to be captured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Others(HashSet<(bool, SocketAddr, SocketAddr)>);

impl Others {
    /// Those of these sockets that have a peer.
    pub fn of<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Others {
        let connected = sockets.into_iter().filter(|socket| socket.remote.port() != 0);
        Others(
            connected
                .map(|socket| key(socket.protocol == Protocol::Tcp, socket.local, socket.remote))
                .collect(),
        )
    }

    fn hold(&self, frame: &[u8]) -> bool {
        let Some(Network::Ip(ip)) = packet::parse(LinkType::Cooked2, frame) else {
            return false;
        };
        let (is_tcp, source, destination) = match ip.transport {
            Transport::Tcp(tcp) => (true, tcp.source, tcp.destination),
            Transport::Udp { source, destination } => (false, source, destination),
            _ => return false,
        };
        let (from, to) = (
            SocketAddr::new(ip.source, source),
            SocketAddr::new(ip.destination, destination),
        );
        self.0.contains(&key(is_tcp, from, to))
    }

    /// A capture without them, and how many packets were taken out.
    pub fn taken_out(&self, capture: Vec<u8>, comment: &str) -> (Vec<u8>, u64) {
        if self.0.is_empty() {
            return (capture, 0);
        }
        let mut out = 0;
        let rest = rewritten(&capture, comment, |frame| {
            let is_other = self.hold(frame);
            out += u64::from(is_other);
            (!is_other).then(|| frame.to_vec())
        });
        match rest {
            // With nothing taken out it stays as it is, statistics and all.
            Ok(rest) if out > 0 => (rest, out),
            _ => (capture, 0),
        }
    }
}

/// Either direction, and either way of writing an IPv4 address.
fn key(is_tcp: bool, a: SocketAddr, b: SocketAddr) -> (bool, SocketAddr, SocketAddr) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (a, b) = (plain(a), plain(b));
    (is_tcp, a.min(b), a.max(b))
}

/// Goes through a capture packet by packet: `each` gives what it becomes, `None` takes it out.
///
/// # Errors
/// In words, what is no capture.
pub(crate) fn rewritten(
    capture: &[u8],
    comment: &str,
    mut each: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, String> {
    rewritten_with(capture, comment, str::to_owned, &mut each)
}

/// The same, with other names for interfaces.
pub(crate) fn rewritten_with(
    capture: &[u8],
    comment: &str,
    name: impl Fn(&str) -> String,
    each: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut reader = Reader::open(capture).map_err(|error| error.to_string())?;
    let mut writer = Writer::begin(Vec::new(), "rping", comment, 65_535).map_err(said)?;
    let mut declared = 0;
    loop {
        let record = match reader.next() {
            None => break,
            Some(Ok(record)) => record,
            // What comes before the damage is a capture still.
            Some(Err(ReadError::Cut { .. } | ReadError::Damaged { .. })) => break,
            Some(Err(error)) => return Err(error.to_string()),
        };
        while declared < reader.interfaces().len() {
            let interface = &reader.interfaces()[declared];
            let name = name(interface.name.as_deref().unwrap_or_default());
            writer.interface(&name, interface.link).map_err(said)?;
            declared += 1;
        }
        if record.link != LinkType::Cooked2 {
            continue;
        }
        let Some(frame) = each(&record.bytes) else {
            continue;
        };
        let way = if frame.get(KIND) == Some(&OUTGOING) {
            Way::Out
        } else {
            Way::In
        };
        writer
            .packet(
                record.interface,
                record.stamp,
                record.whole as usize,
                &frame,
                Some(way),
            )
            .map_err(said)?;
    }
    Ok(writer.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment from 10.0.0.`from` to 10.0.0.`to` behind a cooked header.
    fn segment([from, to]: [u8; 2], source: u16, destination: u16) -> Vec<u8> {
        let mut frame = vec![8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        frame.extend([
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
        ]);
        frame.extend(source.to_be_bytes());
        frame.extend(destination.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        frame
    }

    #[test]
    fn conversations_of_before_are_taken_out_in_both_directions_and_no_others() {
        let mut writer = Writer::begin(Vec::new(), "x", "y", 65_535).unwrap();
        writer.interface("eth0", LinkType::Cooked2).unwrap();
        let frames = [
            segment([1, 2], 1000, 22),
            segment([2, 1], 22, 1000),
            segment([1, 2], 1001, 22),
            segment([1, 2], 22, 1000),
        ];
        for (number, frame) in frames.iter().enumerate() {
            writer
                .packet(0, number as u64, frame.len(), frame, Some(Way::Out))
                .unwrap();
        }
        let capture = writer.into_inner();
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        // As an IPv6 socket shows it, from this side.
        let others = Others(HashSet::from([key(
            true,
            end("[::ffff:10.0.0.1]:1000"),
            end("[::ffff:10.0.0.2]:22"),
        )]));
        let (rest, out) = others.taken_out(capture.clone(), "y");
        let kept: Vec<u64> = Reader::open(&rest[..])
            .unwrap()
            .map(|record| record.unwrap().stamp)
            .collect();
        assert_eq!((out, kept), (2, vec![2, 3]));
        let (same, out) = Others::default().taken_out(capture.clone(), "y");
        assert!(same == capture && out == 0);
    }
}
