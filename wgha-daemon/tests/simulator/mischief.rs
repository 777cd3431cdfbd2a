//! What each trouble does to the world, and how it ends.

use wgha::proto::Input;

use crate::{
    bounds::MILLI,
    network::{CONGESTED, Ways},
    queue::Event,
    schedule::draw_priority,
    trouble::{Incident, Trouble},
    world::World,
};

impl World {
    pub fn begins(&mut self, incident: &Incident) {
        let Incident { trouble, node: me, lasts, .. } = *incident;
        self.tell(me, trouble);
        self.audit.disturbed(me, self.now);
        match trouble {
            Trouble::Crash => {
                self.daemon_ends(me);
                self.nodes[me].powered = false;
            }
            Trouble::Kill => self.daemon_ends(me),
            Trouble::Stop => self.hand(me, Input::StopRequested),
            Trouble::Reload => self.reload(me, 2_000 * MILLI),
            Trouble::ReloadDies => self.reload(me, 7_000 * MILLI),
            Trouble::Freeze => self.freeze(me, lasts),
            Trouble::FreezeInBatch => self.freeze_in_batch(me, lasts),
            Trouble::Starve => self.nodes[me].starved += 1,
            Trouble::PauseVm => self.pause(me),
            Trouble::PauseVmAndClock => {
                self.nodes[me].stop_clock(self.now);
                self.pause(me);
            }
            Trouble::Carrier => self.set_carrier(me, false),
            Trouble::TunnelDown => self.change_link(me, |up| *up = false),
            Trouble::TunnelUp => self.change_link(me, |up| *up = true),
            Trouble::TunnelGone => self.set_present(me, false),
            Trouble::VipRemoved => self.remove_vip(me),
            Trouble::EffectFails => self.fail_effects(me, 1),
            Trouble::MapFails => self.nodes[me].maps_fail += 1,
            Trouble::AdvertsFail => self.nodes[me].adverts_fail = true,
            Trouble::RingFull => self.nodes[me].kernel.ring_full += 2,
            _ => self.disturb_network(incident, true),
        }
        self.reach_changes(incident);
        self.at(self.now + lasts, Event::Ends(Box::new(*incident)));
    }

    pub fn ends(&mut self, incident: &Incident) {
        let Incident { trouble, node: me, .. } = *incident;
        self.tell(me, ("over", trouble));
        self.audit.disturbed(me, self.now);
        match trouble {
            Trouble::Crash => self.power_on(me),
            Trouble::Kill => self.start(me),
            Trouble::Starve => {
                self.nodes[me].starved -= 1;
                self.wake_soon(me);
            }
            Trouble::PauseVm | Trouble::PauseVmAndClock => self.resume(me),
            Trouble::Carrier => self.set_carrier(me, true),
            Trouble::TunnelDown => self.change_link(me, |up| *up = true),
            Trouble::TunnelGone => self.set_present(me, true),
            Trouble::MapFails => self.nodes[me].maps_fail = 0,
            Trouble::AdvertsFail => self.nodes[me].adverts_fail = false,
            Trouble::RingFull => self.nodes[me].kernel.ring_full = 0,
            Trouble::EffectFails => self.fail_effects(me, 0),
            Trouble::FreezeInBatch => {
                if let Some(daemon) = &mut self.nodes[me].daemon {
                    daemon.freeze_in = None;
                }
            }
            Trouble::Stop | Trouble::Reload | Trouble::ReloadDies => {}
            Trouble::Freeze | Trouble::TunnelUp | Trouble::VipRemoved => {}
            _ => self.disturb_network(incident, false),
        }
        self.reach_changes(incident);
    }

    fn disturb_network(&mut self, incident: &Incident, begins: bool) {
        let Incident { trouble, node: me, other, side, .. } = *incident;
        let net = &mut self.network;
        let only_me = 1 << me;
        let count = |n: &mut u32| *n = if begins { *n + 1 } else { *n - 1 };
        match trouble {
            Trouble::Partition => net.cut(side, Ways::Both, begins),
            Trouble::OneWay => net.cut(side, Ways::In, begins),
            Trouble::Deaf => net.cut(only_me, Ways::In, begins),
            Trouble::Mute => net.cut(only_me, Ways::Out, begins),
            Trouble::Wire => net.cut_wire(me, other, begins),
            Trouble::Loss => count(&mut net.lossy),
            Trouble::Congestion => count(&mut net.congested),
            Trouble::Disorder => count(&mut net.disorderly),
            Trouble::GatewayGone => count(&mut net.gateway_gone),
            Trouble::Filter => count(&mut net.filtered[me]),
            Trouble::Unheard => count(&mut net.unheard[me]),
            _ => unreachable!("{trouble:?} is none of the network's"),
        }
    }

