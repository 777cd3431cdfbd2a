//! Nodes, the network between them, and the loop that lets things happen.

use std::fmt::Debug;

use crate::{
    audit::Audit,
    bounds::MILLI,
    network::Network,
    node::Node,
    queue::{Event, Queue},
    random::Random,
    schedule::Schedule,
};

/// All of it.
pub struct World {
    pub now: u64,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub random: Random,
    /// For whoever must not change what the other one draws.
    pub delays: Random,
    pub audit: Audit,
    pub trace: bool,
    /// Which node never finds the others through the peer channel.
    pub stranger: Option<usize>,
    /// No daemon that is awake is scheduled later.
    pub max_latency: u64,
    /// Something has happened that the audit wants to know of.
    pub eventful: bool,
    queue: Queue,
}

impl World {
    pub fn new(schedule: &Schedule, mut random: Random, trace: bool) -> Self {
        let count = schedule.nodes.len();
        let node = |(me, settings): (usize, &_)| {
            let boot = random.between(1, 1_000_000) * MILLI;
            let mut node = Node::new(me, count, *settings, boot, schedule.drifts[me]);
            node.witness = schedule.witness && settings.detect.is_some();
            node
        };
        let mut world = Self {
            now: 0,
            nodes: schedule.nodes.iter().enumerate().map(node).collect(),
            network: Network::new(schedule.max_delay()),
            delays: Random::new(random.clone().next()),
            random,
            audit: Audit::new(schedule),
            trace,
            stranger: schedule.stranger,
            max_latency: schedule.max_latency(),
            eventful: false,
            queue: Queue::default(),
        };
        for (node, at) in schedule.starts.iter().enumerate() {
            world.at(*at, Event::Start { node });
        }
        for incident in &schedule.incidents {
            world.at(incident.at, Event::Begins(Box::new(*incident)));
        }
        world
    }

    /// Runs until `end`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn run(&mut self, end: u64) -> Result<(), String> {
        while let Some((at, event)) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.eventful = event.is_eventful();
            self.happens(event)?;
            if self.eventful {
                Audit::check(self)?;
            }
        }
        self.now = end;
        Audit::check_end(self)
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.queue.push(at, event);
    }

    /// Shows what happens to a node, if somebody looks.
    pub fn tell(&self, node: usize, what: impl Debug) {
        if self.trace {
            eprintln!("{:>14.6} node {node}: {what:?}", self.now as f64 / 1e6);
        }
    }

    fn happens(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Frame { to, packet } => self.frame(to, packet),
            Event::Meet { nodes, incarnations } => self.meet(nodes, incarnations),
            Event::Brief { node, incarnation } => self.brief(node, incarnation),
            Event::Wake { node, incarnation } => return self.wake(node, incarnation),
            Event::EffectEnds { node, incarnation } => self.effect_ends(node, incarnation),
            Event::Told { node, incarnation, input } => self.told(node, incarnation, *input),
            Event::Start { node } => self.start(node),
            Event::Thaw { node, incarnation } => self.thaw(node, incarnation),
            Event::Begins(incident) => self.begins(&incident),
            Event::Ends(incident) => self.ends(&incident),
        }
        Ok(())
    }
}
