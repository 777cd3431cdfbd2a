//! What will happen, in the order of time.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use wgha::proto::Input;

use crate::{kernel::Packet, trouble::Incident};

/// What happens.
#[derive(Debug)]
pub enum Event {
    Frame {
        to: usize,
        packet: Packet,
    },
    /// Two daemons find each other through the peer channel.
    Meet {
        nodes: [usize; 2],
        incarnations: [u32; 2],
    },
    Wake {
        node: usize,
        incarnation: u32,
    },
    EffectEnds {
        node: usize,
        incarnation: u32,
    },
    Told {
        node: usize,
        incarnation: u32,
        input: Box<Input>,
    },
    Start {
        node: usize,
    },
    Thaw {
        node: usize,
        incarnation: u32,
    },
    Begins(Box<Incident>),
    Ends(Box<Incident>),
}

impl Event {
    /// Most events are probes and renewals, which begin nothing; the audit is not troubled with them.
    pub fn is_eventful(&self) -> bool {
        !matches!(
            self,
            Self::Frame { packet: Packet::Probe(_) | Packet::Answer { .. }, .. } | Self::Wake { .. }
        )
    }
}

/// Events, the next first.
#[derive(Debug, Default)]
pub struct Queue {
    events: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
}

impl Queue {
    pub fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Queued(at, self.sequence, event)));
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.events.pop().map(|Reverse(Queued(at, _, event))| (at, event))
    }
}

/// An event with its time; of two at one time the one that was queued first comes first.
#[derive(Debug)]
struct Queued(u64, u64, Event);

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Queued {}
