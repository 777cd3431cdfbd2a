//! What happens to a server, and how it ends.

use std::{fmt, net::IpAddr, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    Node, Pair, Plan, Server, Settings, Which,
    fault::{BlackHole, OneWay},
    hogs::Hogs,
    random::Random,
    topology::UPLINK,
};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is told by its name in `name`")]
pub enum Kind {
    Killed,
    Stalled,
    Stopped,
    Reloaded,
    BothAtOnce,
    CarrierLost,
    UplinkDown,
    Mute,
    Deaf,
    Cut,
    VipRemoved,
    VipAdded,
    TunnelDown,
    TunnelUp,
    TunnelCrashed,
    TunnelReplaced,
    AddressRemoved,
    PinsRemoved,
    ProgramsDetached,
    Roamed,
    Hogs,
}

/// What a fault is done to. Two at a time are never of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Daemon,
    Segment,
    System,
    Elsewhere,
}

/// What must be kept until the fault ends.
#[derive(Debug)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Programs that compute.
    Hogs(Hogs),
    /// A port that forwards nothing.
    Hole(BlackHole),
}

/// A fault of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub kind: Kind,
    /// To whom.
    pub which: Which,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind.name(), self.which)
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Killed,
        Self::Stalled,
        Self::Stopped,
        Self::Reloaded,
        Self::BothAtOnce,
        Self::CarrierLost,
        Self::UplinkDown,
        Self::Mute,
        Self::Deaf,
        Self::Cut,
        Self::VipRemoved,
        Self::VipAdded,
        Self::TunnelDown,
        Self::TunnelUp,
        Self::TunnelCrashed,
        Self::TunnelReplaced,
        Self::AddressRemoved,
        Self::PinsRemoved,
        Self::ProgramsDetached,
        Self::Roamed,
        Self::Hogs,
    ];

    /// In a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Killed => "kill -9, started again",
            Self::Stalled => "SIGSTOP, SIGCONT",
            Self::Stopped => "stop, start",
            Self::Reloaded => "reload",
            Self::BothAtOnce => "both killed, both started at once",
            Self::CarrierLost => "carrier lost",
            Self::UplinkDown => "uplink set down",
            Self::Mute => "what it sends is lost",
            Self::Deaf => "what is sent to it is lost",
            Self::Cut => "cut off, carrier stays",
            Self::VipRemoved => "VIP removed by hand",
            Self::VipAdded => "VIP added by hand on the Backup",
            Self::TunnelDown => "wg1 set down",
            Self::TunnelUp => "wg1 set up on the Backup",
            Self::TunnelCrashed => "WireGuard killed, started again",
            Self::TunnelReplaced => "wg1 deleted and made anew",
            Self::AddressRemoved => "own address removed, put back",
            Self::PinsRemoved => "pins removed, stop, start",
            Self::ProgramsDetached => "programs detached",
            Self::Roamed => "client roams",
            Self::Hogs => "hogs for a moment",
        }
    }

    const fn class(self) -> Class {
        match self {
            Self::Killed | Self::Stalled | Self::Stopped | Self::Reloaded => Class::Daemon,
            Self::BothAtOnce | Self::PinsRemoved | Self::ProgramsDetached => Class::Daemon,
            Self::CarrierLost | Self::UplinkDown | Self::Mute | Self::Deaf | Self::Cut => Class::Segment,
            Self::VipRemoved | Self::VipAdded | Self::TunnelDown | Self::TunnelUp => Class::System,
            Self::TunnelCrashed | Self::TunnelReplaced | Self::AddressRemoved => Class::System,
            Self::Roamed | Self::Hogs => Class::Elsewhere,
        }
    }

    /// To whom it happens: more often to the Active, unless it makes sense on one of them only.
    #[must_use]
    pub fn target(self, active: Which, random: &mut Random) -> Which {
        match self {
            Self::VipRemoved | Self::BothAtOnce => active,
            Self::VipAdded | Self::TunnelUp => active.other(),
            _ if random.once_in(3) => active.other(),
            _ => active,
        }
    }

    /// For how long the daemon is so that it renews no lease.
    #[must_use]
    pub const fn silences(self) -> bool {
        matches!(self, Self::Killed | Self::Stalled | Self::BothAtOnce)
    }

    /// Whether the servers do not hear each other meanwhile, and both may serve those that they do hear.
    #[must_use]
    pub const fn parts(self) -> bool {
        matches!(self, Self::Cut | Self::Mute | Self::Deaf)
    }

    /// Whether wg1 is another one afterwards.
    #[must_use]
    pub const fn renews_tunnel(self) -> bool {
        matches!(self, Self::TunnelCrashed | Self::TunnelReplaced)
    }

    /// Whether the server is without its fence meanwhile.
    #[must_use]
    pub const fn takes_fence(self) -> bool {
        matches!(self, Self::ProgramsDetached)
    }
}

