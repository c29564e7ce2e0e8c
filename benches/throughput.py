#!/usr/bin/env python3
"""Throughput of rping against iperf3, each client against its own server, in turn, in one run.

    benches/throughput.py [--seconds N] [--rounds N] [--veth] [--only tcp|discard|udp|gso|paced]

On loopback, or with --veth between two network namespaces of its own (root). RPING, IPERF3 and IPERF3_NEW name the
programs; IPERF3_NEW is an iperf3 of 3.21 or later, for what Debian's does not have. Medians; the ratio is what counts:
absolute figures are the machine's. Processor time is what both ends used, in seconds per gigabyte received.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

RPING = os.environ.get("RPING", "target/release/rping")
IPERF3 = os.environ.get("IPERF3", "iperf3")
IPERF3_NEW = os.environ.get("IPERF3_NEW")
A, B, FAR = "rpbt-a", "rpbt-b", "10.79.3.2"


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def down():
    for name in (A, B):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def up():
    down()
    sh(f"ip netns add {A} && ip netns add {B} && ip link add rpbt0 netns {A} type veth peer name rpbt1 netns {B}")
    sh(f"ip -n {A} addr add 10.79.3.1/24 dev rpbt0 && ip -n {B} addr add {FAR}/24 dev rpbt1")
    for name, link in ((A, "rpbt0"), (B, "rpbt1")):
        sh(f"ip -n {name} link set {link} up && ip -n {name} link set lo up")


# Name, group, flags of rping, flags of iperf3, which iperf3s.
OLD, NEW = "iperf3", "newest"
SCENARIOS = [
    ("TCP, 1 stream, payload read", "tcp", "", "", (OLD, NEW)),
    ("TCP, 4 streams, payload read", "tcp", "-P 4", "-P 4", (OLD, NEW)),
    ("TCP, 1 stream, reverse, payload read", "tcp", "-r", "-R", (OLD, NEW)),
    ("TCP, 1 stream, payload discarded", "discard", "--skip-rx-copy", "--skip-rx-copy", (NEW,)),
    ("TCP, 4 streams, payload discarded", "discard", "-P 4 --skip-rx-copy", "-P 4 --skip-rx-copy", (NEW,)),
    ("UDP, 1400 bytes, one by one", "udp", "-u -b 0 -l 1400", "-u -b 0 -l 1400", (OLD, NEW)),
    ("UDP, 1400 bytes, GSO/GRO, payload read", "gso", "-u -b 0 -l 1400 --gso", "-u -b 0 -l 1400", (OLD,)),
    ("UDP, 1400 bytes, GSO/GRO, payload read", "gso", "-u -b 0 -l 1400 --gso", "-u -b 0 -l 1400 --gsro", (NEW,)),
    ("UDP, 1400 bytes, GSO/GRO, discarded", "gso", "-u -b 0 -l 1400 --gso --skip-rx-copy", "-u -b 0 -l 1400", (OLD,)),
]
PACED = [(1_000, "1 k"), (10_000, "10 k"), (100_000, "100 k")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--veth", action="store_true")
    parser.add_argument("--only", action="append", choices=["tcp", "discard", "udp", "gso", "paced"])
    args = parser.parse_args()
    wanted = args.only or ["tcp", "discard", "udp", "gso", "paced"]
    near, far = [], []
    host = "127.0.0.1"
    if args.veth:
        up()
        near, far, host = ["ip", "netns", "exec", A], ["ip", "netns", "exec", B], FAR
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    programs = {OLD: IPERF3, NEW: IPERF3_NEW}
    ports = {OLD: "5312", NEW: "5313"}
    servers = [subprocess.Popen(far + [RPING, "server", f"{host}:5311"], **quiet)]
    for which, program in programs.items():
        if program:
            servers.append(subprocess.Popen(far + [program, "-s", "-B", host, "-p", ports[which]], **quiet))
    time.sleep(0.5)
    seconds = args.seconds

    def rping(flags, length=f"{args.seconds}s"):
        command = [RPING, "bandwidth", f"{host}:5311", "-n", length, "--omit", "0", "--json"] + flags.split()
        document = json.loads(subprocess.run(near + command, capture_output=True, check=False).stdout)
        target = document["targets"][0]
        cpu = target["cpu"]["local"]["total_percent"] + target["cpu"]["remote"]["total_percent"]
        return target["bits_per_second"], cpu, target["received_packets"], target["loss_ratio"], document

    def iperf3(which, flags):
        command = [programs[which], "-c", host, "-p", ports[which], "-t", str(seconds), "-J"] + flags.split()
        result = {"error": "never ran"}
        for _ in range(20):
            result = json.loads(subprocess.run(near + command, capture_output=True, check=False).stdout)
            if "error" not in result:
                break
            time.sleep(0.2)
        end = result["end"]
        cpu = end["cpu_utilization_percent"]["host_total"] + end["cpu_utilization_percent"]["remote_total"]
        if "-u" not in flags.split():
            return end["sum_received"]["bits_per_second"], cpu, None, None
        every = end["sum"]
        got = every["packets"] - every["lost_packets"]
        # Of what was sent, what arrived: the figure of the receiver.
        rate = end["sum_received"]["bits_per_second"] if "sum_received" in end else None
        rate = rate or every["bits_per_second"] * (1 - every["lost_percent"] / 100)
        return rate, cpu, got, every["lost_percent"] / 100

    def compare():
        print("| scenario | rping | iperf3 | ratio | CPU s per GB: rping / iperf3 | lost: rping / iperf3 |")
        print("|---|---|---|---|---|---|")
        for name, group, ours, theirs, whiches in SCENARIOS:
            for which in whiches:
                if group not in wanted or not programs[which]:
                    continue
                rows = {"rping": [], "iperf3": []}
                for _ in range(args.rounds):
                    rows["rping"].append(rping(ours))
                    time.sleep(0.2)
                    rows["iperf3"].append(iperf3(which, theirs))
                    time.sleep(0.2)
                median = lambda who, key: statistics.median(key(row) for row in rows[who])
                rates = {who: median(who, lambda row: row[0]) for who in rows}
                costs = {who: median(who, lambda row: row[1] / 100 / (row[0] / 8e9)) for who in rows}
                lost = [[row[3] for row in rows[who] if row[3] is not None] for who in rows]
                losses = " / ".join(f"{100 * statistics.median(l):.2f} %" if l else "–" for l in lost)
                shown = {who: f"{rate / 1e9:.2f} Gbit/s" for who, rate in rates.items()}
                if "-u" in ours.split():
                    for who in rows:
                        shown[who] += f", {rates[who] / 8 / 1400 / 1000:.0f} k/s"
                print(
                    f"| {name}, against {which} | {shown['rping']} | {shown['iperf3']} "
                    f"| {rates['rping'] / rates['iperf3']:.2f} | {costs['rping']:.3f} / {costs['iperf3']:.3f} | {losses} |",
                    flush=True,
                )

    def paced():
        print("| datagrams per second | sent late by p50 / p99 / max | datagrams | lost | dropped by a receiving host | CPU here |")
        print("|---|---|---|---|---|---|")
        for rate, name in PACED:
            rows = [rping(f"-u -l 1000 -b {rate * 8000}") for _ in range(args.rounds)]
            late = lambda q: statistics.median(row[4]["instrument"]["lateness_ns"][q] for row in rows) / 1000
            targets = [row[4]["targets"][0] for row in rows]
            total = lambda key: sum(target[key] for target in targets)
            cpu = statistics.median(target["cpu"]["local"]["total_percent"] for target in targets)
            print(
                f"| {name} | {late('p50'):.2f} / {late('p99'):.1f} / {late('max'):.0f} µs | {total('packets')} "
                f"| {total('lost')} | {total('dropped_by_receiver')} | {cpu:.0f} % |",
                flush=True,
            )

    try:
        if wanted != ["paced"]:
            compare()
        if "paced" in wanted:
            paced()
    finally:
        for server in servers:
            server.terminate()
        if args.veth:
            down()


if __name__ == "__main__":
    sys.exit(main())
