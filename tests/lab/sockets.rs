//! Who holds data up, on connections whose truth is known: a reader that does not read, seen from both sides, a path
//! that loses everything, a listener that does not accept.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rping_lab::{pause, require_root, wait_until, Background, FullListener, Lab, Namespace, Pair};
use serde_json::Value;

use crate::support::{rping, validated};

/// Client and server with one connection between them, which nobody reads.
struct Connected {
    pair: Pair,
    client: TcpStream,
    _listener: TcpListener,
    _server: TcpStream,
}

fn connected() -> Connected {
    let pair = Lab::pair();
    let listener = pair
        .server
        .run(|| TcpListener::bind((Pair::SERVER_V4, 445)))
        .expect("a listener");
    let client = pair
        .client
        .run(|| TcpStream::connect((Pair::SERVER_V4, 445)))
        .expect("a connection");
    let (server, _) = listener.accept().expect("the connection's other end");
    client
        .set_nonblocking(true)
        .expect("a socket that does not block");
    Connected {
        pair,
        client,
        _listener: listener,
        _server: server,
    }
}

/// Writes until both kernels are full and stay so.
fn fill(mut stream: &TcpStream) {
    let mut idle = 0;
    while idle < 20 {
        match stream.write(&[7; 65_536]) {
            Ok(1..) => idle = 0,
            _ => {
                idle += 1;
                pause(Duration::from_millis(10));
            }
        }
    }
}

