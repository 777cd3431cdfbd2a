//! What BPF_PROG_TEST_RUN cannot make: a tag that the kernel has taken out of the frame, and a checksum that
//! is left to the device.

use std::net::IpAddr;

use wgha_common::abi::Counter;
use wgha_tests::{
    Namespace, may_run,
    packets::{Datagram, Ip, UDP, VLAN, pseudo_header, tagged, wireguard},
};

use crate::{
    kernel::{Hook, Kernel},
    net::{CLIENT_PORT, Net, PORT},
    row::Held,
    sbfd::{Control, THEIR_PORT, UP, returned},
};

/// Sends the frame that its second argument has in hexadecimal.
const SEND_FRAME: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
s.send(bytes.fromhex(sys.argv[2]))";

/// Sends a datagram from WireGuard's port to a neighbour that answers to nobody.
const SEND_DATAGRAM: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', int(sys.argv[2])))
s.sendto(bytes.fromhex(sys.argv[4]), (sys.argv[1], int(sys.argv[3])))";

/// Prints the first UDP frame that comes to a port, as the device handed it over.
const RECEIVE_FRAME: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
s.settimeout(10)
port = int(sys.argv[2]).to_bytes(2, 'big')
print('ready', flush=True)
while True:
    frame = s.recv(2000)
    at = 34 if frame[12:14] == b'\\x08\\x00' else 54
    if frame[at + 2:at + 4] == port:
        print(frame.hex())
        break";

/// Asks from a port with a hop limit of 255, and prints the frame and the payload that come back.
const ASK: &str = "
import socket, sys
host, port, own, payload = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
v6 = ':' in host
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86dd if v6 else 0x0800))
wire.bind(('far0', 0))
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, socket.IPV6_UNICAST_HOPS if v6 else socket.IP_TTL, 255)
s.bind(('', own))
for each in (s, wire):
    each.settimeout(10)
s.sendto(payload, (host, port))
print(s.recv(2000).hex())
at = 54 if v6 else 34
while True:
    frame = wire.recv(2000)
    if frame[at + 2:at + 4] == own.to_bytes(2, 'big'):
        print(frame.hex())
        break"; // 34 and 54: behind the IP header

/// Two machines on one cable, one of which has a program of ours on its `eno1`.
struct Cable {
    near: Namespace,
    far: Namespace,
}

impl Cable {
    fn with(kernel: &mut Kernel, hook: Hook) -> Self {
        let (near, far) = (Namespace::new("near").unwrap(), Namespace::new("far").unwrap());
        near.ip(&format!("link add eno1 address 02:00:00:00:00:01 type veth peer name far0 address 02:00:00:00:00:02 netns {}", far.id())).unwrap();
        near.ip("link set eno1 up").unwrap();
        far.ip("link set far0 up").unwrap();
        attach(kernel, hook, &near, "eno1");
        Self { near, far }
    }

    /// Gives the machines addresses of a family, and tells the far one where the near one is.
    fn address(&self, net: &Net) {
        let (family, prefix) = if net.is_v4() { ("-4", 24) } else { ("-6", 64) };
        let no_dad = if net.is_v4() { "" } else { "nodad" };
        for (namespace, interface, address) in [(&self.near, "eno1", net.host), (&self.far, "far0", net.peer)]
        {
            namespace.ip(&format!("{family} addr add {address}/{prefix} dev {interface} {no_dad}")).unwrap();
        }
        let to_near = format!("neigh add {} lladdr 02:00:00:00:00:01 dev far0 nud permanent", net.host);
        self.far.ip(&format!("{family} {to_near}")).unwrap();
    }
}

fn attach(kernel: &mut Kernel, hook: Hook, namespace: &Namespace, interface: &str) {
    let pin = "/sys/fs/bpf/program";
    kernel.pin(hook, &namespace.path(pin));
    if hook == Hook::Xdp {
        return drop(namespace.ip(&format!("link set {interface} xdpdrv pinned {pin}")).unwrap());
    }
    let direction = if hook == Hook::Egress { "egress" } else { "ingress" };
    namespace.run("tc", &["qdisc", "add", "dev", interface, "clsact"]).unwrap();
    let filter = ["filter", "add", "dev", interface, direction, "bpf", "direct-action", "object-pinned", pin];
    namespace.run("tc", &filter).unwrap();
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn python(namespace: &Namespace, script: &str, args: &[&str]) {
    namespace.run("/usr/bin/python3", &[&["-c", script], args].concat()).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn count(kernel: &Kernel, counter: Counter) -> u64 {
    kernel.counters().into_iter().find(|(c, _)| *c == counter).map_or(0, |(_, count)| count)
}

#[test]
fn a_tag_that_the_kernel_has_taken_out_is_still_seen() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    let cable = Cable::with(&mut kernel, Hook::Ingress);
    for net in Net::both() {
        let message = net.wireguard_in(4, 64).frame(&net.inbound());
        for (id, counter) in [(10, Counter::VlanPassed), (0, Counter::WireguardInFenced)] {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            python(&cable.far, SEND_FRAME, &["far0", &hex(&tagged(&message, VLAN, id))]);
            assert_eq!(count(&kernel, counter), 1, "VLAN {id}, {}: {:?}", net.family, kernel.counters());
        }
    }
}

#[test]
fn a_checksum_left_to_the_device_is_left_right() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    let cable = Cable::with(&mut kernel, Hook::Egress);
    for net in Net::both() {
        kernel.reset(net.uplink(), &net.vips(), net.stamp());
        Held::Active.set(&mut kernel);
        let frame = pinned_on_the_wire(&cable, &net);
        assert_eq!(count(&kernel, Counter::WireguardPinned), 1, "{}: {:?}", net.family, kernel.counters());
        check_partial(&net, &frame);
    }
}

