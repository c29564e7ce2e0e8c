//! Any bytes as what came back of a probe: only a true prefix of it may settle it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_wire::probe_payload::{check, is_filler, write, Match};

fuzz_target!(|input: (u16, &[u8])| {
    let (sent_len, received) = (usize::from(input.0), input.1);
    // A nonce that a fuzzer can find.
    let nonce = |seq: u64| seq ^ 0x5555;
    let sent = |seq: u64| {
        let mut payload = vec![0; sent_len];
        write(&mut payload, seq, nonce(seq));
        payload
    };
    match check(sent_len, received, nonce) {
        Match::Whole(seq) => assert_eq!(sent(seq), received),
        Match::Truncated(seq) => assert!(sent(seq).starts_with(received) && received.len() < sent_len),
        Match::Corrupt | Match::Foreign => {}
    }
    let _ = is_filler(sent_len, received);
});
