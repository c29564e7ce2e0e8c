//! PsPing's command line and output, by either of its names. Times, local ports and the version differ from run to run
//! and are masked; everything else is byte for byte.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{rping, text};

fn port(kept: &TcpListener) -> String {
    kept.local_addr().expect("an address").port().to_string()
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")
}

/// Digits of times (`0.04ms`) become `#`, the server's port `PORT`, local ports `FROM`, the version `VERSION`.
fn masked(output: &str, port: &str) -> String {
    let mut lines = Vec::new();
    for line in output.lines() {
        let line = line
            .replace(&format!(":{port}"), ":PORT")
            .replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let words = line.split(' ').map(|word| {
            let bare = word.trim_end_matches([',', '.']);
            if let Some(figure) = bare.strip_suffix("ms").filter(|f| f.parse::<f64>().is_ok()) {
                // Two decimals, always.
                assert_eq!(figure.split('.').nth(1).map(str::len), Some(2), "{line}");
                word.replace(figure, "#.##")
            } else if bare.starts_with("127.0.0.1:")
                && bare.len() > "127.0.0.1:".len()
                && !bare.contains("PORT")
            {
                "127.0.0.1:FROM:".to_owned()
            } else {
                word.to_owned()
            }
        });
        lines.push(words.collect::<Vec<_>>().join(" "));
    }
    lines.join("\n")
}

