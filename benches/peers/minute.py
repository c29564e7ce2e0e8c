#!/usr/bin/env python3
"""A minute at 100 000 probes a second with a timeout of 1 s: the resident size each second, in MB.

    cargo build --release && sudo benches/peers/minute.py [--seconds N] [--json FILE]

24 bytes × rate × timeout are 2.4 MB; with 4 MB for the program the bound is 6.4 MB. See arena.py.
"""
import subprocess
import time

from arena import FAR_IP as FAR, RPING, Arena, Table, placed, truth, typed


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmRSS"].split()[0]) / 1000, int(lines["VmHWM"].split()[0]) / 1000


def main():
    table = Table("A minute at 100 k/s", ["MB at 2 s", "MB at the end", "MB most", "sent", "lost"],
                  lambda parser: parser.add_argument("--seconds", type=int, default=60))
    table.args.rounds = 1

    def measure(_, command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=placed(truth.NEAR, 0))
        sizes = []
        time.sleep(2)
        while process.poll() is None:
            try:
                sizes.append(resident(process.pid))
            except (OSError, KeyError):
                break
            time.sleep(1)
        import json
        target = json.loads(process.communicate()[0])["targets"][0]
        return sizes[0][0], sizes[-1][0], sizes[-1][1], target["sent"], target["lost"]

    with Arena() as arena:
        arena.serve(RPING, "server", f"{FAR}:5201")
        for kind in ("icmp", "udp"):
            table.compare(kind, [typed(f"{kind} {FAR} --rate 100k -n {table.args.seconds}s -W 1s -q -o json")], measure)
    table.end()


if __name__ == "__main__":
    main()
