//! The benches behave as their descriptions say, by the word of programs that know nothing of the lab.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rping_lab::{
    require_program, require_root, Acceptor, Bridge, Capture, FullListener, Lab, Pair, Routed, UdpService,
};

fn answers(mut command: Command) -> bool {
    let out = command.output().unwrap();
    out.status.success()
}

fn ping(namespace: &rping_lab::Namespace, target: &str) -> bool {
    let mut command = namespace.command("ping");
    command.args(["-n", "-c1", "-W1", target]);
    answers(command)
}

#[test]
fn a_pair_reaches_itself_in_both_families_at_once() {
    let name = "a_pair_reaches_itself_in_both_families_at_once";
    if !require_root(name) || !require_program(name, "ping") {
        return;
    }
    let pair = Lab::pair();
    assert!(ping(&pair.client, "10.77.0.2"));
    assert!(ping(&pair.client, "fd77::2"));
    assert!(ping(&pair.server, "fd77::1"));
}

#[test]
fn a_router_forwards_and_says_which_hop_it_is() {
    let name = "a_router_forwards_and_says_which_hop_it_is";
    if !require_root(name) || !require_program(name, "ping") {
        return;
    }
    let lab = Lab::routed();
    assert!(ping(&lab.client, &Routed::SERVER_V4.to_string()));
    assert!(ping(&lab.client, &Routed::SERVER_V6.to_string()));
    for (target, router) in [
        ("10.77.2.1", Routed::ROUTER_V4.to_string()),
        ("fd77:2::1", Routed::ROUTER_V6.to_string()),
    ] {
        let out = lab.client.try_exec(&["ping", "-n", "-c1", "-W1", "-t1", target]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.contains(&router) && said.contains("exceeded"), "{said}");
    }
}

#[test]
fn a_bridge_joins_its_hosts_and_two_of_them_may_claim_one_address() {
    let name = "a_bridge_joins_its_hosts_and_two_of_them_may_claim_one_address";
    if !require_root(name) || !require_program(name, "arping") {
        return;
    }
    let lab = Lab::bridge(3);
    lab.hosts[2].ip("addr add 10.79.0.2/24 dev eth0");
    let out = lab.hosts[0].try_exec(&["arping", "-b", "-w1", "-I", "eth0", &Bridge::v4(1).to_string()]);
    let said = String::from_utf8_lossy(&out.stdout).to_lowercase();
    for host in &lab.hosts[1..] {
        assert!(said.contains(&host.mac("eth0")), "{said}");
    }
}

#[test]
fn half_of_the_on_link_block_answers_arp() {
    let name = "half_of_the_on_link_block_answers_arp";
    if !require_root(name) || !require_program(name, "fping") {
        return;
    }
    let lab = Lab::on_link(64);
    let out = lab
        .client
        .try_exec(&["fping", "-a", "-r0", "-t300", "-i1", "-g", &lab.cidr()]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let answered: Vec<&str> = said.lines().collect();
    // `fping -g` leaves the first and last address of a block out.
    let expected: Vec<String> = lab
        .addresses()
        .skip(1)
        .filter(|&address| lab.is_live(address))
        .map(|address| address.to_string())
        .collect();
    assert_eq!(answered, expected);
}

#[test]
fn the_whole_on_link_block_is_there_within_half_a_second() {
    if !require_root("the_whole_on_link_block_is_there_within_half_a_second") {
        return;
    }
    let lab = Lab::on_link(4096);
    assert_eq!(lab.cidr(), "10.80.16.0/20");
    assert_eq!(
        lab.addresses().filter(|&address| lab.is_live(address)).count(),
        2048
    );
    let sink = Acceptor::start(&lab.server, SocketAddr::from(([0, 0, 0, 0], 445)));
    let last_live = lab
        .addresses()
        .filter(|&address| lab.is_live(address))
        .last()
        .unwrap();
    let connected = lab.client.run(|| {
        TcpStream::connect_timeout(&SocketAddr::from((last_live, 445)), Duration::from_secs(2)).is_ok()
    });
    assert!(connected);
    rping_lab::wait_until("the connection is accepted", Duration::from_secs(1), || {
        sink.accepted() == 1
    });
}

#[test]
fn a_full_listener_takes_no_more_connections() {
    if !require_root("a_full_listener_takes_no_more_connections") {
        return;
    }
    let pair = Lab::pair();
    let full = FullListener::start(
        &pair.server,
        SocketAddr::from((Pair::SERVER_V4, 445)),
        &pair.client,
    );
    let address = full.address();
    let error = pair
        .client
        .run(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn rules_take_effect_and_go_again() {
    let name = "rules_take_effect_and_go_again";
    if !require_root(name) || !require_program(name, "nft") || !require_program(name, "ping") {
        return;
    }
    let pair = Lab::pair();
    pair.server.nft(
        "table inet lab {
            chain in {
                type filter hook input priority 0
                meta l4proto { icmp, icmpv6 } drop
            }
        }",
    );
    assert!(!ping(&pair.client, "10.77.0.2"));
    pair.server.nft_flush();
    assert!(ping(&pair.client, "10.77.0.2"));
}

#[test]
fn a_capture_holds_every_packet_from_its_start_to_its_stop() {
    let name = "a_capture_holds_every_packet_from_its_start_to_its_stop";
    if !require_root(name) || !require_program(name, "tcpdump") {
        return;
    }
    let pair = Lab::pair();
    let echo = UdpService::echo(&pair.server, SocketAddr::from((Pair::SERVER_V6, 7)));
    let capture = Capture::start(&pair.client, "c0", "udp port 7");
    let to = echo.address();
    pair.client.run(|| {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let mut buffer = [0; 64];
        for number in 0..500u32 {
            socket.send_to(&number.to_be_bytes(), to).unwrap();
            socket.recv_from(&mut buffer).unwrap();
        }
    });
    let packets = capture.stop().packets;
    assert_eq!(packets.len(), 1000);
    assert!(packets.is_sorted_by_key(|packet| packet.ts_ns));
    // IPv6 and UDP headers, then the number.
    assert_eq!(packets[999].ip().unwrap()[48..52], 499u32.to_be_bytes());
    assert_eq!(echo.received(), 500);
}

#[test]
fn a_block_that_fills_the_neighbour_table_waits_until_it_is_alone() {
    if !require_root("a_block_that_fills_the_neighbour_table_waits_until_it_is_alone") {
        return;
    }
    let other = rping_lab::Namespace::new("other");
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let lab = Lab::on_link(4096);
        tell.send(()).unwrap();
        drop(lab);
    });
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err());
    drop(other);
    told.recv_timeout(Duration::from_secs(300)).unwrap();
    waiting.join().unwrap();
}
