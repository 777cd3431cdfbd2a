//! One fault, and how long the tunnel was silent.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wgha_tests::{
    Plan, Which,
    clock::{observe_for, patience, wait_at_most},
    contestant::Contestant,
    fault::{BlackHole, OneWay},
    interrupt, monotonic_ns,
    prober::{self, Outages, Prober},
    steal,
};

use super::{
    super::stats::{Measured, millis},
    case::{Case, Fault},
    scene::Scene,
};

/// Longer than WireGuard's 15 s, and shorter than anybody's patience: what lasts longer is told so.
const CAP: Duration = Duration::from_secs(25);
/// What a slow machine needs for that which takes no time elsewhere, and as much for WireGuard's 15 s.
const SLOW_CAP: Duration = Duration::from_secs(5);
/// Before the fault: a gap that begins there belongs to it.
const BEFORE: Duration = Duration::from_millis(100);
/// How long nothing happens where nothing is to.
const QUIET: Duration = Duration::from_secs(3);
/// After the first echo: a second gap would be seen.
const AFTER: Duration = Duration::from_millis(700);

/// How long is waited here.
pub fn cap() -> Duration {
    CAP.max(patience(SLOW_CAP))
}

/// What was seen.
#[derive(Debug, Clone)]
pub struct Run {
    /// Whose.
    pub contestant: &'static str,
    /// Of what.
    pub case: Case,
    /// How long the tunnel was silent, in ms; none: for longer than [`cap`].
    pub outage: Measured,
    /// From the fault to the new Active's first initiation, in ms.
    pub initiation: Measured,
    /// Who answered in the end.
    pub by: Option<Which>,
    /// Whether the client has the VIP for its endpoint in the end.
    pub on_vip: bool,
    /// How many packets of WireGuard's port came from another address.
    pub strays: usize,
    /// How many came from the Backup.
    pub from_backup: usize,
    /// How often the Backup took over before the fault.
    pub false_failovers: usize,
    /// The rest of what the prober saw.
    pub seen: Outages,
    /// Ticks that the host took meanwhile.
    pub stolen: u64,
}

impl Run {
    /// Sets the scene, and plays it.
    pub fn measure(contestant: &dyn Contestant, case: Case) -> Result<Self> {
        let mut scene = Scene::set(contestant, case)?;
        let stolen = steal::ticks();
        let mut instruments = Instruments::prepare(&scene)?;
        let at_ns = monotonic_ns();
        instruments.strike(&mut scene)?;
        let answer = || Ok(scene.echo_by(case.expected(), at_ns));
        let back = wait_at_most("the tunnel to answer again", cap(), answer);
        interrupt::check()?;
        if back.is_ok() {
            observe_for(AFTER)?;
        }
        Self::told(&scene, at_ns, back.is_ok(), steal::ticks() - stolen)
            .with_context(|| scene.logs().join("\n"))
    }

    fn told(scene: &Scene<'_>, at_ns: u64, is_back: bool, stolen: u64) -> Result<Self> {
        let from_ns = at_ns - u64::try_from(BEFORE.as_nanos())?;
        let probers: Vec<&Prober> = scene.probers.iter().collect();
        // The youngest probes may still be on their way.
        let to_ns = monotonic_ns() - 50_000_000;
        let seen = prober::outages(&probers, from_ns, to_ns);
        let plan = &scene.topology.plan;
        let vip = std::net::SocketAddr::new(plan.vip, Plan::PORT).to_string();
        Ok(Self {
            contestant: scene.contestant.name(),
            case: scene.case,
            outage: is_back.then(|| millis(seen.longest)),
            initiation: scene.initiation_ns(at_ns).map(|ns| millis(Duration::from_nanos(ns - at_ns))),
            by: probers.iter().filter_map(|p| p.last_echo(at_ns)).max_by_key(|e| e.at_ns).map(|e| e.by),
            on_vip: scene.topology.client_tunnel.wg_show("endpoints")?.contains(&vip),
            strays: scene.strays(),
            from_backup: scene.sent_by_backup(at_ns)?,
            false_failovers: scene.false_failovers(at_ns)?,
            seen,
            stolen,
        })
    }

    /// Everything of it.
    pub fn to_json(&self) -> Value {
        json!({
            "contestant": self.contestant,
            "case": self.case.name(),
            "outage_ms": self.outage,
            "first_initiation_ms": self.initiation,
            "answered_by": self.by.map(|which| which.to_string()),
            "client_is_on_vip": self.on_vip,
            "packets_from_other_addresses": self.strays,
            "packets_from_backup": self.from_backup,
            "false_failovers": self.false_failovers,
            "probes_lost": self.seen.lost,
            "prober_paused_ms": millis(self.seen.own_pause),
            "steal_ticks": self.stolen,
        })
    }

    /// What should not be, in a few words.
    pub fn complaint(&self) -> Option<String> {
        let strays = (self.strays > 0).then(|| format!("{} packets not from the VIP", self.strays));
        let backup = (self.from_backup > 0).then(|| format!("{} packets from the Backup", self.from_backup));
        let early = (self.false_failovers > 0)
            .then(|| format!("{} failovers before anything had failed", self.false_failovers));
        let vip = (self.outage.is_some() && !self.on_vip).then(|| "client not on the VIP".to_owned());
        let paused = (self.seen.own_pause > Duration::from_millis(2))
            .then(|| format!("the prober itself paused for {:.1} ms", millis(self.seen.own_pause)));
        let all: Vec<_> = [strays, backup, early, vip, paused].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// What is needed to do it at one instant, opened beforehand.
struct Instruments {
    hole: BlackHole,
    told: Option<wgha_tests::fault::Resignation>,
}

impl Instruments {
    fn prepare(scene: &Scene<'_>) -> Result<Self> {
        let active = scene.case.active();
        let hole = BlackHole::at(&scene.topology, active)?;
        Ok(Self { hole, told: scene.contestant.told(&scene.topology, active)? })
    }

    fn strike(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let active = scene.case.active();
        match scene.case.fault {
            Fault::Nothing => observe_for(QUIET),
            Fault::Crash => {
                self.hole.open()?;
                self.tell()
            }
            Fault::Carrier => {
                self.tell()?;
                scene.topology.unplug(active)
            }
            Fault::Sent => {
                scene.topology.lose(active, OneWay::Sent)?;
                self.tell()
            }
            Fault::Received => {
                scene.topology.lose(active, OneWay::Received)?;
                self.tell()
            }
            Fault::Tunnel => scene.topology.server_mut(active).tunnel.delete(),
            Fault::Return => scene.start(active.other()),
            Fault::Stop => scene.daemon(active)?.term(),
            Fault::Kill => scene.daemon(active)?.kill9(),
            Fault::Hang => scene.daemon(active)?.hang(),
        }
    }

    fn tell(&mut self) -> Result<()> {
        self.told.as_mut().map_or(Ok(()), wgha_tests::fault::Resignation::send)
    }
}