/// The one stuck socket that rping finds in `namespace`, after the exit code was looked at.
fn stuck(namespace: &Namespace, target: &str) -> Value {
    let run = rping(namespace, &["sockets", "--stuck", target, "-o", "json"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let document = validated(&run.stdout);
    let sockets = document["sockets"].as_array().expect("sockets");
    assert_eq!(sockets.len(), 1, "{document:#}");
    assert!(document["over_ns"].as_u64() >= Some(2_000_000_000));
    sockets[0].clone()
}

#[test]
fn a_reader_that_does_not_read_is_told_from_both_sides() {
    if !require_root("a_reader_that_does_not_read_is_told_from_both_sides") {
        return;
    }
    let bench = connected();
    fill(&bench.client);
    let here = stuck(&bench.pair.server, ":445");
    assert_eq!(here["finding"]["holdup"], "local_application", "{here:#}");
    assert!(here["recv_queue"].as_u64() > Some(0));
    // The test holds both ends; its name is cut to 15 bytes by the kernel.
    assert_eq!(here["processes"][0]["pid"], std::process::id());
    let there = stuck(&bench.pair.client, "10.77.0.2:445");
    assert_eq!(there["finding"]["holdup"], "peer_application", "{there:#}");
    assert!(there["send_queue"].as_u64() > Some(0));
    let text = rping(&bench.pair.client, &["sockets", "--stuck", "10.77.0.2"]);
    assert!(text.stdout.contains("the peer does not read: "), "{text:?}");
    assert!(
        text.stdout
            .contains("1 of 1 sockets with 10.77.0.2 stuck: two looks, 2."),
        "{text:?}"
    );
}

#[test]
fn a_path_that_loses_everything_is_told_from_a_slow_reader() {
    if !require_root("a_path_that_loses_everything_is_told_from_a_slow_reader") {
        return;
    }
    let bench = connected();
    bench
        .pair
        .server
        .nft("table inet t { chain c { type filter hook input priority 0; tcp dport 445 drop; }\n}");
    (&bench.client)
        .write_all(b"into the void")
        .expect("room in the send queue");
    let found = stuck(&bench.pair.client, ":445");
    assert_eq!(found["finding"]["holdup"], "network", "{found:#}");
    assert_eq!(found["send_queue"], 13);
    assert!(found["retransmits_unanswered"].as_u64() > Some(0));
}

#[test]
fn a_listener_that_does_not_accept_is_named_with_its_queue() {
    if !require_root("a_listener_that_does_not_accept_is_named_with_its_queue") {
        return;
    }
    let pair = Lab::pair();
    let _full = FullListener::start(&pair.server, (Pair::SERVER_V4, 445).into(), &pair.client);
    let run = rping(&pair.server, &["sockets", "--listening", ":445", "-o", "json"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(
        validated(&run.stdout)["sockets"][0]["finding"]["holdup"],
        "accept_queue"
    );
    let run = rping(&pair.server, &["sockets", "--listening", "--stuck", "-o", "json"]);
    let found = validated(&run.stdout)["sockets"][0].clone();
    assert_eq!(found["finding"]["sure"], true, "{found:#}");
    assert_eq!(
        (&found["recv_queue"], &found["send_queue"]),
        (&1.into(), &0.into())
    );
}

#[test]
fn a_connection_that_works_is_not_stuck_and_a_port_without_a_socket_is_exit_1() {
    if !require_root("a_connection_that_works_is_not_stuck_and_a_port_without_a_socket_is_exit_1") {
        return;
    }
    let bench = connected();
    let run = rping(&bench.pair.client, &["sockets", "--stuck", ":445", "-o", "json"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(validated(&run.stdout)["looked_at"], 1);
    let none = rping(&bench.pair.client, &["sockets", ":446"]);
    assert_eq!(
        (none.status, none.stdout.as_str()),
        (Some(1), "0 sockets with :446\n")
    );
    let lines = rping(&bench.pair.client, &["sockets", "-o", "ndjson"]).stdout;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let rows = rping(&bench.pair.client, &["sockets", "-o", "csv"]).stdout;
    assert!(rows.starts_with("protocol,state,"), "{rows}");
    assert!(rows.contains("tcp,established,0,0,10.77.0.1:"), "{rows}");
}

#[test]
fn other_peoples_processes_are_said_not_to_be_visible() {
    if !require_root("other_peoples_processes_are_said_not_to_be_visible") {
        return;
    }
    let bench = connected();
    // The program lies where nobody but root may look.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = directory.path().join("rping");
    std::fs::copy(env!("CARGO_BIN_EXE_rping"), &program).expect("a copy of the program");
    for (path, mode) in [(directory.path(), 0o755), (program.as_path(), 0o755)] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let mut out = String::new();
    wait_until("nobody may run the program", Duration::from_secs(5), || {
        let run = bench
            .pair
            .client
            .unprivileged(&program)
            .args(["sockets", "10.77.0.2:445"])
            .output()
            .expect("a run");
        out = String::from_utf8_lossy(&run.stdout).into_owned();
        run.status.success()
    });
    assert!(out.contains("root (CAP_SYS_PTRACE) sees them"), "{out}");
    assert!(
        out.lines().nth(1).is_some_and(|line| line.ends_with(" ?")),
        "{out}"
    );
}

#[test]
fn an_interrupted_look_for_stuck_sockets_says_what_it_saw_until_then() {
    if !require_root("an_interrupted_look_for_stuck_sockets_says_what_it_saw_until_then") {
        return;
    }
    let bench = connected();
    fill(&bench.client);
    let mut command = bench.pair.server.command(env!("CARGO_BIN_EXE_rping"));
    command.args(["sockets", "--stuck", ":445", "--over", "1h", "-o", "json"]);
    let mut child = Background::spawn(command);
    let caught = format!("/proc/{}/status", child.id());
    wait_until("it catches signals", Duration::from_secs(30), || {
        let status = std::fs::read_to_string(&caught).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.unwrap_or(0) & 1 << 1 != 0
    });
    pause(Duration::from_secs(1));
    bench.pair.server.exec(&["kill", "-INT", &child.id().to_string()]);
    let status = child.finish(Duration::from_secs(30));
    assert_eq!(status.code(), Some(1), "{}", child.log());
    let document = validated(&child.log());
    assert_eq!(document["sockets"][0]["finding"]["holdup"], "local_application");
    assert!(
        document["over_ns"].as_u64() < Some(3_600_000_000_000),
        "{document:#}"
    );
}
