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

/// Reads any bytes as a saved run, and shows in every format what could be had of it.
pub fn saved_run(bytes: &[u8]) {
    use crate::args::output::{Format, OutputOptions};
    match crate::saved::read(bytes) {
        Ok(saved) => {
            for format in [Format::Text, Format::Json, Format::Ndjson, Format::Csv] {
                let options = OutputOptions {
                    format,
                    ..OutputOptions::default()
                };
                let shown = crate::render::show(&saved, &options, Box::new(std::io::sink()), false);
                assert!(shown.is_ok());
            }
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
        }
    }
}
