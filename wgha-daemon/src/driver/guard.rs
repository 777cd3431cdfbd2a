//! Looks whether the programs are still where they were attached: the kernel tells nobody when they are taken off.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::{broadcast, watch},
    time::sleep,
};
use wgha_common::IfIndex;

use super::observe::Look;
use crate::sys::bpf::attach;

/// Which links there are, by their pins, and the interface that they belong to.
pub type Pins = (IfIndex, Vec<PathBuf>);

/// Between two looks. Meanwhile nothing is fenced, and a Backup hears nobody.
const EVERY: Duration = Duration::from_secs(1);

/// Asks for a look at the uplink, which puts things right, whenever they are not; until the driver has gone.
pub async fn watch_programs(pins: watch::Receiver<Option<Pins>>, looks: broadcast::Sender<Look>) {
    loop {
        sleep(EVERY).await;
        if pins.has_changed().is_err() {
            return;
        }
        let in_place = pins
            .borrow()
            .as_ref()
            .is_none_or(|(link, pins)| pins.iter().all(|pin| attach::is_in_place(pin, *link)));
        if !in_place {
            let _ = looks.send(Look::Now); // nobody watches any more
        }
    }
}
