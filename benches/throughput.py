#!/usr/bin/env python3
"""Throughput of rping against iperf3, each client against its own server, in turn, in one run.

    benches/throughput.py [--seconds N] [--rounds N] [--veth]

On loopback, or with --veth between two network namespaces of its own (root). Medians; the ratio is what counts:
absolute figures are the machine's. Processor time is what both ends used per gigabyte.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

RPING = os.environ.get("RPING", "target/release/rping")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--veth", action="store_true")
    args = parser.parse_args()
    near, far = [], []
    host = "127.0.0.1"
    if args.veth:
        up()
        near, far, host = ["ip", "netns", "exec", A], ["ip", "netns", "exec", B], FAR
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    servers = [
        subprocess.Popen(far + [RPING, "server", f"{host}:5311"], **quiet),
        subprocess.Popen(far + ["iperf3", "-s", "-B", host, "-p", "5312"], **quiet),
    ]
    time.sleep(0.5)
    seconds = args.seconds

    def rping(flags):
        command = [RPING, "bandwidth", f"{host}:5311", "-n", f"{seconds}s", "--omit", "0", "--json"] + flags
        result = json.loads(subprocess.run(near + command, capture_output=True, check=False).stdout)
        target = result["targets"][0]
        cpu = target["cpu"]["local"]["total_percent"] + target["cpu"]["remote"]["total_percent"]
        return target["bits_per_second"], cpu, target["received_packets"], target["loss_ratio"]

    def iperf3(flags):
        command = ["iperf3", "-c", host, "-p", "5312", "-t", str(seconds), "-J"] + flags
        for _ in range(20):
            result = json.loads(subprocess.run(near + command, capture_output=True, check=False).stdout)
            if "error" not in result:
                break
            time.sleep(0.2)
        end = result["end"]
        cpu = end["cpu_utilization_percent"]["host_total"] + end["cpu_utilization_percent"]["remote_total"]
        if "sum_received" in end:
            return end["sum_received"]["bits_per_second"], cpu, None, None
        every = end["sum"]
        got = every["packets"] - every["lost_packets"]
        lost = every["lost_percent"] / 100
        return every["bits_per_second"] * (1 - lost), cpu, got, lost

    scenarios = [
        ("TCP, 1 stream", [], []),
        ("TCP, 4 streams", ["-P", "4"], ["-P", "4"]),
        ("TCP, 1 stream, reverse", ["-r"], ["-R"]),
        ("UDP, 1400 bytes", ["-u", "-b", "0", "-l", "1400"], ["-u", "-b", "0", "-l", "1400"]),
    ]
    try:
        print("| scenario | rping | iperf3 | ratio | CPU per bit: rping / iperf3 | lost: rping / iperf3 |")
        print("|---|---|---|---|---|---|")
        for name, ours, theirs in scenarios:
            rows = {"rping": [], "iperf3": []}
            for _ in range(args.rounds):
                rows["rping"].append(rping(ours))
                rows["iperf3"].append(iperf3(theirs))
                time.sleep(0.3)
            median = lambda who, key: statistics.median(key(row) for row in rows[who])
            rates = {who: median(who, lambda row: row[0]) for who in rows}
            costs = {who: median(who, lambda row: row[1] / row[0]) for who in rows}
            lost = {who: [row[3] for row in rows[who] if row[3] is not None] for who in rows}
            losses = " / ".join(f"{100 * statistics.median(l):.1f}%" if l else "–" for l in lost.values())
            print(
                f"| {name} | {rates['rping'] / 1e9:.2f} Gbit/s | {rates['iperf3'] / 1e9:.2f} Gbit/s "
                f"| {rates['rping'] / rates['iperf3']:.2f} | {costs['rping'] / costs['iperf3']:.2f} | {losses} |",
                flush=True,
            )
    finally:
        for server in servers:
            server.terminate()
        if args.veth:
            down()


if __name__ == "__main__":
    sys.exit(main())
