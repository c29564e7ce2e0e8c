#!/usr/bin/env python3
"""What an honest client gets of a server beside 2 000 connections that want nothing, in pairs: alone, in the crowd, alone, …

    benches/peers/crowd.py [--seconds N] [--pairs N] [--crowd N] [--json FILE]

On loopback; the crowd comes from 127.0.0.2, the honest client from 127.0.0.1. Of the crowd a third is silent, a third has begun a
hello and does not go on, a third sends one octet of a cookie each second. The server is told to hold them all (as it comes, it holds 1024 of
one address, and the newest takes the oldest's place). RPING names the program. The client is bound to processor 0,
the server to 1, the crowd to both. Medians of the pairs' own ratios: what is asked for is a result within 10 %.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import threading
import time

RPING = os.environ.get("RPING", "target/release/rping")
PORT = 5341
COOKIE = b"abcdefghijklmnopqrstuvwxyz234567abcd\0"


class Crowd:
    """So many connections; those of them that are slow go on slowly."""

    def __init__(self, count):
        self.all = []
        self.over = threading.Event()
        for number in range(count):
            one = socket.socket()
            one.bind(("127.0.0.2", 0))
            one.connect(("127.0.0.1", PORT))
            if number % 3 == 1:
                one.send(b"RPINGLAT\x01\x01")
            self.all.append(one)
        self.thread = threading.Thread(target=self.drip, daemon=True)
        self.thread.start()

    def drip(self):
        sent = 0
        while not self.over.wait(1) and sent < len(COOKIE) - 1:
            for one in self.all[2::3]:
                try:
                    one.send(COOKIE[sent:sent + 1])
                except OSError:
                    pass
            sent += 1

    def still_there(self):
        there = 0
        for one in self.all:
            try:
                there += one.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
            except BlockingIOError:
                there += 1
            except OSError:
                pass
        return there

    def leave(self):
        self.over.set()
        self.thread.join()
        for one in self.all:
            one.close()


def run(command, seconds):
    words = ["taskset", "-c", "0", RPING, command, f"127.0.0.1:{PORT}", "-n", f"{seconds}s", "--json"]
    if command == "bandwidth":
        words += ["--omit", "0"]
    output = subprocess.run(words, capture_output=True, text=True, check=False)
    document = json.loads(output.stdout)
    target = document["targets"][0]
    if command == "bandwidth":
        return target["forward"]["bits_per_second"] if target.get("forward") else target["bits_per_second"]
    assert target["received"] == target["sent"], target
    return target["received"] / (document["duration_ns"] / 1e9)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--crowd", type=int, default=2000)
    parser.add_argument("--json")
    args = parser.parse_args()
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    server = subprocess.Popen(["taskset", "-c", "1", RPING, "server", f"127.0.0.1:{PORT}",
                               "--max-connections-per-source", "4096"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    rows = []
    try:
        print("| result | alone | in the crowd | ratio of the pairs: median (least to most) | connections at the end of a run |")
        print("|---|---|---|---|---|")
        for command, unit in (("latency", 1), ("bandwidth", 1e9)):
            alone, beside, there = [], [], []
            for _ in range(args.pairs):
                alone.append(run(command, args.seconds) / unit)
                crowd = Crowd(args.crowd)
                time.sleep(0.2)
                beside.append(run(command, args.seconds) / unit)
                there.append(crowd.still_there())
                crowd.leave()
                time.sleep(0.5)
            ratios = [with_them / without for without, with_them in zip(alone, beside)]
            rows.append({"command": command, "alone": alone, "beside": beside, "there": there})
            what = "latency, requests a second" if command == "latency" else "bandwidth, TCP, Gbit/s"
            print(f"| {what} | {statistics.median(alone):,.1f} | {statistics.median(beside):,.1f} | "
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {statistics.median(there):.0f} |")
    finally:
        server.kill()
        server.wait()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(rows, out, indent=2)


if __name__ == "__main__":
    main()
