//! What each side tells the other at the end.

use serde_json::{json, Value};

/// Keys that iperf3 does not have and does not look at: what its results leave unsaid.
const REORDERED: &str = "rping_reordered";
const DROPPED: &str = "rping_dropped";
const DISCARDS: &str = "rping_discards";

/// One stream, as one side saw it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct StreamResult {
    /// See the order of creation: 1, 3, 4, 5, ….
    pub id: u64,
    /// Payload bytes sent or received, without the start-up phase.
    pub bytes: u64,
    /// Segments sent again; `None` for a receiver, and where it is not known.
    pub retransmits: Option<u64>,
    /// The receiver's jitter (RFC 1889, appendix A.8), seconds.
    pub jitter: f64,
    /// Datagrams lost, as the receiver counts, start-up phase included.
    pub errors: i64,
    /// The highest count sent or seen, start-up phase included.
    pub packets: u64,
    /// Of `errors`, those of the start-up phase; `None` from versions that do not say.
    pub omitted_errors: Option<i64>,
    /// Of `packets`, those of the start-up phase.
    pub omitted_packets: Option<u64>,
    /// Datagrams that came out of order; `None` from iperf3, whose results do not say.
    pub reordered: Option<u64>,
    /// Datagrams that the receiving host dropped itself; `None` from iperf3.
    pub dropped: Option<u64>,
    /// When it began, seconds on the writer's clock.
    pub start: f64,
    /// When it ended.
    pub end: f64,
}

/// One side's results.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Results {
    /// Processor time against wall time, per cent: all, and the parts of user and system.
    pub cpu: [f64; 3],
    /// Whether this side knows retransmissions.
    pub has_retransmits: bool,
    /// The congestion control in use.
    pub congestion: Option<String>,
    /// Whether this side received without reading the payload; `None` from iperf3, which does not say.
    pub discards: Option<bool>,
    /// Its streams.
    pub streams: Vec<StreamResult>,
}

impl Results {
    /// As it goes out. `is_receiver` tells a side that only receives, which iperf3 marks with −1.
    pub fn to_json(&self, is_receiver: bool) -> Vec<u8> {
        let streams: Vec<Value> = self.streams.iter().map(|stream| stream.to_json()).collect();
        let known = match (is_receiver, self.has_retransmits) {
            (true, _) => -1,
            (false, known) => i32::from(known),
        };
        let mut all = json!({
            "cpu_util_total": self.cpu[0],
            "cpu_util_user": self.cpu[1],
            "cpu_util_system": self.cpu[2],
            "sender_has_retransmits": known,
            "streams": streams,
        });
        if let (Some(name), Value::Object(all)) = (&self.congestion, &mut all) {
            all.insert("congestion_used".to_owned(), json!(name));
        }
        if let (Some(discards), Value::Object(all)) = (self.discards, &mut all) {
            all.insert(DISCARDS.to_owned(), json!(discards));
        }
        all.to_string().into_bytes()
    }

    /// As it came in. Keys that are missing are 0; keys that are not known are ignored.
    ///
    /// # Errors
    /// When it is no JSON object with streams.
    pub fn parse(text: &[u8]) -> Result<Results, &'static str> {
        let all: Value = serde_json::from_slice(text).map_err(|_| "its results are no JSON")?;
        let streams = all
            .get("streams")
            .and_then(Value::as_array)
            .ok_or("its results name no streams")?;
        let percent = |key: &str| float(&all, key).clamp(0.0, 1e6);
        Ok(Results {
            cpu: ["cpu_util_total", "cpu_util_user", "cpu_util_system"].map(percent),
            has_retransmits: float(&all, "sender_has_retransmits") == 1.0,
            congestion: all
                .get("congestion_used")
                .and_then(Value::as_str)
                .map(|name| name.chars().take(32).collect()),
            discards: all.get(DISCARDS).and_then(Value::as_bool),
            streams: streams.iter().map(StreamResult::parse).collect(),
        })
    }

    /// The stream with this number.
    pub fn stream(&self, id: u64) -> Option<&StreamResult> {
        self.streams.iter().find(|stream| stream.id == id)
    }
}

