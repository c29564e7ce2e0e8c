//! Greetings, and what the answers to them are: just enough of each protocol to tell that somebody speaks it.
//!
//! Nothing is asked for that changes anything on the other side, and nothing is announced but this program's wish to
//! know whether it is understood.

mod smb;
mod tls;

use crate::names::dns;

/// What is said to a port, by what the port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// Nothing: programs that speak first (SSH, SMTP, FTP, POP3, IMAP, MySQL), and ports of unknown use.
    Listen,
    /// SSH speaks first, and says so (RFC 4253 section 4.2).
    Ssh,
    /// A line of mail or file transfer, beginning with a number or a word (RFC 5321, RFC 959, RFC 1939, RFC 9051).
    Banner,
    /// A `HEAD` request (RFC 9110 section 9.3.2).
    Http,
    /// A client hello (RFC 8446 section 4.1.2).
    Tls,
    /// A query over TCP (RFC 7766).
    Dns,
    /// An SMB2 negotiate request straight over TCP.
    Smb,
    /// The same, after a NetBIOS session request (RFC 1002 section 4.3).
    NetBios,
}

impl Greeting {
    /// What it is called in text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Greeting::Listen | Greeting::Banner => "a banner",
            Greeting::Ssh => "SSH",
            Greeting::Http => "HTTP",
            Greeting::Tls => "TLS",
            Greeting::Dns => "DNS",
            Greeting::Smb => "SMB",
            Greeting::NetBios => "NetBIOS session service",
        }
    }
}

/// What an answer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The protocol that was spoken, with what it says of itself.
    Understood(String),
    /// The protocol, but it refuses.
    Refused(String),
    /// Some other protocol, by name where it is known.
    Other(&'static str),
    /// A port of no known use said something.
    Unknown,
}

/// What to say to a port.
pub fn greeting(port: u16) -> Greeting {
    match port {
        22 => Greeting::Ssh,
        21 | 25 | 110 | 143 | 587 | 3306 => Greeting::Banner,
        53 => Greeting::Dns,
        80 | 8080 => Greeting::Http,
        139 => Greeting::NetBios,
        443 | 465 | 636 | 853 | 993 | 995 | 8443 => Greeting::Tls,
        445 => Greeting::Smb,
        _ => Greeting::Listen,
    }
}

/// The bytes to begin with.
pub fn opening(greeting: Greeting, name: &str) -> Option<Vec<u8>> {
    match greeting {
        Greeting::Listen | Greeting::Banner | Greeting::Ssh => None,
        Greeting::Http => {
            let host = if is_plain(name) { name } else { "" };
            Some(format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes())
        }
        Greeting::Tls => Some(tls::client_hello(if is_plain(name) { name } else { "" })),
        Greeting::Dns => {
            let query = dns_query()?;
            let length = u16::try_from(query.len()).ok()?;
            Some([&length.to_be_bytes()[..], &query].concat())
        }
        Greeting::Smb => Some(smb::negotiate()),
        Greeting::NetBios => Some(smb::session_request()),
    }
}

/// A name that needs no quoting anywhere.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn dns_query() -> Option<Vec<u8>> {
    dns::query(0x7270, "localhost", dns::Kind::A)
}

/// Whether more bytes would tell nothing more.
pub fn is_enough(greeting: Greeting, answer: &[u8]) -> bool {
    match greeting {
        Greeting::Listen | Greeting::Banner | Greeting::Ssh | Greeting::Http => {
            answer.contains(&b'\n') || answer.len() >= 256
        }
        Greeting::Tls => answer.len() >= 7,
        Greeting::Dns => answer.len() >= 14,
        Greeting::Smb => answer.len() >= 4 + 64 + 6,
        Greeting::NetBios => answer.len() >= 4,
    }
}

