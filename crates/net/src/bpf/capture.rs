//! The filter of a capture: which packets of a run the kernel hands over at all.
//!
//! For cooked packet sockets, which see packets from the network header on and are told the EtherType beside them. It
//! may let through more than is wanted (a long list of addresses is left to the reader), never less.

use std::net::IpAddr;

use super::{Filter, ALU_AND_K, JMP_JEQ_K, LD_B_ABS, LD_H_ABS, LD_W_ABS, RET_K, WHOLE};

const JMP_JA: u16 = 0x05;
const JMP_JGE_K: u16 = 0x35;
const LDX_B_MSH: u16 = 0xb1;
const LD_B_IND: u16 = 0x50;
const LD_H_IND: u16 = 0x48;
/// `SKF_AD_OFF + SKF_AD_PROTOCOL`: the EtherType, in host order.
const ETHERTYPE: u32 = -0x1000_i32 as u32;
/// Longer lists are left to the reader: each address costs up to a dozen instructions a packet, of the kernel's 4096.
const MOST_ADDRESSES: usize = 48;
/// The same for ports.
const MOST_PORTS: usize = 32;

/// What a run sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carries {
    /// ICMP and ICMPv6.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// TCP and UDP.
    Both,
    /// ARP and NDP.
    Neighbour,
    /// Everything to and from the addresses, and ARP and NDP.
    Anything,
}

impl Carries {
    fn protocols(self, is_six: bool) -> &'static [u32] {
        match self {
            Carries::Icmp if is_six => &[58],
            Carries::Icmp => &[1],
            Carries::Tcp => &[6],
            Carries::Udp => &[17],
            Carries::Both => &[6, 17],
            Carries::Neighbour => &[],
            Carries::Anything if is_six => &[6, 17, 58],
            Carries::Anything => &[1, 6, 17],
        }
    }

    fn asks_neighbours(self) -> bool {
        matches!(self, Carries::Neighbour | Carries::Anything)
    }
}

/// A place in the program that jumps lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Label {
    V4,
    V4Address,
    V4Port,
    V4Error,
    V6,
    V6Address,
    V6Port,
    V6Icmp,
    Arp,
    Keep,
    Drop,
}

/// Instructions whose jumps are not resolved yet.
#[derive(Default)]
struct Assembler {
    code: Vec<(u16, u8, u8, u32)>,
    jumps: Vec<(usize, Label)>,
    places: Vec<(Label, usize)>,
}

impl Assembler {
    fn here(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    fn op(&mut self, opcode: u16, k: u32) {
        self.code.push((opcode, 0, 0, k));
    }

    fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.op(JMP_JA, 0);
    }

    /// Goes to `to` where the accumulator is `k`: a long jump behind a short one, so that no program is too long.
    fn equal(&mut self, k: u32, to: Label) {
        self.code.push((JMP_JEQ_K, 0, 1, k));
        self.jump(to);
    }

    fn at_least(&mut self, k: u32, to: Label) {
        self.code.push((JMP_JGE_K, 0, 1, k));
        self.jump(to);
    }

    fn finish(mut self) -> Vec<(u16, u8, u8, u32)> {
        self.here(Label::Keep);
        self.op(RET_K, WHOLE);
        self.here(Label::Drop);
        self.op(RET_K, 0);
        for (at, to) in &self.jumps {
            let place = self.places.iter().find(|(label, _)| label == to);
            // Every label of a jump was placed; one that was not would fall through to the next instruction.
            let target = place.map_or(at + 1, |&(_, place)| place);
            self.code[*at].3 = target.saturating_sub(at + 1) as u32;
        }
        self.code
    }
}

