use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, SocketAddrV6},
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use super::{
    Device, WireguardError,
    configuration::{AllowedIp, Change, Configuration, Peer, Section},
    device, netlink,
};
use crate::proto::{
    handshakes::{How, Start},
    peers::PeerKey,
};

const ANSWER: &str = "private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
listen_port=51800
fwmark=1
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
protocol_version=1
endpoint=[2001:db8:9::2]:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=7
tx_bytes=38333
rx_bytes=2224
persistent_keepalive_interval=111
allowed_ip=192.168.4.4/32
allowed_ip=2001:db8::/48
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
preshared_key=0000000000000000000000000000000000000000000000000000000000000000
endpoint=[fe80::1%eth0]:9
last_handshake_time_sec=0
last_handshake_time_nsec=0
persistent_keepalive_interval=0
new_in_some_later_version=1
errno=0

";

/// Where a socket is, until it is dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("wgha-{}-{name}.sock", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A socket that gives these answers, each on a connection of its own, and tells what it was asked.
fn program(name: &str, answers: Vec<&'static str>) -> (Place, Receiver<String>) {
    let path = Place::new(name);
    let listener = UnixListener::bind(&path.0).unwrap();
    let (asked, questions) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let question = lines.by_ref().take_while(|line| !line.is_empty()).collect::<Vec<_>>();
            asked.send(question.join("\n")).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (path, questions)
}

fn next(questions: &Receiver<String>, n: usize) -> Vec<String> {
    (0..n).map(|_| questions.recv_timeout(super::ANSWER_TIMEOUT * 2).unwrap()).collect()
}

