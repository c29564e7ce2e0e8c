use super::*;
use rping_engine::StampSource;

/// Sends `count` packets to itself, some of them too long to leave, and returns the tags that were sent and stamped.
fn tags(socket: &mut Datagram, count: u64) -> (Vec<u64>, Vec<u64>) {
    let to = socket.local_addr();
    let (bytes, mut sent, mut stamped) = (vec![0; 65_508], Vec::new(), Vec::new());
    for tag in 0..count {
        let length = if tag % 5 == 2 { 65_508 } else { 1 };
        let packet = Packet {
            bytes: 0..length,
            to,
            from: None,
            tag,
        };
        socket.send(&bytes, &[packet], |tag, left| {
            if matches!(left, Left::At(_)) {
                sent.push(tag);
            }
        });
        socket
            .receive(|incoming| {
                if let Incoming::Left { tag, at } = incoming {
                    assert_eq!(at.source, StampSource::Kernel);
                    stamped.push(tag);
                }
            })
            .expect("receive");
    }
    (sent, stamped)
}

#[test]
fn stamps_find_their_packets_where_the_kernel_counts_as_on_linux_before_6_13() {
    let options = Options {
        source: "127.0.0.1:0".parse().ok(),
        ..Options::default()
    };
    let mut socket = Datagram::udp(false, None, &options).expect("socket");
    socket.numbering = Numbering::Kernels;
    let (sent, stamped) = tags(&mut socket, 50);
    assert_eq!(sent.len(), 40);
    assert_eq!(sent, stamped);
}
