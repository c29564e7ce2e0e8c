//! What the fuzzer calls.

use crate::hello::{self, Greeting};
use crate::names::{dns, in_hosts, order, Resolv};

/// Reads any bytes as a DNS server's answer.
pub fn dns_answer(bytes: &[u8]) {
    let Some(query) = dns::query(7, "a.example", dns::Kind::A) else {
        return;
    };
    let _ = dns::answer(&query, bytes);
    // The same as an answer to this very question.
    let mut ours = query.clone();
    ours[2] |= 0x80;
    ours[7] = 3;
    ours.extend_from_slice(bytes);
    if let Some(answer) = dns::answer(&query, &ours) {
        assert!(answer.addresses.len() <= 3);
    }
}

/// Reads any bytes as what a program says to each greeting.
pub fn greetings(bytes: &[u8]) {
    for greeting in [
        Greeting::Listen,
        Greeting::Ssh,
        Greeting::Banner,
        Greeting::Http,
        Greeting::Tls,
        Greeting::Dns,
        Greeting::Smb,
        Greeting::NetBios,
    ] {
        let _ = (hello::heard(greeting, bytes), hello::is_enough(greeting, bytes));
    }
}

/// Reads any text as this host's files about names, and its table of sockets.
pub fn name_files(text: &str) {
    let _ = (in_hosts(text, "a"), order(text));
    let _ = Resolv::parse(text).candidates("a.b");
    crate::gather::ports::read_all(text);
}

/// Reads any bytes as a frame of the flow that is watched.
pub fn frames(bytes: &[u8]) {
    crate::gather::wire::read_all(bytes);
}