fn v6(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn what_a_program_says_is_read_and_shown_without_secrets() {
    let (path, _questions) = program("read", vec![ANSWER, ANSWER, ANSWER]);
    let mut device = Device::at_socket(&path.0).unwrap();
    let reading = device.read().unwrap();
    assert_eq!(reading.listen_port, Some(51800));
    let [second, first] = &reading.peers[..] else { panic!("{reading:?}") };
    assert_eq!(first.endpoint, Some(v6("[2001:db8:9::2]:51820")));
    assert_eq!(first.last_handshake.unwrap().as_nanos(), 1_700_000_000_000_000_007);
    assert_eq!((first.keepalive, first.rx_bytes, first.tx_bytes), (Some(111), 2224, 38333));
    assert_eq!((second.endpoint, second.last_handshake, second.keepalive), (None, None, None));
    for secret in ["e84b", "1885", "232"] {
        assert!(!format!("{reading:?}").contains(secret), "{reading:?}");
    }
    // Closed by the program after each answer: a new connection each time.
    assert_eq!(device.channel_secret(|key| key[0]).unwrap(), Some(0xe8));
    assert_eq!(device.fingerprint().unwrap()[..2], 51800_u16.to_be_bytes());
}

#[test]
fn what_is_asked_of_a_program_keeps_everything_as_it_was() {
    let answers = vec![ANSWER, "errno=0\n\n", "errno=0\n\n"];
    let (path, questions) = program("kick", answers);
    let mut device = Device::at_socket(&path.0).unwrap();
    let [second, first] = device.read().unwrap().peers.try_into().unwrap();
    let start = |key, how| Start { key, endpoint: v6("[2001:db8:9::3]:4"), how };
    let kicks = [
        start(first.key, How::Anew),
        start(second.key, How::Anew),
        start(first.key, How::Toggle),
        start(second.key, How::Toggle),
        start(PeerKey([1; 32]), How::Anew),
    ];
    device.start_handshakes(&kicks).unwrap();
    device.set_endpoints(&[(second.key, v6("[2001:db8:9::3]:4"))]).unwrap();
    let asked = next(&questions, 3);
    assert_eq!(asked[0], "get=1");
    let first = "public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
    let second = "public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376";
    let endpoint = "endpoint=[2001:db8:9::3]:4";
    let keepalive = "persistent_keepalive_interval";
    let expected = [
        &format!("set=1\n{first}\nremove=true\n{first}"),
        "preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52",
        &format!("{endpoint}\nallowed_ip=192.168.4.4/32\nallowed_ip=2001:db8::/48\n{keepalive}=111"),
        &format!("{second}\nremove=true\n{second}\npreshared_key={}", "0".repeat(64)),
        &format!("{endpoint}\n{keepalive}=25\n{second}\nupdate_only=true\n{keepalive}=0"),
        &format!("{first}\nupdate_only=true\n{endpoint}\n{keepalive}=0"),
        &format!("{first}\nupdate_only=true\n{keepalive}=111"),
        &format!("{second}\nupdate_only=true\n{endpoint}\n{keepalive}=25"),
        &format!("{second}\nupdate_only=true\n{keepalive}=0"),
    ];
    assert_eq!(asked[1], expected.join("\n"));
    assert_eq!(asked[2], format!("set=1\n{second}\nupdate_only=true\n{endpoint}"));
}

#[test]
fn a_peer_that_got_lost_is_put_back() {
    let only_the_second =
        "public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376\nerrno=0\n\n";
    let answers = vec![ANSWER, "errno=-22\n\n", only_the_second, "errno=0\n\n"];
    let (path, questions) = program("lost", answers);
    let mut device = Device::at_socket(&path.0).unwrap();
    let peers = device.read().unwrap().peers;
    let kicks = peers.iter().map(|p| Start { key: p.key, endpoint: v6("[::1]:4"), how: How::Anew });
    let refused = device.start_handshakes(&kicks.collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(&refused, WireguardError::Failed { source, .. } if source.raw_os_error() == Some(22)));
    let asked = next(&questions, 4);
    let restored = &asked[3];
    assert!(restored.contains("public_key=b8") && !restored.contains("public_key=58"), "{restored}");
    for kept in ["preshared_key=1885", "endpoint=[2001:db8:9::2]:51820", "=192.168.4.4/32", "_interval=111"] {
        assert!(restored.contains(kept), "{restored}");
    }
}

#[test]
fn a_program_that_does_not_answer_is_not_waited_for() {
    let path = Place::new("silent");
    let _listener = UnixListener::bind(&path.0).unwrap();
    let mut device = Device::at_socket(&path.0).unwrap();
    let started = Instant::now();
    assert!(matches!(device.read(), Err(WireguardError::Silent(_))));
    assert!(started.elapsed() < super::ANSWER_TIMEOUT * 3);
}

fn prefixes(n: u32) -> Vec<AllowedIp> {
    (0..n).map(|n| AllowedIp { address: std::net::Ipv4Addr::from(n).into(), length: 32 }).collect()
}

#[test]
fn a_removal_is_in_the_same_set_as_what_follows_it() {
    let mut peers = (0..1000).map(|n| Peer::new(PeerKey([(n % 256) as u8; 32]))).collect::<Vec<_>>();
    peers[300].allowed_ips = prefixes(400);
    peers[500].allowed_ips = prefixes(5000);
    let start = Start { key: PeerKey([0; 32]), endpoint: v6("[::1]:4"), how: How::Anew };
    let kicks = peers.iter().map(|peer| peer.kick(&start)).collect::<Vec<_>>();
    let sets = device::sets(&kicks);
    assert!(sets.len() < 30, "{}", sets.len());
    for set in &sets {
        assert!(set.iter().map(|section| section.size()).sum::<usize>() <= device::SET);
        assert!(netlink::set_device(0, "wg1", set).len() < 1 << 16);
        assert!(!matches!(set.last().unwrap().change, Change::Remove));
    }
    let all = sets.iter().flatten();
    let allowed = all.clone().map(|section| match section.change {
        Change::Remove => 0,
        Change::Add { allowed_ips, .. } | Change::Update { allowed_ips, .. } => allowed_ips.len(),
    });
    assert_eq!((all.count(), allowed.sum()), (3 * 1000 + 9, 5400));
}

#[test]
fn the_kernel_is_told_in_its_own_words() {
    let key = PeerKey([0xaa; 32]);
    let (psk, allowed) = ([0xbb; 32], prefixes(1));
    let add = Change::Add {
        preshared_key: &psk,
        endpoint: Some("192.0.2.1:51800".parse().unwrap()),
        keepalive: 25,
        allowed_ips: &allowed,
    };
    let off = Change::Update { endpoint: Some(v6("[2001:db8::1]:7")), keepalive: Some(0), allowed_ips: &[] };
    let sections = [Change::Remove, add, off].map(|change| Section { key, change });
    let message = netlink::set_device(0x1d, "wg1", &sections.each_ref());
    // linux/netlink.h, linux/genetlink.h, linux/wireguard.h; little-endian machines only.
    let (key, psk) = ("aa".repeat(32), "bb".repeat(32));
    let expected = [
        "00000000 1d00 0000 00000000 00000000 01 01 0000", // headers: SET_DEVICE; the rest when it is sent
        "0800 0200 77673100",                              // IFNAME
        "1401 0880",                                       // PEERS, nested
        &format!("3000 0080 2400 0100 {key} 0800 0300 01000000"), // REMOVE_ME
        &format!("8800 0080 2400 0100 {key} 2400 0200 {psk}"), // PRESHARED_KEY
        "1400 0400 0200 ca58 c0000201 0000000000000000",   // ENDPOINT
        "0600 0500 1900 0000",                             // PERSISTENT_KEEPALIVE_INTERVAL
        "2000 0980 1c00 0080 0600 0100 0200 0000 0800 0200 00000000 0500 0300 20 000000", // ALLOWEDIPS
        &format!("5800 0080 2400 0100 {key} 0800 0300 04000000"), // UPDATE_ONLY
        "2000 0400 0a00 0007 00000000 20010db8000000000000000000000001 00000000",
        "0600 0500 0000 0000",
    ];
    let hex = message.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex, expected.concat().replace(' ', ""));
}

