//! The parameters of a test, as the client states them.

use rping_wire::iperf::{errors, DatagramHeader};
use serde_json::{json, Map, Value};

/// What carries the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// A byte stream.
    #[default]
    Tcp,
    /// Counted datagrams.
    Udp,
}

/// A test as both sides know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// What carries the data.
    pub protocol: Protocol,
    /// The server sends.
    pub reverse: bool,
    /// Both send, each on streams of its own.
    pub bidirectional: bool,
    /// The start-up phase that counts for nothing, seconds.
    pub omit: u32,
    /// How long the client will run, seconds; 0 where bytes or blocks end it.
    pub time: u32,
    /// Bytes over all streams that end it; 0: none.
    pub bytes: u64,
    /// Messages over all streams that end it; 0: none.
    pub blocks: u64,
    /// Streams in each direction.
    pub parallel: u16,
    /// Bytes of one write or datagram.
    pub length: usize,
    /// The maximum segment size asked for, bytes.
    pub mss: Option<u32>,
    /// Bits per second of each stream; 0: as fast as it goes.
    pub bandwidth: u64,
    /// The TOS byte or traffic class of the data.
    pub tos: Option<u8>,
    /// The congestion control, by name.
    pub congestion: Option<String>,
    /// Datagrams are counted with 64 bits.
    pub wide_counters: bool,
    /// Receivers drop the payload in the kernel, without reading it.
    pub skip_receive_copy: bool,
    /// Senders hand the kernel many datagrams in one piece, to be cut by it or by the network card (UDP).
    pub segments: bool,
    /// Receivers take what came together in one piece (UDP).
    pub coalesces: bool,
}

/// The most streams in each direction: iperf3's own limit.
pub(crate) const STREAMS_MOST: u16 = 128;
/// The longest TCP write: iperf3's own limit.
pub(crate) const LENGTH_MOST: usize = 1 << 20;
/// The longest datagram.
pub(crate) const DATAGRAM_MOST: usize = 65_507;
/// The longest start-up phase, seconds: iperf3's own limit.
const OMIT_MOST: u32 = 600;
/// The longest test, seconds: iperf3's own limit.
const TIME_MOST: u32 = 86_400;

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            protocol: Protocol::Tcp,
            reverse: false,
            bidirectional: false,
            omit: 0,
            time: 10,
            bytes: 0,
            blocks: 0,
            parallel: 1,
            length: 128 << 10,
            mss: None,
            bandwidth: 0,
            tos: None,
            congestion: None,
            wide_counters: false,
            skip_receive_copy: false,
            segments: false,
            coalesces: false,
        }
    }
}

impl Parameters {
    /// As the client sends them. Flags that are off are left out: up to 3.17 the presence of one is what counts.
    pub fn to_json(&self) -> Vec<u8> {
        let mut all = Map::new();
        let mut set = |key: &str, value: Value| all.insert(key.to_owned(), value);
        match self.protocol {
            Protocol::Tcp => set("tcp", json!(true)),
            Protocol::Udp => set("udp", json!(true)),
        };
        set("omit", json!(self.omit));
        set("time", json!(self.time));
        set("num", json!(self.bytes));
        set("blockcount", json!(self.blocks));
        set("parallel", json!(self.parallel));
        set("len", json!(self.length));
        set("bandwidth", json!(self.bandwidth));
        set("pacing_timer", json!(1000));
        for (key, on) in [("reverse", self.reverse), ("bidirectional", self.bidirectional)] {
            if on {
                set(key, json!(true));
            }
        }
        for (key, on) in [
            ("udp_counters_64bit", self.wide_counters),
            ("skip_rx_copy", self.skip_receive_copy),
        ] {
            if on {
                set(key, json!(1));
            }
        }
        if self.segments || self.coalesces {
            // As 3.21 and later: the longest piece that is cut, and that is put together.
            let piece = DATAGRAM_MOST / self.length.max(1) * self.length;
            set("gso", json!(u8::from(self.segments)));
            set("gso_dg_size", json!(self.length));
            set("gso_bf_size", json!(piece));
            set("gro", json!(u8::from(self.coalesces)));
            set("gro_bf_size", json!(65_535));
        }
        if let Some(mss) = self.mss {
            set("MSS", json!(mss));
        }
        if let Some(tos) = self.tos {
            set("TOS", json!(tos));
        }
        if let Some(congestion) = &self.congestion {
            set("congestion", json!(congestion));
        }
        set(
            "client_version",
            json!(concat!("rping ", env!("CARGO_PKG_VERSION"))),
        );
        Value::Object(all).to_string().into_bytes()
    }

