//! What help says beyond the flags.

pub(crate) const ABOUT: &str =
    "Connectivity probes with true time stamps: ICMP, TCP connect, UDP echo and STAMP, ARP and NDP";

pub(crate) const TOP: &str = "\
Without a command a host is probed with ICMP, a host with a port with TCP connect, as PsPing does it.
`rping -- NAME` probes a host that bears a command's name.

Examples:
  rping fileserver                        is it there? (4 ICMP probes, a second apart)
  rping fileserver:445                    does the port answer? (TCP connect)
  rping tcp fileserver:445 -n 100 -i 0 -q -H
                                          a hundred connects, one after another, histogram only
  rping icmp 10.0.0.0/24 -n 1             who answers in this block
  rping udp host --json                   STAMP to `rping server` there, figures for a script
  rping latency host                      request/response latency with `rping server` there
  rping bandwidth host                    throughput to `rping server` or iperf3 -s there

`rping COMMAND --help` explains every flag; `rping help outcomes`, `rping help exit-codes`,
`rping help output` and `rping help assert` explain results.
Exit code: 0 every target replied, 1 some target never did, 2 it could not be done.";

pub(crate) const ICMP: &str = "\
Examples:
  rping icmp host                         4 probes, a second apart
  rping icmp -t -i 0.2 host               five a second until Ctrl-C; Ctrl-\\ prints interim figures
  rping icmp -n 10s --rate 1k -q host     a thousand a second for ten seconds
  rping icmp -l 1472 --df host            does a 1500-byte packet fit the path?
  rping icmp -n 1 10.0.0.0/24 --all       every address of a block, the silent ones too
  rping icmp -n 1 10.0.0.0/24 --answering the hosts that are there, and no others
  rping icmp -n 1 --targets hosts.txt -o csv";

pub(crate) const TCP: &str = "\
Examples:
  rping tcp host:445                      4 connects, a second apart
  rping tcp host:https [2001:db8::1]:22   service names; IPv6 with a port in brackets
  rping tcp host:1-1024 -n 1 --open       the open ports, and no others
  rping tcp 10.0.0.0/24:445 -n 1          who serves files in this block
  rping tcp host:443 -n 1000 -i 0 -q -H 0.5,1,2,5,10
                                          how fast are connects: histogram with these bounds in ms";

pub(crate) const UDP: &str = "\
An answer proves the port; silence proves nothing: open without an echo, filtered, or lost.

Examples:
  rping udp host                          STAMP to `rping server` (port 5201) on the other host
  rping udp --protocol stamp router       STAMP to any RFC 8762 reflector (port 862)
  rping udp --protocol echo host          RFC 862 echo service (port 7)
  rping udp host -n 1m --rate 50 -l 160 --dscp EF
                                          what a voice call would see";

pub(crate) const ARP: &str = "\
Hosts behind a router cannot be asked; such targets are refused with the reason.

Examples:
  rping arp 10.0.0.1                      does the gateway answer, and with which MAC?
  rping arp -I eth0 fe80::1               IPv6: neighbour solicitation
  rping arp 10.0.0.0/24 -n 1              who is on this link, firewalled or not";

pub(crate) const LATENCY: &str = "\
The far end is `rping server`. The time that it held a request is taken out of the round trip and shown beside it.

Examples:
  rping latency host                      1000 requests of 64 bytes over TCP, each after the last response
  rping latency host -u -n 10s -H         STAMP packets over UDP for ten seconds, with a histogram
  rping latency host -l 16k -r            small requests, responses of 16 KiB
  rping latency host --rate 1k -n 1m      a thousand a second for a minute, on a fixed schedule
  rping latency host --wait busy          never sleep: what the path and both hosts can do
  rping latency host --assert 'p99<500us' exit code 1 when it is not so";

pub(crate) const BANDWIDTH: &str = "\
The server is `rping server` or iperf3 -s there. Both ends' figures are shown; a rate is what was received.
iperf3's server does not say what came out of order, nor whether it heeded --skip-rx-copy.

Examples:
  rping bandwidth host                    TCP to the host for 10 s, after a second of start-up
  rping bw host -r -P 4                   four streams from the host
  rping bw host --bidir -n 30s -o json    both directions at once, figures for a script
  rping bw host -u -b 100m -l 1400        UDP at 100 Mbit/s: loss, reordering, jitter
  rping bw host -u -b 0 --gso             UDP as fast as it goes, many datagrams to a system call
  rping bw host --latency                 what the load does to latency, and in which direction
  rping bw host --assert 'rate>900m'      exit code 1 below 900 Mbit/s";

pub(crate) const DIAGNOSE: &str = "\
Checks in order: name, self, link, route, gateway, neighbour, local_firewall, local_ports, path, host, port, mtu, application.
The first failing layer wins; a later success cancels an earlier suspicion. Takes less than 10 s. As root it sees more.

Examples:
  rping diagnose fileserver:445           why can that share not be reached?
  rping diagnose fileserver               is the host there at all, and if not, where does it end?
  rping doctor 10.0.0.5:ssh -o json       the same for a script
  rping diagnose -6 host:443 -q           IPv6 alone, the verdict alone
  rping diagnose db:5432 --peer db --key-file key   asks `rping server --agent` there, too

Exit code: 0 no fault was found, 1 a fault was named or it is inconclusive, 2 it could not be done.";

pub(crate) const SERVER: &str = "\
Examples:
  rping server                            every address of this host, port 5201
  rping server 10.0.0.1                   this address alone
  rping server --agent --key-file key     answers rping diagnose --peer, too
  rping server [::1]:6000                 address and port
  rping server --stamp :862 --echo :7     also for routers' STAMP and for plain echo
  rping server --key-file key             only for those who have the same key; make one with
                                          (umask 077; openssl rand -hex 32 > key)
  rpingd                                  the same server as a program of its own

