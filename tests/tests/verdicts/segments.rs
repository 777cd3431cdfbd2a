//! Several datagrams in one buffer, as segmentation offload makes them.

use wgha_common::{abi::Direction, wire::wireguard::MessageType};
use wgha_tests::may_run;

use crate::{
    kernel::{Hook, Kernel, Then},
    net::Net,
    row::Held,
};

/// Bytes of a `struct __sk_buff`, and where it has what is set here.
const CONTEXT_LEN: usize = 192;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

#[test]
fn segments_count_each_and_by_their_own_length() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    // Three initiations: together they have a length that no message of their type has.
    let (segments, size) = (3u32, 148u32);
    let mut context = [0; CONTEXT_LEN];
    context[GSO_SEGS..][..4].copy_from_slice(&segments.to_ne_bytes());
    context[GSO_SIZE..][..4].copy_from_slice(&size.to_ne_bytes());
    for net in Net::both() {
        let len = (segments * size) as usize;
        for (hook, direction, frame) in [
            (Hook::Ingress, Direction::Ingress, net.wireguard_in(1, len).frame(&net.inbound())),
            (Hook::Egress, Direction::Egress, net.wireguard_out(1, len).frame(&net.outbound(net.vip))),
        ] {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            Held::Active.set(&mut kernel);
            assert_eq!(kernel.run_with(hook, &frame, Some(&context), 1).then, Then::Passes);
            let [(counted, message, traffic)] = kernel.traffic()[..] else {
                panic!("{hook:?} {}: {:?}", net.family, kernel.traffic());
            };
            assert_eq!((counted, message), (direction, MessageType::Initiation), "{hook:?} {}", net.family);
            let wanted = (u64::from(segments), frame.len() as u64);
            assert_eq!((traffic.packets, traffic.bytes), wanted, "{hook:?} {}", net.family);
        }
    }
}
