//! `rping diagnose --peer` against an agent at the far end, and against peers that are none: what only the far end can see
//! is named, loss gets its direction, and whatever the peer does, the diagnosis ends in time.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rping_lab::{
    require_program, require_root, Acceptor, Background, FullListener, Lab, Namespace, Pair, Routed,
};
use serde_json::Value;

use crate::support::{count, finish, validated, Run};

const KEY: &str = "a key of more than sixteen octets";
const PROMISED: u64 = 10_000_000_000;
const LONG: Duration = Duration::from_secs(20);
const TARGET: &str = "10.77.2.1:445";
const SERVER: &str = "10.77.2.1";

/// `rping server` with these flags.
fn server(namespace: &Namespace, flags: &[&str]) -> Background {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_rping"));
    command.arg("server").args(flags).env("RPING_KEY", KEY);
    let mut server = Background::spawn(command);
    server.wait_for("Ctrl-C ends it", LONG);
    server
}

fn diagnose_with(key: &str, from: &Namespace, target: &str, peer: &str, more: &[&str]) -> Run {
    let mut command = from.command("timeout");
    command.args([
        "60",
        env!("CARGO_BIN_EXE_rping"),
        "diagnose",
        target,
        "--peer",
        peer,
    ]);
    finish(command.args(more).env("RPING_KEY", key))
}

/// The document, held against its schema and the promise of time.
fn diagnose(from: &Namespace, target: &str, peer: &str) -> Value {
    told(&diagnose_with(KEY, from, target, peer, &["-o", "json"]))
}

fn told(run: &Run) -> Value {
    assert!(!run.stdout.is_empty(), "{run:?}");
    let document = validated(&run.stdout);
    let layer = &document["verdict"]["layer"];
    assert_eq!(run.status, Some(i32::from(!layer.is_null())), "{document:#}");
    assert!(count(&document, "duration_ns") < PROMISED, "{document:#}");
    document
}

/// With the fault that this rule was removed, both ends find none.
fn is_sound_without(rule: &str, from: &Namespace) {
    let healthy = diagnose(from, TARGET, SERVER);
    assert_eq!(
        verdict(&healthy),
        ("none", "high", "none"),
        "without {rule}: {healthy:#}"
    );
}

/// Layer, confidence and direction.
fn verdict(document: &Value) -> (&str, &str, &str) {
    (
        document["verdict"]["layer"].as_str().unwrap_or("none"),
        document["verdict"]["confidence"].as_str().unwrap_or_default(),
        document["peer"]["loss"].as_str().unwrap_or("none"),
    )
}

fn summary(document: &Value) -> &str {
    document["verdict"]["summary"].as_str().unwrap_or_default()
}

fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

fn rules(namespace: &Namespace, hook: &str, rule: &str) {
    namespace.nft(&format!(
        "table inet lab {{\nchain {hook} {{\ntype filter hook {hook} priority 0\n{rule}\n}}\n}}"
    ));
}

fn ready(name: &str) -> Option<(Routed, Background)> {
    if !require_root(name) || !require_program(name, "nft") {
        return None;
    }
    let lab = Lab::routed();
    let agent = server(&lab.server, &["--agent"]);
    Some((lab, agent))
}

#[test]
fn a_port_that_the_target_has_on_127_0_0_1_alone_is_seen_there_and_named() {
    let Some((lab, _agent)) = ready("a_port_that_the_target_has_on_127_0_0_1_alone_is_seen_there_and_named")
    else {
        return;
    };
    let local = Acceptor::start(&lab.server, address(Ipv4Addr::LOCALHOST, 445));
    let said = diagnose(&lab.client, TARGET, SERVER);
    assert_eq!(verdict(&said), ("port", "high", "none"), "{said:#}");
    assert!(summary(&said).contains("127.0.0.1:445"), "{said:#}");
    let seen = &said["peer"]["seen"];
    assert_eq!(seen["listeners"][0]["address"], "127.0.0.1:445", "{said:#}");
    assert!(
        count(&seen["wire"], "asked") > 0 && count(&seen["wire"], "reset") > 0,
        "{said:#}"
    );
    drop(local);
    let said = diagnose(&lab.client, TARGET, SERVER);
    assert_eq!(verdict(&said), ("port", "high", "none"), "{said:#}");
    assert!(summary(&said).contains("nothing listens"), "{said:#}");
}

