//! Echo over loopback: stamps, sizes, both kinds of socket.

mod common;

use common::{answers, due, hear, is_stamp, send, targets};
use rping_engine::{Left, Probe, SeqRef, Sequence, StampSource};
use rping_icmp::{IcmpProbe, Options, SocketKind};
use rping_lab::{require_root, Namespace};

#[test]
fn each_probe_to_each_target_of_both_families_is_answered_with_kernel_stamps() {
    if !require_root("each_probe_to_each_target") {
        return;
    }
    let mut probe =
        IcmpProbe::open(&targets(&["127.0.0.1", "::1", "127.0.0.2"]), &Options::default()).expect("open");
    for seq in 0..100u64 {
        // Bits beyond the sequence field and the identifier: only the payload holds them.
        let seq = seq << 18 | seq;
        let out: Vec<_> = (0..3).map(|t| due(t, seq)).collect();
        let left = send(&mut probe, &out);
        assert!(
            left.iter()
                .all(|d| matches!(d.left, Left::At(at) if at.source == StampSource::User)),
            "{left:?}"
        );
        let arrived = hear(&mut probe, 3);
        let mut got = answers(&arrived);
        got.sort_by_key(|(target, _)| *target);
        assert_eq!(got.len(), 3, "{arrived:?}");
        for (i, (target, answer)) in got.iter().enumerate() {
            assert_eq!(*target, i as u32);
            assert_eq!(answer.seq, SeqRef::Full(Sequence(seq)));
            assert_eq!((answer.ttl, answer.truncated), (Some(64), false));
        }
        assert!(
            arrived.iter().all(|a| a.at.source == StampSource::Kernel),
            "{arrived:?}"
        );
        assert_eq!(
            arrived.iter().filter(|a| is_stamp(a)).count(),
            3,
            "every transmit stamp is there"
        );
        let first_reply = arrived.iter().position(|a| !is_stamp(a)).expect("replies");
        assert!(
            arrived[..first_reply].iter().all(is_stamp),
            "stamps come before replies"
        );
    }
    assert_eq!(
        (probe.local_drops(), probe.clock_steps(), probe.strangers()),
        (0, 0, 0)
    );
}

#[test]
fn sizes_from_nothing_to_the_protocols_limit_are_answered_whole() {
    if !require_root("sizes_from_nothing") {
        return;
    }
    for (to, most) in [
        ("127.0.0.1", rping_icmp::MAX_SIZE_V4),
        ("::1", rping_icmp::MAX_SIZE_V6),
    ] {
        for size in [0, 1, 8, 15, 16, 17, 1400, 60_000, most] {
            let options = Options {
                size,
                ..Options::default()
            };
            let mut probe = IcmpProbe::open(&targets(&[to]), &options).expect("open");
            for seq in 0..3 {
                send(&mut probe, &[due(0, seq)]);
                let arrived = hear(&mut probe, 1);
                let got = answers(&arrived);
                assert_eq!(got.len(), 1, "{to} {size}: {arrived:?}");
                assert_eq!(
                    (got[0].1.seq, got[0].1.truncated),
                    (SeqRef::Full(Sequence(seq)), false)
                );
            }
        }
        let options = Options {
            size: most + 1,
            ..Options::default()
        };
        assert!(matches!(
            IcmpProbe::open(&targets(&[to]), &options),
            Err(rping_icmp::Error::TooLarge { most: m, .. }) if m == most
        ));
    }
}

#[test]
fn an_unprivileged_socket_does_the_same_where_the_system_allows_it() {
    if !require_root("an_unprivileged_socket") {
        return;
    }
    let lab = Namespace::new("ping");
    lab.sysctl("net.ipv4.ping_group_range", "0 2147483647");
    lab.run(|| {
        for to in ["127.0.0.1", "::1"] {
            for size in [8, 32] {
                let options = Options {
                    size,
                    ..Options::default()
                };
                let mut probe = IcmpProbe::open(&targets(&[to]), &options).expect("open");
                assert_eq!(probe.socket_kind(), SocketKind::Datagram);
                assert_eq!(probe.max_in_flight(), (size == 8).then_some(65_536));
                for seq in [0, 1, 65_536, 65_537] {
                    send(&mut probe, &[due(0, seq)]);
                    let arrived = hear(&mut probe, 1);
                    let got = answers(&arrived);
                    assert_eq!(got.len(), 1, "{arrived:?}");
                    assert_eq!(
                        (got[0].1.seq, got[0].1.ttl),
                        (SeqRef::Full(Sequence(seq)), Some(64))
                    );
                    assert!(
                        arrived.iter().all(|a| a.at.source == StampSource::Kernel),
                        "{arrived:?}"
                    );
                }
            }
        }
    });
}
