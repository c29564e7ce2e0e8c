//! Any bytes as what the other side of an iperf3 test says: cookie, states, parameters, results, datagrams.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rping_peer::iperf::{Parameters, Results};
use rping_wire::iperf::{begins_cookie, Cookie, DatagramHeader, State, COOKIE_LEN};

fuzz_target!(|bytes: &[u8]| {
    if let Some(octets) = bytes.first_chunk::<COOKIE_LEN>() {
        if let Ok(cookie) = Cookie::parse(octets) {
            assert_eq!(cookie.as_bytes(), octets);
            assert!(begins_cookie(octets[0]));
        }
    }
    if let Some(&octet) = bytes.first() {
        assert!(State::from_octet(octet).is_none_or(|state| state.octet() == octet));
    }
    for wide in [false, true] {
        if let Ok(header) = DatagramHeader::parse(bytes, wide) {
            let mut again = vec![0; bytes.len()];
            header.write(&mut again, wide).expect("it came out of as many bytes");
            assert_eq!(DatagramHeader::parse(&again, wide), Ok(header));
            let _ = header.nanos();
        }
    }
    if let Ok(parameters) = Parameters::parse(bytes) {
        // Every bound that the server relies on.
        assert!((1..=256).contains(&parameters.streams()));
        assert!((1..=1 << 20).contains(&parameters.length));
        assert!(parameters.time <= 86_400 && parameters.omit <= 600);
        assert_eq!(Parameters::parse(&parameters.to_json()), Ok(parameters));
    }
    if let Ok(results) = Results::parse(bytes) {
        assert!(results.cpu.iter().all(|percent| percent.is_finite()));
        assert!(Results::parse(&results.to_json(false)).is_ok());
    }
});
