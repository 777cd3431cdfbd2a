//! Looks whether the programs are still where they were attached: the kernel tells nobody when they are taken off.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aya::programs::TcAttachType;
use rtnetlink::Handle;
use tokio::{
    sync::{broadcast, watch},
    time::sleep,
};
use wgha_common::IfIndex;

use super::observe::Look;
use crate::sys::{
    bpf::{Attachment, attach},
    qdisc,
};

/// What is attached, and where.
#[derive(Debug)]
pub struct Attached {
    link: IfIndex,
    /// Of the links.
    pins: Vec<PathBuf>,
    /// What is no link.
    filters: Vec<TcAttachType>,
    /// A look has shown that filters were gone. For links whoever mends them sees that for himself: to ask for filters may take time.
    filters_gone: AtomicBool,
}

impl Attached {
    /// All that belongs to an attachment.
    #[must_use]
    pub fn of(attachment: &Attachment) -> Arc<Self> {
        let (pins, filters) = (attachment.pins(), attachment.filters());
        Arc::new(Self { link: attachment.link, pins, filters, filters_gone: AtomicBool::new(false) })
    }

    /// Whether filters were gone at the last look.
    #[must_use]
    pub fn filters_gone(&self) -> bool {
        self.filters_gone.load(Relaxed)
    }

    /// Whether all is there. What cannot be asked for is taken to be.
    async fn is_in_place(&self, handle: &Handle) -> bool {
        let ours = self.filters.is_empty()
            || qdisc::has_ours(handle, self.link, &self.filters).await.unwrap_or(true);
        self.filters_gone.store(!ours, Relaxed);
        ours && self.pins.iter().all(|pin| attach::is_in_place(pin, self.link))
    }
}

/// Between two looks. Meanwhile nothing is fenced, and a Backup hears nobody.
const EVERY: Duration = Duration::from_secs(1);

/// Asks for a look at the uplink, which puts things right, whenever they are not; until the driver has gone.
pub async fn watch_programs(
    handle: Handle,
    attached: watch::Receiver<Option<Arc<Attached>>>,
    looks: broadcast::Sender<Look>,
) {
    loop {
        sleep(EVERY).await;
        if attached.has_changed().is_err() {
            return;
        }
        let now = attached.borrow().clone();
        if let Some(now) = now
            && !now.is_in_place(&handle).await
        {
            let _ = looks.send(Look::Now); // nobody watches any more
        }
    }
}
