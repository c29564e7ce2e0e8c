#!/usr/bin/env python3
"""One probe to loopback, from start to exit, and the largest resident size.

    cargo build --release && sudo benches/peers/startup.py [--rounds N] [--json FILE]

Pairs in turn, 15 a round; no namespace, whose entering would be part of it. See arena.py.
"""
import os
import statistics
import time

from arena import Ran, Table, peer, typed


def once(command, sink):
    """Seconds and processor seconds; spawned without a copy of this process."""
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, sink, 2)])
    _, _, used = os.wait4(pid, 0)
    return time.monotonic() - began, used.ru_utime + used.ru_stime


def measure(_, command):
    sink = os.open("/dev/null", os.O_WRONLY)
    runs = [once(command, sink) for _ in range(15)]
    os.close(sink)
    took = [run[0] * 1000 for run in runs]
    return statistics.median(took), min(took), statistics.median(run[1] * 1000 for run in runs), Ran(command, None, memory=True).mb


def main():
    os.sched_setaffinity(0, {0})
    table = Table("Start to exit", ["ms median", "ms best", "CPU ms", "MB"])
    table.compare("one echo to 127.0.0.1", [
        typed("icmp -n 1 127.0.0.1"),
        peer("fping -c1 127.0.0.1"),
        peer("ping -c1 127.0.0.1"),
    ], measure)
    table.end()


if __name__ == "__main__":
    main()
