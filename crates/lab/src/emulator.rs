//! Two namespaces joined by a link that misbehaves on purpose, and the thread that is that link.
//!
//! Each end is a real kernel with a TUN device as its interface; what one kernel sends comes out of its device as an
//! IP packet, is judged by its direction's [`Model`], and goes into the other device when its time has come. The TUN
//! device hands a packet to the kernel within the write, so the order of release is the order of arrival.

use std::collections::BinaryHeap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::time::TimeSpec;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::impair::{Direction, Fate, Impairment, Model};
use crate::namespace::Namespace;
use crate::packet::{fingerprint, Flow, Kind};
use crate::truth::{Entry, Release, Truth};
use crate::wait::{wait_until, Stopwatch};

/// The interface's name at both ends.
const DEVICE: &str = "tun0";
/// As much of a payload as the log keeps: past a STAMP packet's sender fields (RFC 8762 section 4.3.1).
const HEAD: usize = 64;

type Matcher = Box<dyn Fn(&Flow) -> bool + Send>;

/// What the emulator will be.
pub struct EmulatorBuilder {
    seed: u64,
    forward: Impairment,
    reverse: Impairment,
    mtu: u16,
    matcher: Matcher,
}

impl EmulatorBuilder {
    /// Impairs the way from client to server.
    #[must_use]
    pub fn forward(mut self, impairment: Impairment) -> Self {
        self.forward = impairment;
        self
    }

    /// Impairs the way back.
    #[must_use]
    pub fn reverse(mut self, impairment: Impairment) -> Self {
        self.reverse = impairment;
        self
    }

    /// The MTU of both devices in bytes (1500 unless said): what the kernels know of, unlike [`Impairment::mtu`].
    #[must_use]
    pub fn device_mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Impairs and logs those packets alone for which `matcher` says yes; all others pass at once.
    ///
    /// Unless said: ICMP echo and UDP. A fragment never matches.
    #[must_use]
    pub fn only(mut self, matcher: impl Fn(&Flow) -> bool + Send + 'static) -> Self {
        self.matcher = Box::new(matcher);
        self
    }

    /// Builds the namespaces and devices and starts carrying packets.
    #[must_use]
    pub fn start(self) -> Emulator {
        let client = Namespace::new("client");
        let server = Namespace::new("server");
        let ends = [
            open(&client, Emulator::CLIENT_V4, Emulator::CLIENT_V6, self.mtu),
            open(&server, Emulator::SERVER_V4, Emulator::SERVER_V6, self.mtu),
        ];
        let shared = Arc::new(Mutex::new(Shared {
            // Two streams of one seed, far apart.
            models: [
                Model::new(self.forward, self.seed),
                Model::new(self.reverse, self.seed ^ 0x5deece66d0f1e2d3),
            ],
            truth: Truth::default(),
            seen: [0; 2],
            pending: 0,
            stop: false,
        }));
        let (wake, woken) = UnixStream::pair().expect("a socket pair");
        let link = Link {
            ends,
            shared: Arc::clone(&shared),
            woken,
            matcher: self.matcher,
            clock: Stopwatch::start(),
            queue: BinaryHeap::new(),
            copies: 0,
            releases: 0,
        };
        let thread = std::thread::Builder::new()
            .name("emulator".into())
            .spawn(move || link.carry())
            .expect("a thread for the emulator");
        Emulator {
            client,
            server,
            shared,
            wake: Some(wake),
            thread: Some(thread),
        }
    }
}

/// A running emulated link with a host at either end.
#[derive(Debug)]
pub struct Emulator {
    /// The namespace of the client.
    pub client: Namespace,
    /// The namespace of the server.
    pub server: Namespace,
    shared: Arc<Mutex<Shared>>,
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// The client's IPv4 address.
    pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
    /// The server's IPv4 address.
    pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
    /// The client's IPv6 address.
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1);
    /// The server's IPv6 address.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2);

    /// An emulator with this seed and a perfect link, to be impaired.
    #[must_use]
    pub fn seeded(seed: u64) -> EmulatorBuilder {
        EmulatorBuilder {
            seed,
            forward: Impairment::default(),
            reverse: Impairment::default(),
            mtu: 1500,
            matcher: Box::new(|flow| matches!(flow.kind, Kind::Echo { .. } | Kind::Udp { .. })),
        }
    }

    /// Changes a direction's misbehaviour from the next packet on.
    pub fn impair(&self, direction: Direction, impairment: Impairment) {
        lock(&self.shared).models[direction as usize].set(impairment);
    }

    /// Waits until no packet is on its way, and returns the log.
    ///
    /// # Panics
    /// If packets stay on their way for a minute, or a TUN queue overflowed: then the log is not the truth.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let mut quiet = (usize::MAX, 0);
        let idle = || {
            let shared = lock(&self.shared);
            let now = (shared.truth.entries.len(), quiet.1);
            // Still for 20 looks (4 ms and more): a kernel answers an echo within microseconds of its delivery.
            quiet = if shared.pending == 0 && now.0 == quiet.0 {
                (now.0, now.1 + 1)
            } else {
                (now.0, 0)
            };
            quiet.1 >= 20
        };
        wait_until("no packet is on its way", Duration::from_secs(60), idle);
        for end in [&self.client, &self.server] {
            assert_eq!(
                end.statistic(DEVICE, "tx_dropped"),
                0,
                "the TUN queue of {} overflowed",
                end.name()
            );
        }
        lock(&self.shared).truth.clone()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        // Closing our end wakes the thread.
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed by its hook; a second one here would abort the test program.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    models: [Model; 2],
    truth: Truth,
    /// Packets that matched so far, per direction.
    seen: [u64; 2],
    pending: usize,
    stop: bool,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // The data are counters and a log: whole after any single statement.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A copy that waits for its time. The heap's top is the earliest, and among equals the first decided.
