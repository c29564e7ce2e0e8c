//! Which tests wait for UDP streams of which clients. iperf3's datagrams carry nothing that names the test, so the
//! clients behind one address take turns: one test at a time is told what comes from there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rping_net::Received;
use tokio::sync::{mpsc, OwnedMutexGuard};

/// The most streams of one test that may be on their way at once.
const ROOM: usize = 256;

/// A client wants a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    /// Its address and port.
    pub(crate) from: SocketAddr,
    /// The address of ours that it wrote to, and the interface it came in by.
    pub(crate) to: Option<(IpAddr, u32)>,
}

#[derive(Debug, Default)]
struct Seat {
    turn: Arc<tokio::sync::Mutex<()>>,
    listener: Option<mpsc::Sender<Claim>>,
    waiting: usize,
}

/// One per server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    seats: Arc<Mutex<HashMap<IpAddr, Seat>>>,
}

/// A test's turn to be told of its client's streams. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) heard: mpsc::Receiver<Claim>,
    // In this order: the listener goes before the next one's turn comes.
    _listening: Listening,
    _turn: OwnedMutexGuard<()>,
    _interest: Interest,
}

impl Claims {
    /// Shown by the reflector what came in; whether a test waits for it. Never waits itself.
    pub(crate) fn offer(&self, received: &Received<'_>) -> bool {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = seats
            .get(&received.from.ip().to_canonical())
            .and_then(|seat| seat.listener.as_ref());
        let claim = Claim {
            from: received.from,
            to: received.to,
        };
        listener.is_some_and(|listener| listener.try_send(claim).is_ok())
    }

    /// Waits until no other test of the same client is at it, and listens from then on.
    pub(crate) async fn turn(&self, client: IpAddr) -> Turn {
        let client = client.to_canonical();
        let (interest, turn) = Interest::new(self, client);
        let turn = turn.lock_owned().await;
        let (listener, heard) = mpsc::channel(ROOM);
        self.seat(client, |seat| seat.listener = Some(listener));
        Turn {
            heard,
            _listening: Listening(self.clone(), client),
            _turn: turn,
            _interest: interest,
        }
    }

    fn seat<T>(&self, client: IpAddr, work: impl FnOnce(&mut Seat) -> T) -> T {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        work(seats.entry(client).or_default())
    }

    /// One less is interested in this client; nothing is kept of a client that nobody is interested in.
    fn leave(&self, client: IpAddr) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats.get_mut(&client) {
            seat.waiting = seat.waiting.saturating_sub(1);
            if seat.waiting == 0 {
                seats.remove(&client);
            }
        }
    }
}

/// Counts a test that waits for its turn or has it.
#[derive(Debug)]
struct Interest(Claims, IpAddr);

impl Interest {
    fn new(claims: &Claims, client: IpAddr) -> (Interest, Arc<tokio::sync::Mutex<()>>) {
        let turn = claims.seat(client, |seat| {
            seat.waiting += 1;
            Arc::clone(&seat.turn)
        });
        (Interest(claims.clone(), client), turn)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Nobody is told any more once this is dropped.
#[derive(Debug)]
struct Listening(Claims, IpAddr);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.seat(self.1, |seat| seat.listener = None);
    }
}
