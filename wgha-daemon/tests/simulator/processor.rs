//! When daemons run, and what they run then: a driver's loop around the state machine.

use wgha::proto::Input;

use crate::{audit::Audit, queue::Event, world::World};

const MICRO: u64 = 1_000;
/// More than a daemon finds to do whenever it wakes up.
const AT_ONCE: u32 = 10_000;

impl World {
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].powered && self.nodes[node].daemon.is_none() {
            self.tell(node, "starts");
            self.audit.disturbed(node, self.now);
            self.nodes[node].start_daemon(self.now);
            self.wake_soon(node);
            self.seek_peers(node);
        }
    }

    /// Schedules the daemon as a scheduler does: soon, mostly.
    pub fn wake_soon(&mut self, node: usize) {
        let at = self.now + self.latency(node);
        self.wake_at(node, at);
    }

    fn latency(&mut self, node: usize) -> u64 {
        if self.nodes[node].starved > 0 && self.random.one_in(3) {
            return self.random.between(self.max_latency, self.nodes[node].starves_for);
        }
        let most = if self.random.one_in(16) { self.max_latency } else { self.max_latency.min(200 * MICRO) };
        self.random.between(10 * MICRO, most)
    }

    fn wake_at(&mut self, node: usize, at: u64) {
        let incarnation = self.nodes[node].incarnation;
        if let Some(daemon) = &mut self.nodes[node].daemon
            && daemon.wakes_at.is_none_or(|sooner| at < sooner)
        {
            daemon.wakes_at = Some(at);
            self.at(at, Event::Wake { node, incarnation });
        }
    }

    pub fn wake(&mut self, me: usize, incarnation: u32) -> Result<(), String> {
        let node = &mut self.nodes[me];
        match &mut node.daemon {
            Some(daemon) if node.incarnation == incarnation && daemon.wakes_at == Some(self.now) => {
                daemon.wakes_at = None;
            }
            _ => return Ok(()),
        }
        let mut inputs = 0;
        // One thing at a time, everything that has been done before the next: as the driver does.
        while self.nodes[me].is_awake() && self.carry_out(me)? {
            inputs += 1;
            if inputs > AT_ONCE {
                return Err(format!("node {me} finds no end of what follows"));
            }
            let node = &mut self.nodes[me];
            let clock = node.clock(self.now);
            let Some(daemon) = &mut node.daemon else { break };
            let Some(input) = daemon.next_input(&mut node.kernel, clock) else { break };
            if self.trace {
                eprintln!("{:>14.6} node {me}: {input:?}", self.now as f64 / 1e6);
            }
            match input {
                Input::EndpointsKnown => daemon.knows_clients = true,
                Input::EndpointsLost => daemon.knows_clients = false,
                _ => {}
            }
            let told = if let Input::PeerIntroduced(told) = &input { Some(*told) } else { None };
            daemon.handle(input, clock);
            told.into_iter().for_each(|told| self.say_that_we_wait(me, &told));
        }
        self.wake_when_due(me);
        Audit::check_settled(self, me)
    }

    fn wake_when_due(&mut self, me: usize) {
        let node = &self.nodes[me];
        if !node.is_awake() {
            return;
        }
        if let Some(due) = node.daemon.as_ref().and_then(|d| d.machine.poll_timeout()) {
            let due = self.nodes[me].world_time(due).max(self.now);
            let at = due + self.latency(me);
            self.wake_at(me, at);
        }
    }

    /// Carries out what the machine has decided. Whether the process still runs after that.
    fn carry_out(&mut self, me: usize) -> Result<bool, String> {
        loop {
            let Some(daemon) = &mut self.nodes[me].daemon else { return Ok(false) };
            match daemon.next_action() {
                Ok(Some(action)) => {
                    self.tell(me, &action);
                    self.audit.action(&self.nodes[me], &action, self.now)?;
                    self.act(me, action);
                }
                Ok(None) => return Ok(true),
                Err(lasts) => {
                    self.freeze(me, lasts);
                    return Ok(false);
                }
            }
        }
    }

    pub fn freeze(&mut self, me: usize, lasts: u64) {
        let incarnation = self.nodes[me].incarnation;
        if let Some(daemon) = &mut self.nodes[me].daemon
            && !daemon.frozen
        {
            daemon.frozen = true;
            self.tell(me, "is frozen");
            self.audit.disturbed(me, self.now);
            self.at(self.now + lasts, Event::Thaw { node: me, incarnation });
        }
    }

    pub fn thaw(&mut self, me: usize, incarnation: u32) {
        let node = &mut self.nodes[me];
        if let Some(daemon) = node.daemon.as_mut().filter(|_| node.incarnation == incarnation) {
            daemon.frozen = false;
            self.tell(me, "is thawed");
            self.awakes(me);
        }
    }

    /// It runs again: what has waited is done now.
    pub fn awakes(&mut self, me: usize) {
        self.audit.disturbed(me, self.now);
        let incarnation = self.nodes[me].incarnation;
        if !self.nodes[me].is_awake() {
            return;
        }
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.wakes_at = None;
            if std::mem::take(&mut daemon.effect_waits) {
                self.at(self.now + 1, Event::EffectEnds { node: me, incarnation });
            }
        }
        self.wake_soon(me);
    }
}
