//! What this kernel and this uplink have of that which the kernel half needs: by asking, and by trying.

use std::{io, iter, path::Path};

use aya::{
    maps::MapType,
    programs::{
        ProgramError, SchedClassifier, XdpMode,
        tc::{self, NlOptions, TcAttachOptions, TcAttachType, TcHandle},
    },
    sys::is_map_supported,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcHandle as Handle, TcMessage},
};

use super::{
    attach::{EgressHook, Place},
    load::{BpfError, EGRESS, Programs},
};
use crate::{config::Attach, sys::requests::Requests};

/// The kinds of map that the kernel half has.
const MAPS: [(MapType, &str); 6] = [
    (MapType::Array, "array"),
    (MapType::PerCpuArray, "per-CPU array"),
    (MapType::Hash, "hash"),
    (MapType::LruHash, "LRU hash"),
    (MapType::PerCpuHash, "per-CPU hash"),
    (MapType::RingBuf, "ring buffer"),
];
/// The kernel's own types, which the kernel half does without.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Behind all filters of ours: one that an earlier daemon has left goes on fencing.
const TRIED_FILTER: NlOptions = NlOptions { priority: 0x7768, handle: TcHandle::new(0, 1), classid: None };

/// Whether the kernel tells its types.
#[must_use]
pub fn has_btf() -> bool {
    Path::new(BTF).exists()
}

/// The kinds of map that the kernel has of those that are needed, and those that it has not.
#[must_use]
pub fn maps() -> (Vec<&'static str>, Vec<&'static str>) {
    let (there, missing): (Vec<_>, Vec<_>) =
        MAPS.iter().partition(|(kind, _)| is_map_supported(*kind).unwrap_or(false));
    let names = |maps: Vec<&(MapType, &'static str)>| maps.iter().map(|(_, name)| *name).collect();
    (names(there), names(missing))
}

/// How the kernel attaches TC programs: it is asked what is attached, which one without TCX does not understand.
///
/// # Errors
/// [`BpfError::Attach`]: it may not be asked.
pub fn tc_hook(interface: &str) -> Result<EgressHook, BpfError> {
    let asked = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
    match asked {
        Ok(_) => Ok(EgressHook::Tcx),
        Err(e) if errno(&e) == Some(libc::EINVAL) => Ok(EgressHook::Clsact),
        Err(source) => Err(BpfError::Attach { interface: interface.to_owned(), hook: "TCX", source }),
    }
}

/// The errno somewhere among an error's causes.
fn errno(error: &ProgramError) -> Option<i32> {
    let causes = iter::successors(Some(error as &(dyn std::error::Error + 'static)), |e| e.source());
    causes.filter_map(|e| e.downcast_ref::<io::Error>()).find_map(io::Error::raw_os_error)
}

/// Attaches to one hook, and takes it off again at once. The programs have not been told what is theirs: they pass all.
///
/// # Errors
/// [`BpfError::Attach`]: the hook refuses, or there is something already.
pub fn try_hook(programs: &mut Programs, place: Place<'_>, hook: Attach) -> Result<(), BpfError> {
    match hook {
        Attach::Native => try_xdp(programs, place, XdpMode::Driver, "xdp native"),
        Attach::Generic => try_xdp(programs, place, XdpMode::Skb, "xdp generic"),
        Attach::Tc | Attach::Auto => try_tc(programs, place),
    }
}

fn try_xdp(
    programs: &mut Programs,
    place: Place<'_>,
    mode: XdpMode,
    hook: &'static str,
) -> Result<(), BpfError> {
    let refused = |source| BpfError::Attach { interface: place.interface.to_owned(), hook, source };
    let xdp = programs.xdp()?;
    let link = xdp.attach_to_if_index(place.link.0, mode).map_err(refused)?;
    xdp.detach(link).map_err(refused)
}

/// TCX takes any number of programs, so that it is there is enough. Filters need a qdisc, which goes again if it was not
/// there before.
fn try_tc(programs: &mut Programs, place: Place<'_>) -> Result<(), BpfError> {
    if tc_hook(place.interface)? == EgressHook::Tcx {
        return Ok(());
    }
    let refused = |source| BpfError::Attach { interface: place.interface.to_owned(), hook: "clsact", source };
    let added = tc::qdisc_add_clsact(place.interface).is_ok();
    let program = programs.tc(EGRESS)?;
    let options = TcAttachOptions::Netlink(TRIED_FILTER);
    let tried = program
        .attach_with_options(place.interface, TcAttachType::Egress, options)
        .and_then(|link| program.detach(link))
        .map_err(refused);
    if added && let Err(e) = remove_clsact_qdisc(place.link.0) {
        tracing::warn!(interface = place.interface, "an empty clsact qdisc is left: {e}");
    }
    tried
}

/// `tc qdisc delete dev … clsact`
fn remove_clsact_qdisc(index: u32) -> io::Result<()> {
    let mut message = TcMessage::with_index(i32::try_from(index).map_err(io::Error::other)?);
    message.header.parent = Handle { major: 0xffff, minor: 0xfff1 }; // TC_H_CLSACT
    message.header.handle = Handle { major: 0xffff, minor: 0 };
    let request = (RouteNetlinkMessage::DelQueueDiscipline(message), 0);
    Requests::open()?.ask(vec![request])?.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}
