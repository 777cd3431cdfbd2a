//! Handshakes that this node starts once it serves.

use tokio::sync::watch;
use wgha_common::Timestamp;

use super::Heard;
use crate::proto::{peers::WireguardPeer, sync::Replica};

pub(super) struct Handshakes;

impl Handshakes {
    pub fn new(_: &str, _: watch::Receiver<Timestamp>) -> Self {
        Self
    }
    pub async fn step(&mut self) -> Option<Heard> {
        std::future::pending().await
    }
    pub fn order(&mut self, _: Option<Timestamp>, _: &[WireguardPeer], _: &Replica) {}
}
