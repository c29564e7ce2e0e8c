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
    use crate::saved::Kept;
    match crate::saved::read_any(bytes) {
        Ok(Kept::Test(test)) => {
            let verdicts = crate::render::bandwidth::verdicts(&test);
            for format in [Format::Text, Format::Json, Format::Ndjson, Format::Csv] {
                let mut out =
                    std::io::BufWriter::new(Box::new(std::io::sink()) as Box<dyn std::io::Write + Send>);
                let show = crate::args::Show {
                    format,
                    histogram: Some(20),
                    ..crate::args::Show::default()
                };
                let style = crate::render::styled(false);
                assert!(crate::render::bandwidth::show(&mut out, &test, &verdicts, &show, style).is_ok());
            }
            crate::page::throughput::html(&[("x".to_owned(), &test)]);
            let compared = crate::compare::tests_of_throughput(&test, &test, 0.01);
            assert!(
                compared.is_ok_and(|of| of.verdict == crate::compare::Verdict::Same)
                    || test.intervals.is_empty()
            );
        }
        Ok(Kept::Run(saved)) => {
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
