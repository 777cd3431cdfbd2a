//! Touches the kernel. One file per kernel interface, and no policy: what to do is `proto`'s to say.

pub mod address;
pub mod announce;
pub mod bell;
pub mod bpf;
pub mod channel;
pub mod check;
pub mod clock;
pub mod link;
pub mod lock;
pub mod membership;
pub mod memory;
pub mod netdev;
pub mod netlink;
pub mod packet_socket;
pub mod probe_socket;
pub mod program;
pub mod qdisc;
pub mod realtime;
pub mod report;
pub mod requests;
pub mod route;
pub mod timer;
pub mod tunnel;
pub mod udp_watch;
pub mod wireguard;
