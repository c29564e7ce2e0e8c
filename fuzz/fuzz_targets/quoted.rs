//! Any bytes as the packet that an ICMP error quotes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_wire::quoted::Quoted;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(q) = Quoted::parse(bytes) {
        assert!(q.transport.len() + 20 <= bytes.len());
        assert!(q.payload().len() <= q.transport.len());
        let _ = (q.ports(), q.echo(), q.tcp_seq());
    }
});
