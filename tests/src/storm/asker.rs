//! Somebody on the segment who asks all the time where the VIP is: each time in another name, so that answers can be told
//! from each other.

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{
    Namespace, Plan, monotonic_ns,
    packets::{self, ICMPV6, Ip},
    sys,
    topology::UPLINK,
};

/// Between two questions.
pub const EVERY: Duration = Duration::from_millis(20);
/// How many names it has: each is used once in so many questions.
pub const NAMES: u8 = 100;

/// Its address on Ethernet, of which it needs no kernel to know.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

/// Asks from a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Asker {
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// Begins.
    ///
    /// # Errors
    /// The system's.
    pub fn start(machine: &Namespace, plan: &Plan) -> Result<Self> {
        let mut socket = File::from(machine.inside(|| sys::sending_socket(UPLINK))?);
        let (asked, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, stopped, plan) = (Arc::clone(&asked), Arc::clone(&stop), plan.clone());
        let thread = Builder::new().name("asker".into()).spawn(move || {
            let every = u64::try_from(EVERY.as_nanos()).unwrap_or(u64::MAX);
            let (mut next, mut name) = (monotonic_ns(), 0);
            while !stopped.load(Ordering::Relaxed) {
                sys::sleep_until(next);
                next += every * (monotonic_ns().saturating_sub(next) / every + 1);
                name = (name + 1) % NAMES;
                // No buffer: one question less, which the count tells.
                count.fetch_add(
                    u64::from(socket.write_all(&question(&plan, name)).is_ok()),
                    Ordering::Relaxed,
                );
            }
        })?;
        Ok(Self { asked, stop, thread: Some(thread) })
    }

    /// How often it has asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it has panicked, fewer questions were asked, and their number says so.
            let _ = thread.join();
        }
    }
}

/// A neighbour solicitation, or a request of ARP.
fn question(plan: &Plan, name: u8) -> Vec<u8> {
    match (plan.vip, plan.gateway) {
        (IpAddr::V6(vip), IpAddr::V6(gateway)) => solicitation(vip, gateway, name),
        (vip, IpAddr::V4(gateway)) => {
            let [a, b, c, _] = gateway.octets();
            let mut frame = packets::arp(1, Ipv4Addr::new(a, b, c, 100 + name).into(), vip);
            frame[..6].copy_from_slice(&[0xff; 6]);
            frame[6..12].copy_from_slice(&MAC);
            frame[22..28].copy_from_slice(&MAC); // the sender's, where the answer goes
            frame
        }
        (_, IpAddr::V6(_)) => Vec::new(),
    }
}

/// RFC 4861 §4.3, with a source link-layer address: to the solicited-node group, ff02::1:ffXX:XXXX.
fn solicitation(vip: Ipv6Addr, gateway: Ipv6Addr, name: u8) -> Vec<u8> {
    let mut source = gateway.segments();
    (source[6], source[7]) = (0xa, name.into());
    let [.., high, low] = vip.segments();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low);
    let ip = Ip::new(Ipv6Addr::from(source).into(), group.into(), ICMPV6);
    let mut message =
        [vec![135, 0, 0, 0, 0, 0, 0, 0], vip.octets().to_vec(), vec![1, 1], MAC.to_vec()].concat();
    let pseudo = packets::pseudo_header(ip.source, ip.destination, ICMPV6, message.len());
    let sum = packets::checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ip.frame(&message);
    frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, high as u8, (low >> 8) as u8, low as u8]);
    frame[6..12].copy_from_slice(&MAC);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;

    #[test]
    fn questions_are_about_the_vip_and_each_in_another_name() {
        for plan in [Plan::ipv6(), Plan::ipv4()] {
            let frames = [0, 1].map(|name| question(&plan, name));
            assert_ne!(frames[0], frames[1]);
            for frame in &frames {
                let neighbour = Frame(frame).neighbour().unwrap();
                assert_eq!((neighbour.answers, neighbour.target), (false, plan.vip));
                assert_eq!(frame[0] & 1, 1, "it is to all");
            }
        }
    }

    #[test]
    fn a_solicitation_sums_up() {
        let frame = question(&Plan::ipv6(), 7);
        let ip = Frame(&frame).ip().unwrap();
        let pseudo = packets::pseudo_header(ip.source, ip.destination, ICMPV6, ip.payload.len());
        assert_eq!(packets::checksum(&[&pseudo, ip.payload]), 0);
    }
}