impl Strike {
    /// Whether the two can happen at once, and whoever serves then can be told.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        let (one, two) = (self.kind.class(), other.kind.class());
        let same_daemon = (one == Class::Daemon || two == Class::Daemon) && self.which == other.which;
        let alone = |kind| matches!(kind, Kind::BothAtOnce | Kind::Roamed);
        let unclear = one == two || alone(self.kind) || alone(other.kind);
        // Nobody would know where the client is.
        let forgotten = self.forgets() && other.forgets();
        !(unclear || forgotten || same_daemon)
    }

    /// Whether somebody forgets where the client is, until somebody else tells.
    const fn forgets(&self) -> bool {
        self.kind.renews_tunnel() || matches!(self.kind, Kind::Killed | Kind::Stopped | Kind::PinsRemoved)
    }

    /// It happens.
    ///
    /// # Errors
    /// The system's; or that wgha does not do what it is asked for, unless `shaken`: something else happens, too.
    pub fn begin(&self, pair: &mut Pair, random: &mut Random, shaken: bool) -> Result<Kept> {
        let which = self.which;
        match self.kind {
            Kind::Killed => pair.node_mut(which).kill9(),
            Kind::Stalled => pair.node_mut(which).stop()?,
            Kind::Stopped => stopped(pair.node_mut(which))?,
            Kind::Reloaded => reload(pair.node(which), shaken)?,
            Kind::BothAtOnce => Which::BOTH.into_iter().for_each(|which| pair.node_mut(which).kill9()),
            Kind::Hogs => return Ok(Kept::Hogs(Hogs::start(4, Duration::from_secs(5))?)),
            Kind::Cut => return cut(pair, which),
            _ => self.disturb(pair, random)?,
        }
        Ok(Kept::Nothing)
    }

    /// Something behind the daemon's back.
    fn disturb(&self, pair: &mut Pair, random: &mut Random) -> Result<()> {
        let (which, topology) = (self.which, &mut pair.topology);
        let plan = topology.plan.clone();
        let vip = plan.with_prefix(plan.vip);
        let no_dad = if plan.is_ipv6() { "nodad" } else { "" };
        let namespace = topology.server(which).namespace.clone();
        match self.kind {
            Kind::CarrierLost => topology.unplug(which),
            Kind::UplinkDown => namespace.ip(&format!("link set {UPLINK} down")).map(drop),
            Kind::Mute => topology.lose(which, OneWay::Sent),
            Kind::Deaf => topology.lose(which, OneWay::Received),
            Kind::VipRemoved => remove_address(topology.server(which), plan.vip, &vip),
            Kind::VipAdded => namespace.ip(&format!("address replace {vip} dev {UPLINK} {no_dad}")).map(drop),
            Kind::TunnelDown => topology.server(which).tunnel.set(false),
            Kind::TunnelUp => topology.server(which).tunnel.set(true),
            Kind::TunnelCrashed => topology.server_mut(which).tunnel.crash(),
            Kind::TunnelReplaced => topology.server_mut(which).tunnel.delete(),
            Kind::AddressRemoved => {
                let own = plan.server(which);
                remove_address(topology.server(which), own, &plan.with_prefix(own))
            }
            Kind::PinsRemoved => topology.remove_pins(which),
            Kind::ProgramsDetached => topology.detach_programs(which),
            Kind::Roamed => {
                topology.client_tunnel.wg_set(&format!("listen-port {}", 20_000 + random.below(30_000)))
            }
            _ => Ok(()),
        }
    }

    /// It is over.
    ///
    /// # Errors
    /// The system's; or that a daemon does not start.
    pub fn end(
        &self,
        pair: &mut Pair,
        settings: &dyn Fn(&Plan, Which) -> Settings,
        kept: Kept,
    ) -> Result<()> {
        let (which, plan) = (self.which, pair.topology.plan.clone());
        let topology = &mut pair.topology;
        match self.kind {
            Kind::Killed | Kind::Stopped => restart(pair, which, settings),
            Kind::PinsRemoved => {
                stopped(pair.node_mut(which))?;
                restart(pair, which, settings)
            }
            Kind::BothAtOnce => {
                [pair.a, pair.b] = Node::start_both(topology, |which| settings(&plan, which))?;
                Ok(())
            }
            Kind::Stalled => pair.node_mut(which).cont(),
            Kind::CarrierLost => topology.mend(which),
            Kind::UplinkDown | Kind::AddressRemoved => topology.restore_uplink(which),
            Kind::Mute | Kind::Deaf => topology.lose_no_more(which),
            Kind::TunnelDown => topology.server(which).tunnel.set(true),
            Kind::TunnelCrashed | Kind::TunnelReplaced => topology.server_mut(which).tunnel.create(),
            Kind::VipAdded => take_back(pair, which),
            _ => match kept {
                Kept::Hole(mut hole) => hole.close(),
                Kept::Hogs(_) | Kept::Nothing => Ok(()),
            },
        }
    }
}

