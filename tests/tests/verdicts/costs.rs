//! What a packet costs, by BPF_PROG_TEST_RUN. Printed, not asserted: another machine has other figures.

use wgha_tests::may_run;

use crate::{
    kernel::{Hook, Kernel},
    net::Net,
    row::Held,
};

const REPEAT: u32 = 100_000;
const ROUNDS: usize = 9;

#[test]
fn costs_are_shown() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        let tcp = wgha_tests::packets::Ip { protocol: wgha_tests::packets::TCP, ..net.inbound() };
        let tcp = tcp.frame(&[0; 20]);
        let wg_in = net.wireguard_in(4, 1400).frame(&net.inbound());
        let wg_out = net.wireguard_out(4, 1400).frame(&net.outbound(net.vip));
        for hook in [Hook::Xdp, Hook::Ingress, Hook::Egress] {
            let wireguard = if hook == Hook::Egress { &wg_out } else { &wg_in };
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            Held::Active.set(&mut kernel);
            let other = median(&kernel, hook, &tcp);
            let served = median(&kernel, hook, wireguard);
            Held::Backup.set(&mut kernel);
            let fenced = median(&kernel, hook, wireguard);
            kernel.reset(Default::default(), &[], net.stamp());
            let nothing = median(&kernel, hook, &tcp);
            println!(
                "{} {:<12} unconfigured {nothing} ns, TCP {other} ns, WireGuard {served} ns, fenced {fenced} ns",
                net.family,
                hook.program()
            );
            assert!(served > 0, "it was measured");
        }
    }
}

fn median(kernel: &Kernel, hook: Hook, frame: &[u8]) -> u128 {
    let mut rounds: Vec<_> =
        (0..ROUNDS).map(|_| kernel.run_with(hook, frame, None, REPEAT).nanos_each).collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
