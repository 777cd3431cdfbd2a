use std::{fmt, time::Duration};

use super::{Finding, TunnelState, UplinkState};

/// What keeps this node from serving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    UplinkMissing,
    UplinkDown,
    NoSource,
    TunnelMissing,
    TunnelSetDown,
    NoListenPort,
    /// Nothing is heard any more.
    Deaf,
    /// An effect that a serving node needs has failed.
    Failed(Needed, String),
}

/// An effect that a serving node needs, and whose cure cannot be seen: it is tried again after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    Vip,
    Tunnel,
    Map,
    Advert,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UplinkMissing => f.write_str("the uplink does not exist"),
            Self::UplinkDown => f.write_str("the uplink is down or has no carrier"),
            Self::NoSource => f.write_str("the uplink has no address that adverts can come from"),
            Self::TunnelMissing => f.write_str("the WireGuard interface does not exist"),
            Self::TunnelSetDown => f.write_str("somebody has set the WireGuard interface down"),
            Self::NoListenPort => f.write_str("the WireGuard interface has no listen port"),
            Self::Deaf => Finding::Deaf.fmt(f),
            Self::Failed(Needed::Vip, why) => write!(f, "the VIP cannot be held: {why}"),
            Self::Failed(Needed::Tunnel, why) => write!(f, "the tunnel cannot be raised: {why}"),
            Self::Failed(Needed::Map, why) => write!(f, "a map cannot be written: {why}"),
            Self::Failed(Needed::Advert, why) => write!(f, "adverts cannot be sent: {why}"),
        }
    }
}

/// What is known of this node's fitness to serve. Faults follow from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    pub(super) uplink: UplinkState,
    pub(super) tunnel: TunnelState,
    /// Somebody has set the tunnel down while we wanted it up.
    pub(super) set_down: bool,
    /// Nothing is heard any more.
    pub(super) deaf: bool,
    /// What failed, until the hold-off is over.
    pub(super) failed: Option<(Needed, String)>,
    /// How often in a row something has failed, without a take-over that succeeded between.
    failures: u32,
}

impl Health {
    /// How long a node stays out of the election after something that it needs has failed for the first time.
    const HOLD_OFF: Duration = Duration::from_secs(10);
    /// It is doubled so many times at most: 10 minutes 40 seconds.
    const DOUBLINGS: u32 = 6;

    /// Something has failed: how long to stay out of the election.
    pub(super) fn hold_off(&mut self) -> Duration {
        let wait = Self::HOLD_OFF * 2_u32.pow(self.failures.min(Self::DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// A take-over has succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let failed = self.failed.clone().map(|(what, why)| Fault::Failed(what, why));
        let deaf = self.deaf.then_some(Fault::Deaf);
        [self.uplink_fault(), self.tunnel_fault(), deaf, failed].into_iter().flatten().collect()
    }

    fn uplink_fault(&self) -> Option<Fault> {
        match &self.uplink {
            UplinkState { present: false, .. } => Some(Fault::UplinkMissing),
            UplinkState { running: false, .. } => Some(Fault::UplinkDown),
            UplinkState { source: None, .. } => Some(Fault::NoSource),
            _ => None,
        }
    }

    fn tunnel_fault(&self) -> Option<Fault> {
        match &self.tunnel {
            TunnelState { present: false, .. } => Some(Fault::TunnelMissing),
            _ if self.set_down => Some(Fault::TunnelSetDown),
            TunnelState { listen_port: None, .. } => Some(Fault::NoListenPort),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        Health {
            uplink: UplinkState { present: true, running: true, source: Some([192, 0, 2, 1].into()) },
            tunnel: TunnelState { present: true, up: false, listen_port: Some(51800) },
            ..Health::default()
        }
    }

    #[test]
    fn each_lack_is_one_fault() {
        assert_eq!(healthy().faults(), []);
        let with = |change: fn(&mut Health)| {
            let mut health = healthy();
            change(&mut health);
            health.faults()
        };
        assert_eq!(with(|h| h.uplink.present = false), [Fault::UplinkMissing]);
        assert_eq!(with(|h| h.uplink.running = false), [Fault::UplinkDown]);
        assert_eq!(with(|h| h.uplink.source = None), [Fault::NoSource]);
        assert_eq!(with(|h| h.tunnel.present = false), [Fault::TunnelMissing]);
        assert_eq!(with(|h| h.tunnel.listen_port = None), [Fault::NoListenPort]);
        assert_eq!(with(|h| h.set_down = true), [Fault::TunnelSetDown]);
        assert_eq!(with(|h| h.deaf = true), [Fault::Deaf]);
        let failed = with(|h| h.failed = Some((Needed::Vip, "no".into())));
        assert_eq!(failed, [Fault::Failed(Needed::Vip, "no".into())]);
    }

    #[test]
    fn the_hold_off_grows_until_a_success() {
        let mut health = healthy();
        let waits: Vec<_> = (0..9).map(|_| health.hold_off().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 640, 640]);
        health.succeeded();
        assert_eq!(health.hold_off().as_secs(), 10);
    }

    #[test]
    fn several_faults_are_all_told() {
        assert_eq!(Health::default().faults(), [Fault::UplinkMissing, Fault::TunnelMissing]);
    }
}
