#!/usr/bin/env python3
"""One host, 65 535 ports, from start to exit: connections and half-open.

    cargo build --release && sudo benches/peers/ports.py [--rounds N] [--only connect|syn] [--json FILE]

One port is open, the others refuse; a port that is neither seen open nor closed was missed. See arena.py.
"""
from arena import FAR_IP as FAR, Arena, Ran, Table, peer, total, typed


def measure(label, command):
    ran = Ran(command, memory=True)
    if label.startswith("rping"):
        known = total("received", "rejected")(ran)
    elif label.startswith("nmap"):
        known = (ran.number(r"Ignored State: closed \((\d+)\)") or 0) + ran.out.count("/open/")
    else:
        known = None
    return ran.seconds, 65_535 - known if known is not None else None, ran.mb, ran.cpu, ran.share * 100


def main():
    table = Table("65 535 ports", ["seconds", "missed", "MB", "CPU s", "% CPU"])
    with Arena() as arena:
        arena.accept()
        table.compare("connect", [
            typed(f"tcp {FAR}:1-65535 -n 1 --max-rate 0 -q"),
            peer(f"nmap -sT -Pn -T5 -n --max-retries 0 -oG - -p 1-65535 {FAR}"),
        ], measure)
        table.compare("syn", [
            typed(f"tcp --syn {FAR}:1-65535 -n 1 --max-rate 0 -q"),
            typed(f"tcp --syn --link {FAR}:1-65535 -n 1 --max-rate 0 -q"),
            peer(f"nmap -sS -Pn -T5 -n --max-retries 0 -oG - -p 1-65535 {FAR}"),
            peer(f"hping3 --scan 1-65535 -S {FAR}"),
        ], measure)
    table.end()


if __name__ == "__main__":
    main()
