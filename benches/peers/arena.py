"""What the comparisons with other programs have in common: two namespaces, one veth pair, turns, processors, tables.

A scenario names, for each program, the command that a user types. Every round runs each of them once, in turn, bound to
processor 0 of the near namespace; servers are bound to processor 1 of the far one. A row holds the medians of the rounds.
Beside each figure stands the share of its processor that the program got: a share far below what it asks for means that
something else ran. Truth is a capture (benches/truth.py). Programs that are not installed are left out and named.

Common arguments: `--rounds N`, `--only NAME` (rows whose name holds it), `--json FILE`. RPING names another binary.
"""
import argparse
import ctypes
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import truth  # noqa: E402  (the capture and its readers)

RPING = os.environ.get("RPING", str(truth.RPING))
NEAR_IP, FAR_IP, OPEN, CLOSED = "10.77.9.1", "10.77.9.2", truth.PORT, 9
# Of another conflicting package; scripts/setup unpacks it.
ARPING = "/opt/rping-peers/usr/sbin/arping"
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
LIBC = ctypes.CDLL(None, use_errno=True)

ACCEPTOR = f"""
import socket, os
s = socket.create_server(("", {OPEN}), backlog=65535)
while True:
    try: os.close(s._accept()[0])
    except OSError: pass
"""


class Arena:
    """Two namespaces with one link, and what runs in the far one."""

    def __enter__(self):
        self.running = []
        self.close()
        for name in (truth.NEAR, truth.FAR):
            truth.sh(f"ip netns add {name} && ip -n {name} link set lo up")
        truth.sh(f"ip -n {truth.NEAR} link add near0 type veth peer name far0 netns {truth.FAR}")
        for name, link, address in ((truth.NEAR, "near0", NEAR_IP), (truth.FAR, "far0", FAR_IP)):
            truth.sh(f"ip -n {name} addr add {address}/24 dev {link} && ip -n {name} link set {link} up")
            # What follows is about programs, not about how small the kernel's tables are by default.
            truth.sh(f"ip netns exec {name} sysctl -qw net.ipv4.ip_local_port_range='1024 65535' net.core.somaxconn=65535 "
                     f"net.ipv4.neigh.default.gc_thresh3=200000 net.ipv4.neigh.default.gc_thresh2=150000 "
                     f"net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000 || true")
        # The link is up at once, its IPv6 address is not.
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in self.running:
            process.kill()
            process.wait()
        self.running = []
        for name in (truth.NEAR, truth.FAR):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)

    def answer(self, block, via=True):
        """The far end answers every address of the block; without `via` it must be on the link."""
        truth.sh(f"ip -n {truth.FAR} route add local {block} dev lo")
        if via:
            truth.sh(f"ip -n {truth.NEAR} route replace {block} via {FAR_IP}")

    def serve(self, *command):
        """Runs a server in the far namespace."""
        command = [str(word) for word in command]
        if not shutil.which(command[0]):
            return
        self.running.append(subprocess.Popen(command, preexec_fn=placed(truth.FAR, 1), stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL))
        time.sleep(0.4)

    def accept(self):
        """Takes and closes every connection to the open port."""
        self.serve(sys.executable, "-c", ACCEPTOR)


def placed(namespace, processor):
    """Called between fork and exec: into the namespace, onto the processor."""
    def go():
        if namespace:
            there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
            if LIBC.setns(there, 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
        os.sched_setaffinity(0, {processor})
    return go


class Ran:
    """One run: seconds from start to exit, processor seconds, largest resident size (with `memory`), output."""

    def __init__(self, command, namespace=truth.NEAR, memory=False, limit=25):
        self.command = [str(word) for word in command]
        words = self.command
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.NamedTemporaryFile() as size:
            if memory:
                # A forked child begins with its parent's high-water mark: GNU time is a small parent.
                words = ["/usr/bin/time", "-o", size.name, "-f", "%M", *words]
            began = time.monotonic()
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                       preexec_fn=placed(namespace, 0))
            signal.signal(signal.SIGALRM, lambda *_: process.send_signal(signal.SIGINT))
            signal.alarm(limit)
            _, status, used = os.wait4(process.pid, 0)
            signal.alarm(0)
            self.seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            self.code = process.returncode
            self.cpu = used.ru_utime + used.ru_stime
            out.seek(0)
            err.seek(0)
            self.out, self.err = (file.read().decode(errors="replace") for file in (out, err))
            self.mb = int(size.read().split()[-1]) / 1000 if memory else None

    @property
    def share(self):
        return self.cpu / self.seconds

    @property
    def document(self):
        return json.loads(self.out)

    def number(self, pattern, otherwise=None):
        """The first group of the pattern in what it printed."""
        found = re.search(pattern, self.out + self.err)
        return float(found.group(1).replace(",", "")) if found else otherwise


