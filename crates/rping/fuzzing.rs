//! What the fuzzer calls.

/// Reads any bytes as a list of targets; what it complains of is one clean line.
pub fn target_list(bytes: &[u8]) {
    match crate::targets::read(bytes, &"list") {
        Ok(specs) => assert!(specs.iter().all(|spec| spec.count() > 0)),
        Err(usage) => {
            let line = usage.to_string();
            assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
        }
    }
}