#[test]
fn a_rule_of_the_targets_own_filter_is_named() {
    let Some((lab, _agent)) = ready("a_rule_of_the_targets_own_filter_is_named") else {
        return;
    };
    let _sink = Acceptor::start(&lab.server, address(Ipv4Addr::UNSPECIFIED, 445));
    for (hook, rule, loss) in [
        ("input", "tcp dport 445 counter drop", "far_end"),
        ("output", "tcp sport 445 drop", "far_end"),
        ("input", "tcp dport 445 reject with tcp reset", "none"),
        ("input", "tcp dport 445 reject", "none"),
    ] {
        rules(&lab.server, hook, rule);
        let said = diagnose(&lab.client, TARGET, SERVER);
        assert_eq!(verdict(&said), ("port", "high", loss), "{rule}: {said:#}");
        let named = format!("table inet lab, chain {hook}");
        assert!(summary(&said).contains(&named), "{rule}: {said:#}");
        lab.server.nft_flush();
        is_sound_without(rule, &lab.client);
    }
}

#[test]
fn loss_on_the_router_has_its_direction() {
    let Some((lab, _agent)) = ready("loss_on_the_router_has_its_direction") else {
        return;
    };
    let _sink = Acceptor::start(&lab.server, address(Ipv4Addr::UNSPECIFIED, 445));
    for (rule, loss, words) in [
        ("tcp dport 445 drop", "forward", "lost on the way there"),
        ("tcp sport 445 drop", "reverse", "lost on the way back"),
    ] {
        rules(&lab.router, "forward", rule);
        let said = diagnose(&lab.client, TARGET, SERVER);
        assert_eq!(verdict(&said), ("path", "high", loss), "{rule}: {said:#}");
        assert!(summary(&said).contains(words), "{rule}: {said:#}");
        lab.router.nft_flush();
        is_sound_without(rule, &lab.client);
    }
}

#[test]
fn echo_without_a_port_has_its_direction_too() {
    let Some((lab, _agent)) = ready("echo_without_a_port_has_its_direction_too") else {
        return;
    };
    // Everything but the agent's own connection, or the host would answer otherwise.
    for (rule, loss) in [
        (
            "ip daddr 10.77.2.1 tcp dport != 5201 drop\nip daddr 10.77.2.1 meta l4proto icmp drop",
            "forward",
        ),
        (
            "ip saddr 10.77.2.1 tcp sport != 5201 drop\nip saddr 10.77.2.1 meta l4proto icmp drop",
            "reverse",
        ),
    ] {
        rules(&lab.router, "forward", rule);
        let said = diagnose(&lab.client, SERVER, SERVER);
        let (layer, _, told) = verdict(&said);
        assert_eq!((layer, told), ("path", loss), "{rule}: {said:#}");
        lab.router.nft_flush();
    }
    let healthy = diagnose(&lab.client, SERVER, SERVER);
    assert_eq!(verdict(&healthy), ("none", "high", "none"), "{healthy:#}");
}

#[test]
fn a_full_accept_queue_is_seen_by_its_length_and_by_the_counters() {
    let Some((lab, _agent)) = ready("a_full_accept_queue_is_seen_by_its_length_and_by_the_counters") else {
        return;
    };
    let full = FullListener::start(&lab.server, address(Routed::SERVER_V4, 445), &lab.client);
    let said = diagnose(&lab.client, TARGET, SERVER);
    assert_eq!(verdict(&said), ("port", "high", "far_end"), "{said:#}");
    assert!(summary(&said).contains("is full"), "{said:#}");
    let seen = &said["peer"]["seen"];
    let listener = &seen["listeners"][0];
    assert!(
        count(listener, "waiting") > count(listener, "backlog"),
        "{said:#}"
    );
    assert!(count(&seen["overflows"], "overflows") > 0, "{said:#}");
    drop(full);
    let _sink = Acceptor::start(&lab.server, address(Routed::SERVER_V4, 445));
    let healthy = diagnose(&lab.client, TARGET, SERVER);
    assert_eq!(verdict(&healthy), ("none", "high", "none"), "{healthy:#}");
}

