#!/usr/bin/env python3
"""How late probes leave with and without `--graph`, in turn, in one run.

    benches/graph.py [--rounds N]

RPING names the program. Each run is in a pseudo-terminal of 100 columns and 30 rows that is read as a terminal reads it, and is
saved; the lateness of its sends comes out of the saved run. Without the picture it prints nothing but its summary (-q).
"""
import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import tempfile
import termios

RPING = os.environ.get("RPING", "target/release/rping")
RATES = [("100 a second", "-i 10ms -n 400"), ("1 000 a second", "-i 1ms -n 4000"), ("10 000 a second", "-i 100us -n 40000")]


def run(words, save):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = dict(os.environ, TERM="xterm-256color")
    child = subprocess.Popen(
        [RPING, "icmp", "127.0.0.1", *words.split(), "--save", save],
        stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
    )
    os.close(slave)
    while True:
        try:
            if not os.read(master, 1 << 16):
                break
        except OSError:
            break
    child.wait()
    os.close(master)
    out = subprocess.run([RPING, "show", "-o", "json", save], check=True, capture_output=True, text=True)
    document = json.loads(out.stdout)
    late = document["instrument"]["lateness_ns"]
    rtt = document["targets"][0]["rtt_ns"]
    return late["p50"], late["p99"], late["max"], rtt["p50"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print("| rate | | late by p50 | p99 | most | round trip p50 |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        save = os.path.join(place, "run.rping")
        for name, words in RATES:
            found = {"without": [], "with": []}
            for n in range(rounds):
                order = ["without", "with"] if n % 2 == 0 else ["with", "without"]
                for which in order:
                    flag = "--graph" if which == "with" else "-q"
                    found[which].append(run(f"{words} {flag}", save))
            for which, all_of in found.items():
                each = [[x for x in column if x is not None] for column in zip(*all_of)]
                shown = " | ".join(f"{statistics.median(c) / 1000:.2f} µs" if c else "n/a" for c in each)
                print(f"| {name} | {which} | {shown} |", flush=True)


main()
