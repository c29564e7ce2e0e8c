//! Small servers to probe, each a thread that lives as long as its value.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::namespace::Namespace;

/// How often a serving thread looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);

/// A thread that is told to stop and waited for.
#[derive(Debug)]
struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || work(&flag));
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; a second one here would abort the test program.
            let _ = thread.join();
        }
    }
}

/// A UDP service that answers every datagram with what a function makes of it.
#[derive(Debug)]
pub struct UdpService {
    address: SocketAddr,
    received: Arc<AtomicU64>,
    _worker: Worker,
}

impl UdpService {
    /// Serves at `address` in `namespace`; `answer` gives the datagrams to send back, in order.
    ///
    /// # Panics
    /// When the address cannot be bound.
    #[must_use]
    pub fn start(
        namespace: &Namespace,
        address: SocketAddr,
        mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = namespace
            .run(|| UdpSocket::bind(address))
            .unwrap_or_else(|error| panic!("bind UDP {address} in {}: {error}", namespace.name()));
        socket
            .set_read_timeout(Some(LOOK))
            .expect("a timeout that is not zero");
        let address = socket.local_addr().expect("the address of a bound socket");
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        let worker = Worker::start(move |stop| {
            let mut buffer = vec![0; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                for datagram in answer(&buffer[..length]) {
                    // The peer may be gone; that is its business.
                    let _ = socket.send_to(&datagram, peer);
                }
            }
        });
        Self {
            address,
            received,
            _worker: worker,
        }
    }

    /// An echo service as RFC 862 has it: every datagram back, byte for byte.
    #[must_use]
    pub fn echo(namespace: &Namespace, address: SocketAddr) -> Self {
        Self::start(namespace, address, |datagram| vec![datagram.to_vec()])
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that have come in so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A TCP service that accepts, says nothing, and closes when the other side does.
#[derive(Debug)]
pub struct Acceptor {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    _worker: Worker,
}

impl Acceptor {
    /// Listens at `address` in `namespace`.
    ///
    /// # Panics
    /// When the address cannot be bound.
    #[must_use]
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Self {
        let listener = namespace.run(|| listen(address, 4096));
        listener
            .set_nonblocking(true)
            .expect("a listener that does not block");
        let address = listener.local_addr().expect("the address of a listener");
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let worker = Worker::start(move |stop| {
            let mut open: Vec<TcpStream> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        if stream.set_nonblocking(true).is_ok() {
                            open.push(stream);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        open.retain(still_open);
                        crate::pause(Duration::from_millis(1));
                    }
                    Err(_) => crate::pause(Duration::from_millis(1)),
                }
            }
        });
        Self {
            address,
            accepted,
            _worker: worker,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// One look: between two, data may come that nobody reads here, and closing then would be a reset.
fn still_open(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(length) => length > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// A TCP listener whose accept queue is full: the kernel drops the SYNs that come now.
#[derive(Debug)]
pub struct FullListener {
    address: SocketAddr,
    _listener: TcpListener,
    _filler: TcpStream,
}

impl FullListener {
    /// Listens with a backlog of 0, accepts nothing, and fills the queue with one connection from `client`.
    ///
    /// # Panics
    /// When the address cannot be bound or reached.
    #[must_use]
    pub fn start(server: &Namespace, address: SocketAddr, client: &Namespace) -> Self {
        let listener = server.run(|| listen(address, 0));
        let address = listener.local_addr().expect("the address of a listener");
        let filler = client
            .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(3)))
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self {
            address,
            _listener: listener,
            _filler: filler,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn listen(address: SocketAddr, backlog: i32) -> TcpListener {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(socket.into())
    };
    open().unwrap_or_else(|error| panic!("listen at {address}: {error}"))
}