#[test]
fn a_sound_target_is_sound_for_the_agent_too() {
    let Some((lab, _agent)) = ready("a_sound_target_is_sound_for_the_agent_too") else {
        return;
    };
    let _sink = Acceptor::start(&lab.server, address(std::net::Ipv6Addr::UNSPECIFIED, 445));
    for target in [TARGET, "[fd77:2::1]:445"] {
        let peer = if target.starts_with('[') {
            "[fd77:2::1]:5201"
        } else {
            SERVER
        };
        let said = diagnose(&lab.client, target, peer);
        assert_eq!(verdict(&said), ("none", "high", "none"), "{said:#}");
        let seen = &said["peer"]["seen"];
        assert!(
            count(&seen["wire"], "asked") > 0 && count(&seen["wire"], "answered") > 0,
            "{said:#}"
        );
        assert_eq!(
            (&seen["own"], &said["peer"]["error"]),
            (&Value::Bool(true), &Value::Null)
        );
    }
    let text = diagnose_with(KEY, &lab.client, TARGET, SERVER, &[]);
    assert!(
        text.stdout.contains("far end") && text.stdout.contains("it listens at"),
        "{text:?}"
    );
    assert!(
        text.stdout
            .lines()
            .last()
            .unwrap_or_default()
            .starts_with("VERDICT layer=none"),
        "{text:?}"
    );
    let without = finish(
        lab.client
            .command(env!("CARGO_BIN_EXE_rping"))
            .args(["diagnose", TARGET, "-o", "json"]),
    );
    assert!(told(&without)["peer"].is_null(), "{without:?}");
}

#[test]
fn a_peer_that_is_not_the_target_convicts_nobody() {
    let name = "a_peer_that_is_not_the_target_convicts_nobody";
    if !require_root(name) || !require_program(name, "nft") {
        return;
    }
    let lab = Lab::routed();
    // The router's agent: it neither has the address nor listens on the port.
    let _agent = server(&lab.router, &["--agent"]);
    let said = diagnose(&lab.client, TARGET, "10.77.1.254");
    assert_eq!(said["peer"]["seen"]["own"], false, "{said:#}");
    assert_eq!(verdict(&said), ("port", "high", "none"), "{said:#}");
    assert!(
        summary(&said).contains("the target answers with a reset"),
        "{said:#}"
    );
}

