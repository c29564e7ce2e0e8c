use super::*;
use proptest::prelude::*;

fn redactor() -> Redactor {
    let mut redactor = Redactor::with_key([3; 32]);
    redactor.learn("fileserver.corp.example");
    redactor.learn("alice");
    redactor.learn_address("10.77.0.2".parse().unwrap());
    redactor.macs.insert([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    redactor
}

fn leak(redactor: &Redactor, content: Content, bytes: &[u8]) -> Option<&'static str> {
    redactor.leak(content, bytes, &|| false)
}

#[test]
fn addresses_names_and_macs_are_replaced_wherever_they_stand_and_alike() {
    let redactor = redactor();
    let text = "10.77.0.2: (10.77.0.2:445) [fe80::5054:ff:fe12:3456]:22 fe80::1%eth0, 10.77.0.2-10.77.0.9; \
                52:54:00:12:34:56 52-54-00-12-34-56 10.77.0.0/24 fileserver:445 FILESERVER /home/alice/x \
                mail.example.org 2.0.77.10.in-addr.arpa. MAC=52:54:00:12:34:56:52:54:00:12:34:57:08:00 SRC=10.77.0.2";
    let said = redactor.words(text);
    for gone in [
        "10.77.0",
        "5054",
        "52:54",
        "52-54",
        "fileserver",
        "FILESERVER",
        "alice",
        "mail",
        "example",
        "77",
    ] {
        assert!(!said.contains(gone), "{gone} in {said}");
    }
    let of = |text: &str| redactor.words(text);
    let token = of("10.77.0.2");
    assert_eq!(said.matches(token.as_str()).count(), 4, "{token} in {said}");
    assert!(
        said.contains("%eth0") && said.contains("]:22") && said.contains(":445"),
        "{said}"
    );
    assert!(of("10.77.0.0/24").ends_with(".0/24"), "{}", of("10.77.0.0/24"));
    assert_eq!(of("fileserver"), of("FileServer"));
    assert!(of("fileserver.corp.example").starts_with(&of("fileserver")));
}

#[test]
fn what_names_nobody_stays() {
    let redactor = redactor();
    for text in [
        "127.0.0.1:53 ::1 0.0.0.0 255.255.255.255 ff02::1 localhost",
        "net.ipv4.tcp_rmem = 4096 131072 6291456",
        "sysctl.txt: verdict.txt diagnosis.json resolv.conf, 6.1.0-13-amd64 1.203 ms 3.5.",
        "eth0 up mtu 1500 index 2: carrier",
        "12:34:56.789 SIOCETHTOOL",
    ] {
        assert_eq!(redactor.words(text), text);
    }
}

#[test]
fn a_file_in_which_a_secret_is_left_is_no_file() {
    let redactor = redactor();
    let leaked = leak(&redactor, Content::Table, b"x 525400123456 y");
    assert_eq!(leaked, Some("a link-layer address"));
    assert_eq!(
        leak(&redactor, Content::Table, b"to 10.77.0.2/32"),
        Some("an address")
    );
    assert_eq!(leak(&redactor, Content::Table, b"of Alice's"), Some("a name"));
    assert_eq!(leak(&redactor, Content::Table, b"10.77.0.22 malice"), None);
}

#[test]
fn values_of_rules_that_nobody_understood_are_replaced_however_few_bytes_they_have() {
    let redactor = redactor();
    let words =
        |text: &str| String::from_utf8(redactor.file(Content::Table, text.as_bytes()).unwrap()).unwrap();
    let rules = "saddr 10.77.9.0/24 drop\nsaddr 10.77.0.0/16 drop\nbytes 0x0a4d0943 drop\nct 0x0a4d0944\n\
                 bytes != 0x0a4d\nmeta >= 0x0a4d09\nbytes 0x0a4d-0x0a4e\n";
    let said = words(rules);
    for gone in ["10.77.", "0a4d", "0a4e", "2637", "0943", "0944"] {
        assert!(!said.contains(gone), "{gone} in {said}");
    }
    assert!(
        said.contains(".0/24 drop") && said.contains(".0.0/16 drop"),
        "{said}"
    );
    // What is understood, or counted, is no address.
    let kept = "ct state 0x08000000 64 bytes 3 times, fwmark 0x1/0xff";
    assert_eq!(words(kept), kept);
}

#[test]
fn an_address_is_found_in_any_spelling_and_wherever_it_stands() {
    let mut redactor = redactor();
    redactor.learn_address("10.77.9.2".parse().unwrap());
    for text in [
        "ip-10-77-9-2",
        "x10.77.9.2.25",
        "host_10_77_9_2_x",
        "0.10.77.9.2",
        "255-10-77-9-2",
        "a10.77.9.2:25",
        "010.077.009.002",
        "ip-10-77-9-2-10.77.9.2",
    ] {
        assert_eq!(
            leak(&redactor, Content::Words, text.as_bytes()),
            Some("an address"),
            "{text}"
        );
        let said = redactor.words(text);
        assert!(
            !said.contains("77") && leak(&redactor, Content::Words, said.as_bytes()).is_none(),
            "{text}: {said}"
        );
    }
    let token = redactor.words("10.77.9.2");
    assert_eq!(
        redactor.words("ip-10-77-9-2"),
        format!("ip-{}", token.replace('.', "-"))
    );
    for text in ["110.77.9.2", "10.77.9.22", "10.77-9.2", "10.77.9"] {
        assert_eq!(leak(&redactor, Content::Words, text.as_bytes()), None, "{text}");
    }
}

#[test]
fn only_files_of_the_bundle_are_no_domains() {
    let redactor = redactor();
    for name in [
        "mail.firma.rs",
        "firma.so",
        "firma.md",
        "files.txt",
        "x.verdict.txt",
    ] {
        assert!(
            !redactor.words(name).contains(name.split('.').next().unwrap()),
            "{name}"
        );
    }
    let json = redactor.file(
        Content::Json,
        br#"{"schema":"rping.sockets/1","a":"rping.example/1"}"#,
    );
    let json = String::from_utf8(json.unwrap()).unwrap();
    assert!(
        json.contains("rping.sockets/1") && !json.contains("example"),
        "{json}"
    );
}

#[test]
fn a_range_does_not_run_backwards() {
    for key in 0..16 {
        let redactor = Redactor::with_key([key; 32]);
        for text in ["10.77.0.2-10.77.0.9", "fd00::2-fd00::9"] {
            let said = redactor.words(text);
            let (from, to) = said.split_once('-').unwrap();
            let of = |text: &str| text.parse::<IpAddr>().unwrap();
            assert!(of(from) < of(to), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_given_up_is_none_whatever_it_holds() {
    let redactor = redactor();
    for (content, bytes) in [
        (Content::Table, &b"a\nb\n"[..]),
        (Content::Json, b"[1]"),
        (Content::Lines, b"[1]\n"),
    ] {
        let why = redactor.file_until(content, bytes, &|| true).unwrap_err();
        assert!(why.contains("a signal came"), "{why}");
        assert!(redactor.file(content, bytes).is_ok());
    }
    // In its midst.
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) >= 3;
    assert!(redactor
        .file_until(Content::Table, &b"a\n".repeat(1_000), &stop)
        .is_err());
    assert!(asked.get() < 10, "{}", asked.get());
}

#[test]
fn json_keeps_its_keys_and_its_form() {
    let redactor = redactor();
    let bytes = redactor
        .file(
            Content::Json,
            br#"{"target":"fileserver:445","from":["10.77.0.2"],"n":5}"#,
        )
        .unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["n"], 5);
    assert!(value["target"].as_str().unwrap().ends_with(":445"));
    assert_eq!(value["from"][0], redactor.words("10.77.0.2"));
}

#[test]
fn comments_of_files_that_people_write_are_left_out() {
    let text = b"# Bob's hosts\n10.77.0.2 fileserver # in Bob's room\n\n; x\n";
    let said = String::from_utf8(redactor().file(Content::Settings, text).unwrap()).unwrap();
    assert!(
        !said.contains("Bob") && said.lines().count() == 1 && said.starts_with("10."),
        "{said}"
    );
}

proptest! {
    #[test]
    fn no_text_makes_redaction_panic_and_no_address_survives_it(
        before in "[ -~]{0,40}", after in "[ -~]{0,40}", a: u32,
    ) {
        let redactor = redactor();
        let _ = redactor.words(&before);
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | a & 0x00ff_ffff);
        let said = redactor.words(&format!("{before} {address} {after}"));
        let is_there = said.split_whitespace().any(|word| word == address.to_string());
        prop_assert!(!is_there, "{} in {}", address, said);
    }
}