    /// As a client sent them; what it left out is iperf3's default.
    ///
    /// # Errors
    /// iperf3's number for what is wrong with them.
    pub fn parse(text: &[u8]) -> Result<Parameters, i32> {
        let Ok(Value::Object(all)) = serde_json::from_slice(text) else {
            return Err(errors::PARAMETERS);
        };
        let flag = |key: &str| match all.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Number(n)) => n.as_f64() != Some(0.0),
            Some(_) => true,
        };
        let number = |key: &str, default: u64| match all.get(key) {
            None => Ok(default),
            Some(value) => whole(value).ok_or(errors::PARAMETERS),
        };
        let text = |key: &str| all.get(key).and_then(Value::as_str).map(str::to_owned);
        if flag("sctp") {
            return Err(errors::PARAMETERS);
        }
        let protocol = if flag("udp") { Protocol::Udp } else { Protocol::Tcp };
        let default_length = match protocol {
            Protocol::Tcp => 128 << 10,
            Protocol::Udp => 1460,
        };
        let bounded = |key, default, most: u64, error| match number(key, default)? {
            n if n > most => Err(error),
            n => Ok(n),
        };
        let parallel = bounded("parallel", 1, STREAMS_MOST.into(), errors::STREAMS)?;
        let length = match number("len", default_length)? {
            0 => default_length,
            n => n,
        };
        let length_most = match protocol {
            Protocol::Tcp => LENGTH_MOST,
            Protocol::Udp => DATAGRAM_MOST,
        };
        if length > length_most as u64 {
            return Err(errors::UDP_LENGTH);
        }
        let wide_counters = flag("udp_counters_64bit");
        if protocol == Protocol::Udp && (length as usize) < DatagramHeader::LEN_64 {
            return Err(errors::UDP_LENGTH);
        }
        Ok(Parameters {
            protocol,
            reverse: flag("reverse"),
            bidirectional: flag("bidirectional"),
            omit: bounded("omit", 0, OMIT_MOST.into(), 12)? as u32,
            time: bounded("time", 10, TIME_MOST.into(), errors::TOO_LONG)? as u32,
            bytes: number("num", 0)?,
            blocks: number("blockcount", 0)?,
            parallel: parallel.max(1) as u16,
            length: length as usize,
            mss: Some(number("MSS", 0)? as u32).filter(|mss| (88..=65_495).contains(mss)),
            bandwidth: number("bandwidth", 0)?,
            tos: u8::try_from(number("TOS", 0)?).ok().filter(|&tos| tos > 0),
            congestion: text("congestion").filter(|name| name.len() <= 15),
            wide_counters,
            skip_receive_copy: flag("skip_rx_copy"),
            segments: protocol == Protocol::Udp && flag("gso"),
            coalesces: protocol == Protocol::Udp && flag("gro"),
        })
    }

    /// The time between two messages of a stream at its rate; zero where nothing paces it.
    pub fn period(&self) -> std::time::Duration {
        let bits = self.length as u128 * 8 * 1_000_000_000;
        let nanos = bits.checked_div(self.bandwidth.into()).unwrap_or(0);
        std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many streams there are in all.
    pub fn streams(&self) -> usize {
        usize::from(self.parallel) * if self.bidirectional { 2 } else { 1 }
    }

    /// Whether the client sends on the stream with this place, from 0.
    pub fn client_sends(&self, place: usize) -> bool {
        if self.bidirectional {
            place < usize::from(self.parallel)
        } else {
            !self.reverse
        }
    }
}