#[test]
fn a_peer_that_tells_nothing_is_said_and_costs_no_more_than_its_share() {
    if !require_root("a_peer_that_tells_nothing_is_said_and_costs_no_more_than_its_share") {
        return;
    }
    let pair = Lab::pair();
    let _sink = Acceptor::start(&pair.server, address(Pair::SERVER_V4, 445));
    let _agent = server(&pair.server, &["--agent"]);
    let _sealed = server(&pair.server, &[":5202"]);
    let _silent = Acceptor::start(&pair.server, address(Pair::SERVER_V4, 5203));
    let mut open = pair.server.command(env!("CARGO_BIN_EXE_rping"));
    let mut open = Background::spawn({
        open.args(["server", ":5204"]).env_remove("RPING_KEY");
        open
    });
    open.wait_for("Ctrl-C ends it", LONG);
    let other = "another key of sixteen octets";
    for (key, peer, words) in [
        (other, "10.77.0.2", "does not have this key"),
        (KEY, "10.77.0.2:5202", "runs no agent"),
        (KEY, "10.77.0.2:5203", "did not answer in time"),
        (KEY, "10.77.0.2:5204", "hung up"),
        (KEY, "10.77.0.2:5205", "refused"),
        (KEY, "10.77.0.99", "did not answer in time"),
        (KEY, "no-such-name.invalid", "resolve"),
    ] {
        let run = diagnose_with(key, &pair.client, "10.77.0.2:445", peer, &["-o", "json"]);
        let said = told(&run);
        assert_eq!(verdict(&said), ("none", "high", "none"), "{peer}: {said:#}");
        let error = said["peer"]["error"].as_str().unwrap_or_default();
        assert!(error.contains(words), "{peer}: {said:#}");
        assert!(said["peer"]["seen"].is_null(), "{peer}: {said:#}");
    }
    let mut command = pair.client.command(env!("CARGO_BIN_EXE_rping"));
    command.args(["diagnose", "10.77.0.2:445", "--peer", "10.77.0.2"]);
    let run = finish(command.env_remove("RPING_KEY"));
    assert_eq!((run.status, run.stderr.lines().count()), (Some(2), 1), "{run:?}");
    assert!(run.stderr.starts_with("rping: --peer takes the key"), "{run:?}");
}

#[test]
fn an_agent_without_a_key_does_not_start_and_one_with_it_keeps_two_capabilities() {
    if !require_root("an_agent_without_a_key_does_not_start_and_one_with_it_keeps_two_capabilities") {
        return;
    }
    let pair = Lab::pair();
    let mut command = pair.server.command(env!("CARGO_BIN_EXE_rping"));
    let run = finish(command.args(["server", "--agent"]).env_remove("RPING_KEY"));
    assert_eq!((run.status, run.stderr.lines().count()), (Some(2), 1), "{run:?}");
    assert!(
        run.stderr.starts_with("rping: --agent tells about this host"),
        "{run:?}"
    );
    let mut agent = server(&pair.server, &["--agent"]);
    agent.wait_for("keeps CAP_NET_RAW and CAP_NET_ADMIN", LONG);
    let both = format!("{:016x}", 1u64 << 12 | 1 << 13);
    rping_lab::wait_until("the agent has given up what it does not need", LONG, || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap_or_default();
        let has = |line: String| status.lines().any(|l| l == line);
        has(format!("CapEff:\t{both}")) && has(format!("CapPrm:\t{both}")) && has("NoNewPrivs:\t1".to_owned())
    });
}

/// Everything that comes back to these octets, until the other end closes or a second is over.
fn answer_to(from: &Namespace, to: SocketAddr, octets: &[u8]) -> Vec<u8> {
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, LONG).expect("a connection");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        // It may have hung up already.
        let _ = stream.write_all(octets);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    })
}

#[test]
fn whoever_has_not_proven_the_key_is_told_nothing() {
    if !require_root("whoever_has_not_proven_the_key_is_told_nothing") {
        return;
    }
    let pair = Lab::pair();
    let _agent = server(&pair.server, &["--agent"]);
    let to = address(Pair::SERVER_V4, 5201);
    let mut hello = b"AGENT\0\0\x01".to_vec();
    hello.extend([7; 32]);
    let request = br#"{"ask":"seen"}"#;
    for garbage in [
        &hello[..],
        request,
        &[0; 64],
        &[0xff; 4096],
        b"\0rping\0\x02",
        b"GET / HTTP/1.0\r\n\r\n",
    ] {
        let answer = answer_to(&pair.client, to, garbage);
        assert!(answer.is_empty(), "{garbage:?}: {answer:?}");
    }
    // The beginning of the proof gets the server's part of it, whatever follows: a nonce and a digest, and nothing of the agent.
    let mut guess = b"\0rping\0\x01".to_vec();
    guess.extend([7; 32]);
    guess.extend([9; 32]);
    guess.extend(&hello);
    let answer = answer_to(&pair.client, to, &guess);
    assert_eq!(answer.len(), 64);
    assert!(answer.len() <= guess.len());
}