fn cut(pair: &Pair, which: Which) -> Result<Kept> {
    let mut hole = BlackHole::at(&pair.topology, which)?;
    hole.open()?;
    Ok(Kept::Hole(hole))
}

fn stopped(node: &mut Node) -> Result<()> {
    let status = node.term()?;
    ensure!(status.success(), "a stop has failed: {status}\n{}", node.log().join("\n"));
    Ok(())
}

fn reload(node: &Node, shaken: bool) -> Result<()> {
    let output = node.wgha(&["reload"])?;
    ensure!(shaken || output.status.success(), "a reload has failed: {output:?}");
    Ok(())
}

fn restart(pair: &mut Pair, which: Which, settings: &dyn Fn(&Plan, Which) -> Settings) -> Result<()> {
    let node = Node::start(&pair.topology, which, &settings(&pair.topology.plan, which))?;
    *pair.node_mut(which) = node;
    Ok(())
}

/// Another fault may have taken it already.
fn remove_address(server: &Server, address: IpAddr, with_prefix: &str) -> Result<()> {
    if server.has_address(address) {
        server.namespace.ip(&format!("address delete {with_prefix} dev {UPLINK}"))?;
    }
    Ok(())
}

/// Whoever has added the VIP to a Backup removes it again, unless it serves by now or has removed it itself.
fn take_back(pair: &Pair, which: Which) -> Result<()> {
    let (server, plan) = (pair.topology.server(which), &pair.topology.plan);
    if pair.node(which).role()?.as_deref() == Some("backup") {
        remove_address(server, plan.vip, &plan.with_prefix(plan.vip))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Which::{A, B};

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn what_would_hide_the_other_does_not_go_with_it() {
        let goes =
            |one, on, two, at| Strike { kind: one, which: on }.goes_with(&Strike { kind: two, which: at });
        assert!(goes(Kind::Killed, A, Kind::Cut, B));
        assert!(!goes(Kind::Killed, A, Kind::Cut, A));
        assert!(!goes(Kind::Mute, A, Kind::Deaf, B));
        assert!(goes(Kind::Mute, A, Kind::VipRemoved, A));
        assert!(!goes(Kind::Roamed, A, Kind::Killed, A));
        assert!(!goes(Kind::TunnelCrashed, A, Kind::Stopped, B));
    }
}
