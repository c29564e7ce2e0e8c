#!/usr/bin/env python3
"""UDP probes at 1 000, 10 000 and 100 000 a second: truth of the round trips and of the schedule against a capture; and the
closed window of echoes against a plain loop of sendmmsg and recvmmsg.

    cargo build --release && sudo benches/peers/udp_paced.py [--rounds N] [--only window|1000|10000|100000] [--json FILE]

Off schedule is how much later than a schedule without drift the requests left, by the capture. See arena.py.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

from arena import FAR_IP as FAR, RPING, Arena, Capture, Ran, Table, off_schedule, peer, received, typed

WINDOW = 300_000


def udp(frame):
    """Any of the servers' protocols: the direction tells, and the order of one flow."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None, False
    return "any", frame[30:34] == bytes([10, 77, 9, 2])


def paced(rate):
    seconds = 2

    def measure(_, command):
        capture = Capture(udp)
        ran = Ran(command)
        _, sent = capture.finish()
        program = os.path.basename(command[0])
        # Whatever a session begins with is none of the schedule: the middle of the run is looked at.
        sent = sent[len(sent) // 10:]
        p50, p99, achieved = off_schedule(sent, 1_000_000_000 // rate)
        lost, trip, late = None, None, (None, None)
        if program == "rping":
            target = ran.document["targets"][0]
            trip, lost = target["rtt_ns"]["p50"] / 1000, target["lost"]
            late = [target["send_lateness_ns"][key] / 1000 for key in ("p50", "p99")] if "send_lateness_ns" in target else late
        elif program == "irtt":
            stats = json.loads(ran.out[ran.out.index("{"):])["stats"]
            trip, lost = stats["rtt"]["median"] / 1000, stats["packets_sent"] - stats["packets_received"]
        elif program == "sockperf":
            trip = 2 * ran.number(r"percentile 50.000\s*=\s*([\d.]+)")
            lost = ran.number(r"# dropped messages = (\d+)")
        return achieved, achieved / rate * 100, p50, p99, trip, lost, ran.share * 100

    entries = [
        typed(f"udp {FAR} --rate {rate} -n {seconds}s -o json"),
        peer(f"sockperf under-load -i {FAR} -p 5322 -m 64 --mps {rate} --reply-every 1 -t {seconds}"),
        peer(f"irtt client -i {1_000_000 // rate}us -d {seconds}s --local=10.77.9.1 -Q -o - {FAR}"),
        peer(f"iperf3 -c {FAR} -u -l 64 -b {rate * 64 * 8} -t {seconds}"),
    ]
    return entries, measure


def window(_, command):
    ran = Ran(command)
    echoed = received(ran) if command[0] == RPING else ran.number(r"echoed (\d+)")
    return echoed / ran.seconds, echoed / WINDOW * 100, None, None, None, WINDOW - echoed, ran.share * 100


def main():
    columns = ["per s", "% of wanted", "off schedule p50 µs", "p99", "RTT p50 µs reported", "lost", "% CPU"]
    table = Table("UDP, 64 bytes", columns)
    with Arena() as arena, tempfile.TemporaryDirectory() as folder:
        plain, source = f"{folder}/plain_loop", pathlib.Path(__file__).with_name("plain_loop.c")
        subprocess.run(["cc", "-O2", "-o", plain, source], check=True)
        arena.serve(plain, "server", FAR, 7)
        arena.serve(RPING, "server", f"{FAR}:5201")
        arena.serve("sockperf", "server", "-i", FAR, "-p", "5322")
        arena.serve("irtt", "server", "-b", FAR, "-i", "0")
        arena.serve("iperf3", "-s", "-B", FAR, "-p", "5203")
        for rate in (1000, 10_000, 100_000):
            entries, measure = paced(rate)
            entries[-1] = peer(entries[-1][0] + " -p 5203")
            table.compare(f"paced, {rate}/s", entries, measure)
        table.compare("window, echo", [
            typed(f"udp {FAR}:7 -l 64 --flood -n {WINDOW} -o json"),
            typed(f"udp {FAR}:7 -l 64 --in-flight 32 -n {WINDOW} -o json"),
            ("plain loop in C, 32 in flight", [plain, "client", FAR, "7", str(WINDOW)]),
        ], window)
    table.end()


if __name__ == "__main__":
    main()