STAMP and echo are answered with as many bytes as they asked with, nothing else is answered over UDP.";

pub(crate) const PSPING: &str = "\
Modes, as PsPing chooses them: a server with -s; bandwidth with -b; latency with -l and a port; TCP connect with
a port; else ICMP. --json adds rping's own document. `rping psping -? i|t|l|b` explains a mode.
The server (-s) is `rping server` and speaks as it does: no source shows what PsPing's own server prints.

Examples:
  rping psping -n 10 -w 3 marklap         ICMP
  rping psping -n 100 -i 0 -q marklap:80  TCP connect
  rping psping -s 192.168.2.2:5000        server";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  rping completions bash > ~/.local/share/bash-completion/completions/rping
  rping completions zsh > ~/.zfunc/_rping
  rping completions fish > ~/.config/fish/completions/rping.fish";

pub(crate) const MAN: &str = "\
Examples:
  rping man | man -l -                    read the program's page
  rping man tcp | man -l -                read a command's page
  rping man --all man1                    write every page, for a package";

pub(crate) const SHOW: &str = "\
A file of a run that was killed is shown as far as it was saved. Single probes are not kept: -o ndjson and -o csv have a
line for each stretch of the run and target.
Exit code: as the run's own; 2 where the file is damaged or none of ours.

Examples:
  rping tcp host:443 -n 1000 -i 10ms --save monday.rping
  rping show monday.rping -H              the summary again, with a histogram
  rping show monday.rping -o csv          a row for each stretch of the run
  rping show monday.rping --assert 'p99<5ms'";

pub(crate) const MERGE: &str = "\
The one run goes to --save FILE, which has to be given. The files are of runs that --save kept; the same run given twice
is refused, since it would count twice.

Examples:
  rping merge mon.rping tue.rping wed.rping --save week.rping";

pub(crate) const SOCKETS: &str = "\
Bytes in a queue are no fault by themselves: --stuck looks twice and says who holds them up. What the local
application has not read stands in recv-q; what the peer has not taken in stands in send-q: its window is closed
(the application there does not read), or nothing is acknowledged (the network loses).

Examples:
  rping sockets                           every TCP and UDP socket of this host
  rping sockets --listening :445          is the port listening, on which address, by which process?
  rping sockets fileserver                connections with that host
  rping sockets --stuck                   where does nothing move, and why
  rping sockets --stuck fileserver:445 --over 10s -o json";

pub(crate) const BUNDLE: &str = "\
One .tar.gz: verdict.txt first, then MANIFEST (SHA-256, size, time and kernel interface of each
file), links, addresses, routes, rules, neighbours, names, sockets, counters before and after,
firewall, ports, settings, offloads, drivers, clock; with a target its diagnosis and a capture of
the packets; timeline.ndjson, and unread.txt: what could not be read and which right would give it.

As root it sees more: the packet filter, captures, the processes behind all sockets. Nothing but
CAP_NET_RAW and CAP_NET_ADMIN is kept. Nothing is sent without a target. A signal ends it with what
it has. Secrets of the kernel (TCP Fast Open's key, IPv6's stable secret) are never read.

--redact keeps what is needed to understand it: subnets stay subnets, private addresses private;
ports, interfaces, programs, loopback and multicast stay. Captures lose what is behind the
transport header. What could not be made safe is left out, and that is said.

Examples:
  rping bundle                            the state of this host
  rping bundle fileserver:445             why can that share not be reached? For somebody else
  rping bundle fileserver:445 --redact    for somebody who shall not know where
  rping bundle db:5432 --peer db --key-file key   with what `rping server --agent` sees there
  rping bundle 10.0.0.5 --until-failure   wait for the next outage, and keep what led to it
  rping bundle db:5432 --until-failure -i 100ms -n 8h --save night.tar.gz
  rping bundle diff monday.tar.gz tuesday.tar.gz

Exit code: 0 no fault was found, 1 a fault was named or a probe failed, 2 it could not be done.";

pub(crate) const BUNDLE_DIFF: &str = "\
What changes by itself (ages, load, the states of living neighbours) is left out; counters are
compared from the end of A to the beginning of B. Nothing is unpacked to disk. A bundle that does
not match its own manifest is compared, and that is said.

Examples:
  rping bundle diff before.tar.gz after.tar.gz
  rping bundle diff before.tar.gz after.tar.gz -o json

Exit code: 0 whatever changed, 2 it could not be done.";

pub(crate) const COMPARE: &str = "\
For each quantile: the shift, the interval that holds it with 95 % confidence, and the smallest shift that this much
data could have shown. Probes that follow each other are alike, so stretches of the run are drawn, not probes.
Exit code: 0 whatever the verdict; with --fail-if-worse 1 when it is worse; 2 where it cannot be done.

Examples:
  rping tcp host:443 -n 10000 -i 1ms -q --save before.rping
  rping tcp host:443 -n 10000 -i 1ms -q --save after.rping
  rping compare before.rping after.rping --fail-if-worse";

pub(crate) const REPORT: &str = "\
Examples:
  rping report monday.rping > monday.html             one run
  rping report mon.rping tue.rping --html both.html   two runs, one over the other";

pub(crate) const TRACE: &str = "\
Packets are told apart by what no router and no address translator changes, never by time: the clocks need not agree.
TCP is compared by sequence numbers where offload cut it otherwise. Exit code: 0 nothing was lost, 1 something was, or
nothing can be compared.

Examples:
  rping tcp host:445 -n 100 --pcap here.pcapng
  tcpdump -i eth0 -w there.pcap           meanwhile, on the other host
  rping trace here.pcapng there.pcap";
