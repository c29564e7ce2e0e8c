//! Saved runs: any bytes; and lines with a true checksum, which no other input reaches behind.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rping::fuzzing::saved_run(bytes);
    let mut file = Vec::new();
    for json in bytes.split(|&b| b == b'\n') {
        file.extend(format!("{:08x} ", crc32fast::hash(json)).bytes());
        file.extend_from_slice(json);
        file.push(b'\n');
    }
    rping::fuzzing::saved_run(&file);
});
