//! What each trouble does to the world, and how it ends.

use wgha::proto::Input;

use crate::{
    group::MILLI,
    trouble::{Incident, Trouble},
    world::{Event, World},
};

impl World {
    pub fn begins(&mut self, incident: Incident) {
        let Incident { trouble, node: me, lasts, .. } = incident;
        self.tell(me, trouble);
        self.audit.disturbed(me, self.now);
        match trouble {
            Trouble::Crash => {
                self.daemon_ends(me);
                self.nodes[me].powered = false;
            }
            Trouble::Kill => self.daemon_ends(me),
            Trouble::Stop => self.hand(me, Input::StopRequested),
            Trouble::Reload | Trouble::ReloadDies => {
                let most = if trouble == Trouble::Reload { 2_000 * MILLI } else { 7_000 * MILLI };
                self.nodes[me].successor_takes = self.random.between(20 * MILLI, most);
                self.hand(me, Input::ReloadRequested);
            }
            Trouble::Freeze => self.freeze(me, lasts),
            Trouble::FreezeInBatch => {
                let actions = self.random.between(0, 8) as u32;
                if let Some(daemon) = &mut self.nodes[me].daemon {
                    daemon.freeze_in = Some((actions, lasts));
                }
            }
            Trouble::PauseVm => self.pause(me),
            Trouble::PauseVmAndClock => {
                self.nodes[me].stop_clock(self.now);
                self.pause(me);
            }
            Trouble::Partition => self.partition(),
            Trouble::Loss => self.network.lossy += 1,
            Trouble::Deaf => self.network.deaf[me] += 1,
            Trouble::Filter => self.network.filtered[me] += 1,
            Trouble::Unheard => self.network.unheard[me] += 1,
            Trouble::Carrier => self.set_carrier(me, false),
            Trouble::TunnelDown => self.change_link(me, |up| *up = false),
            Trouble::TunnelUp => self.change_link(me, |up| *up = true),
            Trouble::TunnelGone => self.set_present(me, false),
            Trouble::VipRemoved => self.remove_vip(me),
            Trouble::EffectFails => {
                if let Some(daemon) = &mut self.nodes[me].daemon {
                    daemon.worker.failing += 1;
                }
            }
            Trouble::MapFails => self.nodes[me].maps_fail += 1,
            Trouble::AdvertsFail => self.nodes[me].adverts_fail = true,
            Trouble::RingFull => self.nodes[me].kernel.ring_full += 2,
        }
        self.reach_changes(&incident);
        self.at(self.now + lasts, Event::Ends(incident));
    }

    pub fn ends(&mut self, incident: Incident) {
        let Incident { trouble, node: me, .. } = incident;
        self.tell(me, format!("{trouble:?} ends"));
        self.audit.disturbed(me, self.now);
        match trouble {
            Trouble::Crash => self.power_on(me),
            Trouble::Kill => self.start(me),
            Trouble::PauseVm | Trouble::PauseVmAndClock => self.resume(me),
            Trouble::Partition => self.network.part.fill(0),
            Trouble::Loss => self.network.lossy -= 1,
            Trouble::Deaf => self.network.deaf[me] -= 1,
            Trouble::Filter => self.network.filtered[me] -= 1,
            Trouble::Unheard => self.network.unheard[me] -= 1,
            Trouble::Carrier => self.set_carrier(me, true),
            Trouble::TunnelDown => self.change_link(me, |up| *up = true),
            Trouble::TunnelGone => self.set_present(me, true),
            Trouble::MapFails => self.nodes[me].maps_fail = 0,
            Trouble::AdvertsFail => self.nodes[me].adverts_fail = false,
            Trouble::RingFull => self.nodes[me].kernel.ring_full = 0,
            Trouble::EffectFails => {
                if let Some(daemon) = &mut self.nodes[me].daemon {
                    daemon.worker.failing = 0;
                }
            }
            Trouble::FreezeInBatch => {
                if let Some(daemon) = &mut self.nodes[me].daemon {
                    daemon.freeze_in = None;
                }
            }
            Trouble::Reload | Trouble::ReloadDies => {}
            Trouble::Stop | Trouble::Freeze | Trouble::TunnelUp | Trouble::VipRemoved => {}
        }
        self.reach_changes(&incident);
    }

    /// Tells the audit whose silence may not be their own from now on.
    fn reach_changes(&mut self, incident: &Incident) {
        match incident.trouble {
            Trouble::Partition | Trouble::Loss => {
                self.audit.network_changed(self.now);
                (0..self.nodes.len()).for_each(|node| self.audit.frames_lost(node, self.now));
            }
            Trouble::Deaf | Trouble::Carrier | Trouble::Filter => {
                self.audit.reach_changed(incident.node, self.now);
                self.audit.frames_lost(incident.node, self.now);
            }
            // What a lease is worth whose clock has stood still nobody can know.
            Trouble::PauseVmAndClock => {
                self.audit.reach_changed(incident.node, self.now);
                self.audit.frames_lost(incident.node, self.now);
            }
            Trouble::PauseVm | Trouble::AdvertsFail | Trouble::Unheard => {
                self.audit.reach_changed(incident.node, self.now);
            }
            _ => {}
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

    fn partition(&mut self) {
        for part in &mut self.network.part {
            *part = usize::from(self.random.one_in(2));
        }
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
