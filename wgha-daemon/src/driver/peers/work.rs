//! What is done with the WireGuard device: one thing at a time, on a thread that may wait.

use std::net::SocketAddr;

use tokio::task::JoinHandle;
use wgha_common::Timestamp;

use crate::{
    proto::{
        peers::{PeerKey, WireguardPeer},
        sync::{Fingerprint, fingerprint},
    },
    sys::{
        channel::ChannelKey,
        clock,
        wireguard::{Device, Implementation, WireguardError},
    },
};

/// The device, wherever it is.
pub(super) struct Work {
    name: String,
    at: Place,
}

enum Place {
    /// Here; not open yet, or not any more, if it is `None`.
    Here(Option<Box<Device>>),
    /// With a thread that works on it.
    There(JoinHandle<(Option<Box<Device>>, Done)>),
}

/// Something to do.
pub(super) enum Job {
    /// Read everything.
    Read,
    /// Set endpoints.
    Set(Vec<(PeerKey, SocketAddr)>),
}

/// What has come of it.
pub(super) struct Done {
    pub begun: Timestamp,
    pub result: Result<Outcome, WireguardError>,
}

pub(super) enum Outcome {
    Read(Reading),
    Set(Vec<(PeerKey, SocketAddr)>),
}

/// All that is read of a device.
pub(super) struct Reading {
    pub peers: Vec<WireguardPeer>,
    pub implementation: Implementation,
    pub fingerprint: Fingerprint,
    /// The peer channel's; `None`: the device has no private key yet.
    pub key: Option<ChannelKey>,
}

impl Work {
    pub fn on(name: &str) -> Self {
        Self { name: name.to_owned(), at: Place::Here(None) }
    }

    pub const fn is_idle(&self) -> bool {
        matches!(self.at, Place::Here(_))
    }

    /// Begins with `job`; nothing happens while another one is under way.
    pub fn begin(&mut self, job: Job) {
        let Place::Here(device) = &mut self.at else { return };
        let (device, name) = (device.take(), self.name.clone());
        self.at = Place::There(tokio::task::spawn_blocking(move || carry_out(device, &name, job)));
    }

    /// Waits for the end of what is under way, for ever if nothing is. Cancel-safe.
    pub async fn done(&mut self) -> Option<Done> {
        let Place::There(thread) = &mut self.at else { return std::future::pending().await };
        // It does not panic; were it to, the device is opened anew.
        let (device, done) = thread.await.ok().unzip();
        self.at = Place::Here(device.flatten());
        done
    }
}

/// A device that has failed is opened anew: it may be another one of the same name by now.
fn carry_out(device: Option<Box<Device>>, name: &str, job: Job) -> (Option<Box<Device>>, Done) {
    let begun = clock::now();
    let opened = device.map_or_else(|| Device::open(name).map(Box::new), Ok);
    match opened.and_then(|mut device| Ok((work(&mut device, job)?, device))) {
        Ok((outcome, device)) => (Some(device), Done { begun, result: Ok(outcome) }),
        Err(e) => (None, Done { begun, result: Err(e) }),
    }
}

fn work(device: &mut Device, job: Job) -> Result<Outcome, WireguardError> {
    match job {
        Job::Read => {
            let peers = device.read()?.peers;
            let fingerprint = fingerprint([device.fingerprint()?]);
            let key = device.channel_secret(ChannelKey::derive)?;
            Ok(Outcome::Read(Reading { peers, implementation: device.implementation(), fingerprint, key }))
        }
        Job::Set(endpoints) => {
            device.set_endpoints(&endpoints)?;
            Ok(Outcome::Set(endpoints))
        }
    }
}
