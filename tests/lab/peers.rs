//! Against programs that nobody here wrote, unmodified.

use std::time::Duration;

use rping_lab::{require_program, require_root, wait_until, Background, Lab};

use crate::support::{count, rping};

#[test]
fn a_stock_inetd_echoes_in_both_families_and_cuts_long_datagrams_short() {
    let test = "a_stock_inetd_echoes_in_both_families_and_cuts_long_datagrams_short";
    if !require_root(test) || !require_program(test, "inetd") {
        return;
    }
    let lab = Lab::pair();
    let config = tempfile::NamedTempFile::new().expect("a temporary file");
    let services = "echo dgram udp wait root internal\necho dgram udp6 wait root internal\n";
    std::fs::write(config.path(), services).expect("the configuration is written");
    let mut inetd = lab.server.command("inetd");
    inetd.arg("-d").arg(config.path());
    let _inetd = Background::spawn(inetd);
    wait_until(
        "inetd listens on port 7 in both families",
        Duration::from_secs(5),
        || {
            let sockets = lab.server.exec(&["ss", "-Huln", "sport = :7"]);
            String::from_utf8_lossy(&sockets.stdout).lines().count() == 2
        },
    );
    for address in ["10.77.0.2", "[fd77::2]"] {
        let echo = |args: &[&str]| {
            let target = format!("{address}:7");
            let run = rping(
                &lab.client,
                &[&["udp", target.as_str(), "-o", "json"], args].concat(),
            );
            assert_eq!(run.status, Some(0), "{run:?}");
            let document = run.json();
            assert_eq!(document["instrument"]["timestamps"]["rx"], "kernel");
            document["targets"][0].clone()
        };
        let whole = echo(&["-n", "1000", "-i", "1ms", "-l", "1400"]);
        assert_eq!(
            (count(&whole, "received"), count(&whole, "truncated")),
            (1000, 0),
            "{address}"
        );
        // openbsd-inetd answers with 4096 bytes at most: a true prefix, so a reply.
        let cut = echo(&["-n", "10", "-i", "1ms", "-l", "5000"]);
        assert_eq!(
            (count(&cut, "received"), count(&cut, "truncated")),
            (10, 10),
            "{address}"
        );
    }
}
