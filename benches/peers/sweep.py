#!/usr/bin/env python3
"""Many hosts, one probe each, from start to exit: ICMP over 4 096 and 65 536 hosts that all answer or of which half are silent,
TCP over 4 096.

    cargo build --release && sudo benches/peers/sweep.py [--rounds N] [--only 4096|65536|tcp] [--json FILE]

What is missed is a host that answers and was not seen to. See arena.py.
"""
from arena import OPEN, Arena, Ran, Table, peer, total, typed


def measure(answering):
    def run(label, command):
        ran = Ran(command, memory=True)
        if label.startswith("rping"):
            alive = total("received")(ran)
        elif label.startswith("fping"):
            alive = (ran.out + ran.err).count("1/1/0%") or len(ran.out.split())
        else:
            alive = (ran.out + ran.err).count("Status: Up") or ran.out.count("/open/")
        return ran.seconds, answering - alive, ran.mb, ran.cpu, ran.share * 100
    return run


def main():
    table = Table("Sweeps", ["seconds", "missed", "MB", "CPU s", "% CPU"])
    with Arena() as arena:
        arena.accept()
        # Whole blocks answer, or their first half; there is nothing behind the other halves.
        arena.answer("10.80.0.0/16")
        arena.answer("10.82.0.0/20")
        for block, half in (("10.81.0.0/16", "10.81.0.0/17"), ("10.83.0.0/20", "10.83.0.0/21")):
            arena.answer(half)
            from arena import FAR_IP, truth
            truth.sh(f"ip -n {truth.NEAR} route replace {block} via {FAR_IP}")
        for title, block, answering, wait in (
            ("icmp 4096, all answer", "10.82.0.0/20", 4096, ""),
            ("icmp 4096, half silent", "10.83.0.0/20", 2048, "500"),
            ("icmp 65536, all answer", "10.80.0.0/16", 65536, ""),
            ("icmp 65536, half silent", "10.81.0.0/16", 32768, "500"),
        ):
            ours, theirs = (f" -W {wait}ms", f" -t {wait}") if wait else ("", "")
            # fping leaves the first and the last address of a block out, rping probes what it is told.
            low, high = block.split("/")[0], {"20": "15.255", "16": "255.255"}[block.split("/")[1]]
            table.compare(title, [
                typed(f"icmp {block} -n 1 --max-rate 0 -q{ours}"),
                peer(f"fping -i 0 -r 0 -a -q{theirs} -g {low} {low.rsplit('.', 2)[0]}.{high}"),
                peer(f"nmap -sn -PE -T5 -n --max-retries 0 --min-parallelism 300 -oG - {block}"),
            ], measure(answering))
        table.compare("tcp 4096 hosts × 1 port", [
            typed(f"tcp 10.82.0.0/20:{OPEN} -n 1 --max-rate 0 -q"),
            peer(f"nmap -sT -Pn -T5 -n --max-retries 0 -oG - -p {OPEN} 10.82.0.0/20"),
        ], measure(4096))
    table.end()


if __name__ == "__main__":
    main()
