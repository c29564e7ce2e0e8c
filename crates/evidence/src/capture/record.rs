//! A thread that writes the packets of a run down while the run goes on.
//!
//! It has a socket of its own with a filter in the kernel and never touches the run's sockets: what the run measures is
//! not moved by it. The socket is open and listening when [`Recorder::start`] returns, so the first probe is in the
//! file; at the end everything that the kernel has taken is written before [`Recorder::finish`] returns.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rping_net::packet::{self, Link, PacketSocket};
use rping_net::{Clock, Pacing, Waiter, Waker};

use super::{LinkType, Selection, Way, Writer};

/// Bytes of each packet: all that a network carries in one piece.
const SNAP: usize = 65_535;
/// `ETH_P_ALL`.
const EVERYTHING: u16 = 3;
/// What the kernel keeps for us while the disk is slow.
const RECEIVE_BUFFER: usize = 16 << 20;
/// How long nothing happens before the thread looks around.
const IDLE: Duration = Duration::from_secs(3600);
/// Kept free for what stands at the end, and for the declaration of an interface.
const END: u64 = 1024;
/// What a packet's block costs beside its bytes.
const BLOCK: u64 = 68;

/// Why a capture cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// Packet sockets are not for everybody.
    #[error(
        "no permission to capture packets: run `setcap cap_net_raw+ep` on the rping program, or run as root"
    )]
    NoPermission,
    /// Another failure of the socket.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
    /// No thread, or the file does not take the header.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is to be recorded, and where to.
pub struct Settings<W> {
    /// Which packets.
    pub selection: Selection,
    /// Takes the file.
    pub out: W,
    /// The program, for the file's header.
    pub program: String,
    /// What the capture is of, for the file's header.
    pub comment: String,
    /// The file holds at most so many bytes.
    pub limit: u64,
    /// Keep the last packets instead of the first: they are held in memory and written at the end.
    pub ring: bool,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Packets in the file.
    pub packets: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Packets that the kernel dropped because the thread was too slow.
    pub dropped: u64,
    /// Packets left out because the file was full; with a ring, the older ones that gave way.
    pub left_out: u64,
    /// Why the file is not whole.
    pub failure: Option<io::Error>,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Recorder<W> {
    thread: JoinHandle<(Recorded, W)>,
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl<W: Write + Send + 'static> Recorder<W> {
    /// Opens the socket, writes the file's header and starts the thread. Needs `CAP_NET_RAW` until it returns; the thread
    /// gives up every capability before it reads its first packet.
    ///
    /// # Errors
    /// A missing permission, a full disk.
    pub fn start(settings: Settings<W>) -> Result<Recorder<W>, RecorderError> {
        let options = packet::Options {
            filter: settings.selection.filter(),
            transmit_stamps: false,
            cooked: true,
            snap: SNAP,
            receive_buffer: RECEIVE_BUFFER,
            ..packet::Options::new(0, EVERYTHING)
        };
        let socket = PacketSocket::open(&options).map_err(|error| match error.errno() {
            Some(EPERM) => RecorderError::NoPermission,
            _ => RecorderError::Net(error),
        })?;
        let mut writer = Writer::begin(settings.out, &settings.program, &settings.comment, SNAP as u32)?;
        writer.flush()?;
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Waker::new()?;
        let work = Work {
            socket,
            writer,
            selection: settings.selection,
            limit: settings.limit,
            ring: settings.ring.then(VecDeque::new),
            held: 0,
            interfaces: Vec::new(),
            recorded: Recorded::default(),
            latest: 0,
        };
        let (told, woken) = (Arc::clone(&stop), waker.clone());
        let thread = std::thread::Builder::new()
            .name("rping-capture".into())
            .spawn(move || work.run(&told, woken))?;
        Ok(Recorder { thread, stop, waker })
    }

    /// Ends the capture: what the kernel has taken until now is in the file. Returns the writer, too; `None` where the
    /// thread died.
    pub fn finish(self) -> (Recorded, Option<W>) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        match self.thread.join() {
            Ok((recorded, out)) => (recorded, Some(out)),
            Err(_) => {
                let failure = Some(io::Error::other("the capturing thread panicked"));
                let recorded = Recorded {
                    failure,
                    ..Recorded::default()
                };
                (recorded, None)
            }
        }
    }
}

/// `EPERM`: the number is the same on every Linux.
const EPERM: i32 = 1;

/// Batches that are still taken when the capture ends: more than the socket's buffer holds.
const LAST: usize = 1 << 16;
/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u16 = 772;

/// A packet that waits in the ring.
struct Held {
    interface: u32,
    stamp: u64,
    whole: usize,
    bytes: Vec<u8>,
    way: Way,
}

struct Work<W> {
    socket: PacketSocket,
    writer: Writer<W>,
    selection: Selection,
    limit: u64,
    ring: Option<VecDeque<Held>>,
    /// Bytes in the ring.
    held: u64,
    /// The kernel's number of each interface in the file, in order, and its packets.
    interfaces: Vec<(u32, u64)>,
    recorded: Recorded,
    latest: u64,
}

