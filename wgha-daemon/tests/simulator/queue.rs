//! What will happen, in the order of time.

use std::{cmp::Reverse, collections::BinaryHeap};

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
    /// What its WireGuard knows of the clients may be news.
    Brief {
        node: usize,
        incarnation: u32,
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
            Self::Frame { packet: Packet::Probe(_) | Packet::Answer(_) | Packet::Neighbour, .. }
                | Self::Wake { .. }
                | Self::Brief { .. }
        )
    }
}

/// Events, the next first; of two at one time the one that was queued first.
#[derive(Debug, Default)]
pub struct Queue {
    /// When, and its number and place: these are moved about, the events are not.
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    vacant: Vec<usize>,
    number: u64,
}

impl Queue {
    /// No schedule has so many events waiting.
    const PLACES: u32 = 16;

    pub fn push(&mut self, at: u64, event: Event) {
        let place = self.vacant.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.events[place] = Some(event);
        self.number += 1;
        self.order.push(Reverse((at, self.number << Self::PLACES | place as u64)));
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, number)) = self.order.pop()?;
        let place = (number & ((1 << Self::PLACES) - 1)) as usize;
        self.vacant.push(place);
        Some((at, self.events[place].take()?))
    }
}