/// A number as some JSON writer may have put it: never negative, never beyond 2^63.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Bool(on) => Some(u64::from(*on)),
        Value::Number(n) => n
            .as_u64()
            .filter(|&n| n < 1 << 63)
            // The cast saturates; the bounds keep it exact enough.
            .or_else(|| n.as_f64().filter(|x| (0.0..9e18).contains(x)).map(|x| x as u64)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let parameters = Parameters {
            protocol: Protocol::Udp,
            bidirectional: true,
            omit: 1,
            time: 3,
            parallel: 4,
            length: 1400,
            mss: Some(1000),
            bandwidth: 5_000_000,
            tos: Some(184),
            congestion: Some("reno".into()),
            wide_counters: true,
            segments: true,
            coalesces: true,
            ..Parameters::default()
        };
        assert_eq!(Parameters::parse(&parameters.to_json()), Ok(parameters.clone()));
        assert_eq!(parameters.streams(), 8);
        assert!(parameters.client_sends(3) && !parameters.client_sends(4));
    }

    #[test]
    fn flags_that_are_off_are_left_out_because_their_presence_is_what_counts() {
        let text = String::from_utf8(Parameters::default().to_json()).unwrap();
        for key in ["reverse", "bidirectional", "udp", "udp_counters_64bit"] {
            assert!(!text.contains(&format!("\"{key}\"")), "{text}");
        }
    }

    #[test]
    fn iperf3s_own_parameters_are_read() {
        let seen = br#"{"tcp":true,"omit":0,"time":2,"num":0,"blockcount":0,"parallel":2,"reverse":true,
            "len":131072,"pacing_timer":1000,"client_version":"3.12"}"#;
        let got = Parameters::parse(seen).unwrap();
        assert_eq!(
            got,
            Parameters {
                reverse: true,
                time: 2,
                parallel: 2,
                ..Parameters::default()
            }
        );
        assert_eq!(Parameters::parse(b"{}"), Ok(Parameters::default()));
    }

    #[test]
    fn parameters_beyond_bounds_are_refused_with_iperf3s_number() {
        for (text, number) in [
            ("", errors::PARAMETERS),
            ("[]", errors::PARAMETERS),
            ("{\"parallel\":129}", errors::STREAMS),
            ("{\"parallel\":1e308}", errors::PARAMETERS),
            ("{\"parallel\":-1}", errors::PARAMETERS),
            ("{\"time\":86401}", errors::TOO_LONG),
            ("{\"time\":\"x\"}", errors::PARAMETERS),
            ("{\"omit\":601}", 12),
            ("{\"udp\":true,\"len\":15}", errors::UDP_LENGTH),
            ("{\"udp\":true,\"len\":65508}", errors::UDP_LENGTH),
            ("{\"len\":1048577}", errors::UDP_LENGTH),
            ("{\"num\":18446744073709551616}", errors::PARAMETERS),
            ("{\"sctp\":true}", errors::PARAMETERS),
        ] {
            assert_eq!(Parameters::parse(text.as_bytes()), Err(number), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(key in "[a-z_A-Z0-9]{1,12}", number in any::<f64>(), text in ".{0,20}") {
            for value in [json!(number), json!(text), json!([text.clone()])] {
                for key in [key.as_str(), "len", "time", "parallel", "MSS", "TOS", "bandwidth"] {
                    if let Ok(all) = Parameters::parse(json!({key: value}).to_string().as_bytes()) {
                        prop_assert!(all.streams() >= 1 && all.length > 0);
                    }
                }
            }
            let _ = Parameters::parse(text.as_bytes());
        }
    }
}
