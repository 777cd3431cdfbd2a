//! The peer channel between the daemons.

use wgha::proto::{Input, Introduced, PeerId};

use crate::{bounds::MILLI, queue::Event, world::World};

const MICRO: u64 = 1_000;

impl World {
    /// A daemon has begun: it connects to those that run, and those that begin later connect to it.
    pub fn seek_peers(&mut self, me: usize) {
        if self.nodes[me].settings.detect.is_none() {
            return;
        }
        for other in (0..self.nodes.len()).filter(|other| *other != me) {
            if self.nodes[other].daemon.is_some()
                && self.nodes[other].settings.detect.is_some()
                && ![me, other].contains(&self.stranger.unwrap_or(usize::MAX))
            {
                let incarnations = [me, other].map(|n| self.nodes[n].incarnation);
                let at = self.now + self.random.between(MILLI, 30 * MILLI);
                self.at(at, Event::Meet { nodes: [me, other], incarnations });
            }
        }
    }

    pub fn meet(&mut self, nodes: [usize; 2], incarnations: [u32; 2]) {
        let [one, other] = nodes;
        let runs = |(n, incarnation): (usize, u32)| {
            self.nodes[n].daemon.is_some() && self.nodes[n].incarnation == incarnation
        };
        if !nodes.into_iter().zip(incarnations).all(runs) {
            return;
        }
        if !self.carries(one, other)
            || !self.carries(other, one)
            || !nodes.iter().all(|n| self.nodes[*n].is_awake())
        {
            self.at(self.now + 100 * MILLI, Event::Meet { nodes, incarnations });
            return;
        }
        for (me, peer) in [(one, other), (other, one)] {
            let Some(told) = self.nodes[peer].introduction() else { continue };
            let discriminator = self.nodes[peer].kernel.discriminator;
            self.nodes[me].kernel.introduced[peer] = Some(told.priority);
            if let Some(daemon) = &mut self.nodes[me].daemon {
                daemon.introduced[peer] = Some(discriminator);
                daemon.inbox.push_back(Input::PeerIntroduced(told));
            }
            self.wake_soon(me);
            self.say_what_is_reached(peer, me);
        }
    }

    /// Whoever it knows is to hear how long its lease may last.
    pub fn tell_lease(&mut self, me: usize) {
        let Some(daemon) = &self.nodes[me].daemon else { return };
        let known: Vec<_> = (0..self.nodes.len()).filter(|n| daemon.introduced[*n].is_some()).collect();
        for other in known {
            let incarnations = [me, other].map(|n| self.nodes[n].incarnation);
            let at = self.now + self.random.between(100 * MICRO, 20 * MILLI);
            self.at(at, Event::Meet { nodes: [me, other], incarnations });
        }
    }

    /// Whoever it knows is to hear whether it reaches the gateway.
    pub fn tell_whether_reached(&mut self, me: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != me) {
            self.say_what_is_reached(me, other);
        }
    }

    fn say_what_is_reached(&mut self, me: usize, to: usize) {
        let Some(daemon) = &self.nodes[me].daemon else { return };
        if daemon.introduced[to].is_some() && self.carries(me, to) && self.carries(to, me) {
            let input = Box::new(Input::PeerReaches { peer: PeerId(me as u8), reaches: daemon.reaches });
            let incarnation = self.nodes[to].incarnation;
            let at = self.now + self.random.between(100 * MICRO, 20 * MILLI);
            self.at(at, Event::Told { node: to, incarnation, input });
        }
    }

    /// A daemon goes by what another has told of its lease, and says so.
    pub fn say_that_we_wait(&mut self, me: usize, told: &Introduced) {
        let to = usize::from(told.peer.0);
        if self.carries(me, to) && self.carries(to, me) {
            let input = Box::new(Input::PeerWaits { peer: PeerId(me as u8), lease: told.lease });
            let incarnation = self.nodes[to].incarnation;
            let at = self.now + self.random.between(100 * MICRO, 20 * MILLI);
            self.at(at, Event::Told { node: to, incarnation, input });
        }
    }

    /// The process is gone, and the others see their connections to it end.
    pub fn daemon_ends(&mut self, me: usize) {
        if self.nodes[me].daemon.take().is_none() {
            return;
        }
        self.nodes[me].incarnation += 1;
        for other in (0..self.nodes.len()).filter(|other| *other != me) {
            let left = Input::PeerLeft(PeerId(me as u8));
            let incarnation = self.nodes[other].incarnation;
            let at = self.now + self.random.between(100 * MICRO, 50 * MILLI);
            self.at(at, Event::Told { node: other, incarnation, input: Box::new(left) });
        }
    }
}
