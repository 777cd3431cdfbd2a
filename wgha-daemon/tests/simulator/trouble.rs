//! What can go wrong.

use crate::network::Side;

/// Something that goes wrong, for a while or once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The machine loses power.
    Crash,
    /// `kill -9`.
    Kill,
    /// SIGTERM.
    Stop,
    /// `wgha reload`, sometimes with another priority.
    Reload,
    /// The same, and the successor may take longer than it is waited for.
    ReloadDies,
    /// SIGSTOP: the daemon stands still, the kernel half goes on.
    Freeze,
    /// SIGSTOP between two actions of the next batch.
    FreezeInBatch,
    /// The processor has better things to do: the daemon often runs late.
    Starve,
    /// The virtual machine stands still; its clock goes on.
    PauseVm,
    /// The virtual machine stands still, and its clock with it.
    PauseVmAndClock,
    /// The switch falls into two parts.
    Partition,
    /// Frames pass from one part of the switch to the other, but not back.
    OneWay,
    /// Two nodes do not hear each other; the others hear both.
    Wire,
    /// One in three frames is lost.
    Loss,
    /// Frames are late, all of them.
    Congestion,
    /// Frames overtake each other.
    Disorder,
    /// This node hears nobody, but is heard.
    Deaf,
    /// This node hears the others, but nobody hears it.
    Mute,
    /// The gateway answers nobody.
    GatewayGone,
    /// Its firewall drops probes and answers to it.
    Filter,
    /// Its adverts are lost on the way, all of them.
    Unheard,
    /// No carrier.
    Carrier,
    /// Somebody sets the tunnel down, and up again.
    TunnelDown,
    /// Somebody sets the tunnel up.
    TunnelUp,
    /// Somebody deletes the tunnel, and makes it anew.
    TunnelGone,
    /// Somebody removes the VIP.
    VipRemoved,
    /// The next effect fails.
    EffectFails,
    /// A lease cannot be written.
    MapFails,
    /// Adverts cannot be sent.
    AdvertsFail,
    /// The ring has no room for the next events.
    RingFull,
}

impl Trouble {
    pub const QUICK: [Self; 24] = [
        Self::Crash,
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::FreezeInBatch,
        Self::Starve,
        Self::PauseVm,
        Self::PauseVmAndClock,
        Self::Partition,
        Self::OneWay,
        Self::Wire,
        Self::Loss,
        Self::Congestion,
        Self::Disorder,
        Self::Deaf,
        Self::Mute,
        Self::GatewayGone,
        Self::Filter,
        Self::Unheard,
        Self::Carrier,
        Self::TunnelDown,
        Self::TunnelUp,
        Self::VipRemoved,
        Self::RingFull,
    ];
    /// Those after which others wait for longer than usual.
    pub const RELOADS: [Self; 2] = [Self::Reload, Self::ReloadDies];
    /// Those that may keep a node from hearing anything.
    pub const DEAFENING: [Self; 6] =
        [Self::Deaf, Self::Partition, Self::OneWay, Self::Loss, Self::Congestion, Self::GatewayGone];
    /// Those that may keep a node away for the hold-off of 10 s.
    pub const SLOW: [Self; 4] = [Self::EffectFails, Self::MapFails, Self::AdvertsFail, Self::TunnelGone];
}

/// A trouble with its time and place.
#[derive(Debug, Clone, Copy)]
pub struct Incident {
    pub trouble: Trouble,
    pub node: usize,
    /// The other end of the wire.
    pub other: usize,
    /// One part of the switch.
    pub side: Side,
    pub at: u64,
    pub lasts: u64,
}
