//! The server against strangers: what they send never makes it grow, amplify, loop or stop.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Serving {
    child: Child,
    tests: SocketAddr,
    stamp: SocketAddr,
    echo: SocketAddr,
}

fn free_port() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.local_addr().expect("bound")
}

impl Serving {
    /// `rpingd` with all its listeners on free ports of its own, started by `wrap` if that is not empty.
    fn start(wrap: &[&str]) -> Serving {
        // A port that is free for UDP may be taken for TCP, or meanwhile: others then.
        let started = (0..20).find_map(|_| Serving::try_start(wrap));
        started.expect("a server that listens")
    }

    fn try_start(wrap: &[&str]) -> Option<Serving> {
        let [tests, stamp, echo] = [free_port(), free_port(), free_port()];
        let words = [wrap, &[env!("CARGO_BIN_EXE_rpingd")]].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg(tests.to_string())
            .args(["--stamp", &stamp.to_string(), "--echo", &echo.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("rpingd starts");
        // From here on it ends with this value, whatever fails.
        let mut serving = Serving {
            child,
            tests,
            stamp,
            echo,
        };
        let mut lines = BufReader::new(serving.child.stderr.take().expect("piped")).lines();
        for _ in 0..3 {
            let line = lines.next()?.expect("text");
            if line.contains("cannot listen") {
                return None;
            }
            assert!(line.contains("Ctrl-C ends it"), "{line}");
        }
        std::thread::spawn(move || lines.for_each(drop));
        Some(serving)
    }

    /// Resident memory, kilobytes.
    fn resident(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a line");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }

    fn answers(&self) -> bool {
        let socket = client(self.tests, 500);
        (0..20).any(|_| {
            socket.send(&sender(1, 44)).expect("send");
            socket.recv(&mut [0; 100]).is_ok_and(|got| got == 44)
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(to: SocketAddr, patience: u64) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(to).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_millis(patience)))
        .expect("a timeout");
    socket
}

/// A STAMP sender's packet (RFC 8762 section 4.2.1).
fn sender(ssid: u16, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[4..12].copy_from_slice(&0xdead_beef_u64.to_be_bytes());
    packet[13] = 1;
    packet[14..16].copy_from_slice(&ssid.to_be_bytes());
    packet
}

#[test]
fn two_hundred_thousand_opens_leave_its_memory_within_a_megabyte_and_it_answers_on() {
    let serving = Serving::start(&[]);
    assert!(serving.answers());
    let before = serving.resident();
    for source in 0..200u8 {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 9, 1, source), 0)).expect("bind");
        for ssid in 1..=1000u16 {
            // Sent to a server that is busy with the others, some are dropped on the way; nobody waits for answers.
            socket.send_to(&sender(ssid, 44), serving.tests).expect("send");
            if ssid % 100 == 0 {
                rping_lab::pause(Duration::from_millis(1));
            }
        }
    }
    assert!(serving.answers());
    let grown = serving.resident() - before;
    assert!(grown <= 1024, "{grown} kB");
}

#[test]
fn no_listener_ever_answers_with_more_bytes_than_it_got() {
    let serving = Serving::start(&[]);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (listener, to) in [
        ("tests", serving.tests),
        ("stamp", serving.stamp),
        ("echo", serving.echo),
    ] {
        let socket = client(to, 1);
        let (mut sent, mut back) = (0, 0);
        let mut buffer = vec![0; 70_000];
        let mut longest = 0;
        for n in 0..10_000 {
            let length = (random() % 200) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
            if n % 4 == 0 && length >= 44 {
                bytes[16..44].fill(0);
            }
            sent += socket.send(&bytes).map_or(0, |n| n);
            socket.set_nonblocking(true).expect("set");
            while let Ok(got) = socket.recv(&mut buffer) {
                back += got;
                longest = longest.max(got);
            }
        }
        socket.set_nonblocking(false).expect("set");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("set");
        while let Ok(got) = socket.recv(&mut buffer) {
            back += got;
            longest = longest.max(got);
        }
        assert!(
            back <= sent && longest < 200,
            "{listener}: {back} bytes for {sent}"
        );
        assert!(back > 0, "{listener}: nothing was answered at all");
    }
    // Every length by itself: an answer is exactly as long, or there is none.
    for to in [serving.tests, serving.stamp, serving.echo] {
        let socket = client(to, 300);
        for length in [14, 38, 40, 41, 43, 44, 45, 112, 1400] {
            let mut packet = sender(7, length.max(44));
            packet.truncate(length);
            socket.send(&packet).expect("send");
            if let Ok(got) = socket.recv(&mut [0; 2000]) {
                assert_eq!(got, length);
            }
        }
    }
}

#[test]
fn no_answer_is_answered_whoever_gets_it() {
    let serving = Serving::start(&[]);
    let socket = client(serving.tests, 20_000);
    socket.send(&sender(7, 60)).expect("send");
    let mut answer = [0; 60];
    assert_eq!(socket.recv(&mut answer).expect("an answer"), 60);
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("set");
    socket.send(&answer).expect("send");
    assert!(socket.recv(&mut answer).is_err(), "an answer was answered");
}

#[test]
fn with_few_descriptors_it_recovers_and_two_thousand_idle_connections_stop_nobody() {
    let serving = Serving::start(&["prlimit", "--nofile=32:32"]);
    // As many as this process may have, or the queue of the server's socket holds.
    let crowd: Vec<TcpStream> = (0..2000)
        .map_while(|_| TcpStream::connect_timeout(&serving.tests, Duration::from_secs(1)).ok())
        .collect();
    assert!(crowd.len() > 64, "{}", crowd.len());
    assert!(serving.answers(), "datagrams need no descriptor");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", serving.child.id())).expect("it runs");
        let after = stat.rsplit(')').next().expect("fields").to_owned();
        let field = |n: usize| {
            after
                .split_whitespace()
                .nth(n)
                .and_then(|t| t.parse::<u64>().ok())
                .expect("ticks")
        };
        field(11) + field(12)
    };
    let before = ticks();
    rping_lab::pause(Duration::from_secs(1));
    // A hundred ticks a second: one that spins takes them all.
    assert!(ticks() - before < 50, "it spins");
    drop(crowd);
    let end = std::iter::repeat_with(|| {
        let stream = TcpStream::connect_timeout(&serving.tests, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        std::io::Write::write_all(&mut &stream, b"abcdefghijklmnopqrstuvwxyz234567abcd\0").ok()?;
        let mut state = [0];
        std::io::Read::read_exact(&mut &stream, &mut state).ok()?;
        (state == [9]).then_some(())
    });
    assert!(
        end.take(30).any(|served| served.is_some()),
        "nobody is served any more"
    );
}
