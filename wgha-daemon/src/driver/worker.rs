//! What takes time: effects, one after the other, each of which reports its end (invariant I10).

use std::{io, thread};

use tokio::sync::mpsc;
use wgha_common::{IfIndex, Timestamp};

use crate::{
    config::VirtualAddress,
    proto::Input,
    sys::{address, clock, link, netlink::NetlinkError, realtime, requests::Requests, tunnel::Tunnel},
};

/// An effect that waits for the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Add the VIPs, wait for their local routes.
    HoldVip,
    /// Remove the VIPs.
    ReleaseVip,
    /// wg1 up, with addresses and routes.
    RaiseTunnel,
    /// wg1 down.
    LowerTunnel,
    /// Note wg1's addresses and routes, or put them back.
    TendTunnel {
        /// The kernel has said that it was down.
        went_down: bool,
    },
}

/// The end of an effect.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub effect: Effect,
    /// How it ended.
    pub result: Result<(), String>,
    /// When.
    pub at: Timestamp,
}

impl Done {
    /// What the machine is told.
    #[must_use]
    pub fn into_input(self) -> Option<Input> {
        match self.effect {
            Effect::HoldVip => Some(Input::VipHeld(self.result)),
            Effect::ReleaseVip => Some(Input::VipReleased(self.result)),
            Effect::RaiseTunnel => Some(Input::TunnelRaised(self.result)),
            Effect::LowerTunnel => Some(Input::TunnelLowered(self.result)),
            Effect::TendTunnel { .. } => None,
        }
    }
}

/// Does effects in the order in which they are asked for.
pub struct Worker {
    /// Netlink.
    pub handle: rtnetlink::Handle,
    /// The same, for what must be quick.
    pub requests: Requests,
    /// The uplink's name.
    pub uplink: String,
    /// The VIPs.
    pub vips: Vec<VirtualAddress>,
    /// Where they are held: the uplink may be given another name meanwhile.
    pub held: Option<IfIndex>,
    /// What a daemon before this one may have held, and is not configured any more.
    pub left: Vec<VirtualAddress>,
    /// wg1.
    pub tunnel: Tunnel,
}

impl Worker {
    /// Runs a worker that `make` makes, in a thread of its own, until nobody asks any more.
    ///
    /// # Errors
    /// There are no threads left.
    pub fn spawn(
        make: impl FnOnce() -> anyhow::Result<Self> + Send + 'static,
        asked: mpsc::UnboundedReceiver<Effect>,
        done: mpsc::UnboundedSender<Done>,
    ) -> io::Result<()> {
        let work = move || {
            // What it means that this is refused was said at the start.
            let _ = realtime::schedule(realtime::Thread::CarryingOut);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                make()?.run(asked, done).await;
                anyhow::Ok(())
            })
        };
        let thread = thread::Builder::new().name("effects".to_owned());
        thread.spawn(move || work().unwrap_or_else(|e| tracing::error!("effects: {e:#}"))).map(drop)
    }

    /// Runs until nobody asks any more.
    async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Effect>, done: mpsc::UnboundedSender<Done>) {
        while let Some(effect) = asked.recv().await {
            let result = self.carry_out(effect).await.map_err(|e| e.to_string());
            if let (Effect::TendTunnel { .. }, Err(e)) = (effect, &result) {
                tracing::warn!("the tunnel's addresses and routes: {e}"); // nobody waits for this one
            }
            if done.send(Done { effect, result, at: clock::now() }).is_err() {
                return;
            }
        }
    }

    /// Carries out one effect.
    ///
    /// # Errors
    /// [`NetlinkError`]. Teardown goes on past errors and reports the first.
    pub async fn carry_out(&mut self, effect: Effect) -> Result<(), NetlinkError> {
        match effect {
            Effect::HoldVip => self.hold_vips().await,
            Effect::ReleaseVip => self.release_vips().await,
            Effect::RaiseTunnel => self.tunnel.raise(&mut self.requests).await,
            Effect::LowerTunnel => self.tunnel.lower().await,
            Effect::TendTunnel { went_down } => self.tunnel.tend(went_down).await,
        }
    }

    async fn hold_vips(&mut self) -> Result<(), NetlinkError> {
        let index =
            link::index(&self.uplink)?.ok_or_else(|| NetlinkError::NoInterface(self.uplink.clone()))?;
        if let Some(other) = self.held_elsewhere(Some(index)) {
            self.release_on(other).await?;
        }
        self.held = Some(index);
        address::hold(&mut self.requests, index, &self.vips)
    }

    async fn release_vips(&self) -> Result<(), NetlinkError> {
        // An uplink that is gone has taken the VIPs with it.
        let named = link::index(&self.uplink)?;
        let mut first = Ok(());
        for index in named.into_iter().chain(self.held_elsewhere(named)) {
            first = first.and(self.release_on(index).await);
        }
        first
    }

    fn held_elsewhere(&self, named: Option<IfIndex>) -> Option<IfIndex> {
        self.held.filter(|held| Some(*held) != named && link::name(*held).is_some())
    }

    async fn release_on(&self, index: IfIndex) -> Result<(), NetlinkError> {
        let mut first = Ok(());
        for vip in &self.vips {
            first = first.and(address::release(&self.handle, index, *vip).await);
        }
        for vip in &self.left {
            first = first.and(address::release_left(&self.handle, index, *vip).await);
        }
        first
    }
}
