//! The peer channel between the daemons.

use wgha::proto::{Input, Introduced, PeerId, State};

use crate::{bounds::MILLI, node::Daemon, queue::Event, world::World};

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
            self.brief_soon(me);
        }
    }

    /// Somebody else may serve now, or its own WireGuard is another one: it is told where the clients are, or knows no more.
    pub fn brief_soon(&mut self, me: usize) {
        let most = if self.delays.one_in(8) { 300 * MILLI } else { 20 * MILLI };
        let at = self.now + self.delays.between(100 * MICRO, most);
        let incarnation = self.nodes[me].incarnation;
        self.at(at, Event::Brief { node: me, incarnation });
    }

    pub fn brief_others(&mut self, me: usize) {
        (0..self.nodes.len()).filter(|other| *other != me).for_each(|other| self.brief_soon(other));
    }

    /// Whoever serves tells those that do not, as far as they can hear it.
    pub fn brief(&mut self, me: usize, incarnation: u32) {
        let node = &self.nodes[me];
        let Some(daemon) = node.daemon.as_ref().filter(|_| node.incarnation == incarnation) else { return };
        let is_active = |d: &Daemon| d.machine.state() == State::Active;
        let meant = node.group.present && !is_active(daemon);
        let knows = daemon.knows_clients;
        let serves = |n: usize| n != me && self.nodes[n].daemon.as_ref().is_some_and(is_active);
        let tellers = |n: &usize| serves(*n) && daemon.introduced[*n].is_some();
        let teller = (0..self.nodes.len()).find(tellers);
        let hears = |n: usize| self.carries(n, me) && self.carries(me, n) && self.nodes[n].is_awake();
        let input = match teller {
            _ if !meant => Input::EndpointsLost,
            Some(teller) if hears(teller) => Input::EndpointsKnown,
            Some(_) if !knows => {
                return self.at(self.now + 100 * MILLI, Event::Brief { node: me, incarnation });
            }
            _ => return,
        };
        if knows != (input == Input::EndpointsKnown) {
            self.told(me, incarnation, input);
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
