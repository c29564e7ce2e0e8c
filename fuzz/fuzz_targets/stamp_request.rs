//! Any bytes at a STAMP reflector, in either mode: no answer is longer than its request, and no answer is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_wire::stamp::auth::{reflect_sealed, set_sent_sealed, Key, AUTH_LEN};
use rping_wire::stamp::{
    is_sender_packet, looks_like_answer, reflect, reflect_any, tlv, ErrorEstimate, NtpTimestamp, Reflection,
    ReflectorPacket, SenderPacket, BASE_LEN,
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
    if let Ok(n) = reflect_any(bytes, &with, &mut answer) {
        assert_eq!(n, bytes.len());
        assert!(!is_sender_packet(&answer));
        if let Some(tail) = answer.get_mut(BASE_LEN..) {
            tlv::answer(tail, 0xff);
            tlv::class_seen(tail);
        }
    }
    // What a reflector answers bears the times of one clock, and no listener for any sender takes it for a request.
    let one_clock = Reflection {
        received: NtpTimestamp(0xe000_0000 << 32),
        sent: NtpTimestamp(0xe000_0001 << 32),
        ..with
    };
    if reflect_any(bytes, &one_clock, &mut answer).is_ok() {
        assert!(looks_like_answer(&answer));
    }
    let Some(key) = Key::new(&[7; 16]) else { return };
    assert!(SenderPacket::open(&key, bytes).is_err(), "a guessed HMAC");
    if let Ok(sender) = SenderPacket::read_sealed(bytes) {
        let written = reflect_sealed(bytes, &sender, &with, &mut answer);
        assert_eq!(written, Ok(bytes.len()));
        set_sent_sealed(&mut answer, NtpTimestamp(1), &key);
        assert!(bytes.len() >= AUTH_LEN && ReflectorPacket::open(&key, &answer).is_ok());
    }
});
