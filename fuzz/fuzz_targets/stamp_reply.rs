//! Any bytes as a STAMP or TWAMP Light reflector's answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_wire::stamp::auth::Key;
use rping_wire::stamp::{tlv, ReflectorPacket, SHORTEST_ANSWER};

fuzz_target!(|bytes: &[u8]| {
    tlv::class_seen(bytes);
    if let Some(key) = Key::new(&[7; 16]) {
        assert!(ReflectorPacket::open(&key, bytes).is_err(), "a guessed HMAC");
    }
    let parsed = ReflectorPacket::parse(bytes);
    assert_eq!(parsed.is_ok(), bytes.len() >= SHORTEST_ANSWER);
    if let Ok(p) = parsed {
        let (t2, t3) = (p.received_unix_nanos(), p.sent_unix_nanos());
        if let Some(held) = p.turnaround_nanos() {
            assert_eq!(t2.zip(t3).map(|(t2, t3)| t3 - t2), Some(held));
        }
        let _ = (
            p.error_estimate.error_ns(),
            p.sender_error_estimate.format().to_unix_nanos(p.sender_timestamp),
        );
    }
});
