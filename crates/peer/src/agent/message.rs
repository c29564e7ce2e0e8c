//! What a client asks an agent, and what it answers: JSON values, each of bounded length and depth.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{LONGEST_REQUEST, LONGEST_RESPONSE};

/// Which flow is asked about: one of the client's own, to this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// The address that the client sends to.
    pub to: IpAddr,
    /// The TCP port; without one, ICMP echo.
    pub port: Option<u16>,
}

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Watch this flow from now on.
    Watch(Flow),
    /// What was seen of it, and what this host's tables say about it?
    Seen,
}

/// What an agent answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// It watches, as far as it can.
    Watching(Begun),
    /// What it saw.
    Seen(Box<View>),
    /// It does not do that.
    Refused {
        /// Why not, in words.
        why: String,
    },
}

/// What can be said before anything was watched.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Begun {
    /// The address asked about is one of this host's own.
    pub own: bool,
    /// Why packets are not watched, where they are not.
    pub why_not: Option<String>,
}

/// What an agent sees of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// The client's address, as it is seen here.
    pub client: Option<IpAddr>,
    /// The address asked about is one of this host's own.
    pub own: bool,
    /// Packets of the flow at this host's interfaces.
    pub wire: Wire,
    /// Sockets that listen on the port.
    pub listeners: Vec<Listener>,
    /// Why the sockets are not known, where they are not.
    pub listeners_why_not: Option<String>,
    /// By how much this host's counters rose meanwhile; they count all ports together.
    pub overflows: Option<Overflows>,
    /// What its packet filter makes of the flow.
    pub rules: Rules,
    /// The way back to the client.
    pub back: Back,
}

/// Packets of the flow, as packet sockets saw them at this host's interfaces: what arrives before its packet filter, what
/// leaves behind it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Nobody looked, and why.
    pub why_not: Option<String>,
    /// First packets of the flow (SYNs, or echo requests) from the client's address that arrived.
    pub asked: u32,
    /// The same from other addresses: other clients, or this one behind a translator.
    pub asked_by_others: u32,
    /// Answers to the client that left: SYN-ACKs, or echo replies.
    pub answered: u32,
    /// Resets to the client that left.
    pub reset: u32,
    /// Frames that the kernel dropped before they were looked at.
    pub missed: u64,
}

/// A listening socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// How many may wait.
    pub backlog: u32,
}

/// How much two counters of the kernel rose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overflows {
    /// `ListenOverflows`: a queue of connections that wait to be accepted was full.
    pub overflows: u64,
    /// `ListenDrops`: an attempt to connect was dropped, for that or another reason.
    pub drops: u64,
}

/// What a packet filter makes of the flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rules {
    /// They were not read, and why.
    pub why_not: Option<String>,
    /// How many rules there are.
    pub rules: u64,
    /// Tables of the older iptables that could not be read.
    pub legacy: Vec<String>,
    /// The rule that takes the flow's first packet on its way in.
    pub incoming: Option<Taken>,
    /// The rule that takes the answer on its way out.
    pub outgoing: Option<Taken>,
}

/// A rule, or a policy, that takes a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Taken {
    /// Which, as a person would know it again.
    pub by: String,
    /// By what is known of the packet it surely matches; else perhaps.
    pub surely: bool,
    /// It says so to the sender; else it drops.
    pub rejects: bool,
    /// By how much its own counter rose meanwhile, where it has one.
    pub counted: u64,
}

/// The way back to the client.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Back {
    /// There is none: the kernel's error number.
    pub errno: Option<i32>,
    /// The interface that answers leave by.
    pub interface: Option<String>,
    /// The router that takes them.
    pub gateway: Option<IpAddr>,
    /// The source address that they have by themselves.
    pub source: Option<IpAddr>,
    /// The state of the neighbour entry of that router, or of the client.
    pub neighbour: Option<String>,
}

/// What is no message.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Longer than allowed.
    #[error("longer than {0} octets")]
    Long(usize),
    /// No such value.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl Request {
    /// Reads one.
    ///
    /// # Errors
    /// What is longer than [`LONGEST_REQUEST`], nested deeper than 128 values, or no request.
    pub fn parse(bytes: &[u8]) -> Result<Request, Malformed> {
        parse(bytes, LONGEST_REQUEST)
    }

    /// As it goes out.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

impl Response {
    /// Reads one.
    ///
    /// # Errors
    /// What is longer than [`LONGEST_RESPONSE`], nested deeper than 128 values, or no response.
    pub fn parse(bytes: &[u8]) -> Result<Response, Malformed> {
        parse(bytes, LONGEST_RESPONSE)
    }

    /// As it goes out.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], most: usize) -> Result<T, Malformed> {
    if bytes.len() > most {
        return Err(Malformed::Long(most));
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Plain structures with text for keys: there is nothing in them that JSON cannot hold.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view() -> View {
        View {
            client: Some(IpAddr::from([10, 77, 0, 1])),
            own: true,
            listeners: vec![Listener {
                address: SocketAddr::from(([127, 0, 0, 1], 445)),
                waiting: 1,
                backlog: 0,
            }],
            overflows: Some(Overflows {
                overflows: 3,
                drops: u64::MAX,
            }),
            ..View::default()
        }
    }

    #[test]
    fn every_message_comes_back_as_it_went() {
        let flow = Flow {
            to: "fd77::2".parse().unwrap(),
            port: Some(445),
        };
        for request in [Request::Watch(flow), Request::Seen] {
            assert_eq!(Request::parse(&request.to_bytes()).unwrap(), request);
        }
        for response in [
            Response::Watching(Begun::default()),
            Response::Seen(Box::new(view())),
            Response::Refused {
                why: "\u{1b}[2J".to_owned(),
            },
        ] {
            assert_eq!(Response::parse(&response.to_bytes()).unwrap(), response);
        }
        assert_eq!(Request::Seen.to_bytes(), br#"{"ask":"seen"}"#);
        let watch = Request::Watch(flow).to_bytes();
        assert_eq!(watch, br#"{"ask":"watch","to":"fd77::2","port":445}"#);
    }

    #[test]
    fn what_is_too_long_too_deep_or_of_another_kind_is_refused() {
        let long = format!(r#"{{"ask":"seen","x":"{}"}}"#, "x".repeat(LONGEST_REQUEST));
        let deep = format!(r#"{{"ask":"seen","x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        for bad in [
            long.as_str(),
            deep.as_str(),
            "",
            "null",
            "[]",
            r#"{"ask":"reboot"}"#,
            r#"{"ask":"watch","to":"example","port":1}"#,
            r#"{"ask":"watch","to":"10.0.0.1","port":65536}"#,
            r#"{"ask":"seen"} {"ask":"seen"}"#,
        ] {
            assert!(
                Request::parse(bad.as_bytes()).is_err(),
                "{}",
                &bad[..bad.len().min(60)]
            );
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = (Request::parse(&bytes), Response::parse(&bytes));
        }

        #[test]
        fn a_message_cut_anywhere_is_none(at in 0usize..400) {
            let whole = Response::Seen(Box::new(view())).to_bytes();
            prop_assume!(at < whole.len());
            prop_assert!(Response::parse(&whole[..at]).is_err());
        }
    }
}
