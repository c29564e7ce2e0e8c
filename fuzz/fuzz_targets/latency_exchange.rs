//! Any bytes at either end of the latency exchange: what is read is what was written, and nothing else is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_wire::latency::{
    ClientHello, Request, Response, ServerHello, HEADER_LEN, HELLO_LEN, LARGEST,
};

fuzz_target!(|bytes: &[u8]| {
    if let Some(hello) = bytes.first_chunk::<HELLO_LEN>() {
        if let Ok(read) = ClientHello::parse(hello) {
            assert_eq!(read.to_bytes(), *hello);
            if read.is_within_bounds() {
                assert!(read.request <= LARGEST && read.response as usize >= HEADER_LEN);
            }
        }
        if let Ok(read) = ServerHello::parse(hello) {
            assert_eq!(ServerHello::parse(&read.to_bytes()), Ok(read));
        }
    }
    if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
        let agreed = u32::from_be_bytes(*header.last_chunk().expect("sixteen hold four"));
        if let Ok(read) = Request::parse(header, agreed) {
            assert_eq!(read.to_bytes(), *header);
        }
        if let Ok(read) = Response::parse(header) {
            assert_eq!(read.to_bytes(), *header);
        }
    }
});
