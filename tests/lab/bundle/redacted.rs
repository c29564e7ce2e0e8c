//! `--redact`: nothing secret is left in any form, and what is left is of use.

use rping_lab::{Acceptor, Lab, Pair};

use super::{ready, Place, Unpacked};

/// Whether `what` stands in `bytes`.
fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn a_redacted_bundle_holds_no_address_name_or_mac_in_any_form() {
    if !ready("a_redacted_bundle_holds_no_address_name_or_mac_in_any_form") {
        return;
    }
    let (pair, place) = (Lab::pair(), Place::new());
    // Names of its own, of this host, a domain and the target; and a neighbour that is a secret, too.
    let etc = place.path("etc");
    std::fs::create_dir(&etc).expect("a directory");
    std::fs::write(
        etc.join("hosts"),
        "127.0.0.1 localhost # hiddenperson\n10.77.0.2 vaultserver.zurichoffice.example vaultserver\n198.51.100.77 archiveserver\n",
    )
    .expect("a file");
    std::fs::write(
        etc.join("resolv.conf"),
        "nameserver 10.77.0.2\nsearch zurichoffice.example\n",
    )
    .expect("a file");
    std::fs::write(etc.join("nsswitch.conf"), "hosts: files\n").expect("a file");
    let _service = Acceptor::start(&pair.server, (Pair::SERVER_V4, 445).into());
    pair.client
        .ip("route add 198.51.100.0/24 via 10.77.0.2\nroute add 2001:db8:7:8::/64 via fd77::2");
    pair.client.nft(
        "table inet t { chain o { type filter hook output priority 0; ip daddr 198.51.100.77 counter drop; }\n}",
    );
    // Subnets of which the packet filter loads a few bytes, and values that only it understands.
    pair.client.nft(
        "table ip u { chain f { type filter hook forward priority 0; ip saddr 10.77.9.0/24 drop; ip saddr 10.77.0.0/16 drop; \
         @th,64,32 0x0a4d0943 drop; ct original ip saddr 10.77.9.68 drop; }\n}",
    );
    let file = place.text("b.tar.gz");
    let script = format!(
        "hostname secrethostname && for f in hosts resolv.conf nsswitch.conf; do mount --bind {}/$f /etc/$f; done && \
         exec {} bundle vaultserver.zurichoffice.example:445 --redact --save {file}",
        etc.display(),
        env!("CARGO_BIN_EXE_rping"),
    );
    let run = pair
        .client
        .command("unshare")
        .args(["--mount", "--uts", "sh", "-c", &script])
        .output()
        .expect("a run");
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let unpacked = Unpacked::of(&place.path("b.tar.gz"));
    let (client_mac, server_mac) = (pair.client.mac("c0"), pair.server.mac("s0"));
    let bytes = |mac: &str| -> Vec<u8> {
        mac.split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
            .collect()
    };
    let mut secrets: Vec<Vec<u8>> = [
        "10.77.0.1",
        "10.77.0.2",
        "10.77.0.",
        "198.51.100.",
        "fd77::1",
        "fd77::2",
        "2001:db8:7:8",
        "vaultserver",
        "archiveserver",
        "zurichoffice",
        "secrethostname",
        "hiddenperson",
        client_mac.as_str(),
        server_mac.as_str(),
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for mac in [&client_mac, &server_mac] {
        secrets.push(bytes(mac));
        secrets.push(mac.replace(':', "").into_bytes());
        secrets.push(mac.replace(':', "-").into_bytes());
    }
    let fd77 = std::net::Ipv6Addr::from([0xfd77, 0, 0, 0, 0, 0, 0, 2]).octets();
    secrets.extend([
        vec![10, 77, 0, 1],
        vec![10, 77, 0, 2],
        vec![198, 51, 100, 77],
        fd77.to_vec(),
    ]);
    for (name, file) in &unpacked.files {
        let lower = file.to_ascii_lowercase();
        for secret in &secrets {
            let shown = String::from_utf8_lossy(secret);
            assert!(
                !holds(file, secret) && !holds(&lower, secret),
                "{shown:?} in {name}: {}",
                String::from_utf8_lossy(file)
            );
        }
    }
    let firewall = unpacked.text("firewall.txt");
    for octets in ["10.77.", "0a4d", "2637", "0943", "0944"] {
        assert!(!firewall.contains(octets), "{octets} in {firewall}");
    }
    for kept in [".0/24 drop", ".0.0/16 drop", "bytes 0x", "ct 0x"] {
        assert!(firewall.contains(kept), "{kept} in {firewall}");
    }
    // It is still of use: one token for one address, in text and in packets; the verdict; a subnet.
    assert!(
        unpacked.text("verdict.txt").starts_with("VERDICT layer=none"),
        "{}",
        unpacked.text("verdict.txt")
    );
    let routes = unpacked.text("routes.txt");
    let gateway = routes
        .lines()
        .find_map(|line| line.split(" via ").nth(1)?.split(' ').next())
        .unwrap_or_else(|| panic!("no gateway in {routes}"));
    assert!(
        unpacked
            .text("neighbours.txt")
            .contains(&format!("c0 {gateway} mac ")),
        "{gateway}"
    );
    let packets = unpacked.packets("capture.pcapng", &["ip.dst", "tcp.dstport", "tcp.len"]);
    assert!(
        packets
            .iter()
            .any(|packet| packet.starts_with(&format!("{gateway} 445"))),
        "{gateway} in {packets:#?}"
    );
    assert!(unpacked.json("MANIFEST")["redacted"] == true);
    // Two bundles, two keys.
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("redacted"), "{said}");
}
