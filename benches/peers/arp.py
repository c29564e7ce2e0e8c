#!/usr/bin/env python3
"""ARP: one host as fast as it goes, and 65 534 hosts of one link from start to exit.

    cargo build --release && sudo benches/peers/arp.py [--rounds N] [--only host|sweep] [--json FILE]

arping is Habets', which can flood (scripts/setup unpacks it beside iputils' own). See arena.py.
"""
from arena import ARPING, FAR_IP as FAR, Arena, Ran, Table, peer, received, total, truth, typed

COUNT, SWEEP = 200_000, 65_534


def host(label, command):
    ran = Ran(command, memory=True)
    answers = received(ran) if label.startswith("rping") else ran.number(r"(\d+) packets received")
    wanted = int(command[command.index("-n" if label.startswith("rping") else "-c") + 1])
    return answers / ran.seconds, ran.seconds, wanted - answers, ran.mb, ran.share * 100


def sweep(label, command):
    ran = Ran(command, memory=True)
    answers = total("received")(ran) if label.startswith("rping") else ran.number(r"(\d+) responded")
    # arp-scan asks the network's own and the broadcast address too, and this host's.
    return answers / ran.seconds, ran.seconds, max(0, SWEEP - 1 - answers), ran.mb, ran.share * 100


def main():
    table = Table("ARP", ["answers/s", "seconds", "missed", "MB", "% CPU"])
    with Arena() as arena:
        table.compare("one host", [
            typed(f"arp {FAR} --flood -n {COUNT} -o json"),
            ("arping -W 0.000001 -c 20000 " + FAR, [ARPING, "-W", "0.000001", "-c", "20000", "-i", "near0", FAR]),
        ], host)
        arena.answer("10.80.0.0/16", via=False)
        truth.sh(f"ip -n {truth.NEAR} addr add 10.80.0.1/16 dev near0")
        # The one address of the block that is ours must not be the far end's too: it would take our packets for forged.
        truth.sh(f"ip -n {truth.FAR} route add throw 10.80.0.1/32 table local")
        truth.sh(f"ip -n {truth.FAR} route add 10.80.0.1/32 dev far0")
        table.compare("sweep 65 534", [
            typed("arp 10.80.0.0/16 -n 1 --max-rate 0 -q"),
            peer("arp-scan -q -I near0 -B 1000M -r 1 10.80.0.0/16"),
        ], sweep)
    table.end()


if __name__ == "__main__":
    main()