/// What an answer is.
pub fn heard(greeting: Greeting, answer: &[u8]) -> Heard {
    let understood = match greeting {
        Greeting::Listen => return other(answer).map_or(Heard::Unknown, Heard::Other),
        Greeting::Banner => Some(Heard::Understood(first_line(answer))),
        Greeting::Ssh => answer
            .starts_with(b"SSH-")
            .then(|| Heard::Understood(first_line(answer))),
        Greeting::Http => http(answer),
        Greeting::Tls => tls::answer(answer),
        Greeting::Dns => dns_answer(answer),
        Greeting::Smb => smb::negotiated(answer),
        Greeting::NetBios => smb::session(answer),
    };
    understood.unwrap_or(other(answer).map_or(Heard::Other("something else"), Heard::Other))
}

fn http(answer: &[u8]) -> Option<Heard> {
    if !answer.starts_with(b"HTTP/") {
        return None;
    }
    let line = first_line(answer);
    let status = line.split(' ').nth(1).unwrap_or_default();
    // 502, 503, 504: whoever answered cannot reach what it stands for (RFC 9110 section 15.6).
    match status {
        "502" | "503" | "504" => Some(Heard::Refused(line)),
        _ => Some(Heard::Understood(line)),
    }
}

fn dns_answer(answer: &[u8]) -> Option<Heard> {
    let read = dns::answer(&dns_query()?, answer.get(2..)?)?;
    let said = format!("a DNS answer: {}", dns::code_in_words(read.code));
    Some(match read.code {
        2 | 5 => Heard::Refused(said),
        _ => Heard::Understood(said),
    })
}

/// Protocols that give themselves away by their first bytes.
fn other(answer: &[u8]) -> Option<&'static str> {
    if answer.starts_with(b"SSH-") {
        Some("SSH")
    } else if answer.starts_with(b"HTTP/") {
        Some("HTTP")
    } else if answer.starts_with(b"220") {
        Some("SMTP or FTP")
    } else if matches!(answer, [0x15 | 0x16, 3, ..]) {
        Some("TLS")
    } else if answer
        .get(4..8)
        .is_some_and(|magic| magic == b"\xfeSMB" || magic == b"\xffSMB")
    {
        Some("SMB")
    } else {
        None
    }
}

/// The first line, as text; not escaped.
fn first_line(answer: &[u8]) -> String {
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.get(..line.len().min(120)).unwrap_or_default();
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Greeting; 8] = [
        Greeting::Listen,
        Greeting::Ssh,
        Greeting::Banner,
        Greeting::Http,
        Greeting::Tls,
        Greeting::Dns,
        Greeting::Smb,
        Greeting::NetBios,
    ];

    #[test]
    fn banners_and_status_lines_are_understood() {
        assert_eq!(
            heard(Greeting::Ssh, b"SSH-2.0-OpenSSH_9.2\r\n"),
            Heard::Understood("SSH-2.0-OpenSSH_9.2".into())
        );
        assert_eq!(
            heard(Greeting::Http, b"HTTP/1.1 404 Not Found\r\n\r\n"),
            Heard::Understood("HTTP/1.1 404 Not Found".into())
        );
        assert!(matches!(
            heard(Greeting::Http, b"HTTP/1.1 502 Bad Gateway\r\n"),
            Heard::Refused(_)
        ));
        assert_eq!(
            heard(Greeting::Tls, b"HTTP/1.1 400 Bad\r\n"),
            Heard::Other("HTTP")
        );
        assert_eq!(heard(Greeting::Ssh, b"220 mail\r\n"), Heard::Other("SMTP or FTP"));
    }

    #[test]
    fn a_dns_answer_over_tcp_is_understood_and_a_refusal_is_one() {
        let mut answer = opening(Greeting::Dns, "").unwrap();
        answer[4] = 0x81;
        assert!(matches!(heard(Greeting::Dns, &answer), Heard::Understood(_)));
        answer[5] = 0x05;
        assert!(matches!(heard(Greeting::Dns, &answer), Heard::Refused(_)));
    }

    #[test]
    fn a_name_that_would_end_the_header_is_left_out_of_it() {
        let bytes = opening(Greeting::Http, "a\r\nX: y").unwrap();
        assert!(!String::from_utf8(bytes).unwrap().contains("X:"));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(answer in proptest::collection::vec(any::<u8>(), 0..300)) {
            for greeting in ALL {
                let _ = (heard(greeting, &answer), is_enough(greeting, &answer));
            }
        }
    }
}
