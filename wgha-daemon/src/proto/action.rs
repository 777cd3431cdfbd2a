use std::{fmt, net::IpAddr, time::Duration};

use wgha_common::{Centiseconds, Timestamp, abi::Role};

use super::{Ailment, Finding, PeerId, State};

/// What is to be done, in this order. Imperative.
///
/// The first group is done at once by the driver, the second in order by a worker that reports each
/// one's end as an [`super::Input`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write `LEASE`.
    SetLease {
        /// What this node may do.
        role: Role,
        /// Which election granted it.
        epoch: u64,
        /// Until when; [`Timestamp::ZERO`] ends it.
        until: Timestamp,
    },
    /// Write `ADVERT`: what the following adverts say.
    StampAdverts {
        /// 0 resigns.
        priority: u8,
        /// Our Advertisement_Interval.
        interval: Centiseconds,
    },
    /// Put an advert on the wire.
    SendAdvert,
    /// Send a probe, with a fresh random discriminator. That it cannot be sent is as if it were lost.
    SendProbe {
        /// To whom.
        peer: PeerId,
        /// Which one: grows by one with each, over all peers. Its answer is reported with it.
        number: u64,
        /// In BFD's state Up: we serve, or claim to. A peer that we outrank yields to it. Otherwise Down.
        up: bool,
    },
    /// Read `REVOKED`, `ANSWERS` and, unless they do not matter ([`super::Machine::minds_routers`]), `ROUTERS`, and answer
    /// with [`super::Input::LookedAgain`].
    LookAgain,
    /// Ask every gateway for itself, from our own address: who answers is heard.
    AskGateway,
    /// Read `ARRIVALS`, and answer with [`super::Input::Listened`].
    Listen {
        /// What `TRAFFIC` counts is heard, too. It costs more to read.
        closely: bool,
    },
    /// Tell the peers whether this node reaches the gateway and could serve; [`None`]: it cannot tell.
    TellWhetherReached {
        /// Whether it does.
        reaches: Option<bool>,
    },
    /// What this node hears has changed. For people.
    ReportFinding {
        /// What it has found.
        finding: Finding,
    },
    /// This node would have taken over on silence, and does not. For people.
    HoldBack {
        /// Why.
        finding: Finding,
    },
    /// This node would have preempted, and does not yet: it has not been told where WireGuard's clients are. For people.
    HoldBackUntold,
    /// It has not been told in time, and preempts all the same. For people.
    HoldBackNoLonger,
    /// Read what the kernel half has counted of WireGuard, and answer with [`super::Input::TrafficRead`].
    ReadTraffic,
    /// Ask WireGuard how it is; [`super::Input::WireguardAsked`] follows when that has changed.
    AskWireguard,
    /// Tell the peers what we say of ourselves from now on.
    TellHealth {
        /// Our priority.
        priority: u8,
        /// We can serve, and nothing speaks against us.
        fit: bool,
    },
    /// Traffic says something of this node's health, and what follows. For people.
    ReportHealth {
        /// What is wrong; none: nothing any more.
        ailment: Option<Ailment>,
        /// In words.
        detail: String,
    },
    /// The role has changed. For people: log, status, events.
    Report {
        /// What it is now.
        role: State,
        /// Why.
        reason: Reason,
    },
    /// Tell the peers how long our lease may last after its last renewal, and have each say that it waits so long for our
    /// answers ([`super::Input::PeerWaits`]).
    TellLease {
        /// How long.
        lease: Duration,
    },
    /// Everything is undone after a stop; the driver may end.
    Finish,
    /// End at once and leave everything as it is, to a program that goes on with it. The lease is not renewed before that.
    HandOver,
    /// What another program was to take over stays here. For people.
    KeepOn {
        /// Why.
        why: String,
    },

    /// Add every VIP and wait until its local route exists.
    HoldVip,
    /// Remove every VIP.
    ReleaseVip,
    /// Send a neighbour advertisement or gratuitous ARP for every VIP, and a solicitation from each to the gateway.
    Announce,
    /// Set the WireGuard link up and put its addresses and routes back.
    RaiseTunnel,
    /// Start handshakes with the peers of WireGuard that had sessions with the old Active, and see to it that they succeed.
    StartHandshakes {
        /// The link has been up all the time, and sessions may stand. If not, [`Action::RaiseTunnel`] is under way.
        again: bool,
    },
    /// Start no more.
    StopHandshakes,
    /// Remember the WireGuard link's addresses and routes and set it down.
    LowerTunnel,
}

/// Why a node has the role that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The daemon has started and listens.
    Started,
    /// It goes on under the lease of the daemon before it.
    WentOn,
    /// No advert for Active_Down_Interval.
    ActiveDown {
        /// Who was heard last, if anybody was.
        last: Option<IpAddr>,
    },
    /// The Active Router has left as many probes unanswered as it may.
    ProbesUnanswered {
        /// Who.
        active: IpAddr,
        /// How many.
        probes: u32,
        /// It was last known to be alive before that.
        since: Timestamp,
    },
    /// The Active Router answers that it does not serve.
    AdminDown(IpAddr),
    /// The Active Router sent priority 0.
    ActiveResigned(IpAddr),
    /// The Active Router has a lower priority and we preempt.
    Preempted(IpAddr),
    /// An advert outranked ours.
    Outranked {
        /// Who sent it.
        by: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// We claimed the role from this one, and it has not answered whether it serves.
    Unproven(IpAddr),
    /// We do not reach the gateway, and a peer does.
    GatewaySilent {
        /// Where its adverts come from.
        reached_by: IpAddr,
    },
    /// Our own lease lapsed: we were stopped, starved or late.
    LeaseLapsed,
    /// We cannot serve; what is wrong.
    Fault(String),
    /// What was wrong is mended.
    FaultCleared,
    /// We were asked to stop.
    Stopping,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::WentOn => f.write_str("went on where the daemon before it left off"),
            Self::ActiveDown { last: Some(last) } => write!(f, "no advert from {last} in time"),
            Self::ActiveDown { last: None } => f.write_str("no Active Router heard"),
            Self::ProbesUnanswered { active, probes, .. } => {
                write!(f, "{active} has left {probes} probes unanswered")
            }
            Self::AdminDown(who) => write!(f, "{who} answers that it does not serve"),
            Self::ActiveResigned(who) => write!(f, "{who} resigned"),
            Self::Preempted(who) => write!(f, "preempted {who}, which has a lower priority"),
            Self::Outranked { by, priority } => write!(f, "{by} claims the role with priority {priority}"),
            Self::Unproven(who) => write!(f, "{who} does not answer whether it serves"),
            Self::GatewaySilent { reached_by } => {
                write!(f, "the gateway does not answer here, and {reached_by} reaches it")
            }
            Self::LeaseLapsed => f.write_str("the lease lapsed before it was renewed"),
            Self::Fault(what) => f.write_str(what),
            Self::FaultCleared => f.write_str("mended"),
            Self::Stopping => f.write_str("asked to stop"),
        }
    }
}
