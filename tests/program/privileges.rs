//! What file capabilities give a user, and what they do not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rping_lab::{require_program, require_root, Background, Lab, Pair};

use crate::text;

/// The program as it is installed for everybody, with the right to raw sockets, and two lists of targets beside it.
struct Installed {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Installed {
    fn new() -> Installed {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("rping");
        mode(folder.path(), 0o755);
        fs::copy(env!("CARGO_BIN_EXE_rping"), &program).expect("a copy");
        mode(&program, 0o755);
        let set = Command::new("setcap")
            .arg("cap_net_raw+ep")
            .arg(&program)
            .status();
        assert!(set.expect("setcap starts").success());
        for (name, bits) in [("everybodys", 0o644), ("roots", 0o600)] {
            let list = folder.path().join(name);
            fs::write(&list, "10.77.0.2\n").expect("a list");
            mode(&list, bits);
        }
        Installed { folder, program }
    }

    fn list(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// Runs it as `nobody` on the client's side: the exit code, and what stood on standard error.
    fn run(&self, pair: &Pair, args: &[&str]) -> (Option<i32>, String) {
        let output = pair
            .client
            .command("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&self.program)
            .args(args)
            .output()
            .expect("setpriv starts");
        (output.status.code(), text(&output.stderr))
    }
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, Permissions::from_mode(bits)).expect("permissions");
}

#[test]
fn with_file_capabilities_a_user_pings_and_reads_and_floods_with_no_more_than_his_own_rights() {
    let name = "with_file_capabilities_a_user_pings_and_reads_and_floods_with_no_more_than_his_own_rights";
    if !require_root(name) || !require_program(name, "setcap") || !require_program(name, "setpriv") {
        return;
    }
    let pair = Lab::pair();
    let installed = Installed::new();
    let (own, roots) = (installed.list("everybodys"), installed.list("roots"));
    let other = "10.77.0.2";
    let allowed: [&[&str]; 4] = [
        &["icmp", other, "-n", "1"],
        &["arp", other, "-n", "1"],
        &["icmp", "--targets", &own, "-n", "1"],
        // His own host he may flood.
        &["icmp", "10.77.0.1", "-i", "0", "-n", "3"],
    ];
    for args in allowed {
        assert_eq!(installed.run(&pair, args), (Some(0), String::new()), "{args:?}");
    }
    let refused: [(&[&str], &str); 6] = [
        (&["icmp", "--targets", &roots, "-n", "1"], "Permission denied"),
        (&["icmp", other, "-i", "1.9ms", "-n", "2"], "root's"),
        (&["icmp", other, "-i", "0", "-n", "2"], "root's"),
        (&["arp", other, "-i", "0", "-n", "2"], "root's"),
        (&["icmp", "10.77.0.255", "--broadcast", "-n", "1"], "root's"),
        (
            &["icmp", other, "-S", "10.77.0.9", "-n", "1"],
            "no address of this host",
        ),
    ];
    for (args, words) in refused {
        let (code, said) = installed.run(&pair, args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(
            said.contains(words) && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
}

#[test]
fn without_any_right_icmp_names_its_three_remedies_and_tcp_and_udp_need_none() {
    let name = "without_any_right_icmp_names_its_three_remedies_and_tcp_and_udp_need_none";
    if !require_root(name) || !require_program(name, "setpriv") {
        return;
    }
    let pair = Lab::pair();
    let run = |args: &[&str]| {
        let output = pair
            .client
            .unprivileged(env!("CARGO_BIN_EXE_rping"))
            .args(args)
            .output();
        let output = output.expect("rping starts");
        (output.status.code(), text(&output.stderr))
    };
    // Nobody's group is allowed no ping socket, as the kernel's own default has it.
    pair.client
        .exec(&["sysctl", "-qw", "net.ipv4.ping_group_range=1 0"]);
    let (code, said) = run(&["icmp", "10.77.0.2", "-n", "1"]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    for remedy in ["setcap cap_net_raw+ep", "net.ipv4.ping_group_range", "root"] {
        assert!(said.contains(remedy), "{said} does not name {remedy}");
    }
    for args in [
        &["tcp", "10.77.0.2:9", "-n", "1"],
        &["udp", "10.77.0.2:9", "-n", "1"],
    ] {
        assert_eq!(
            run(args),
            (Some(1), String::new()),
            "refused by the far end, not by this host"
        );
    }
}

#[test]
fn ports_below_1024_are_taken_also_when_the_privileges_have_gone() {
    let name = "ports_below_1024_are_taken_also_when_the_privileges_have_gone";
    if !require_root(name) {
        return;
    }
    let pair = Lab::pair();
    let mut command = pair.server.command(env!("CARGO_BIN_EXE_rping"));
    command.args(["server", "10.77.0.2:80"]);
    let mut server = Background::spawn(command);
    server.wait_for("Ctrl-C ends it", Duration::from_secs(20));
    for args in [
        // Each stream has a socket of its own on the server's port.
        "bandwidth 10.77.0.2:80 -u -b 1m -n 1s -q --omit 0",
        "bandwidth 10.77.0.2:80 -S 10.77.0.1:800 -P 2 -n 20 -q --omit 0",
        "bandwidth 10.77.0.2:80 -u -S 10.77.0.1:800 -P 2 -b 1m -n 20 -q --omit 0",
        "tcp 10.77.0.2:80 -S 10.77.0.1:901 -n 1",
        "latency 10.77.0.2:80 -S 10.77.0.1:902 -n 10",
        "udp 10.77.0.2:80 -S 10.77.0.1:903 -n 1",
    ] {
        let output = pair
            .client
            .command(env!("CARGO_BIN_EXE_rping"))
            .args(args.split(' '))
            .output()
            .expect("rping starts");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{args}: {}",
            server.log()
        );
    }
    // No more than that one right is kept.
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    assert!(status.contains("CapEff:\t0000000000000400"), "{status}");
}