    /// Tells the audit whose silence may not be their own from now on.
    fn reach_changes(&mut self, incident: &Incident) {
        let (me, now) = (incident.node, self.now);
        match incident.trouble {
            Trouble::Partition | Trouble::OneWay | Trouble::Loss => self.frames_lost_everywhere(now),
            // What has been sent may still be under way.
            Trouble::Congestion => self.frames_lost_everywhere(now + CONGESTED),
            Trouble::GatewayGone => self.audit.network_changed(now),
            Trouble::Wire => {
                for n in [me, incident.other] {
                    self.audit.frames_lost(n, now);
                }
            }
            Trouble::Deaf | Trouble::Mute | Trouble::Carrier => self.audit.frames_lost(me, now),
            // What a lease is worth whose clock has stood still nobody can know, nor can the node itself know that it has
            // missed something: for as long as a deadline lasts it goes by what was.
            Trouble::PauseVmAndClock => {
                let until = now + self.audit.bounds.deadline();
                self.audit.frames_lost(me, until);
            }
            Trouble::Filter => self.audit.probes_lost(me, now),
            Trouble::PauseVm | Trouble::Unheard | Trouble::Crash => self.audit.adverts_lost(me, now),
            Trouble::AdvertsFail => self.audit.reach_changed(me, now),
            _ => {}
        }
    }

    fn frames_lost_everywhere(&mut self, until: u64) {
        self.audit.network_changed(until);
        (0..self.nodes.len()).for_each(|node| self.audit.frames_lost(node, until));
    }

    fn reload(&mut self, me: usize, most: u64) {
        self.nodes[me].successor_takes = self.random.between(20 * MILLI, most);
        if self.random.one_in(4) {
            self.nodes[me].next_priority = Some(draw_priority(&mut self.random));
        }
        self.hand(me, Input::ReloadRequested);
    }

    fn freeze_in_batch(&mut self, me: usize, lasts: u64) {
        let actions = self.random.between(0, 8) as u32;
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.freeze_in = Some((actions, lasts));
        }
    }

    fn fail_effects(&mut self, me: usize, next: u32) {
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.worker.failing = next;
        }
    }

    fn hand(&mut self, me: usize, input: Input) {
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.inbox.push_back(input);
            self.wake_soon(me);
        }
    }

    fn power_on(&mut self, me: usize) {
        if !self.nodes[me].powered {
            let count = self.nodes.len();
            self.nodes[me].power_on(count, self.now);
            self.wake_soon(me);
            self.seek_peers(me);
        }
    }

    fn pause(&mut self, me: usize) {
        self.nodes[me].paused = true;
        self.audit.pauses(me, self.now);
    }

    fn resume(&mut self, me: usize) {
        let clock_stood = self.nodes[me].resume_clock(self.now);
        if !std::mem::take(&mut self.nodes[me].paused) {
            return;
        }
        // The frames of the meantime have waited in a queue, or found no room in it.
        let keeps = self.random.one_in(2);
        for packet in std::mem::take(&mut self.nodes[me].held_frames) {
            if keeps {
                self.frame(me, packet);
            }
        }
        // A lease by a clock that has stood still is still good by that clock.
        self.audit.resumes(me, if clock_stood { 0 } else { self.now });
        self.awakes(me);
    }

    fn set_carrier(&mut self, me: usize, carrier: bool) {
        if self.nodes[me].carrier != carrier {
            self.nodes[me].carrier = carrier;
            let uplink = self.nodes[me].uplink();
            self.notify(me, uplink);
        }
    }

    fn change_link(&mut self, me: usize, change: impl FnOnce(&mut bool)) {
        self.nodes[me].touched = self.now;
        let group = &mut self.nodes[me].group;
        let before = group.up;
        if group.present {
            change(&mut group.up);
        }
        if before != group.up {
            let tunnel = group.tunnel();
            self.notify(me, tunnel);
        }
    }

    fn set_present(&mut self, me: usize, present: bool) {
        let group = &mut self.nodes[me].group;
        if group.present != present {
            group.present = present;
            group.up = false;
            let tunnel = group.tunnel();
            self.notify(me, tunnel);
            self.brief_soon(me);
        }
    }

    fn remove_vip(&mut self, me: usize) {
        if std::mem::take(&mut self.nodes[me].group.vip) {
            let vip = crate::kernel::address(99);
            let at = self.now + self.random.between(1, MILLI);
            let incarnation = self.nodes[me].incarnation;
            self.at(at, Event::Told { node: me, incarnation, input: Box::new(Input::VipLost(vip)) });
        }
    }
}
