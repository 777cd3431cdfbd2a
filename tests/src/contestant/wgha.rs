//! wgha, from its defaults to as fast as it goes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Contestant, Daemon};
use crate::{Node, Settings, Topology, Which, fault::Resignation, node};

/// wgha with a `[detect]` section.
#[derive(Debug, Clone, Copy)]
pub struct WithWgha {
    name: &'static str,
    about: &'static str,
    interval: &'static str,
    interval_ms: u64,
    multiplier: u8,
    /// Is told of the crash.
    oracle: bool,
}

impl WithWgha {
    /// All variants.
    pub const ALL: [Self; 5] = [
        Self {
            name: "O",
            about: "wgha as W50, told of the crash at its instant: what is left when nothing must be detected",
            interval: "10ms",
            interval_ms: 10,
            multiplier: 5,
            oracle: true,
        },
        Self::probing("W50", "wgha, probes every 10 ms, 5 lost ones count (the default)", "10ms", 10, 5),
        Self::probing("W10", "wgha, probes every 10 ms, 3 lost ones count", "10ms", 10, 3),
        Self::probing("W2", "wgha, probes every 2 ms, 3 lost ones count", "2ms", 2, 3),
        Self::probing("W1", "wgha, probes every 1 ms, 3 lost ones count", "1ms", 1, 3),
    ];

    const fn probing(
        name: &'static str,
        about: &'static str,
        interval: &'static str,
        interval_ms: u64,
        multiplier: u8,
    ) -> Self {
        Self { name, about, interval, interval_ms, multiplier, oracle: false }
    }
}

impl Contestant for WithWgha {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn detection_budget(&self) -> Duration {
        if self.oracle {
            return Duration::ZERO;
        }
        Duration::from_millis(self.interval_ms) * u32::from(self.multiplier)
    }

    fn is_fast(&self) -> bool {
        true
    }

    fn prepare(&self, _topology: &Topology) -> Result<()> {
        Ok(())
    }

    fn start(&self, topology: &Topology, which: Which, preempt: bool) -> Result<Box<dyn Daemon>> {
        let settings = Settings {
            detect: Some((self.interval, self.multiplier)),
            preempt,
            ..Settings::seed(&topology.plan, which)
        };
        Ok(Box::new(Node::start(topology, which, &settings)?))
    }

    fn told(&self, topology: &Topology, active: Which) -> Result<Option<Resignation>> {
        self.oracle.then(|| Resignation::forged(topology, active)).transpose()
    }

    fn forget(&self, topology: &Topology, which: Which) -> Result<()> {
        let detached =
            node::run_wgha(&topology.server(which).namespace, &["detach", "--config", node::CONFIG])?;
        ensure!(detached.status.success(), "wgha detach: {}", String::from_utf8_lossy(&detached.stderr));
        Ok(())
    }
}

impl Daemon for Node {
    fn term(&mut self) -> Result<()> {
        let status = Self::term(self)?;
        ensure!(status.success(), "wgha ended: {status}");
        Ok(())
    }

    fn kill9(&mut self) -> Result<()> {
        Self::kill9(self);
        Ok(())
    }

    fn hang(&mut self) -> Result<()> {
        self.stop()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.id()]
    }

    fn log(&self) -> Vec<String> {
        Self::log(self)
    }
}
