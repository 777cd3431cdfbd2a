use std::{net::IpAddr, time::Duration};

use wgha_common::{Centiseconds, Timestamp};

use super::{Listened, Sample};

/// What has happened. In the past tense, in the order in which it became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The daemon is ready: programs attached, interfaces looked at (`UplinkChanged` and `TunnelChanged` have come before).
    Started(Inherited),
    /// The deadline that `poll_timeout` gave has come.
    TimerFired,
    /// The kernel half rang for an advert: new router, changed, resigned, rival or outranking.
    AdvertHeard(Heard),
    /// The answer to [`super::Action::LookAgain`], at once: the last advert of every router, and the epoch that the kernel has ended.
    LookedAgain {
        /// What `ROUTERS` holds; nothing, if that does not matter.
        routers: Vec<Heard>,
        /// What `REVOKED` holds.
        revoked_epoch: u64,
        /// What `ANSWERS` holds: the last answer of each peer that has answered a probe of ours.
        answers: Vec<Answered>,
    },
    /// The kernel half rang for an answer of a peer that does not serve.
    Answered(Answered),
    /// The peer channel has told, or told anew, who a peer is.
    PeerIntroduced(Introduced),
    /// The peer channel to this peer has ended. What it has told stays true until it is told anew.
    PeerLeft(PeerId),
    /// A peer has taken note of how long our lease may last after its last renewal, and waits for our answers at least so long.
    PeerWaits {
        /// Which peer.
        peer: PeerId,
        /// How long.
        lease: Duration,
    },
    /// A router on the segment has answered a solicitation from the VIP: it has learnt us.
    GatewayAnswered(Timestamp),
    /// The next hops of the default routes over the uplink are these now, if they are to be asked.
    GatewaysChanged(Vec<IpAddr>),
    /// The answer to [`super::Action::Listen`], at once.
    Listened(Listened),
    /// A peer says whether it reaches the gateway and could serve; [`None`]: it cannot tell.
    PeerReaches {
        /// Which peer.
        peer: PeerId,
        /// Whether it does.
        reaches: Option<bool>,
    },
    /// The kernel half has ended the leases up to this epoch (I7), because of `by`.
    LeaseRevoked {
        /// The epoch.
        epoch: u64,
        /// The advert, or the claim of a peer's probe, that outranked ours.
        by: Heard,
    },
    /// A peer that we outrank has asked us in state Up while our lease stood: it serves, or claims to, as well.
    Contested(Heard),
    /// The uplink came, went, gained or lost carrier or its own address.
    UplinkChanged(UplinkState),
    /// The uplink has another MAC address, and is otherwise as it was.
    MacChanged,
    /// The WireGuard interface came, went, was set up or down, or changed its listen port.
    TunnelChanged(TunnelState),
    /// [`super::Action::HoldVip`] has ended: every VIP is there with its local route, or why not.
    VipHeld(Result<(), String>),
    /// Somebody else has removed a VIP.
    VipLost(IpAddr),
    /// [`super::Action::ReleaseVip`] has ended.
    VipReleased(Result<(), String>),
    /// [`super::Action::Announce`] has ended.
    Announced(Result<(), String>),
    /// [`super::Action::SendAdvert`] could not be carried out. (A sent advert says nothing.)
    AdvertFailed(String),
    /// [`super::Action::RaiseTunnel`] has ended: the link is up with its addresses and routes, or why not.
    TunnelRaised(Result<(), String>),
    /// [`super::Action::LowerTunnel`] has ended.
    TunnelLowered(Result<(), String>),
    /// A map could not be written.
    MapFailed(String),
    /// The answer to [`super::Action::ReadTraffic`], at once: what the kernel half has counted.
    TrafficRead(Sample),
    /// WireGuard was asked how it is.
    WireguardAsked {
        /// It does not answer, which alone says nothing about how it is.
        silent: bool,
    },
    /// Since when several clients that had just been heard are spoken to and do not answer; none: there are none such.
    ClientsUnanswered(Option<Timestamp>),
    /// The Active has told where all of WireGuard's clients are, and our own WireGuard has it so.
    EndpointsKnown,
    /// It has them no more, or they are not to be relied on: our WireGuard was made anew, or we have served meanwhile.
    EndpointsLost,
    /// SIGTERM, SIGINT, or a stop through the control socket.
    StopRequested,
    /// Another program is to take this one's place, with all that it serves.
    ReloadRequested,
}

/// What the daemon before this one has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inherited {
    /// The epoch of its last lease; 0: there was none. Ours are newer.
    pub epoch: u64,
    /// That lease serves until then, and all that it is for is in place: the VIP is held and the tunnel up.
    pub until: Option<Timestamp>,
    /// That lease served a moment ago, but is not gone on with: others wait for it to be over.
    pub ended: bool,
}

/// An advert that was valid by RFC 9568 §7.1 and not our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When it arrived (I2: stamped in XDP).
    pub at: Timestamp,
    /// Who sent it.
    pub source: IpAddr,
    /// Its priority; 0 resigns.
    pub priority: u8,
    /// Its Max Advertise Interval.
    pub interval: Centiseconds,
}

/// Which of the configured peers: its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u8);

/// The last answer of a peer to a probe of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Who has answered.
    pub peer: PeerId,
    /// Which probe: the number that [`super::Action::SendProbe`] gave it.
    pub number: u64,
    /// When the answer arrived (I2).
    pub at: Timestamp,
    /// Whether it serves: BFD's Up. Otherwise AdminDown.
    pub up: bool,
    /// It had served, or claimed to, until it was asked.
    pub yielded: bool,
}

/// Who a peer is, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduced {
    /// Which peer.
    pub peer: PeerId,
    /// Where its adverts come from.
    pub source: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// It is Active.
    pub serving: bool,
    /// How long its lease may last after its last renewal: we wait at least so long for its answers (I6).
    pub lease: Duration,
    /// How often it can be probed.
    pub required_min_rx: Duration,
    /// It could serve, and nothing speaks against it.
    pub fit: bool,
}

/// What is known of the uplink.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UplinkState {
    /// The interface exists.
    pub present: bool,
    /// It is set up and has carrier.
    pub running: bool,
    /// The address that our adverts come from, once it may be used (not tentative).
    pub source: Option<IpAddr>,
}

/// What is known of the WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelState {
    /// The interface exists and is WireGuard (kernel, or userspace with a socket that answers).
    pub present: bool,
    /// The link is set up.
    pub up: bool,
    /// Its UDP port.
    pub listen_port: Option<u16>,
}
