#!/usr/bin/env python3
"""Half-open TCP: one port as fast as it goes, and a sweep of 65 536 hosts from start to exit.

    cargo build --release && sudo benches/peers/syn.py [--rounds N] [--only port|sweep] [--json FILE]

zmap waits for late answers (`-c`, here 1 s) and masscan too; both go through the link layer, as `--link` does. See arena.py.
"""
from arena import FAR_IP as FAR, OPEN, Arena, Ran, Table, peer, received, rejected, total, truth, typed

BLOCK, HOSTS = "10.80.0.0/16", 65_536


def port(count):
    def run(label, command):
        ran = Ran(command, memory=True)
        if label.startswith("rping"):
            answers = received(ran) + rejected(ran)
        else:
            answers = ran.number(r"Rcvd: (\d+)") or ran.number(r"(\d+) packets received")
        return answers / ran.seconds, ran.seconds, count - answers, ran.mb, ran.share * 100
    return run


def sweep(label, command):
    ran = Ran(command, memory=True)
    if label.startswith("rping"):
        answers = total("received", "rejected")(ran)
    elif label.startswith("zmap"):
        answers = len(set(ran.out.split()) - {"saddr"})
    else:
        answers = len(set(line.split()[3] for line in ran.out.splitlines() if line.startswith("open")))
    return answers / ran.seconds, ran.seconds, HOSTS - answers, ran.mb, ran.share * 100


def main():
    table = Table("SYN", ["answers/s", "seconds", "missed", "MB", "% CPU"])
    with Arena() as arena:
        arena.accept()
        arena.answer(BLOCK)
        mac = truth.sh(f"ip netns exec {truth.FAR} cat /sys/class/net/far0/address").strip()
        for place in ("open", "closed"):
            number, n = (OPEN, 200_000) if place == "open" else (9, 200_000)
            table.compare(f"one port, {place}", [
                typed(f"tcp --syn {FAR}:{number} --flood -n {n} -o json"),
                typed(f"tcp --syn --link {FAR}:{number} --flood -n {n} -o json"),
                peer(f"nping --tcp --flags syn -p {number} -c {n} --rate 1000000 -q {FAR}"),
            ], port(n))
        table.compare("sweep 65 536, open port", [
            typed(f"tcp --syn {BLOCK}:{OPEN} -n 1 --max-rate 0 -q"),
            typed(f"tcp --syn --link {BLOCK}:{OPEN} -n 1 --max-rate 0 -q"),
            peer(f"zmap -q -i near0 -G {mac} -p {OPEN} -r 200000 -c 1 -b /dev/null -B 10G {BLOCK}".replace(" -B 10G", "")),
            peer(f"masscan -e near0 --router-mac {mac.replace(':', '-')} -p{OPEN} --rate 200000 --wait 1 -oL - {BLOCK}"),
        ], sweep)
    table.end()


if __name__ == "__main__":
    main()
