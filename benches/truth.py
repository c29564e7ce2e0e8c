#!/usr/bin/env python3
"""Round trips of rping against a packet capture of the same probes, over a veth pair of its own. Needs root and tcpdump.

    cargo build --release && sudo benches/truth.py [--slow] [--lean | --twice]

Prints, for each kind of probe, the median of the capture, rping's median and the difference, in nanoseconds. The capture
stamps an outgoing packet before it copies it and the driver is handed it after, so the capture reads high by its own work:
`--twice` runs a second capture beside the first and adds to it, `--lean` keeps the packets in a packet socket that nobody
reads before the end and takes from it, `--slow` probes each millisecond, where the capture's code has left the caches
each time, instead of each 100 µs.
"""

import ctypes
import json
import os
import pathlib
import socket
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
    if frame[12:14] != b"\x08\x00" or frame[23] != 1:
        return None, False
    return frame[38:42], frame[34] == 8


def udp(frame):
    if frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None, False
    is_request = struct.unpack_from(">H", frame, 36)[0] == 5201
    return (frame[42:46] if is_request else frame[66:70]), is_request


def tcp(frame):
    if frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None, False
    source, destination, seq, ack = struct.unpack_from(">HHII", frame, 34)
    flags = frame[47] & 0x12
    if flags == 2:
        return (source, seq), True
    return ((destination, (ack - 1) & 0xFFFFFFFF), False) if flags == 0x12 else (None, False)


def arp(frame):
    if frame[12:14] != b"\x08\x06":
        return None, False
    return ("arp", frame[21] == 1) if SERVER in (frame[28:32], frame[38:42]) else (None, False)


class Tcpdump:
    """tcpdump, `copies` times; the first is read."""

    def __init__(self, folder, copies):
        self.path = pathlib.Path(folder) / "run.pcap"
        words = ["tcpdump", "-i", "near0", "-B", "32768", "-s", "80", "--time-stamp-precision=nano", "-w"]
        self.taps = [start(NEAR, *words, self.path, stderr=subprocess.PIPE, text=True)]
        self.taps[0].stderr.readline()
        for _ in range(copies - 1):
            self.taps.append(start(NEAR, *words, "/dev/null", stderr=subprocess.DEVNULL))

    def packets(self):
        for tap in self.taps:
            tap.terminate()
            tap.wait()
        return packets(self.path)


class Lean:
    """A packet socket with room for a whole run, read at the end."""

    SO_RCVBUFFORCE, SO_TIMESTAMPING, RX_SOFTWARE, SOFTWARE, CLONE_NEWNET, ETH_P_ALL = 33, 37, 1 << 3, 1 << 4, 0x40000000, 3

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{NEAR}", os.O_RDONLY)
        libc.setns(there, self.CLONE_NEWNET)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self.ETH_P_ALL))
        self.socket.bind(("near0", 0))
        libc.setns(home, self.CLONE_NEWNET)
        os.close(home)
        os.close(there)
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_RCVBUFFORCE, 256 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPING, self.RX_SOFTWARE | self.SOFTWARE)
        self.socket.setblocking(False)

    def packets(self):
        while True:
            try:
                frame, control, _, _ = self.socket.recvmsg(128, 512)
            except BlockingIOError:
                self.socket.close()
                return
            for level, kind, value in control:
                if (level, kind) == (socket.SOL_SOCKET, self.SO_TIMESTAMPING):
                    seconds, nanos = struct.unpack_from("qq", value)
                    yield seconds * 10**9 + nanos, frame


def compare(words, key, capture):
    with tempfile.TemporaryDirectory() as folder:
        tap = Lean() if capture == "lean" else Tcpdump(folder, 2 if capture == "twice" else 1)
        time.sleep(1)
        document = json.loads(sh(f"ip netns exec {NEAR} {RPING} {words} -o json"))
        time.sleep(1.2)
        asked, trips = {}, []
        for at, frame in tap.packets():
            name, is_request = key(frame)
            if name is None:
                continue
            if is_request:
                asked[name] = at
            elif name in asked:
                trips.append(at - asked.pop(name))
    ours, truth = document["targets"][0]["rtt_ns"]["p50"], statistics.median(trips)
    stamps = document["instrument"]["timestamps"]["rx"]
    print(f"{words:36} {stamps:9} capture {truth:8.0f}  rping {ours:8}  difference {ours - truth:+7.0f}  ({len(trips)} probes)")


def main():
    capture = next((word[2:] for word in sys.argv[1:] if word in ("--twice", "--lean")), "once")
    pace = "-i 1ms -n 3000" if "--slow" in sys.argv[1:] else "-i 100us -n 20000"
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
        for words, key in (("icmp 10.77.9.2", icmp), ("udp 10.77.9.2", udp), ("arp 10.77.9.2", arp)):
            compare(f"{words} {pace}", key, capture)
        compare(f"tcp 10.77.9.2:{PORT} -i 1ms -n 2000", tcp, capture)
    finally:
        for process in running:
            process.terminate()
        for namespace in (NEAR, FAR):
            sh(f"ip netns del {namespace}")


if __name__ == "__main__":
    main()
