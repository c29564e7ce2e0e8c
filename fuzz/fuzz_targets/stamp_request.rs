//! Any bytes at a STAMP reflector: no answer is longer than its request, and no answer is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_wire::stamp::{
    is_sender_packet, reflect, ErrorEstimate, NtpTimestamp, Reflection, ReflectorPacket,
};

fuzz_target!(|bytes: &[u8]| {
    let with = Reflection {
        seq: 0,
        received: NtpTimestamp(0),
        sent: NtpTimestamp(0),
        error_estimate: ErrorEstimate::new(false, 1000),
        ttl: 0,
    };
    let mut answer = vec![0; bytes.len()];
    match reflect(bytes, &with, &mut answer) {
        Ok(n) => {
            assert!(is_sender_packet(bytes) && n == bytes.len());
            assert!(!is_sender_packet(&answer));
            assert!(ReflectorPacket::parse(&answer).is_ok());
        }
        Err(_) => assert!(!is_sender_packet(bytes)),
    }
});
