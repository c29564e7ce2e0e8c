#!/usr/bin/env python3
"""ICMP echo to one neighbour: as fast as it goes, and one a millisecond against a capture.

    cargo build --release && sudo benches/peers/icmp.py [--rounds N] [--only flood|paced] [--json FILE]

flood: answers timed per second from start to exit; fping is not among them, for without a pause it takes no answer in. paced: the median round trip that the program reports, less the
capture's of the same packets, and how exact its schedule was. See arena.py.
"""
import re
import statistics

from arena import FAR_IP as FAR, Arena, Capture, Ran, Table, off_schedule, peer, received, truth, typed

COUNT, PACED = 200_000, 3000


def answered(ran):
    if "rping" in ran.command[0]:
        return received(ran)
    return ran.number(r"(\d+) (?:packets )?received") or ran.number(r"xmt/rcv/%loss = \d+/(\d+)") or ran.number(r"Rcvd: (\d+)")


def flood(_, command):
    ran = Ran(command)
    replies = answered(ran)
    return replies / ran.seconds, ran.cpu / replies * 1e6, replies / COUNT * 100, ran.share * 100


def median_reported(ran):
    """In µs."""
    if "rping" in ran.command[0]:
        return ran.document["targets"][0]["rtt_ns"]["p50"] / 1000
    if "nping" in ran.command[0]:
        pairs = re.findall(r"(SENT|RCVD) \(([\d.]+)s\)", ran.out)
        average = ran.number(r"Avg rtt: ([\d.]+)ms")
        return average * 1000 if pairs else None
    times = re.findall(r"(?:time=|rtt=|bytes, )([\d.]+) ms", ran.out)
    return statistics.median(map(float, times)) * 1000 if times else None


def paced(_, command):
    capture = Capture(truth.icmp)
    ran = Ran(command)
    trips, sent = capture.finish()
    true = statistics.median(trips) / 1000
    reported = median_reported(ran)
    p50, p99, rate = off_schedule(sent, 1_000_000)
    return true, reported, reported - true, rate, p50, p99, ran.share * 100


def main():
    with Arena():
        table = Table("ICMP flood", ["replies/s", "CPU s per million", "% answered", "% CPU"])
        table.compare("flood", [
            typed(f"icmp {FAR} --flood -n {COUNT} -o json"),
            typed(f"icmp {FAR} --link --flood -n {COUNT} -o json"),
            peer(f"ping -f -q -c {COUNT} {FAR}"),
            peer(f"ping -f -l 64 -q -c {COUNT} {FAR}"),
        ], flood)
        table.columns = ["true p50 µs", "reported", "error", "sends/s", "off schedule p50 µs", "p99", "% CPU"]
        print("\n| scenario | command | " + " | ".join(table.columns) + " |\n" + "|---" * 9 + "|")
        table.compare("paced 1 ms", [
            typed(f"icmp {FAR} -i 1ms -n {PACED} -o json"),
            peer(f"ping -i 0.001 -c {PACED} {FAR}"),
            peer(f"fping -p 1 -c {PACED} {FAR}"),
            peer(f"nping --icmp --delay 1ms -c 200 {FAR}"),
            peer(f"hping3 -1 -i u1000 -c {PACED} {FAR}"),
        ], paced)
        table.end()


if __name__ == "__main__":
    main()
