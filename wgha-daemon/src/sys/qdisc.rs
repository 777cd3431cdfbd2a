//! The clsact queueing discipline, which classic filters are in where a kernel has no TCX.

use aya::programs::TcAttachType;
use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rtnetlink::Handle;
use wgha_common::IfIndex;

use super::{bpf::attach::FILTER, netlink::NetlinkError};

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

/// Whether an interface has our filter in each of these directions.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn has_ours(
    handle: &Handle,
    index: IfIndex,
    directions: &[TcAttachType],
) -> Result<bool, NetlinkError> {
    for direction in directions {
        if !filters(handle, index, *direction).await?.iter().any(is_ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// By its number, which tc(8) calls pref.
fn is_ours(filter: &TcMessage) -> bool {
    filter.header.info >> 16 == u32::from(FILTER.priority)
}

async fn has_filters(handle: &Handle, index: IfIndex) -> Result<bool, NetlinkError> {
    for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
        if !filters(handle, index, direction).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those in one direction of clsact; none, if there is no clsact.
async fn filters(
    handle: &Handle,
    index: IfIndex,
    direction: TcAttachType,
) -> Result<Vec<TcMessage>, NetlinkError> {
    let all = handle.traffic_filter(number(index)).get();
    let all = if direction == TcAttachType::Ingress { all.ingress() } else { all.egress() };
    all.execute().try_collect().await.map_err(NetlinkError::refused("reading filters"))
}

/// As struct tcmsg has it.
const fn number(index: IfIndex) -> i32 {
    index.0.cast_signed()
}
