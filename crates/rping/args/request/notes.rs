//! What is done otherwise than it was asked for, and said.

use super::NONCE;
use crate::args::Request;
use crate::job::{Carrier, Kind, Pace, Stop, Target, UdpProtocol};

impl Request {
    /// A latency message holds its sequence number and the residence time, or a STAMP packet; so does a UDP probe that is
    /// no echo.
    pub(super) fn raised(&self, targets: &[Target], is_sealed: bool) -> Option<String> {
        let stamp = match is_sealed {
            true => rping_wire::stamp::auth::AUTH_LEN,
            false => rping_wire::stamp::BASE_LEN,
        };
        let (what, least) = match self.kind {
            Kind::Latency(Carrier::Tcp) => ("messages", rping_wire::latency::HEADER_LEN),
            Kind::Latency(Carrier::Udp) => ("messages", rping_wire::stamp::BASE_LEN),
            Kind::Udp(UdpProtocol::Stamp) => ("STAMP packets", stamp),
            Kind::Udp(UdpProtocol::Auto) if targets.iter().any(|target| target.port() != Some(7)) => {
                ("STAMP packets", stamp)
            }
            _ => return None,
        };
        let size = self.size.filter(|&size| size < least)?;
        Some(format!(
            "with {size} bytes asked for, {what} have {least}, the least there is"
        ))
    }

    pub(super) fn thin_echo(&self) -> Option<String> {
        let size = self
            .size
            .filter(|&size| self.kind == Kind::Icmp && size < NONCE)?;
        Some(format!(
            "with {size} bytes of payload, under {NONCE}, answers are matched by id and sequence alone"
        ))
    }

    /// Says so when the bound over all targets is what sets the pace.
    pub(super) fn stretched(&self, max_rate: Option<f64>, targets: usize) -> Option<String> {
        let (Some(rate), Pace::Every(interval)) = (max_rate, self.pace) else {
            return None;
        };
        let round = targets as f64 / rate;
        if self.stop == Stop::Count(1) || round <= interval.as_secs_f64() * 1.0001 {
            return None;
        }
        Some(format!(
            "{targets} targets at {rate} probes per second in all: each is probed every {round:.3} s, not every \
             {interval:?}; --max-rate sets the bound"
        ))
    }
}
