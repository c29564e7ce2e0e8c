#!/usr/bin/env python3
"""How often `rping compare` calls a run worse than another of the same thing. Needs root for its network namespaces.

    benches/compare.py make DIR [--runs N]      makes N real runs of each kind, one after another (quiet machine)
    benches/compare.py judge DIR [--pairs N]    compares N pairs of each kind and says how many were worse, better, same

RPING names the program. The kinds: ICMP echo on loopback, TCP connect and STAMP to `rping server`
over a veth pair. Nothing is
changed between two runs, so each "worse" is a false one, or a mood of the machine that lasts for a run. What moods there are is
taken out by a third comparison: of each two runs that follow each other one goes to the one side and one to the other, by lot, and
the sides are merged (`rping merge`), as docs/comparing.md advises.
"""
import argparse
import itertools
import json
import os
import pathlib
import random
import subprocess
import tempfile
import time

RPING = os.environ.get("RPING", "target/release/rping")
A, B, FAR = "rpcmp-a", "rpcmp-b", "10.79.4.2"


def sh(line):
    subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL)


def down():
    for name in (A, B):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def up():
    down()
    sh(f"ip netns add {A} && ip netns add {B} && ip link add rpcmp0 netns {A} type veth peer name rpcmp1 netns {B}")
    sh(f"ip -n {A} addr add 10.79.4.1/24 dev rpcmp0 && ip -n {B} addr add {FAR}/24 dev rpcmp1")
    for name, link in ((A, "rpcmp0"), (B, "rpcmp1")):
        sh(f"ip -n {name} link set {link} up && ip -n {name} link set lo up")


KINDS = {
    "icmp": "icmp 127.0.0.1",
    "tcp": f"tcp {FAR}:5201",
    "stamp": f"udp {FAR}:5201",
}


def make(to, runs):
    to.mkdir(parents=True, exist_ok=True)
    up()
    server = subprocess.Popen(["ip", "netns", "exec", B, RPING, "server"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        for n in range(runs):
            for kind, words in KINDS.items():
                line = f"ip netns exec {A} {RPING} {words} -n 3000 -i 500us -w 200 -q --save {to}/{kind}-{n:03}.rping"
                sh(line)
    finally:
        server.kill()
        server.wait()
        down()


def verdict(before, after):
    out = subprocess.run([RPING, "compare", "-o", "json", before, after], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["verdict"]


def judge(of, most):
    random.seed(1)
    for kind in KINDS:
        files = sorted(of.glob(f"{kind}-*.rping"))
        near = list(zip(files, files[1:]))
        pairs = list(itertools.combinations(files, 2))
        if len(pairs) > most:
            pairs = random.sample(pairs, most)
        counts = {"worse": 0, "better": 0, "same": 0}
        for pair in pairs:
            counts[verdict(*pair)] += 1
        next_to = sum(verdict(*pair) == "worse" for pair in near)
        print(
            f"{kind:6} {len(pairs)} pairs of {len(files)} runs: worse {counts['worse']} "
            f"({100 * counts['worse'] / len(pairs):.1f}%), better {counts['better']}, same {counts['same']}; "
            f"next to each other: worse {next_to} of {len(near)}",
            flush=True,
        )


def merged(place, name, files):
    to = place / name
    subprocess.run([RPING, "merge", *files, "--save", to], check=True, stdout=subprocess.DEVNULL)
    return to


def by_lot(of, most):
    random.seed(2)
    for kind in KINDS:
        files = sorted(of.glob(f"{kind}-*.rping"))
        near = list(zip(files[::2], files[1::2]))
        counts = {"worse": 0, "better": 0, "same": 0}
        with tempfile.TemporaryDirectory() as place:
            for _ in range(most):
                drawn = [random.sample(pair, 2) for pair in near]
                sides = [merged(pathlib.Path(place), name, [pair[at] for pair in drawn]) for at, name in enumerate("ab")]
                counts[verdict(*sides)] += 1
        print(
            f"{kind:6} {most} times {len(near)} runs against {len(near)}, alternating by lot: worse {counts['worse']} "
            f"({100 * counts['worse'] / most:.1f}%), better {counts['better']}, same {counts['same']}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "judge"))
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--pairs", type=int, default=200)
    args = parser.parse_args()
    if args.what == "make":
        make(args.dir, args.runs)
    else:
        judge(args.dir, args.pairs)
        by_lot(args.dir, args.pairs)


main()
