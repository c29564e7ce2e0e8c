#!/usr/bin/env python3
"""Round trips of rping against a packet capture of the same probes, over a veth pair of its own. Needs root and tcpdump.

    cargo build --release && sudo benches/truth.py

Prints, for each kind of probe, the median of the capture, rping's median and the difference, in nanoseconds. The capture
stamps an outgoing packet before it copies it and the driver is handed it after, so the capture reads high by its own work
(about 2 µs; a second capture beside the first adds to it, which `--twice` shows).
"""

import json
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

RPING = pathlib.Path(__file__).resolve().parent.parent / "target/release/rping"
NEAR, FAR, PORT = "rping-near", "rping-far", 9999
SERVER = bytes([10, 77, 9, 2])


def sh(line):
    return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout


def start(namespace, *words, **how):
    return subprocess.Popen(["ip", "netns", "exec", namespace, *map(str, words)], **how)


def packets(path):
    data = path.read_bytes()
    at = 24
    while at < len(data):
        seconds, nanos, length, _ = struct.unpack_from("<IIII", data, at)
        yield seconds * 10**9 + nanos, data[at + 16 : at + 16 + length]
        at += 16 + length


def icmp(frame):
    return frame[38:42], frame[34] == 8


def udp(frame):
    is_request = struct.unpack_from(">H", frame, 36)[0] == 5201
    return (frame[42:46] if is_request else frame[66:70]), is_request


def tcp(frame):
    source, destination, seq, ack = struct.unpack_from(">HHII", frame, 34)
    flags = frame[47] & 0x12
    if flags == 2:
        return (source, seq), True
    return ((destination, (ack - 1) & 0xFFFFFFFF), False) if flags == 0x12 else (None, False)


def arp(frame):
    return ("arp", frame[21] == 1) if SERVER in (frame[28:32], frame[38:42]) else (None, False)


def compare(words, key, pcap_filter, twice):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run.pcap"
        capture = ["tcpdump", "-i", "near0", "-B", "32768", "-s", "80", "--time-stamp-precision=nano"]
        taps = [start(NEAR, *capture, "-w", path, pcap_filter, stderr=subprocess.PIPE, text=True)]
        taps[0].stderr.readline()
        if twice:
            taps.append(start(NEAR, *capture, "-w", "/dev/null", pcap_filter, stderr=subprocess.DEVNULL))
        time.sleep(1)
        document = json.loads(sh(f"ip netns exec {NEAR} {RPING} {words} -o json"))
        time.sleep(1.2)
        for tap in taps:
            tap.terminate()
            tap.wait()
        asked, trips = {}, []
        for at, frame in packets(path):
            name, is_request = key(frame)
            if name is None:
                continue
            if is_request:
                asked[name] = at
            elif name in asked:
                trips.append(at - asked.pop(name))
    ours, truth = document["targets"][0]["rtt_ns"]["p50"], statistics.median(trips)
    stamps = document["instrument"]["timestamps"]["rx"]
    print(f"{words:32} {stamps:9} capture {truth:8.0f}  rping {ours:8}  difference {ours - truth:+7.0f}  ({len(trips)} probes)")


def main():
    twice = "--twice" in sys.argv[1:]
    for namespace in (NEAR, FAR):
        sh(f"ip netns add {namespace} && ip -n {namespace} link set lo up")
    running = []
    try:
        sh(f"ip -n {NEAR} link add near0 type veth peer name far0 netns {FAR}")
        for namespace, link, address in ((NEAR, "near0", "10.77.9.1/24"), (FAR, "far0", "10.77.9.2/24")):
            sh(f"ip -n {namespace} addr add {address} dev {link} && ip -n {namespace} link set {link} up")
        running.append(start(FAR, RPING, "server", stderr=subprocess.DEVNULL))
        accept = f"import socket\ns=socket.create_server(('10.77.9.2',{PORT}),backlog=4000)\nwhile 1: s.accept()[0].close()"
        running.append(start(FAR, sys.executable, "-c", accept))
        time.sleep(1)
        compare("icmp 10.77.9.2 -i 1ms -n 3000", icmp, "icmp", twice)
        compare("udp 10.77.9.2 -i 1ms -n 3000", udp, "udp", twice)
        compare("arp 10.77.9.2 -i 1ms -n 3000", arp, "arp", twice)
        compare(f"tcp 10.77.9.2:{PORT} -i 2ms -n 1000", tcp, f"tcp port {PORT}", twice)
    finally:
        for process in running:
            process.terminate()
        for namespace in (NEAR, FAR):
            sh(f"ip netns del {namespace}")


if __name__ == "__main__":
    main()
