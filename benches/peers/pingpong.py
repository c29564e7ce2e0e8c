#!/usr/bin/env python3
"""Ping-pong latency of rping against sockperf, each client against its own server, in turn, in one run.

    benches/peers/pingpong.py [--seconds N] [--rounds N] [--veth] [--one-core] [--json FILE] [--only tcp|udp]

On loopback, or with --veth between two network namespaces of its own (root). The client is bound to processor 0, the
server to processor 1; with --one-core both to processor 0, where nobody may spin. RPING names the program; sockperf is
Debian's. Messages of 64 bytes. Waiting is the same at both ends: busy (sockperf: --nonblocked) or blocking. Medians of the
rounds; the ratio is what counts: absolute figures are the machine's. Times are whole round trips in microseconds:
sockperf's halves are doubled. Beside each rate the share of its processor that the client got.
"""
import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time

RPING = os.environ.get("RPING", "target/release/rping")
SOCKPERF = os.environ.get("SOCKPERF", "sockperf")
A, B, FAR = "rppp-a", "rppp-b", "10.79.4.2"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def down():
    for name in (A, B):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def up():
    down()
    sh(f"ip netns add {A} && ip netns add {B} && ip link add rppp0 netns {A} type veth peer name rppp1 netns {B}")
    sh(f"ip -n {A} addr add 10.79.4.1/24 dev rppp0 && ip -n {B} addr add {FAR}/24 dev rppp1")
    for name, link in ((A, "rppp0"), (B, "rppp1")):
        sh(f"ip -n {name} link set {link} up && ip -n {name} link set lo up")


def share(command):
    """Runs it; its output and how much of a processor it had."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return output, used / took


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--veth", action="store_true")
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--only", action="append", choices=["tcp", "udp"])
    args = parser.parse_args()
    near, far, host = [], [], "127.0.0.1"
    if args.veth:
        up()
        near, far, host = ["ip", "netns", "exec", A], ["ip", "netns", "exec", B], FAR
    client = near + ["taskset", "-c", "0"]
    server = far + ["taskset", "-c", "0" if args.one_core else "1"]

    def rping(transport, wait):
        flags = ["-u"] if transport == "udp" else []
        command = client + [RPING, "latency", f"{host}:5321", "-l", "64", "-n", f"{args.seconds}s", "--wait", wait, "--json"]
        output, cpu = share(command + flags)
        run = json.loads(output.stdout)
        target = run["targets"][0]
        rtt, held = target["rtt_ns"], target["residence_ns"]
        # sockperf's times hold what the server took.
        taken = {key: held[key] or 0 for key in ("p50", "p99")}
        figures = [(rtt[key] + taken[key]) / 1000 for key in ("p50", "p99")]
        return [target["received"] / (run["duration_ns"] / 1e9), *figures, cpu], run["instrument"]["waiting"]

    def sockperf(transport, wait):
        flags = (["--tcp"] if transport == "tcp" else []) + (["--nonblocked"] if wait == "busy" else [])
        command = client + [SOCKPERF, "ping-pong", "-i", host, "-p", "5322" if wait == "busy" else "5323"]
        output, cpu = share(command + ["-m", "64", "-t", str(args.seconds)] + flags)
        text = output.stdout
        number = lambda pattern: float(re.search(pattern, text).group(1))
        count = number(r"\[Valid Duration\].*ReceivedMessages=(\d+)")
        took = number(r"\[Valid Duration\] RunTime=([\d.]+)")
        p50, p99 = (2 * number(rf"percentile {q}\s*=\s*([\d.]+)") for q in ("50.000", "99.000"))
        return [count / took, p50, p99, cpu], None

    rows = []
    print(f"{'veth' if args.veth else 'loopback'}, {'one processor' if args.one_core else 'a processor each'}; "
          f"{platform.release()}, {time.strftime('%Y-%m-%d')}; {args.rounds} rounds of {args.seconds} s\n")
    print("| 64 bytes | rping: 1/s, p50, p99 µs | sockperf: 1/s, p50, p99 µs | rate | share of the processor |")
    print("|---|---|---|---|---|")
    for transport in args.only or ["tcp", "udp"]:
        for wait in ["block"] if args.one_core else ["busy", "block"]:
            servers = [subprocess.Popen(server + [RPING, "server", f"{host}:5321", "--wait", wait], **QUIET)]
            command = server + [SOCKPERF, "server", "-i", host, "-p", "5322" if wait == "busy" else "5323"]
            command += ["--tcp"] if transport == "tcp" else []
            servers.append(subprocess.Popen(command + (["--nonblocked"] if wait == "busy" else []), **QUIET))
            time.sleep(0.5)
            try:
                got = {"rping": [], "sockperf": []}
                waiting = None
                for _ in range(args.rounds):
                    # A busy server that nobody asks would hold the processor from the other's.
                    peer, other = servers[1], servers[0]
                    peer.send_signal(19)
                    figures, waiting = rping(transport, wait)
                    got["rping"].append(figures)
                    peer.send_signal(18)
                    other.send_signal(19)
                    got["sockperf"].append(sockperf(transport, wait)[0])
                    other.send_signal(18)
            finally:
                for process in servers:
                    process.send_signal(18)
                    process.kill()
                    process.wait()
            medians = {who: [statistics.median(column) for column in zip(*all)] for who, all in got.items()}
            ours, theirs = medians["rping"], medians["sockperf"]
            rows.append({"transport": transport, "wait": wait, "waiting": waiting, "rping": ours, "sockperf": theirs})
            shown = lambda row: f"{row[0]:,.0f}, {row[1]:.1f}, {row[2]:.1f}".replace(",", " ", 1)
            print(f"| {transport.upper()}, {wait} | {shown(ours)} | {shown(theirs)} | {ours[0] / theirs[0]:.2f} × "
                  f"| {ours[3]:.0%} / {theirs[3]:.0%} |")
            sys.stdout.flush()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(rows, out, indent=2)
    if args.veth:
        down()


if __name__ == "__main__":
    main()
