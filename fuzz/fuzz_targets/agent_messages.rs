//! Any bytes as a message to an agent, or from one: what is read is what would be written, within the bounds, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_peer::agent::{Request, Response, LONGEST_REQUEST, LONGEST_RESPONSE};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = Request::parse(bytes) {
        assert!(bytes.len() <= LONGEST_REQUEST);
        let again = Request::parse(&read.to_bytes()).expect("a request that was written here");
        assert_eq!(again, read);
    }
    if let Ok(read) = Response::parse(bytes) {
        assert!(bytes.len() <= LONGEST_RESPONSE);
        let written = read.to_bytes();
        // What is left away on the wire, and an address in its short form, may take more octets here.
        if written.len() <= LONGEST_RESPONSE {
            let again = Response::parse(&written).expect("a response that was written here");
            assert_eq!(again, read);
        }
    }
});