#[test]
fn the_kernel_is_understood() {
    let (key, psk) = ("aa".repeat(32), "bb".repeat(32));
    let first = [
        "0800 0100 07000000 0800 0200 77673100", // IFINDEX, IFNAME
        &format!("2400 0300 {} 0600 0600 58ca 0000", "cc".repeat(32)), // PRIVATE_KEY, LISTEN_PORT
        "cc00 0880",                             // PEERS, nested
        &format!("c800 0080 2400 0100 {key} 2400 0200 {psk}"), // PRESHARED_KEY
        "1400 0600 00f1536500000000 0700000000000000", // LAST_HANDSHAKE_TIME
        "0600 0500 1900 0000 0c00 0800 bd95000000000000 0c00 0700 b008000000000000", // keepalive, TX_BYTES, RX_BYTES
        "0800 0a00 01000000",                                                        // PROTOCOL_VERSION
        "2000 0400 0a00 0007 00000000 fe800000000000000000000000000001 05000000",    // ENDPOINT
        "2000 0980 1c00 0080 0600 0100 0200 0000 0500 0300 18 000000 0800 0200 c0a80400", // ALLOWEDIPS
    ];
    let next = [
        "5800 0880",                               // PEERS go on
        &format!("5400 0080 2400 0100 {key}"),     // the same one
        "2c00 0980 2800 0080 0600 0100 0a00 0000", // ALLOWEDIPS go on
        "1400 0200 20010db8000000000000000000000000 0500 0300 30 000000",
    ];
    let mut device = Configuration::new();
    for part in [&first[..], &next[..]] {
        netlink::read(&mut device, &from_hex(&part.concat()));
    }
    device.settle();
    assert!(device.private_key == Some([0xcc; 32]) && device.listen_port == Some(51800));
    let peer = device.peer(PeerKey([0xaa; 32])).unwrap();
    assert!(peer.preshared_key == [0xbb; 32] && device.peers.len() == 1);
    assert_eq!(peer.last_handshake, Some(Duration::new(1_700_000_000, 7)));
    assert_eq!((peer.keepalive, peer.tx_bytes, peer.rx_bytes), (25, 38333, 2224));
    let endpoint = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 5);
    assert_eq!(peer.endpoint, Some(endpoint.into()));
    let allowed = peer.allowed_ips.iter().map(|ip| (ip.address.to_string(), ip.length)).collect::<Vec<_>>();
    assert_eq!(allowed, [("192.168.4.0".to_owned(), 24), ("2001:db8::".to_owned(), 48)]);
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(|byte| *byte != b' ').map(|byte| char::from(byte).to_digit(16).unwrap());
    digits.collect::<Vec<_>>().chunks(2).map(|pair| (16 * pair[0] + pair[1]) as u8).collect()
}

#[test]
fn two_devices_have_one_fingerprint_whatever_the_order() {
    let device = |order: [u8; 2], allowed: [u32; 2]| {
        let mut device = Configuration::new();
        device.peers.extend(order.map(|n| Peer::new(PeerKey([n; 32]))));
        let first = device.peers.iter_mut().find(|peer| peer.key.0[0] == 1).unwrap();
        first.allowed_ips = allowed.map(|n| prefixes(n + 1).remove(n as usize)).to_vec();
        device.settle();
        device
    };
    let one = device([1, 2], [7, 8]);
    assert_eq!(one.fingerprint(), device([2, 1], [8, 7]).fingerprint());
    assert_ne!(one.fingerprint(), device([1, 2], [7, 9]).fingerprint());
    let mut other_port = device([1, 2], [7, 8]);
    other_port.listen_port = Some(1);
    assert_ne!(one.fingerprint(), other_port.fingerprint());
}

#[test]
fn what_a_kernel_says_of_a_peer_in_two_messages_is_one_peer() {
    let mut device = Configuration::new();
    for n in [9, 9, 3] {
        let mut peer = Peer::new(PeerKey([n; 32]));
        peer.allowed_ips = prefixes(2);
        device.peers.push(peer);
    }
    device.settle();
    let sizes = device.peers.iter().map(|p| (p.key.0[0], p.allowed_ips.len())).collect::<Vec<_>>();
    assert_eq!(sizes, [(3, 2), (9, 4)]);
}
