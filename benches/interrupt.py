#!/usr/bin/env python3
"""How long after SIGINT or SIGTERM the summary is out and the program gone: wanted within 200 ms. Loopback only.

    cargo build --release && benches/interrupt.py [PROGRAM]

The last lines sweep 65 536 addresses, where the summary is long.
"""

import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

RPING = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent / "target/release/rping"
TIMES = 20
RUNS = {
    "an answer owed for 30 s": ["icmp", "-t", "-W", "30s", "127.0.0.1"],
    "a closed port": ["tcp", "-t", "127.0.0.1:1"],
    "one document": ["icmp", "-t", "-o", "json", "127.0.0.1"],
    "10 000 a second": ["icmp", "-t", "-q", "--rate", "10000", "127.0.0.1"],
    "the server": ["server", "127.0.0.1:5999"],
    "65 536 addresses, text": ["icmp", "-n", "9", "127.7.0.0/16", "--all"],
    "65 536 addresses, one document": ["icmp", "-n", "9", "127.7.0.0/16", "-o", "json"],
}


def once(words, number):
    with tempfile.TemporaryFile() as out:
        run = subprocess.Popen([RPING, *words], stdout=out, stderr=subprocess.DEVNULL)
        time.sleep(0.7)
        if run.poll() is not None:
            sys.exit(f"rping {' '.join(words)} ended by itself")
        sent = time.monotonic()
        run.send_signal(number)
        run.wait()
        return (time.monotonic() - sent) * 1e3


print("| run | from signal to exit, p50 | max |\n|---|---|---|")
for name, words in RUNS.items():
    took = [once(words, (signal.SIGINT, signal.SIGTERM)[turn % 2]) for turn in range(TIMES)]
    print(f"| {name} | {statistics.median(took):.1f} ms | {max(took):.1f} ms |", flush=True)
