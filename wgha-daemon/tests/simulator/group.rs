//! A model of what a node's effects change: the VIP and the WireGuard link, and the worker that
//! changes them one after the other.

use std::collections::VecDeque;

use wgha::proto::{Action, Input, TunnelState};

use crate::{bounds::MILLI, random::Random};

const MICRO: u64 = 1_000;

/// VIP and link; they outlive the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub vip: bool,
    pub present: bool,
    pub up: bool,
}

impl Group {
    pub const FRESH: Self = Self { vip: false, present: true, up: false };

    /// What the driver tells of the link.
    pub fn tunnel(&self) -> Input {
        let listen_port = self.present.then_some(51800);
        Input::TunnelChanged(TunnelState { present: self.present, up: self.up, listen_port })
    }
}

/// One process's worker.
#[derive(Debug, Default)]
pub struct Worker {
    asked: VecDeque<Action>,
    /// So many of the next effects that may fail do.
    pub failing: u32,
}

impl Worker {
    /// Takes an effect. Whether it is begun at once.
    pub fn ask(&mut self, effect: Action) -> bool {
        self.asked.push_back(effect);
        self.asked.len() == 1
    }

    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// How long the first takes.
    pub fn takes(&self, random: &mut Random) -> u64 {
        match self.asked.front() {
            Some(Action::LowerTunnel) => random.between(5 * MILLI, 40 * MILLI),
            _ => random.between(50 * MICRO, 2 * MILLI),
        }
    }

    /// The first has ended; what it reports.
    pub fn end(&mut self, group: &mut Group) -> Option<Input> {
        let effect = self.asked.pop_front()?;
        let raising = matches!(effect, Action::HoldVip | Action::RaiseTunnel);
        let failing = raising && self.failing > 0;
        self.failing -= u32::from(failing);
        let of_link = matches!(effect, Action::RaiseTunnel | Action::LowerTunnel);
        let fails = failing || (of_link && !group.present);
        let result = if fails { Err("no".to_owned()) } else { Ok(()) };
        Some(match effect {
            Action::HoldVip => {
                group.vip |= !fails;
                Input::VipHeld(result)
            }
            Action::ReleaseVip => {
                group.vip = false;
                Input::VipReleased(result)
            }
            Action::RaiseTunnel => {
                group.up |= !fails;
                Input::TunnelRaised(result)
            }
            _ => {
                group.up = false;
                Input::TunnelLowered(result)
            }
        })
    }
}
