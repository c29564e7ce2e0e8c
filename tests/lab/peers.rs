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
/// `stamp-suite`, another author's STAMP, as built by `scripts/setup --ci`.
fn stamp_suite(namespace: &rping_lab::Namespace, args: &str, key: Option<&str>) -> std::process::Command {
    let mut command = namespace.command("stamp-suite");
    command.args(args.split_whitespace());
    if let Some(key) = key {
        let hex: String = key.bytes().map(|octet| format!("{octet:02x}")).collect();
        command.args(["-A", "A", "--hmac-key", &hex]);
    }
    command
}

const KEY: &str = "0123456789abcdef";

fn key_file(dir: &tempfile::TempDir) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.path().join("key");
    std::fs::write(&path, KEY).expect("the key is written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode 600");
    path.to_str().expect("a name").to_owned()
}

#[test]
fn another_authors_stamp_sender_measures_against_the_server_in_both_modes() {
    let test = "another_authors_stamp_sender";
    if !require_root(test) || !require_program(test, "stamp-suite") {
        return;
    }
    let lab = Lab::pair();
    let dir = tempfile::tempdir().expect("a directory");
    let path = key_file(&dir);
    for key in [None, Some(KEY)] {
        let mut command = crate::support::command(&lab.server);
        command.args(["server", "--stamp", ":862"]);
        if key.is_some() {
            command.args(["--key-file", &path]);
        }
        let mut server = Background::spawn(command);
        server.wait_for("TWAMP Light", Duration::from_secs(20));
        for port in ["5201", "862"] {
            let args =
                format!("--remote-addr 10.77.0.2 -p {port} -c 50 -d 5 -L 2 --ssid 9 --output-format json");
            let out = stamp_suite(&lab.client, &args, key)
                .output()
                .expect("stamp-suite runs");
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            let last = said
                .lines()
                .rfind(|line| line.starts_with('{'))
                .expect("its figures");
            let figures: serde_json::Value = serde_json::from_str(last).expect("JSON");
            assert_eq!(
                (&figures["packets_sent"], &figures["packets_received"]),
                (&50.into(), &50.into()),
                "{said}"
            );
            assert_eq!(figures["measurements"]["last_reflector_sequence"], 49, "{said}");
        }
    }
}

#[test]
fn another_authors_stamp_reflector_answers_in_both_modes_with_and_without_memory() {
    let test = "another_authors_stamp_reflector";
    if !require_root(test) || !require_program(test, "stamp-suite") {
        return;
    }
    let lab = Lab::pair();
    let dir = tempfile::tempdir().expect("a directory");
    let path = key_file(&dir);
    for (memory, key) in [("stateless", None), ("stateful", None), ("stateful", Some(KEY))] {
        let flag = if memory == "stateful" {
            "--stateful-reflector"
        } else {
            ""
        };
        let reflector = stamp_suite(&lab.server, &format!("-i -S 10.77.0.2 -o 862 {flag}"), key);
        let _reflector = Background::spawn(reflector);
        wait_until("stamp-suite listens", Duration::from_secs(10), || {
            let sockets = lab.server.exec(&["ss", "-Huln", "sport = :862"]);
            !sockets.stdout.is_empty()
        });
        let mut args = vec![
            "udp",
            "10.77.0.2",
            "--protocol",
            "stamp",
            "-n",
            "100",
            "-i",
            "2ms",
            "-o",
            "json",
        ];
        if key.is_some() {
            args.extend(["--key-file", &path]);
        }
        let target = rping(&lab.client, &args).json()["targets"][0].clone();
        assert_eq!(count(&target, "received"), 100, "{target:#}");
        assert_eq!(target["reflector"]["numbers"], memory, "{target:#}");
        assert_eq!(
            (
                count(&target, "unattributed"),
                count(&target["forward"], "received")
            ),
            (0, 100)
        );
        assert_eq!(target["reflector"]["residence_ns"]["count"], 100, "{target:#}");
    }
}
