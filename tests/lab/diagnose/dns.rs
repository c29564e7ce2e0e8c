//! A name server of a few lines: one name, one address, as late as it is told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rping_lab::Namespace;

/// Serves until it is dropped.
pub(super) struct NameServer(Arc<AtomicBool>);

impl NameServer {
    /// Knows every name at `address`, or none at all, and answers after `delay`.
    pub(super) fn start(
        namespace: &Namespace,
        at: impl Into<IpAddr>,
        address: Option<Ipv4Addr>,
        delay: Duration,
    ) -> NameServer {
        let at = SocketAddr::new(at.into(), 53);
        let socket = namespace.run(|| UdpSocket::bind(at)).expect("port 53 is free");
        let look = Some(Duration::from_millis(50));
        socket.set_read_timeout(look).expect("a timeout that is not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let answer = answer(&buffer[..length], address);
                let socket = socket.try_clone().expect("a second handle of a socket");
                std::thread::spawn(move || {
                    rping_lab::pause(delay);
                    let _ = socket.send_to(&answer, peer);
                });
            }
        });
        NameServer(stop)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// RFC 1035 section 4.1: the query's header and question, and one record for a question of type A.
fn answer(query: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
    let mut answer = query[..end.min(query.len())].to_vec();
    let is_a = answer[answer.len() - 4..] == [0, 1, 0, 1];
    answer[2] = 0x81;
    answer[3] = if address.is_some() { 0x80 } else { 0x83 };
    answer[6..12].fill(0);
    if let (Some(address), true) = (address, is_a) {
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    answer
}
