//! Any text as a command line, and as a target. Nothing is resolved or opened.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let words = std::iter::once("rping")
        .chain(text.split('\n'))
        .map(std::ffi::OsString::from);
    if let Err(usage) = rping::args::parse(words) {
        let line = usage.to_string();
        assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
    }
    if let Ok(spec) = rping::targets::Spec::parse(text) {
        assert!(spec.count() > 0);
    }
});
