//! Segments that answer a SYN, and the ones that ICMP errors quote.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (from, to) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let _ = rping_wire::syn::is_sound(bytes, from, to);
    let _ = rping_wire::syn::read(bytes);
    let _ = rping_wire::syn::quoted(bytes);
});