#[test]
fn a_tcp_ping_reads_as_psping_prints_it() {
    let kept = listener();
    let port = port(&kept);
    let output = rping(&[
        "psping",
        "-n",
        "3",
        "-w",
        "2",
        "-i",
        "0",
        &format!("127.0.0.1:{port}"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = text(&output.stdout);
    let all = all
        .strip_prefix('\n')
        .expect("the banner begins with an empty line");
    insta::assert_snapshot!(masked(all, &port), @r"
    rping vVERSION - rping psping - ping, latency, bandwidth measurement utility
    MIT or Apache-2.0
    as Sysinternals PsPing prints it

    TCP connect to 127.0.0.1:PORT:
    5 iterations (warmup 2) ping test:
    Connecting to 127.0.0.1:PORT (warmup): from 127.0.0.1:FROM: #.##ms
    Connecting to 127.0.0.1:PORT (warmup): from 127.0.0.1:FROM: #.##ms
    Connecting to 127.0.0.1:PORT: from 127.0.0.1:FROM: #.##ms
    Connecting to 127.0.0.1:PORT: from 127.0.0.1:FROM: #.##ms
    Connecting to 127.0.0.1:PORT: from 127.0.0.1:FROM: #.##ms

    TCP connect statistics for 127.0.0.1:PORT:
      Sent = 3, Received = 3, Lost = 0 (0% loss),
      Minimum = #.##ms, Maximum = #.##ms, Average = #.##ms
    ");
}

#[test]
fn a_quiet_run_with_a_histogram_shows_a_counter_and_lower_bounds() {
    let kept = listener();
    let port = port(&kept);
    let place = format!("127.0.0.1:{port}");
    let output = rping(&[
        "psping",
        "-nobanner",
        "-n",
        "100",
        "-i",
        "0",
        "-q",
        "-h",
        "4",
        &place,
    ]);
    let all = text(&output.stdout);
    let (figures, histogram) = all.split_once("\nLatency\tCount\n").expect("a histogram");
    insta::assert_snapshot!(masked(figures, &port), @r"
    TCP connect to 127.0.0.1:PORT:
    101 iterations (warmup 1) ping test: 100%

    TCP connect statistics for 127.0.0.1:PORT:
      Sent = 100, Received = 100, Lost = 0 (0% loss),
      Minimum = #.##ms, Maximum = #.##ms, Average = #.##ms
    ");
    let rows: Vec<(f64, u64)> = histogram
        .lines()
        .map(|row| row.split_once('\t').expect("a tab"))
        .map(|(bound, count)| (bound.parse().expect("ms"), count.parse().expect("a count")))
        .collect();
    assert_eq!(rows.iter().map(|row| row.1).sum::<u64>(), 100, "{histogram}");
    assert!(
        rows.len() <= 4 && rows.is_sorted_by(|a, b| a.0 <= b.0),
        "{histogram}"
    );
}

#[test]
fn the_program_is_psping_where_it_is_called_so_and_says_who_refused() {
    let kept = listener();
    let port = port(&kept);
    drop(kept);
    let output = Command::new(env!("CARGO_BIN_EXE_rping"))
        .arg0("psping")
        .args([
            "-accepteula",
            "-nobanner",
            "-n",
            "1",
            "-i",
            "0",
            &format!("127.0.0.1:{port}"),
        ])
        .output()
        .expect("rping starts");
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(masked(&text(&output.stdout), &port), @r"
    TCP connect to 127.0.0.1:PORT:
    2 iterations (warmup 1) ping test:
    Connecting to 127.0.0.1:PORT (warmup): The remote computer refused the network connection.
    Connecting to 127.0.0.1:PORT: The remote computer refused the network connection.

    TCP connect statistics for 127.0.0.1:PORT:
      Sent = 1, Received = 0, Lost = 1 (100% loss),
      Minimum = #.##ms, Maximum = #.##ms, Average = #.##ms
    ");
}

#[test]
fn an_icmp_ping_marks_no_warm_up() {
    if !rping_lab::require_root("an_icmp_ping_marks_no_warm_up") {
        return;
    }
    let output = rping(&[
        "psping",
        "-n",
        "2",
        "-w",
        "1",
        "-i",
        "0",
        "-nobanner",
        "127.0.0.1",
    ]);
    insta::assert_snapshot!(masked(&text(&output.stdout), "0"), @r"
    Pinging 127.0.0.1 with 32 bytes of data:
    3 iterations (warmup 1) ping test:
    Reply from 127.0.0.1: #.##ms
    Reply from 127.0.0.1: #.##ms
    Reply from 127.0.0.1: #.##ms

    Ping statistics for 127.0.0.1:
      Sent = 2, Received = 2, Lost = 0 (0% loss),
      Minimum = #.##ms, Maximum = #.##ms, Average = #.##ms
    ");
}

#[test]
fn an_interrupted_endless_run_prints_its_statistics() {
    let kept = listener();
    let port = port(&kept);
    let mut child = Command::new(env!("CARGO_BIN_EXE_rping"))
        .args([
            "psping",
            "-t",
            "-i",
            "0.01",
            "-nobanner",
            &format!("127.0.0.1:{port}"),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("rping starts");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut read = String::new();
    while read.lines().count() < 5 {
        std::io::BufRead::read_line(&mut out, &mut read).expect("a line");
    }
    let interrupted = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(interrupted.expect("kill starts").success());
    std::io::Read::read_to_string(&mut out, &mut read).expect("the rest");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let all = masked(&read, &port);
    assert!(
        all.contains("\nInfinite iterations (warmup 1) ping test:\n"),
        "{all}"
    );
    assert!(
        all.contains("\nTCP connect statistics for 127.0.0.1:PORT:\n  Sent = "),
        "{all}"
    );
}

#[test]
fn help_needs_no_words() {
    let output = rping(&["psping", "-?", "t"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("TCP ping usage:  psping [-t|-n count[s]]"));
}

/// `psping -s` on a port of its own, for as long as this is kept.
struct Serving(std::process::Child);

impl Serving {
    fn on(port: &str) -> Serving {
        let place = format!("127.0.0.1:{port}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_rping"))
            .args(["psping", "-nobanner", "-f", "-s", &place])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("rping starts");
        let mut line = String::new();
        let told = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        // The pipe is kept open: the server's log must find somebody.
        let mut told = Box::leak(Box::new(told));
        std::io::BufRead::read_line(&mut told, &mut line).expect("a line");
        assert!(line.contains(&place), "{line}");
        Serving(child)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_latency_test_reads_as_psping_prints_it() {
    let port = port(&listener());
    let _server = Serving::on(&port);
    let place = format!("127.0.0.1:{port}");
    let output = rping(&["psping", "-nobanner", "-l", "1500", "-n", "300", &place]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!(masked(&text(&output.stdout), &port), @r"
    TCP latency test connecting to 127.0.0.1:PORT: Connected
    305 iterations (warmup 5) sending 1500 bytes TCP latency test: 100%

    TCP roundtrip latency statistics (post warmup):
      Sent = 300, Size = 1500, Total Bytes: 450000,
      Minimum = #.##ms, Maximum = #.##ms, Average = #.##ms
    ");
}

#[test]
fn a_bandwidth_test_reads_as_psping_prints_it() {
    let port = port(&listener());
    let _server = Serving::on(&port);
    let place = format!("127.0.0.1:{port}");
    let output = rping(&[
        "psping",
        "-nobanner",
        "-b",
        "-l",
        "1500",
        "-n",
        "300",
        "-i",
        "16",
        &place,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = masked(&text(&output.stdout), &port);
    let (head, figures) = all.split_once("  Minimum = ").expect("figures");
    insta::assert_snapshot!(head, @r"
    Setting warmup count to match number of outstanding I/Os: 16
    TCP bandwidth test connecting to 127.0.0.1:PORT: Connected
    316 iterations (16 warmup) sending 1500 bytes TCP bandwidth test: 100%

    TCP sender bandwidth statistics:
      Sent = 300, Size = 1500, Total Bytes: 474000,
    ");
    let words: Vec<&str> = figures.split_whitespace().filter(|word| *word != "=").collect();
    assert_eq!(
        (words[1], words[2], words[4], words[5], words[7]),
        ("KB/s,", "Maximum", "KB/s,", "Average", "KB/s"),
        "{figures}"
    );
}

#[test]
fn nobody_serving_is_said_and_is_no_success() {
    let port = port(&listener());
    let place = format!("127.0.0.1:{port}");
    for mode in [&["-l", "8"][..], &["-b", "-l", "8k"]] {
        let mut args = vec!["psping", "-nobanner", "-n", "10", &place];
        args.extend(mode);
        let output = rping(&args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("rping: ") && said.lines().count() == 1, "{said}");
        assert!(!text(&output.stdout).contains("Connected"), "{output:?}");
    }
}
