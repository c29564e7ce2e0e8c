//! What it costs to write a probe's bytes and to judge what came back.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use rping_wire::probe_payload::{check, write, NonceKey};
use rping_wire::quoted::Quoted;
use rping_wire::stamp::{reflect, ErrorEstimate, NtpTimestamp, Reflection, ReflectorPacket, SenderPacket};

fn payloads(c: &mut Criterion) {
    let key = NonceKey::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    let mut g = c.benchmark_group("probe_payload");
    for len in [32, 1472, 65_507] {
        let mut probe = vec![0; len];
        g.bench_function(format!("write_{len}"), |b| {
            b.iter(|| write(black_box(&mut probe), black_box(7), key.nonce(black_box(7))));
        });
        g.bench_function(format!("check_{len}"), |b| {
            b.iter(|| check(len, black_box(&probe), |seq| key.nonce(seq)));
        });
    }
    g.finish();
}

fn stamp(c: &mut Criterion) {
    let mut g = c.benchmark_group("stamp");
    let estimate = ErrorEstimate::new(true, 1000);
    let mut request = [0; 44];
    let at = 1_763_850_000_123_456_789;
    g.bench_function("write_request", |b| {
        b.iter(|| {
            let timestamp = NtpTimestamp::from_unix_nanos(black_box(at)).0;
            SenderPacket {
                seq: black_box(9),
                timestamp,
                error_estimate: estimate,
                ssid: 0,
            }
            .write(&mut request)
        });
    });
    let mut answer = [0; 44];
    g.bench_function("reflect", |b| {
        b.iter(|| {
            let now = NtpTimestamp::from_unix_nanos(black_box(at));
            let with = Reflection {
                seq: 9,
                received: now,
                sent: now,
                error_estimate: estimate,
                ttl: 64,
            };
            reflect(black_box(&request), &with, &mut answer)
        });
    });
    g.bench_function("parse_answer", |b| {
        b.iter(|| ReflectorPacket::parse(black_box(&answer)).map(|p| p.turnaround_nanos()));
    });
    g.finish();
}

fn quotes(c: &mut Criterion) {
    let mut v4 = vec![
        0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    v4.extend([0xc0, 1, 0, 53, 0, 40, 0, 0]);
    v4.extend([0; 32]);
    let mut v6 = vec![0x60, 0, 0, 0, 0, 48, 60, 64];
    v6.extend([0x20; 32]);
    v6.extend([17, 0, 1, 4, 0, 0, 0, 0, 0xc0, 1, 0, 53, 0, 40, 0, 0]);
    v6.extend([0; 32]);
    let mut g = c.benchmark_group("quoted");
    for (name, packet) in [("ipv4_udp", &v4), ("ipv6_options_udp", &v6)] {
        g.bench_function(name, |b| {
            b.iter(|| Quoted::parse(black_box(packet)).map(|q| (q.ports(), q.payload().len())));
        });
    }
    g.finish();
}

criterion_group!(benches, payloads, stamp, quotes);
criterion_main!(benches);
