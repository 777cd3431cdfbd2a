use wgha_common::{
    Address,
    wire::{
        arp,
        ndisc::{self, Advertisement, MESSAGE_LEN, Solicitation},
    },
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A neighbour message as it stands behind its IPv6 header, or an ARP packet: whichever it can be read as. What we would
/// say about the same address is read as we meant it.
#[must_use]
pub fn neighbour(bytes: &[u8]) -> bool {
    let discovery = bytes.first_chunk().is_some_and(discovery);
    let resolution = bytes.first_chunk().is_some_and(resolution);
    discovery || resolution
}

fn discovery(bytes: &[u8; ndisc::HEADER_LEN]) -> bool {
    let (target, answered) = (ndisc::target(bytes), ndisc::answered(bytes));
    assert!(answered.is_none() || answered == target, "{answered:?} answers for {target:?}");
    let Some(target) = target else { return false };
    assert!(matches!(bytes[..2], [135 | 136, 0]) && bytes[8..] == target.0);
    let source = Address::v6([0xfe; 16]);
    let mut out = [0; MESSAGE_LEN];
    for written in [
        Advertisement { source, target, mac: MAC }.emit(&mut out).map(|()| out),
        Solicitation { source, target, mac: MAC }.emit(&mut out).map(|()| out),
    ] {
        let again = written
            .ok()
            .and_then(|out| out.first_chunk().map(|out| (ndisc::target(out), ndisc::answered(out))));
        assert_eq!(again, Some((Some(target), None)), "nobody has asked us");
    }
    true
}

fn resolution(bytes: &[u8; arp::LEN]) -> bool {
    let Some(arp::Packet { sender, target }) = arp::Packet::parse(bytes) else { return false };
    assert_eq!((sender.bytes(), target.bytes()), (&bytes[14..18], &bytes[24..28]));
    let [.., a, b, c, d, e, f] = *bytes.first_chunk::<14>().unwrap_or(&[0; 14]);
    let mut out = [0; arp::LEN];
    let written = arp::Request { sender, mac: [a, b, c, d, e, f], target }.emit(&mut out);
    assert!(written.is_ok() && !arp::is_reply(&out));
    if bytes[6..8] == [0, 1] && bytes[18..24] == [0; 6] {
        assert_eq!(&out, bytes, "a request is written again as it was");
    }
    true
}
