//! Attaching, by probing: native XDP, generic XDP, TC ingress; TCX, clsact (invariant I13).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, XdpMode,
    links::{FdLink, PinnedLink},
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType},
};
use nix::sys::statfs::{FsType, statfs};
use wgha_common::IfIndex;

use super::load::{BpfError, EGRESS, INGRESS, Programs};
use crate::config::Attach;

/// linux/magic.h
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// Where ingress got attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngressHook {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
    /// TC ingress.
    Tc(EgressHook),
}

/// How a TC program got attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressHook {
    /// TCX, kernel 6.6 and later.
    Tcx,
    /// The clsact qdisc.
    Clsact,
}

impl IngressHook {
    /// Its name in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp native",
            Self::XdpGeneric => "xdp generic",
            Self::Tc(EgressHook::Tcx) => "tc (tcx)",
            Self::Tc(EgressHook::Clsact) => "tc (clsact)",
        }
    }
}

impl EgressHook {
    /// Its name in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// The attached programs. They come off when this is dropped; when the process is killed, only those
/// without a pin do.
#[derive(Debug)]
pub struct Attachment {
    /// What ingress got.
    pub ingress: IngressHook,
    /// What egress got.
    pub egress: EgressHook,
    /// On which interface.
    pub link: IfIndex,
    holds: Vec<Hold>,
}

/// What keeps a program attached.
#[derive(Debug)]
enum Hold {
    Pinned(#[expect(dead_code, reason = "closing it may detach")] PinnedLink, PathBuf),
    Link(#[expect(dead_code, reason = "closing it detaches")] FdLink),
    /// Not a link: the filter stays until it is removed.
    Clsact(#[expect(dead_code, reason = "dropping it detaches")] SchedClassifierLink),
}

impl Attachment {
    /// Whether the programs outlive the daemon.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.holds.iter().all(|h| !matches!(h, Hold::Link(_)))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        for hold in &self.holds {
            if let Hold::Pinned(_, pin) = hold
                && let Err(e) = fs::remove_file(pin)
                && e.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(pin = %pin.display(), "still attached: {e}");
            }
        }
    }
}

/// Removes what an earlier daemon that was killed has left attached.
///
/// # Errors
/// [`BpfError::Pin`].
pub fn remove_leftovers(interface: &str, bpffs: &Path) -> Result<(), BpfError> {
    for name in [INGRESS, EGRESS] {
        let path = bpffs.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(BpfError::Pin { path, source });
            }
            _ => {}
        }
    }
    // There is mostly nothing to remove here, and then this fails.
    let _ = tc::qdisc_detach_program(interface, TcAttachType::Ingress, INGRESS);
    let _ = tc::qdisc_detach_program(interface, TcAttachType::Egress, EGRESS);
    Ok(())
}

/// Attaches both directions to `interface`, as `wish` says, and pins the links where `bpffs` allows it.
///
/// # Errors
/// [`BpfError::Attach`] with the last refusal, when no hook takes a program.
pub fn attach(
    programs: &mut Programs,
    (interface, link): (&str, IfIndex),
    wish: Attach,
    bpffs: &Path,
) -> Result<Attachment, BpfError> {
    // Egress first: without ingress nothing is heard, but nothing leaks either.
    let (egress, hold) = attach_tc(programs, interface, EGRESS, TcAttachType::Egress, bpffs)?;
    let mut holds = vec![hold];
    let hooks: &[Attach] = match wish {
        Attach::Auto => &[Attach::Native, Attach::Generic, Attach::Tc],
        Attach::Native => &[Attach::Native],
        Attach::Generic => &[Attach::Generic],
        Attach::Tc => &[Attach::Tc],
    };
    let mut refused = None;
    for hook in hooks {
        match attach_ingress(programs, (interface, link), *hook, bpffs) {
            Ok((ingress, hold)) => {
                holds.push(hold);
                return Ok(Attachment { ingress, egress, link, holds });
            }
            Err(e) => {
                tracing::debug!(interface, ?hook, "refused: {e}");
                refused = Some(e);
            }
        }
    }
    Err(refused.unwrap_or(BpfError::Missing(INGRESS)))
}

fn attach_ingress(
    programs: &mut Programs,
    (interface, link): (&str, IfIndex),
    hook: Attach,
    bpffs: &Path,
) -> Result<(IngressHook, Hold), BpfError> {
    let (mode, ingress) = match hook {
        Attach::Native => (XdpMode::Driver, IngressHook::XdpNative),
        Attach::Generic => (XdpMode::Skb, IngressHook::XdpGeneric),
        Attach::Tc | Attach::Auto => {
            let (hook, hold) = attach_tc(programs, interface, INGRESS, TcAttachType::Ingress, bpffs)?;
            return Ok((IngressHook::Tc(hook), hold));
        }
    };
    let xdp = programs.xdp()?;
    let refused = |source| BpfError::Attach { interface: interface.to_owned(), hook: ingress.name(), source };
    let id = xdp.attach_to_if_index(link.0, mode).map_err(refused)?;
    let link = xdp.take_link(id).map_err(refused)?;
    let link = FdLink::try_from(link).map_err(|_| refused(ProgramError::NotAttached))?;
    Ok((ingress, pin(link, INGRESS, bpffs)?))
}

fn attach_tc(
    programs: &mut Programs,
    interface: &str,
    name: &'static str,
    direction: TcAttachType,
    bpffs: &Path,
) -> Result<(EgressHook, Hold), BpfError> {
    let program = programs.tc(name)?;
    let tcx = TcAttachOptions::TcxOrder(LinkOrder::default());
    if let Ok(id) = program.attach_with_options(interface, direction, tcx)
        && let Ok(link) = program.take_link(id)
        && let Ok(link) = FdLink::try_from(link)
    {
        return Ok((EgressHook::Tcx, pin(link, name, bpffs)?));
    }
    let refused = |source| BpfError::Attach { interface: interface.to_owned(), hook: "clsact", source };
    // It is there already more often than not.
    let _ = tc::qdisc_add_clsact(interface);
    let clsact = TcAttachOptions::Netlink(NlOptions::default());
    let id = program.attach_with_options(interface, direction, clsact).map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    Ok((EgressHook::Clsact, Hold::Clsact(link)))
}

/// Pins the link as `bpffs`/`name`; without a usable bpffs it lives and dies with this process.
fn pin(link: FdLink, name: &str, bpffs: &Path) -> Result<Hold, BpfError> {
    if let Err(e) = prepare(bpffs) {
        tracing::warn!(bpffs = %bpffs.display(), "not pinned, the fence ends with this process: {e}");
        return Ok(Hold::Link(link));
    }
    let path = bpffs.join(name);
    let pinned = link.pin(&path).map_err(|source| BpfError::CannotPin { path: path.clone(), source })?;
    Ok(Hold::Pinned(pinned, path))
}

/// Makes the folder for pins.
///
/// # Errors
/// When it cannot be made, or is not on a bpffs.
pub fn prepare(bpffs: &Path) -> io::Result<()> {
    fs::create_dir_all(bpffs)?;
    on_bpffs(bpffs)
}

/// # Errors
/// When `path` is not on a bpffs, or does not exist.
pub fn on_bpffs(path: &Path) -> io::Result<()> {
    if statfs(path)?.filesystem_type() == BPF_FS_MAGIC {
        Ok(())
    } else {
        Err(io::Error::other("not on a bpffs (mount -t bpf bpf /sys/fs/bpf)"))
    }
}