/// A datagram from WireGuard's port and our own address, as the far end gets it.
fn pinned_on_the_wire(cable: &Cable, net: &Net) -> Vec<u8> {
    let (prefix, neighbour) =
        if net.is_v4() { (24, net.high) } else { (64, "2001:db8:1::4".parse().unwrap()) };
    let family = if net.is_v4() { "-4" } else { "-6" };
    let no_dad = if net.is_v4() { "" } else { "nodad" };
    cable.near.ip(&format!("{family} addr add {}/{prefix} dev eno1 {no_dad}", net.host)).unwrap();
    cable
        .near
        .ip(&format!("{family} neigh add {neighbour} lladdr 02:00:00:00:00:09 dev eno1 nud permanent"))
        .unwrap();
    let mut receiver = cable.far.command("/usr/bin/python3");
    receiver
        .args(["-c", RECEIVE_FRAME, "far0", &CLIENT_PORT.to_string()])
        .stdout(std::process::Stdio::piped());
    let mut receiver = receiver.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(receiver.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let [from, to] = [PORT, CLIENT_PORT].map(|port| port.to_string());
    python(&cable.near, SEND_DATAGRAM, &[&neighbour.to_string(), &from, &to, &hex(&wireguard(4, 64))]);
    let frame = lines.next().unwrap().unwrap();
    receiver.wait().unwrap();
    bytes(&frame)
}

/// Where the device is to sum, the field has the sum of the pseudo-header, not inverted; else the checksum itself.
fn check_partial(net: &Net, frame: &[u8]) {
    let (source_at, len, at) = if net.is_v4() { (26, 4, 34) } else { (22, 16, 54) };
    let address = |at: usize| -> IpAddr {
        match <[u8; 4]>::try_from(&frame[at..at + len]) {
            Ok(v4) => v4.into(),
            Err(_) => <[u8; 16]>::try_from(&frame[at..at + len]).unwrap().into(),
        }
    };
    let ip = Ip::new(address(source_at), address(source_at + len), UDP);
    assert_eq!(ip.source, net.vip, "the source");
    let pseudo = pseudo_header(ip.source, ip.destination, UDP, frame.len() - at);
    let partial = !wgha_tests::packets::checksum(&[&pseudo]);
    let got = u16::from_be_bytes([frame[at + 6], frame[at + 7]]);
    let whole = Datagram::new(PORT, CLIENT_PORT, frame[at + 8..].to_vec()).bytes(&ip);
    let whole = u16::from_be_bytes([whole[6], whole[7]]);
    println!("{}: checksum {got:#06x}; partial {partial:#06x}, whole {whole:#06x}", net.family);
    assert_eq!(got, partial, "the checksum (the whole one would be {whole:#06x})");
    if net.is_v4() {
        assert_eq!(wgha_tests::packets::checksum(&[&frame[14..34]]), 0, "the header's checksum");
    }
}

/// A question whose checksum is left to the device, and one that has it already, answered on a real device.
///
/// Through XDP the far end's stack checks the whole sum. In TC the sum stays with the device if it was.
#[test]
fn answers_leave_with_checksums_that_are_right() {
    if !may_run() {
        return;
    }
    for hook in [Hook::Xdp, Hook::Ingress] {
        let mut kernel = Kernel::load();
        let cable = Cable::with(&mut kernel, hook);
        // Frames leave veth by XDP_TX only where a program is at the other end. This one knows nothing, and passes all.
        let mut passing = Kernel::load();
        if hook == Hook::Xdp {
            attach(&mut passing, hook, &cable.far, "far0");
        }
        for net in Net::both() {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            kernel.set_sbfd(net.sbfd(), &net.peers());
            Held::Active.set(&mut kernel);
            cable.address(&net);
            let question = Control::question();
            let (payload, frame) = ask(&cable, &net, &question);
            assert_eq!(payload, question.answer(UP).bytes(), "{hook:?} {}", net.family);
            check_answer(&net, hook, &frame, &returned(&net, &question.answer(UP), THEIR_PORT));
            assert_eq!(count(&kernel, Counter::ProbeAnsweredUp), 1, "{hook:?} {}", net.family);
        }
    }
}

/// The payload that a socket gets back, and its frame.
fn ask(cable: &Cable, net: &Net, question: &Control) -> (Vec<u8>, Vec<u8>) {
    let [to, from] = [7784, THEIR_PORT].map(|port| port.to_string());
    let payload = hex(&question.bytes());
    let args = ["-c", ASK, &net.host.to_string(), &to, &from, &payload];
    let said = cable.far.run("/usr/bin/python3", &args).unwrap();
    let (payload, frame) = said.trim().split_once('\n').unwrap();
    (bytes(payload), bytes(frame))
}

/// The datagram in `frame` is that of `wanted`, but for a checksum that is left to the device.
fn check_answer(net: &Net, hook: Hook, frame: &[u8], wanted: &[u8]) {
    let at = if net.is_v4() { 34 } else { 54 };
    assert_eq!(frame[..12], wanted[..12], "the MAC addresses");
    let mut wanted = wanted[at..].to_vec();
    if hook == Hook::Ingress {
        let pseudo = pseudo_header(net.host, net.peer, UDP, wanted.len());
        wanted[6..8].copy_from_slice(&(!wgha_tests::packets::checksum(&[&pseudo])).to_be_bytes());
    }
    assert_eq!(frame[at..], wanted, "{hook:?} {}", net.family);
}