impl StreamResult {
    fn to_json(self) -> Value {
        let mut all = json!({
            "id": self.id,
            "bytes": self.bytes,
            "retransmits": self.retransmits.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
            "jitter": self.jitter,
            "errors": self.errors,
            "packets": self.packets,
            "start_time": self.start,
            "end_time": self.end,
        });
        if let Value::Object(all) = &mut all {
            let ours = [(REORDERED, self.reordered), (DROPPED, self.dropped)];
            ours.into_iter()
                .filter_map(|(key, count)| Some((key, count?)))
                .for_each(|(key, count)| {
                    all.insert(key.to_owned(), json!(count));
                });
        }
        // Both or neither: a client of 3.14 and later wants both.
        if let (Some(errors), Some(packets), Value::Object(all)) =
            (self.omitted_errors, self.omitted_packets, &mut all)
        {
            all.insert("omitted_errors".to_owned(), json!(errors));
            all.insert("omitted_packets".to_owned(), json!(packets));
        }
        all
    }

    fn parse(value: &Value) -> StreamResult {
        // 3.12 writes −1 as 2^64 − 1: as a floating number it is beyond every count.
        let count = |key: &str| {
            let there = value.get(key).and_then(Value::as_f64);
            there.filter(|x| (0.0..9e18).contains(x))
        };
        let whole = |key: &str| count(key).unwrap_or(0.0) as u64;
        StreamResult {
            id: whole("id"),
            bytes: whole("bytes"),
            retransmits: count("retransmits").map(|x| x as u64),
            jitter: float(value, "jitter").clamp(0.0, 1e6),
            // The cast saturates.
            errors: float(value, "errors") as i64,
            packets: whole("packets"),
            omitted_errors: value
                .get("omitted_errors")
                .and_then(Value::as_f64)
                .map(|x| x as i64),
            omitted_packets: value.get("omitted_packets").map(|_| whole("omitted_packets")),
            reordered: count(REORDERED).map(|x| x as u64),
            dropped: count(DROPPED).map(|x| x as u64),
            start: float(value, "start_time"),
            end: float(value, "end_time"),
        }
    }
}

/// A number; 0 where there is none, or one that is not finite.
fn float(value: &Value, key: &str) -> f64 {
    let number = value.get(key).and_then(Value::as_f64);
    number.filter(|x| x.is_finite()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let results = Results {
            cpu: [12.5, 2.5, 10.0],
            has_retransmits: true,
            congestion: Some("cubic".into()),
            discards: Some(true),
            streams: vec![
                StreamResult {
                    id: 1,
                    bytes: 1 << 40,
                    retransmits: Some(3),
                    end: 1.5,
                    ..StreamResult::default()
                },
                StreamResult {
                    id: 3,
                    jitter: 1e-5,
                    errors: -1,
                    packets: 99,
                    omitted_errors: Some(0),
                    omitted_packets: Some(9),
                    reordered: Some(4),
                    dropped: Some(5),
                    ..StreamResult::default()
                },
            ],
        };
        assert_eq!(Results::parse(&results.to_json(false)), Ok(results.clone()));
        assert_eq!(results.stream(3).map(|s| s.packets), Some(99));
        assert!(!Results::parse(&results.to_json(true)).unwrap().has_retransmits);
    }

    #[test]
    fn debians_minus_one_is_no_count() {
        let text = br#"{"cpu_util_total":1,"cpu_util_user":0,"cpu_util_system":0,
            "sender_has_retransmits":18446744073709551615,
            "streams":[{"id":1,"bytes":5,"retransmits":18446744073709551615,"jitter":0,"errors":0,"packets":0}]}"#;
        let results = Results::parse(text).unwrap();
        assert!(!results.has_retransmits);
        assert_eq!(results.streams[0].retransmits, None);
        assert_eq!(results.streams[0].bytes, 5);
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(number in any::<f64>(), text in ".{0,30}") {
            let value = json!({"streams": [{"id": number, "bytes": text, "errors": number, "jitter": number}]});
            prop_assert!(Results::parse(value.to_string().as_bytes()).is_ok());
            let _ = Results::parse(text.as_bytes());
        }
    }
}