def received(ran):
    """How many probes rping had an answer for."""
    return sum(target["received"] for target in ran.document["targets"])


def rejected(ran):
    return sum(target["rejected"] for target in ran.document["targets"])


def total(*words):
    """The sum of these counters of the line of totals: "received", "rejected"."""
    return lambda ran: sum(ran.number(rf"sent, .*?(\d+) {word}", 0) for word in words)


class Capture:
    """The packets of one run, each round trip by the capture's own clock."""

    def __init__(self, key):
        self.key = key
        self.tap = truth.Lean()

    def finish(self):
        """Round trips in ns, and the instants of the requests."""
        time.sleep(0.1)
        asked, trips, sent = {}, [], []
        for at, frame in self.tap.packets():
            name, is_request = self.key(frame)
            if name is None:
                continue
            if is_request:
                sent.append(at)
                asked[name] = at
            elif name in asked:
                trips.append(at - asked.pop(name))
        return trips, sent


def off_schedule(sent, period):
    """How far the sends are from a schedule without drift that begins with the first, in µs: p50 and p99 of what is above
    the earliest, and the rate in which they left."""
    error = [at - sent[0] - place * period for place, at in enumerate(sent)]
    least = min(error)
    late = sorted((value - least) / 1000 for value in error)
    rate = (len(sent) - 1) / (sent[-1] - sent[0]) * 1e9
    return late[len(late) // 2], late[len(late) * 99 // 100], rate


def installed(name):
    return name == RPING or shutil.which(name) is not None


class Table:
    """Rows of medians, as Markdown at once and as JSON at the end."""

    def __init__(self, title, columns, more=None):
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--only", action="append", default=[])
        parser.add_argument("--json")
        if more:
            more(parser)
        self.args = parser.parse_args()
        self.title, self.columns, self.rows, self.absent = title, columns, [], set()
        cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="ascii") if "model name" in line), "")
        self.about = f"{cpu}, {os.cpu_count()} processors, Linux {platform.release()}, {time.strftime('%Y-%m-%d %H:%M')}"
        print(f"{title}: {self.about}; {self.args.rounds} rounds, medians\n")
        print("| scenario | command | " + " | ".join(columns) + " |")
        print("|---" * (len(columns) + 2) + "|")

    def wanted(self, scenario):
        return not self.args.only or any(word in scenario for word in self.args.only)

    def compare(self, scenario, entries, measure):
        """`entries` are (label, command); `measure(label, command)` gives the figures of one run, or None."""
        if not self.wanted(scenario):
            return
        present = []
        for label, command in entries:
            if installed(str(command[0])):
                present.append((label, command))
            else:
                self.absent.add(str(command[0]))
        got = {label: [] for label, _ in present}
        for _ in range(self.args.rounds):
            for label, command in present:
                try:
                    figures = measure(label, command)
                except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError, AttributeError) as error:
                    print(f"{label}: no figures: {error!r}", file=sys.stderr)
                    continue
                if figures is not None:
                    got[label].append(figures)
        for label, command in present:
            if not got[label]:
                self.rows.append({"scenario": scenario, "command": label, "figures": None})
                print(f"| {scenario} | `{label}` | gave no figures" + " |" * len(self.columns))
                continue
            columns = list(zip(*got[label]))
            medians = [median(column) for column in columns]
            self.rows.append({"scenario": scenario, "command": label, "figures": dict(zip(self.columns, medians)),
                              "rounds": [list(figures) for figures in got[label]]})
            print(f"| {scenario} | `{label}` | " + " | ".join(shown(value) for value in medians) + " |")
            sys.stdout.flush()

    def end(self):
        if self.absent:
            print(f"\nNot installed, left out: {', '.join(sorted(self.absent))}")
        if self.args.json:
            with open(self.args.json, "w", encoding="utf-8") as out:
                json.dump({"title": self.title, "about": self.about, "rows": self.rows}, out, indent=2)


def median(column):
    known = [value for value in column if value is not None]
    return statistics.median(known) if known else None


def shown(value):
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.3g}"


def typed(*words):
    """A label and a command of rping's; the label is what is typed."""
    line = " ".join(str(word) for word in words)
    return f"rping {line}", [RPING, *line.split()]


def peer(line):
    return line, line.split()
