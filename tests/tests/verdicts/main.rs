//! The verdict table: what goes into the kernel half, and what comes out, row by row.
//!
//! Every packet goes through the loaded programs by BPF_PROG_TEST_RUN: those that come in through XDP and
//! through TC, in both families wherever both have them. A row names everything that may happen: a
//! counter, an event, a byte that changes without being named fails it.

#![expect(clippy::unwrap_used, reason = "tests panic; clippy knows only those with #[test]")]

mod adverts;
mod agree;
mod arrivals;
mod costs;
mod cut;
mod evidence;
mod inbound;
mod kernel;
mod loading;
mod model;
mod net;
mod outbound;
mod records;
mod row;
mod sbfd;
mod segments;
mod wire;

use wgha_tests::may_run;

use crate::{
    kernel::{Hook, Kernel},
    net::Net,
    row::{Row, print_head},
};

type Rows = fn(&Net) -> Vec<Row>;

const INGRESS: &[Hook] = &[Hook::Xdp, Hook::Ingress];
const EGRESS: &[Hook] = &[Hook::Egress];

/// The families in which a part of the table is run.
#[derive(Debug, Clone, Copy)]
enum In {
    Both,
    V6,
    V4,
}

const TABLE: &[(&str, &[Hook], In, Rows)] = &[
    ("Adverts that are right", INGRESS, In::Both, adverts::right),
    ("Adverts that are wrong", INGRESS, In::Both, adverts::wrong),
    ("Adverts, IPv6 only", INGRESS, In::V6, adverts::of_family),
    ("Adverts, IPv4 only", INGRESS, In::V4, adverts::of_family),
    ("Adverts that are none of our business", INGRESS, In::Both, adverts::foreign),
    ("Adverts against our own claim", INGRESS, In::Both, adverts::contested),
    ("Adverts under authentication", INGRESS, In::Both, adverts::authenticated),
    ("Adverts in a flood", INGRESS, In::Both, adverts::paused),
    ("WireGuard in", INGRESS, In::Both, inbound::wireguard_rows),
    ("Sources of WireGuard", INGRESS, In::Both, evidence::sources),
    ("Sources that are forgotten", INGRESS, In::Both, evidence::forgotten),
    ("Neighbours that answer", INGRESS, In::V6, evidence::advertisements),
    ("Neighbours that answer", INGRESS, In::V4, evidence::replies),
    ("Neighbour discovery in", INGRESS, In::V6, inbound::discovery),
    ("ARP in", INGRESS, In::V4, inbound::address_resolution),
    ("IPv6 header chains", INGRESS, In::V6, inbound::ipv6_chains),
    ("IPv4 header chains", INGRESS, In::V4, inbound::ipv4_chains),
    ("Fragments in", INGRESS, In::Both, inbound::fragments),
    ("S-BFD questions", INGRESS, In::Both, sbfd::questions),
    ("S-BFD questions that are wrong", INGRESS, In::Both, sbfd::wrong_questions),
    ("S-BFD questions that are none of our business", INGRESS, In::Both, sbfd::foreign),
    ("S-BFD claims", INGRESS, In::V6, sbfd::claims),
    ("S-BFD claims", INGRESS, In::V4, sbfd::claims),
    ("S-BFD checksums", INGRESS, In::Both, sbfd::checksums),
    ("S-BFD answers", INGRESS, In::Both, sbfd::answers),
    ("S-BFD answers that are wrong", INGRESS, In::Both, sbfd::wrong_answers),
    ("Our probes out", EGRESS, In::Both, sbfd::ours),
    ("Our adverts out", EGRESS, In::Both, outbound::adverts),
    ("WireGuard out", EGRESS, In::Both, outbound::wireguard_rows),
    ("WireGuard out of another address", EGRESS, In::Both, outbound::pinned),
    ("Neighbour discovery out", EGRESS, In::V6, outbound::discovery),
    ("ARP out", EGRESS, In::V4, outbound::address_resolution),
    ("Fragments out", EGRESS, In::Both, outbound::fragments),
];

#[test]
fn the_verdict_table_holds() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    let (mut rows, mut runs) = (0, 0);
    for (title, hooks, families, make) in TABLE {
        print_head(title);
        let nets = match families {
            In::Both => Net::both().to_vec(),
            In::V6 => vec![Net::both()[0]],
            In::V4 => vec![Net::both()[1]],
        };
        let made: Vec<Vec<Row>> = nets.iter().map(make).collect();
        for index in 0..made[0].len() {
            for (net, made) in nets.iter().zip(&made) {
                let row = made.get(index).unwrap_or_else(|| panic!("{title}: {} has fewer rows", net.family));
                for hook in hooks.iter().filter(|hook| row.runs_in(**hook)) {
                    row.run(&mut kernel, net, *hook);
                    runs += 1;
                }
            }
            made[0][index].print(&seen(hooks, *families, &made[0][index]));
            rows += 1;
        }
    }
    println!("\n{rows} rows, each in every program and family that has it: {runs} runs");
}

fn seen(hooks: &[Hook], families: In, row: &Row) -> String {
    let hooks = hooks.iter().filter(|hook| row.runs_in(**hook));
    let hooks: Vec<_> = hooks.map(|hook| if *hook == Hook::Xdp { "xdp" } else { "tc" }).collect();
    let families = match families {
        In::Both => "64",
        In::V6 => "6",
        In::V4 => "4",
    };
    format!("{} {families}", hooks.join(" "))
}