impl<W: Write> Work<W> {
    fn run(mut self, stop: &AtomicBool, waker: Waker) -> (Recorded, W) {
        // What the socket needed it has; a failure leaves capabilities that nothing here uses.
        let _ = rping_net::caps::drop_all();
        let mut waiter = Waiter::new(Pacing::Precise).with_waker(waker.clone());
        loop {
            let ends = stop.load(Ordering::Acquire);
            // A flood that never lets up does not keep it from its end.
            let mut batches = 0..if ends { LAST } else { usize::MAX };
            while batches.next().is_some() && self.receive() {}
            if self.recorded.failure.is_none() {
                self.recorded.failure = self.writer.flush().err();
            }
            if ends {
                break;
            }
            waiter.wait(&[self.socket.as_fd()], Clock.now().plus(IDLE));
            waker.take();
        }
        self.recorded.dropped = self.socket.drops();
        if self.recorded.failure.is_none() {
            self.recorded.failure = self.conclude().err();
        }
        self.recorded.bytes = self.writer.written();
        (self.recorded, self.writer.into_inner())
    }

    /// Takes one batch; whether there may be more.
    fn receive(&mut self) -> bool {
        match self.socket.receive() {
            Ok(0) => return false,
            Ok(_) => {}
            // An interface went down, which is told once: the others go on.
            Err(_) => return false,
        }
        let mut kept = Vec::new();
        for frame in self.socket.frames() {
            // What leaves by the loopback interface comes in by it: one packet, handed over twice.
            if frame.link.hardware == LOOPBACK && frame.link.kind == OUTGOING {
                continue;
            }
            let bytes = cooked(&frame.link, frame.bytes);
            if !self.selection.holds(LinkType::Cooked2, &bytes) {
                continue;
            }
            let stamp = frame
                .stamp
                .and_then(|stamp| u64::try_from(stamp).ok())
                .unwrap_or_else(|| u64::try_from(Clock.wall_nanos(Clock.now())).unwrap_or(0));
            let way = if frame.link.kind == OUTGOING {
                Way::Out
            } else {
                Way::In
            };
            kept.push((frame.link.ifindex, stamp, frame.whole + HEAD, bytes, way));
        }
        for (ifindex, stamp, whole, bytes, way) in kept {
            if self.recorded.failure.is_some() {
                break;
            }
            if let Err(error) = self.keep(ifindex, stamp, whole, bytes, way) {
                self.recorded.failure = Some(error);
            }
        }
        true
    }

    fn keep(&mut self, ifindex: u32, stamp: u64, whole: usize, bytes: Vec<u8>, way: Way) -> io::Result<()> {
        let costs = bytes.len() as u64 + BLOCK;
        let room = self.limit.saturating_sub(END + self.writer.written() + self.held);
        if costs > room && self.ring.is_none() {
            self.recorded.left_out += 1;
            return Ok(());
        }
        let interface = self.interface(ifindex)?;
        self.latest = self.latest.max(stamp);
        let Some(ring) = &mut self.ring else {
            self.count(interface);
            return self.writer.packet(interface, stamp, whole, &bytes, Some(way));
        };
        self.held += costs;
        ring.push_back(Held {
            interface,
            stamp,
            whole,
            bytes,
            way,
        });
        while END + self.writer.written() + self.held > self.limit {
            let Some(oldest) = ring.pop_front() else { break };
            self.held -= oldest.bytes.len() as u64 + BLOCK;
            self.recorded.left_out += 1;
        }
        Ok(())
    }

    fn count(&mut self, interface: u32) {
        self.recorded.packets += 1;
        if let Some((_, packets)) = self.interfaces.get_mut(interface as usize) {
            *packets += 1;
        }
    }

    /// The file's number of an interface, which is declared when its first packet comes.
    fn interface(&mut self, ifindex: u32) -> io::Result<u32> {
        if let Some(place) = self.interfaces.iter().position(|&(known, _)| known == ifindex) {
            return Ok(place as u32);
        }
        let name = rping_net::iface::interface_by_index(ifindex)
            .ok()
            .flatten()
            .map_or_else(|| format!("interface {ifindex}"), |interface| interface.name);
        self.interfaces.push((ifindex, 0));
        self.writer.interface(&name, LinkType::Cooked2)
    }

    fn conclude(&mut self) -> io::Result<()> {
        for held in self.ring.take().unwrap_or_default() {
            self.count(held.interface);
            self.writer.packet(
                held.interface,
                held.stamp,
                held.whole,
                &held.bytes,
                Some(held.way),
            )?;
        }
        let comment = match (self.recorded.left_out, self.recorded.dropped) {
            (0, 0) => None,
            (out, dropped) => Some(format!(
                "{out} packets left out because the file was full, {dropped} dropped by the kernel"
            )),
        };
        for place in 0..self.interfaces.len() {
            let packets = self.interfaces[place].1;
            // The kernel counts drops of the whole socket: they are told once, with the first interface.
            let lost = if place == 0 {
                self.recorded.dropped + self.recorded.left_out
            } else {
                0
            };
            self.writer.statistics(
                place as u32,
                self.latest,
                packets + lost,
                lost,
                comment.as_deref(),
            )?;
        }
        self.writer.flush()
    }
}

/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;
/// The length of a cooked header, version 2.
const HEAD: usize = 20;

/// The frame behind a Linux cooked header, version 2: what the kernel told of its link layer.
fn cooked(link: &Link, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + bytes.len());
    frame.extend(link.ethertype.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(link.ifindex.to_be_bytes());
    frame.extend(link.hardware.to_be_bytes());
    frame.extend([link.kind, link.address_length]);
    frame.extend(link.address);
    frame.extend(bytes);
    frame
}