impl Filter {
    /// Keeps what carries `carries` between this host and `addresses`, on `ports` where there are any, and every ICMP
    /// error: whose packet it quotes is for the reader to see.
    pub fn capture(carries: Carries, addresses: &[IpAddr], ports: &[u16]) -> Filter {
        let mut a = Assembler::default();
        let few = addresses.len() <= MOST_ADDRESSES;
        let ports = if ports.len() <= MOST_PORTS { ports } else { &[] };
        a.op(LD_W_ABS, ETHERTYPE);
        a.equal(0x0800, Label::V4);
        a.equal(0x86dd, Label::V6);
        if carries.asks_neighbours() {
            a.equal(0x0806, Label::Arp);
        }
        a.jump(Label::Drop);

        a.here(Label::V4);
        a.op(LD_B_ABS, 9);
        a.equal(1, Label::V4Error);
        for &protocol in carries.protocols(false) {
            a.equal(protocol, Label::V4Address);
        }
        a.jump(Label::Drop);
        // RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem.
        a.here(Label::V4Error);
        a.op(LDX_B_MSH, 0);
        a.op(LD_B_IND, 0);
        for error in [3, 4, 5, 11, 12] {
            a.equal(error, Label::Keep);
        }
        let echoes = carries.protocols(false).contains(&1);
        a.jump(if echoes { Label::V4Address } else { Label::Drop });
        a.here(Label::V4Address);
        if few {
            for offset in [16, 12] {
                a.op(LD_W_ABS, offset);
                for address in addresses {
                    if let IpAddr::V4(v4) = address {
                        a.equal(v4.to_bits(), Label::V4Port);
                    }
                }
            }
            a.jump(Label::Drop);
        }
        a.here(Label::V4Port);
        if !ports.is_empty() {
            // Fragments behind the first hold no ports.
            a.op(LD_H_ABS, 6);
            a.op(ALU_AND_K, 0x1fff);
            a.at_least(1, Label::Keep);
            a.op(LD_B_ABS, 9);
            a.equal(1, Label::Keep);
            a.op(LDX_B_MSH, 0);
            for offset in [2, 0] {
                a.op(LD_H_IND, offset);
                for &port in ports {
                    a.equal(port.into(), Label::Keep);
                }
            }
            a.jump(Label::Drop);
        }
        a.jump(Label::Keep);

        a.here(Label::V6);
        a.op(LD_B_ABS, 6);
        a.equal(58, Label::V6Icmp);
        // Extension headers (RFC 8200 section 4): hop-by-hop, routing, fragment, destination.
        for next in [0, 43, 44, 60]
            .into_iter()
            .chain(carries.protocols(true).iter().copied())
        {
            a.equal(next, Label::V6Address);
        }
        a.jump(Label::Drop);
        // RFC 4443 section 2.1: types below 128 are errors.
        a.here(Label::V6Icmp);
        a.op(LD_B_ABS, 40);
        if carries.asks_neighbours() {
            for message in 133..=137 {
                a.equal(message, Label::Keep);
            }
        }
        if carries.protocols(true).contains(&58) {
            a.at_least(128, Label::V6Address);
        } else {
            a.at_least(128, Label::Drop);
        }
        a.jump(Label::Keep);
        a.here(Label::V6Address);
        if few {
            for offset in [24, 8] {
                for address in addresses {
                    if let IpAddr::V6(v6) = address {
                        let bits = v6.to_bits();
                        for word in 0..4u32 {
                            a.op(LD_W_ABS, offset + 4 * word);
                            // Past the rest of this address's checks: two instructions a word, and the long jump.
                            let rest = (3 - word) * 2 + 1;
                            let part = (bits >> (96 - 32 * word)) as u32;
                            a.code.push((JMP_JEQ_K, 0, rest as u8, part));
                        }
                        a.jump(Label::V6Port);
                    }
                }
            }
            a.jump(Label::Drop);
        }
        a.here(Label::V6Port);
        if !ports.is_empty() {
            a.op(LD_B_ABS, 6);
            for next in [0, 43, 44, 58, 60] {
                a.equal(next, Label::Keep);
            }
            for offset in [42, 40] {
                a.op(LD_H_ABS, offset);
                for &port in ports {
                    a.equal(port.into(), Label::Keep);
                }
            }
            a.jump(Label::Drop);
        }
        a.jump(Label::Keep);

        if carries.asks_neighbours() {
            // RFC 826: target, then sender protocol address of Ethernet and IPv4.
            a.here(Label::Arp);
            if few {
                for offset in [24, 14] {
                    a.op(LD_W_ABS, offset);
                    for address in addresses {
                        if let IpAddr::V4(v4) = address {
                            a.equal(v4.to_bits(), Label::Keep);
                        }
                    }
                }
                a.jump(Label::Drop);
            }
            a.jump(Label::Keep);
        }
        Filter {
            code: Vec::new(),
            whole: Some(a.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter machine, for the instructions used here: whether `packet` of this EtherType is kept.
    fn keeps(filter: &Filter, ethertype: u32, packet: &[u8]) -> bool {
        let code = filter.whole.as_ref().expect("a program of its own");
        let (mut a, mut x, mut at) = (0u32, 0usize, 0usize);
        for _ in 0..code.len() {
            let (opcode, jt, jf, k) = code[at];
            at += 1;
            let load = |offset: usize, length: usize| {
                let bytes = packet.get(offset..offset + length)?;
                Some(bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
            };
            let loaded = |length, base| load(base + k as usize, length);
            let value = match opcode {
                LD_W_ABS if k == ETHERTYPE => Some(ethertype),
                LD_W_ABS => loaded(4, 0),
                LD_H_ABS => loaded(2, 0),
                LD_B_ABS => loaded(1, 0),
                LD_H_IND => loaded(2, x),
                LD_B_IND => loaded(1, x),
                LDX_B_MSH => {
                    x = 4 * (usize::from(packet[k as usize]) & 15);
                    continue;
                }
                ALU_AND_K => Some(a & k),
                JMP_JA => {
                    at += k as usize;
                    continue;
                }
                JMP_JEQ_K | JMP_JGE_K => {
                    let holds = if opcode == JMP_JEQ_K { a == k } else { a >= k };
                    at += usize::from(if holds { jt } else { jf });
                    continue;
                }
                RET_K => return k != 0,
                other => panic!("opcode {other:#x}"),
            };
            match value {
                Some(value) => a = value,
                None => return false,
            }
        }
        panic!("the program runs in a circle");
    }

    fn v4(protocol: u8, from: [u8; 4], to: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(from.iter().chain(&to).chain(rest));
        packet
    }

    fn v6(next: u8, from: u8, to: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        for last in [from, to] {
            packet.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(rest);
        packet
    }

    const HERE: [u8; 4] = [10, 0, 0, 1];
    const THERE: [u8; 4] = [10, 0, 0, 2];
    const ELSE: [u8; 4] = [10, 0, 0, 3];
    const TO_445: [u8; 4] = [0xc3, 0x50, 0x01, 0xbd];
    const FROM_445: [u8; 4] = [0x01, 0xbd, 0xc3, 0x50];
    const TO_22: [u8; 4] = [0xc3, 0x50, 0, 22];

    #[test]
    fn a_tcp_run_keeps_its_port_both_ways_and_every_icmp_error() {
        let six: IpAddr = "fd77::2".parse().unwrap();
        let filter = Filter::capture(Carries::Tcp, &[THERE.into(), six], &[445]);
        for (kept, packet) in [
            (true, v4(6, HERE, THERE, &TO_445)),
            (true, v4(6, THERE, HERE, &FROM_445)),
            (false, v4(6, HERE, THERE, &TO_22)),
            (false, v4(6, HERE, ELSE, &TO_445)),
            (false, v4(17, HERE, THERE, &TO_445)),
            (true, v4(1, ELSE, HERE, &[3, 1])),
            (false, v4(1, THERE, HERE, &[0, 0])),
        ] {
            assert_eq!(keeps(&filter, 0x0800, &packet), kept, "{packet:?}");
        }
        for (kept, packet) in [
            (true, v6(6, 1, 2, &TO_445)),
            (true, v6(6, 2, 1, &FROM_445)),
            (false, v6(6, 1, 3, &TO_445)),
            (false, v6(6, 1, 2, &TO_22)),
            (true, v6(58, 9, 1, &[1, 4])),
            (false, v6(58, 2, 1, &[129, 0])),
        ] {
            assert_eq!(keeps(&filter, 0x86dd, &packet), kept, "{packet:?}");
        }
        assert!(!keeps(&filter, 0x0806, &[0; 28]));
    }

    #[test]
    fn a_fragment_without_ports_is_kept_and_a_long_list_of_addresses_is_left_to_the_reader() {
        let filter = Filter::capture(Carries::Udp, &[THERE.into()], &[7]);
        let mut fragment = v4(17, HERE, THERE, &[1, 2, 3, 4]);
        fragment[7] = 1;
        assert!(keeps(&filter, 0x0800, &fragment));
        let many: Vec<IpAddr> = (0..200u8).map(|last| IpAddr::from([10, 1, 1, last])).collect();
        let wide = Filter::capture(Carries::Icmp, &many, &[]);
        assert!(keeps(&wide, 0x0800, &v4(1, HERE, ELSE, &[8, 0])));
        assert!(!keeps(&wide, 0x0800, &v4(6, HERE, ELSE, &TO_22)));
    }

    #[test]
    fn a_neighbour_run_keeps_arp_of_its_targets_and_neighbour_discovery() {
        let filter = Filter::capture(Carries::Neighbour, &[THERE.into()], &[]);
        let mut arp = vec![0; 28];
        arp[24..28].copy_from_slice(&THERE);
        assert!(keeps(&filter, 0x0806, &arp));
        arp[24..28].copy_from_slice(&ELSE);
        assert!(!keeps(&filter, 0x0806, &arp));
        assert!(keeps(&filter, 0x86dd, &v6(58, 1, 2, &[135, 0])));
        assert!(!keeps(&filter, 0x0800, &v4(6, HERE, THERE, &TO_445)));
    }

    #[test]
    fn the_kernel_takes_the_longest_program() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addresses: Vec<IpAddr> = (0..MOST_ADDRESSES as u16)
            .map(|n| {
                if n % 2 == 0 {
                    IpAddr::from([10, 0, 0, n as u8])
                } else {
                    IpAddr::from([n; 8])
                }
            })
            .collect();
        let ports: Vec<u16> = (1..=MOST_PORTS as u16).collect();
        let filter = Filter::capture(Carries::Anything, &addresses, &ports);
        filter.attach(std::os::fd::AsFd::as_fd(&socket)).unwrap();
    }
}
