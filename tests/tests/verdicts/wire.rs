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

/// Two machines on one cable, one of which has a program of ours on its `eno1`.
struct Cable {
    near: Namespace,
    far: Namespace,
}

impl Cable {
    fn with(kernel: &mut Kernel, hook: Hook) -> Self {
        let (near, far) = (Namespace::new("near").unwrap(), Namespace::new("far").unwrap());
        near.ip(&format!("link add eno1 type veth peer name far0 netns {}", far.id())).unwrap();
        near.ip("link set eno1 up").unwrap();
        far.ip("link set far0 up").unwrap();
        let pin = "/sys/fs/bpf/program";
        kernel.pin(hook, &near.path(pin));
        let direction = if hook == Hook::Egress { "egress" } else { "ingress" };
        near.run("tc", &["qdisc", "add", "dev", "eno1", "clsact"]).unwrap();
        let filter =
            ["filter", "add", "dev", "eno1", direction, "bpf", "direct-action", "object-pinned", pin];
        near.run("tc", &filter).unwrap();
        Self { near, far }
    }
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
    (0..frame.len() / 2).map(|at| u8::from_str_radix(&frame[2 * at..2 * at + 2], 16).unwrap()).collect()
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