struct Waiting {
    due: Duration,
    number: u64,
    direction: Direction,
    entry: usize,
    packet: Arc<[u8]>,
}

impl Waiting {
    fn rank(&self) -> std::cmp::Reverse<(Duration, u64)> {
        std::cmp::Reverse((self.due, self.number))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

struct Link {
    /// The client's device, the server's device.
    ends: [SyncDevice; 2],
    shared: Arc<Mutex<Shared>>,
    woken: UnixStream,
    matcher: Matcher,
    clock: Stopwatch,
    queue: BinaryHeap<Waiting>,
    copies: u64,
    releases: u64,
}

impl Link {
    fn carry(mut self) {
        // Timers of this thread are not to be rounded up to the default 50 µs.
        nix::sys::prctl::set_timerslack(1).expect("the timer slack of a thread of ours");
        let shared = Arc::clone(&self.shared);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let mut state = lock(&shared);
            if state.stop {
                return;
            }
            self.release(&mut state);
            for direction in [Direction::Forward, Direction::Reverse] {
                self.take(direction, &mut state, &mut buffer);
            }
            self.release(&mut state);
            state.pending = self.queue.len();
            drop(state);
            self.wait();
        }
    }

    fn wait(&self) {
        let limit = self
            .queue
            .peek()
            .map(|next| TimeSpec::from(next.due.saturating_sub(self.clock.elapsed())));
        let mut fds = [
            PollFd::new(self.ends[0].as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ends[1].as_fd(), PollFlags::POLLIN),
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted wait is a short one.
        let _ = ppoll(&mut fds, limit, None);
    }

    /// Reads what one end has sent, until there is no more or it has been a while.
    fn take(&mut self, direction: Direction, state: &mut Shared, buffer: &mut [u8]) {
        for _ in 0..64 {
            let length = match self.ends[direction as usize].recv(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nothing more, or the interface is down (EIO, EBADFD): nothing to carry either way.
                Err(_) => return,
            };
            let at = self.clock.elapsed();
            let packet = &mut buffer[..length];
            match Flow::parse(packet).filter(|flow| (self.matcher)(flow)) {
                Some(flow) => self.judge(direction, at, flow, packet, state),
                None => match self.ends[1 - direction as usize].send(packet) {
                    Ok(_) => state.truth.passed += 1,
                    Err(_) => state.truth.undeliverable += 1,
                },
            }
        }
    }

    fn judge(
        &mut self,
        direction: Direction,
        at: Duration,
        flow: Flow,
        packet: &mut [u8],
        state: &mut Shared,
    ) {
        let payload = &packet[flow.payload.clone()];
        let head = payload[..payload.len().min(HEAD)].to_vec();
        let came = fingerprint(payload);
        let fate = state.models[direction as usize].decide(&flow, packet);
        let went = fingerprint(&packet[flow.payload.clone()]);
        let index = state.seen[direction as usize];
        state.seen[direction as usize] += 1;
        let entry = state.truth.entries.len();
        if let Fate::Delivered { delay, again, .. } = fate {
            let bytes: Arc<[u8]> = Arc::from(&packet[..]);
            for delay in std::iter::once(delay).chain(again) {
                let packet = Arc::clone(&bytes);
                let number = self.copies;
                self.queue.push(Waiting {
                    due: at + delay,
                    number,
                    direction,
                    entry,
                    packet,
                });
                self.copies += 1;
            }
        }
        let length = packet.len();
        let released = Vec::new();
        state.truth.entries.push(Entry {
            direction,
            index,
            at,
            flow,
            length,
            head,
            came,
            went,
            fate,
            released,
        });
    }

    /// Hands over what is due.
    fn release(&mut self, state: &mut Shared) {
        while self
            .queue
            .peek()
            .is_some_and(|next| next.due <= self.clock.elapsed())
        {
            let Some(copy) = self.queue.pop() else { return };
            // The stamp is taken before the write: the other kernel answers within it.
            let release = Release {
                order: self.releases,
                at: self.clock.elapsed(),
            };
            self.releases += 1;
            match self.ends[1 - copy.direction as usize].send(&copy.packet) {
                Ok(_) => state.truth.entries[copy.entry].released.push(release),
                Err(_) => state.truth.undeliverable += 1,
            }
        }
    }
}

/// Makes the device of one end, with its addresses, ready to use.
fn open(namespace: &Namespace, v4: Ipv4Addr, v6: Ipv6Addr, mtu: u16) -> SyncDevice {
    let device = namespace.run(|| {
        DeviceBuilder::new()
            .name(DEVICE)
            .mtu(mtu)
            .inherit_enable_state()
            .build_sync()
            .unwrap_or_else(|error| panic!("make {DEVICE} in {}: {error}", namespace.name()))
    });
    device
        .set_nonblocking(true)
        .expect("a TUN device that does not block");
    // The default queue of 500 overflows when one probe batch meets a busy machine; a drop there would be unlogged.
    namespace.ip(&format!(
        "link set {DEVICE} txqueuelen 20000 up\n\
         addr add {v4}/24 dev {DEVICE}\n\
         addr add {v6}/64 dev {DEVICE} nodad\n"
    ));
    wait_usable(namespace, &[v4.into(), v6.into()]);
    device
}

/// Waits until these addresses can be bound.
pub(crate) fn wait_usable(namespace: &Namespace, addresses: &[IpAddr]) {
    namespace.run(|| {
        for &address in addresses {
            wait_until(&format!("{address} is usable"), Duration::from_secs(5), || {
                std::net::UdpSocket::bind((address, 0)).is_ok()
            });
        }
    });
}
