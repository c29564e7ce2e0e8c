#!/usr/bin/env python3
"""TCP connect and close: one after another, 256 in flight, a closed port; and the handshake's round trip against a capture.

    cargo build --release && sudo benches/peers/tcp.py [--rounds N] [--only serial|flight|closed] [--json FILE]

nping keeps its connections and slows down with their number: it makes 5 000 to the open port. hping3 sends SYNs of its own and makes no connection; it is here for the round trip. See arena.py.
"""
import re
import statistics

from arena import CLOSED, FAR_IP as FAR, OPEN, Arena, Capture, Ran, Table, peer, received, rejected, truth, typed


def measure(count, captured=False):
    def run(label, command):
        wanted = 5000 if "-c 5000" in label else count
        capture = Capture(truth.tcp) if captured else None
        ran = Ran(command)
        trips = capture.finish()[0] if capture else []
        true = statistics.median(trips) / 1000 if trips else None
        if label.startswith("rping"):
            settled, rtt = received(ran) + rejected(ran), ran.document["targets"][0]["rtt_ns"]["p50"]
            reported = rtt / 1000 if rtt else None
        elif label.startswith("nping"):
            settled = (ran.number(r"Successful connections: (\d+)") or 0) + (ran.number(r"Failed: (\d+)") or 0)
            reported = ran.number(r"Avg rtt: ([\d.]+)ms", 0) * 1000
        else:
            settled = ran.number(r"(\d+) packets received")
            times = [float(found) for found in re.findall(r"rtt=([\d.]+) ms", ran.out)]
            reported = statistics.median(times) * 1000 if times else None
        error = reported - true if true and reported else None
        return settled / ran.seconds, ran.cpu / settled * 1e5, settled / wanted * 100, true, reported, error, ran.share * 100
    return run


def main():
    columns = ["settled/s", "CPU s per 100 k", "% settled", "true p50 µs", "reported", "error", "% CPU"]
    table = Table("TCP connect", columns)
    with Arena() as arena:
        arena.accept()
        n = 30_000
        table.compare("serial, open", [
            typed(f"tcp {FAR}:{OPEN} -i 0 -n {n} -o json"),
            peer(f"nping --tcp-connect -p {OPEN} -c 5000 --rate 1000000 -q {FAR}"),
        ], measure(n))
        table.compare("256 in flight, open", [
            typed(f"tcp {FAR}:{OPEN} --in-flight 256 -n {n} -o json"),
            typed(f"tcp {FAR}:{OPEN} --flood -n {n} -o json"),
        ], measure(n))
        table.compare("closed", [
            typed(f"tcp {FAR}:{CLOSED} -i 0 -n {n} -o json"),
            peer(f"nping --tcp-connect -p {CLOSED} -c {n} --rate 1000000 -q {FAR}"),
        ], measure(n))
        n = 3000
        table.compare("RTT against the capture", [
            typed(f"tcp {FAR}:{OPEN} -i 0 -n {n} -o json"),
            typed(f"tcp {FAR}:{OPEN} --in-flight 256 -n {n} -o json"),
            peer(f"nping --tcp-connect -p {OPEN} -c {n} --rate 1000000 -q {FAR}"),
            peer(f"hping3 -S -p {OPEN} -i u100 -c {n} {FAR}"),
        ], measure(n, captured=True))
    table.end()


if __name__ == "__main__":
    main()
