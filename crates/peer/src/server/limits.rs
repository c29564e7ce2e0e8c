//! What a server allows, and where it listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rping_net::Wait;

use crate::agent::Agent;
use crate::sessions::Bounds;
use crate::Key;

/// What one server allows, each finite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Tests at once.
    pub tests: usize,
    /// Tests at once from one address (IPv6: from one /64).
    pub tests_per_source: usize,
    /// Parallel streams of a test in each direction.
    pub streams: u16,
    /// How long a test may be.
    pub duration: Duration,
    /// Bits per second that a client may ask for of one stream.
    pub bandwidth: u64,
    /// Connections that have not said yet what they are; and as many that are echoed.
    pub connections: usize,
    /// The same from one address (IPv6: from one /64).
    pub connections_per_source: usize,
    /// STAMP sessions that are counted at once, each listener's; more are answered by a reflector without memory.
    pub sessions: usize,
    /// STAMP sessions that are counted at once from one address (IPv6: from one /64).
    pub sessions_per_source: usize,
    /// Datagrams per second that are answered to one address (IPv6: to one /64).
    pub packet_rate: u64,
    /// How long a STAMP session, or an echo connection, may be silent before it is over.
    pub idle: Duration,
    /// How requests of a latency exchange are waited for; a client may ask for [`Wait::Block`] too.
    pub wait: Wait,
}

impl Limits {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            sessions: self.sessions,
            per_source: self.sessions_per_source,
            rate: self.packet_rate,
            idle: self.idle,
        }
    }
}

/// Where a server listens, and what for.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// TCP and UDP, for every test. `[::]` is every address, IPv4 included; port 0 is any free one.
    pub tests: Vec<SocketAddr>,
    /// UDP, for any STAMP or TWAMP Light sender.
    pub stamp: Vec<SocketAddr>,
    /// UDP and TCP, RFC 862 echo. Not with a key: echo has no way to authenticate.
    pub echo: Vec<SocketAddr>,
    /// With it nothing unauthenticated is served.
    pub key: Option<Key>,
    /// Tells clients what this host sees of their flows. Not without a key.
    pub agent: Option<Arc<dyn Agent>>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tests: 64,
            tests_per_source: 16,
            streams: 128,
            duration: Duration::from_secs(3600),
            bandwidth: 1_000_000_000_000,
            connections: 4096,
            connections_per_source: 1024,
            sessions: 16_384,
            sessions_per_source: 4096,
            packet_rate: 1_000_000,
            idle: Duration::from_secs(60),
            wait: Wait::Auto,
        }
    }
}
