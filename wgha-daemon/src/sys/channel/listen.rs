//! Takes connections from peers' addresses, and from no others.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, error::TrySendError},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::{session::Side, shared::Shared, side::Pair, socket};
use crate::proto::PeerId;

/// How often our own addresses are looked at: the uplink may come later, or get another one.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a connection that is of no use: who floods us with them costs us no more than this allows.
const PAUSE: Duration = Duration::from_millis(1);
/// When there are no descriptors left, say.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// A peer, and to whom its connections go.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) id: PeerId,
    pub(super) pair: Pair,
    pub(super) accepted: mpsc::Sender<TcpStream>,
}

/// Listens on every own address that some peer connects to.
pub(super) async fn run(expected: Vec<Expected>, port: u16, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new(); // they end with it
    let mut listening: BTreeMap<SocketAddr, AbortHandle> = BTreeMap::new();
    let mut trouble: Option<String> = None;
    loop {
        let wanted = wanted(&expected, port);
        listening.retain(|own, task| {
            let keep = wanted.contains(own) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        while tasks.try_join_next().is_some() {}
        let mut failed = None;
        for own in wanted {
            if listening.contains_key(&own) {
                continue;
            }
            match socket::listen(own) {
                Ok(listener) => {
                    let accepting = accept(listener, expected.clone(), Arc::clone(&shared));
                    listening.insert(own, tasks.spawn(accepting));
                }
                Err(e) => failed = Some(format!("cannot listen for peers on {own}: {e}")),
            }
        }
        if failed != trouble {
            trouble = failed;
            trouble.iter().for_each(|trouble| tracing::warn!("{trouble}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn wanted(expected: &[Expected], port: u16) -> Vec<SocketAddr> {
    let looked = expected.iter().filter_map(|expected| expected.pair.look(port).ok());
    let mut wanted: Vec<_> =
        looked.filter_map(|(own, side)| (side == Side::Listener).then_some(own)).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

async fn accept(listener: TcpListener, expected: Vec<Expected>, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if !hand_over(stream, from, &expected, &shared) {
                    sleep(PAUSE).await;
                }
            }
            Err(e) => {
                tracing::debug!("cannot accept a connection: {e}");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Gives the connection to its peer; what is not given is closed.
fn hand_over(stream: TcpStream, from: SocketAddr, expected: &[Expected], shared: &Shared) -> bool {
    let ip = from.ip();
    let Some(expected) = expected.iter().find(|expected| expected.pair.peer.ip() == ip) else {
        shared.count_stranger(ip);
        return false;
    };
    if socket::configure(&stream).is_err() {
        return false; // gone already
    }
    let given = expected.accepted.try_send(stream);
    if let Err(TrySendError::Full(_)) = given {
        shared.count(expected.id, |stats| stats.turned_away += 1);
    }
    given.is_ok()
}
