//! The page, opened in a real browser: it renders, says what happened, and neither complains nor asks for anything.

use std::path::Path;
use std::process::Command;

use crate::saved::{open_port, Place};
use crate::{rping, text};

const BROWSER: &str = "/usr/bin/chromium";

/// Whether the browser is here; in CI it has to be.
fn has_browser(test: &str) -> bool {
    let has = Path::new(BROWSER).exists();
    if !has {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{test}: no {BROWSER}; scripts/setup installs it"
        );
        eprintln!("{test}: skipped, no {BROWSER}; scripts/setup installs it");
    }
    has
}

/// The page's elements after it was rendered, and what the browser logged. Every name resolves to nothing.
fn rendered(place: &Place, page: &str) -> (String, String) {
    let output = Command::new(BROWSER)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            "--v=0",
        ])
        .arg(format!("--user-data-dir={}", place.name("browser")))
        .args(["--dump-dom", &format!("file://{page}")])
        .output()
        .expect("the browser starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    (
        text(&output.stdout),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// What a page itself said, of all that a browser says.
fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("CONSOLE") || line.contains("file://"))
        .collect()
}

#[test]
fn a_page_renders_without_a_complaint_and_without_a_network() {
    if !has_browser("a_page_renders_without_a_complaint_and_without_a_network") {
        return;
    }
    let open = open_port();
    let place = Place::new();
    let (page, saved) = (place.name("run.html"), place.name("run <b>x"));
    let output = rping(&[
        "tcp", &open, "-n", "300", "-i", "1ms", "-q", "--report", &page, "--save", &saved,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (dom, log) = rendered(&place, &page);
    assert_eq!(complaints(&log), Vec::<&str>::new());
    for part in [
        "<svg class=\"wide\"",
        "Round trips over time",
        "Percentiles",
        "The instrument",
        "--report",
        "median",
    ] {
        assert!(dom.contains(part), "{part}");
    }

    // Two runs, one over the other; a file's name is text, whatever is in it.
    let both = place.name("both.html");
    let output = rping(&["report", &saved, &saved, "--html", &both]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
    let (dom, log) = rendered(&place, &both);
    assert_eq!(complaints(&log), Vec::<&str>::new());
    assert!(dom.contains("2 runs") && dom.contains("class=\"legend\"") && dom.contains("run &lt;b&gt;x"));
    let piped = rping(&["report", &saved]);
    assert!(text(&piped.stdout).starts_with("<!doctype html>"));
}

#[test]
fn a_page_that_cannot_be_written_stops_the_run_before_it_begins() {
    let open = open_port();
    let place = Place::new();
    let output = rping(&[
        "tcp",
        &open,
        "-n",
        "1",
        "--report",
        &place.name("no/such/dir.html"),
    ]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(2), String::new())
    );
    assert!(text(&output.stderr).starts_with("rping: --report"));
}
