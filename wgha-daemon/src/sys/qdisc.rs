//! The clsact queueing discipline, which classic filters are in where a kernel has no TCX.

use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rtnetlink::Handle;
use wgha_common::IfIndex;

use super::netlink::NetlinkError;

const CLSACT: &str = "clsact";

/// Removes clsact from an interface if nothing is in it: without a filter it does nothing, whoever has put it there.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn remove_empty_clsact(handle: &Handle, index: IfIndex) -> Result<(), NetlinkError> {
    if !has_clsact(handle, index).await? || has_filters(handle, index).await? {
        return Ok(());
    }
    let mut request = handle.qdisc().del(number(index));
    let message = request.message_mut();
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    request.execute().await.map_err(NetlinkError::refused("removing clsact"))
}

async fn has_clsact(handle: &Handle, index: IfIndex) -> Result<bool, NetlinkError> {
    let all = handle.qdisc().get().index(number(index)).execute();
    let all: Vec<TcMessage> = all.try_collect().await.map_err(NetlinkError::refused("reading qdiscs"))?;
    let clsact = TcAttribute::Kind(CLSACT.to_owned());
    Ok(all.iter().any(|qdisc| qdisc.header.index == number(index) && qdisc.attributes.contains(&clsact)))
}

async fn has_filters(handle: &Handle, index: IfIndex) -> Result<bool, NetlinkError> {
    let filters = || handle.traffic_filter(number(index)).get();
    for direction in [filters().ingress(), filters().egress()] {
        let found: Vec<TcMessage> =
            direction.execute().try_collect().await.map_err(NetlinkError::refused("reading filters"))?;
        if !found.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// As struct tcmsg has it.
const fn number(index: IfIndex) -> i32 {
    index.0.cast_signed()
}
