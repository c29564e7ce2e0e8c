//! What it costs to record a reply, and to read the figures at the end.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use rping_stats::{buckets, Histogram, Recorder};

/// Round trips around 1 ms with a tail, the same ones on every run.
fn round_trips() -> Vec<u64> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    (0..100_000)
        .map(|i| 800_000 + next() % 400_000 + if i % 1000 == 0 { 50_000_000 } else { 0 })
        .collect()
}

fn recorded(samples: &[u64]) -> Recorder {
    let mut r = Recorder::full();
    for (seq, &rtt) in samples.iter().enumerate() {
        r.reply(seq as u64, Some(rtt), rtt + 500);
    }
    r
}

fn recording(c: &mut Criterion) {
    let samples = round_trips();
    let mut g = c.benchmark_group("record");
    g.throughput(Throughput::Elements(samples.len() as u64));
    for (name, make) in [
        ("reply_full", Recorder::full as fn() -> Recorder),
        ("reply_brief", || Recorder::brief()),
    ] {
        let mut r = make();
        let mut seq = 0;
        g.bench_function(name, |b| {
            b.iter(|| {
                for &rtt in &samples {
                    r.reply(black_box(seq), Some(black_box(rtt)), black_box(rtt + 500));
                    seq += 1;
                }
            });
        });
    }
    let mut r = Recorder::brief();
    let mut seq = 0;
    g.bench_function("loss", |b| {
        b.iter(|| {
            for &at in &samples {
                r.lost(black_box(seq), black_box(at));
                seq += 1 + (at & 1);
            }
        });
    });
    let mut h = Histogram::new();
    g.bench_function("histogram_alone", |b| {
        b.iter(|| samples.iter().for_each(|&rtt| h.record(black_box(rtt))));
    });
    g.finish();
}

fn reading(c: &mut Criterion) {
    let r = recorded(&round_trips());
    let mut g = c.benchmark_group("read");
    g.bench_function("five_quantiles", |b| {
        b.iter(|| [0.5, 0.9, 0.95, 0.99, 0.999].map(|q| r.rtt_quantile(black_box(q))));
    });
    let h = r.histogram().expect("a full recorder keeps one");
    g.bench_function("v2_base64", |b| b.iter(|| h.to_v2_base64()));
    g.bench_function("twenty_buckets", |b| b.iter(|| buckets::equal(h, &r.rtt(), 20)));
    g.bench_function("merge", |b| {
        b.iter_batched_ref(|| r.clone(), |m| m.merge(&r), BatchSize::LargeInput)
    });
    g.bench_function("make_full", |b| b.iter(Recorder::full));
    g.finish();
}

criterion_group!(benches, recording, reading);
criterion_main!(benches);
