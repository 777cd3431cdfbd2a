//! wgha, from its defaults to as fast as it goes.

use std::{ops::Range, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Contestant, Daemon};
use crate::{Node, Settings, Topology, Which, clock::patience, fault::Resignation, node};

/// wgha, as it is configured.
#[derive(Debug, Clone, Copy)]
pub struct WithWgha {
    name: &'static str,
    about: &'static str,
    advert_interval_ms: u64,
    /// `[detect] interval` and `multiplier`, between nodes that know each other; none: they do not.
    probes: Option<(&'static str, u64, u8)>,
    /// Is told of the crash.
    oracle: bool,
}

impl WithWgha {
    /// All that are measured when a server fails.
    pub const ALL: [Self; 5] = [
        Self {
            name: "O",
            about: "wgha as W50, told of the crash at its instant: what is left when nothing must be detected",
            advert_interval_ms: 100,
            probes: Some(("10ms", 10, 5)),
            oracle: true,
        },
        Self::probing("W50", "wgha, probes every 10 ms, 5 lost ones count (the default)", ("10ms", 10, 5)),
        Self::probing("W10", "wgha, probes every 10 ms, 3 lost ones count", ("10ms", 10, 3)),
        Self::probing("W2", "wgha, probes every 2 ms, 3 lost ones count", ("2ms", 2, 3)),
        Self::probing("W1", "wgha, probes every 1 ms, 3 lost ones count", ("1ms", 1, 3)),
    ];

    /// What keepalived does at 10 ms, and nothing else.
    pub const PLAIN_VRRP: Self = Self {
        name: "V",
        about: "wgha, adverts every 10 ms, no other node known, no probes: what B1 does",
        advert_interval_ms: 10,
        probes: None,
        oracle: false,
    };

    const fn probing(name: &'static str, about: &'static str, probes: (&'static str, u64, u8)) -> Self {
        Self { name, about, advert_interval_ms: 100, probes: Some(probes), oracle: false }
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
        match self.probes {
            _ if self.oracle => Duration::ZERO,
            Some((_, interval_ms, multiplier)) => {
                patience(Duration::from_millis(interval_ms)) * u32::from(multiplier)
            }
            // Active_Down_Interval, less than four intervals.
            None => self.advert_interval() * 4,
        }
    }

    fn advert_interval(&self) -> Duration {
        patience(Duration::from_millis(self.advert_interval_ms))
    }

    fn prepare(&self, _topology: &Topology) -> Result<()> {
        Ok(())
    }

    fn start(&self, topology: &Topology, which: Which, preempt: bool) -> Result<Box<dyn Daemon>> {
        let seed = Settings::seed(&topology.plan, which);
        let settings = Settings {
            advert_interval: format!("{}ms", self.advert_interval().as_millis()),
            detect: self.probes.map(|(interval, ms, multiplier)| (scaled(interval, ms), multiplier)),
            peer: seed.peer.filter(|_| self.probes.is_some()),
            preempt,
            ..seed
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

/// As much longer as everything takes here.
fn scaled(interval: &'static str, ms: u64) -> &'static str {
    let here = patience(Duration::from_millis(ms));
    // Once for each run of a bench on a slow machine.
    if here.as_millis() == u128::from(ms) { interval } else { format!("{}ms", here.as_millis()).leak() }
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

    fn terms(&self) -> Result<Vec<Range<u64>>> {
        let roles: Vec<_> = self.events()?.into_iter().filter(|event| event["kind"] == "role").collect();
        let at = |event: &Value| event["at_ns"].as_u64().unwrap_or_default();
        let active = roles.iter().enumerate().filter(|(_, event)| event["what"] == "active");
        Ok(active.map(|(i, event)| at(event)..roles.get(i + 1).map_or(u64::MAX, at)).collect())
    }
}
