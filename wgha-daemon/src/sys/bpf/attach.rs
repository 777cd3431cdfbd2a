//! Attaching, by probing: native XDP, TC ingress, generic XDP; TCX, clsact (invariant I13).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, XdpMode,
    links::{FdLink, PinnedLink},
    tc::{self, NlOptions, SchedClassifier, SchedClassifierLink, TcAttachOptions, TcAttachType, TcHandle},
    xdp::XdpLink,
};
use nix::sys::statfs::{FsType, statfs};
use wgha_common::IfIndex;

use super::{
    detach::{detach, interface_of},
    load::{BpfError, EGRESS, INGRESS, Programs},
    pins::namespace,
};
use crate::config::Attach;

/// What the names of our links' pins begin with: they name the network namespace too, as several may share one
/// bpffs, and an interface's index is unique in its own only.
fn pin_prefix() -> String {
    format!("link_{}_", namespace())
}

/// linux/magic.h
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// Where our filter is among those of clsact, in both directions: a number that nobody else is likely to choose.
pub const FILTER: NlOptions = NlOptions { priority: 0x7767, handle: TcHandle::new(0, 1), classid: None };

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
    Pinned(PinnedLink, PathBuf),
    Link(#[expect(dead_code, reason = "closing it detaches")] FdLink),
    /// Not a link: the filter stays until it is removed.
    Clsact(#[expect(dead_code, reason = "dropping it detaches")] SchedClassifierLink, TcAttachType),
}

impl Attachment {
    /// Whether the programs outlive the daemon.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.holds.iter().all(|h| !matches!(h, Hold::Link(_)))
    }

    /// Ends, and leaves the programs where they are; without pins they come off all the same.
    pub fn leave(mut self) {
        self.pin_again();
        self.holds.drain(..).for_each(std::mem::forget);
    }

    /// Where its links are pinned, to be looked at with [`is_in_place`].
    #[must_use]
    pub fn pins(&self) -> Vec<PathBuf> {
        self.pinned().into_iter().map(Path::to_owned).collect()
    }

    /// In which directions it is a filter, to be looked for with [`FILTER`].
    #[must_use]
    pub fn filters(&self) -> Vec<TcAttachType> {
        let filters = self.holds.iter().filter_map(|hold| match hold {
            Hold::Clsact(_, direction) => Some(*direction),
            Hold::Pinned(..) | Hold::Link(_) => None,
        });
        filters.collect()
    }

    /// Whether every link with a pin still has it, and is attached.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.pinned().iter().all(|pin| is_in_place(pin, self.link))
    }

    /// Somebody has removed pins, or taken programs off: everything is put back. What is in place stays there.
    ///
    /// # Errors
    /// As [`attach`].
    pub fn mend(mut self, programs: &mut Programs, place: Place<'_>, wish: Attach) -> Result<Self, BpfError> {
        let holds = self.holds.len();
        self.pin_again();
        if self.holds.len() == holds && self.is_in_place() && self.filters().is_empty() {
            return Ok(self);
        }
        // A link without a pin would not be found, and stay for ever beside what is attached anew.
        self.holds.retain(|hold| !matches!(hold, Hold::Link(_)));
        self.leave();
        attach(programs, place, wish)
    }

    /// Pins anew what somebody has removed the pin of, if there still is a bpffs.
    fn pin_again(&mut self) {
        let holds = std::mem::take(&mut self.holds);
        self.holds = holds.into_iter().filter_map(pinned_again).collect();
    }
}

/// `None`: it could not be, and its program has come off.
fn pinned_again(hold: Hold) -> Option<Hold> {
    let Hold::Pinned(link, path) = hold else { return Some(hold) };
    if path.exists() {
        return Some(Hold::Pinned(link, path));
    }
    if let Err(e) = prepare(path.parent().unwrap_or(&path)) {
        tracing::warn!(pin = %path.display(), "the pin is gone, the fence ends with this process: {e}");
        return Some(Hold::Link(FdLink::from(link)));
    }
    // Whoever fails to pin a link closes it.
    let pinned = FdLink::from(link).pin(&path);
    let pinned =
        pinned.inspect_err(|e| tracing::error!(pin = %path.display(), "cannot be pinned again: {e}"));
    Some(Hold::Pinned(pinned.ok()?, path))
}

/// Whether a link is pinned there, and attached to that interface.
#[must_use]
pub fn is_in_place(pin: &Path, link: IfIndex) -> bool {
    interface_of(pin).is_ok_and(|index| index == Some(link))
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The fence must outlive what nobody has foreseen; dropping a filter would remove it.
            return self.holds.drain(..).for_each(std::mem::forget);
        }
        for hold in &self.holds {
            if let Hold::Pinned(_, pin) = hold
                && let Err(e) = take_off(pin)
            {
                tracing::warn!("still attached: {e}");
            }
        }
    }
}

/// Removes what an earlier daemon has left attached to interfaces that are `ours`, or that are gone, but for the pins
/// `except`.
///
/// # Errors
/// [`BpfError::Pin`].
pub fn remove_leftovers(
    bpffs: &Path,
    ours: impl Fn(IfIndex) -> bool,
    except: &[&Path],
) -> Result<(), BpfError> {
    for pin in pins_in(bpffs) {
        let of_others = interface_of(&pin).is_ok_and(|at| at.is_some_and(|at| !ours(at)));
        if !of_others && !except.contains(&pin.as_path()) {
            take_off(&pin)?;
        }
    }
    Ok(())
}

/// The pins of our links, in this network namespace.
fn pins_in(bpffs: &Path) -> impl Iterator<Item = PathBuf> {
    let prefix = pin_prefix();
    let entries = fs::read_dir(bpffs).into_iter().flatten().filter_map(Result::ok);
    let is_ours =
        move |pin: &PathBuf| pin.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix));
    entries.map(|entry| entry.path()).filter(is_ours)
}

/// Removes TC programs of ours that are not links; there mostly are none, and then nothing happens.
pub fn remove_clsact(interface: &str) {
    remove_filter(interface, TcAttachType::Ingress);
    remove_filter(interface, TcAttachType::Egress);
}

fn remove_filter(interface: &str, direction: TcAttachType) {
    let name = if direction == TcAttachType::Ingress { INGRESS } else { EGRESS };
    let _ = tc::qdisc_detach_program(interface, direction, name);
}

/// Detaches what is pinned there, and removes the pin.
fn take_off(pin: &Path) -> Result<(), BpfError> {
    if let Err(e) = detach(pin) {
        // Its interface is gone, or the kernel does it by itself, later.
        tracing::debug!(pin = %pin.display(), "detaching: {e}");
    }
    remove(pin)
}

fn remove(pin: &Path) -> Result<(), BpfError> {
    match fs::remove_file(pin) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BpfError::Pin { path: pin.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Where programs are attached.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The interface's name.
    pub interface: &'a str,
    /// Its index.
    pub link: IfIndex,
    /// Native XDP may take our answers to probes and not send them: the other end of a veth decides that.
    pub veth: bool,
    /// The folder for pins.
    pub bpffs: &'a Path,
}

impl Place<'_> {
    /// The pin of one hook. It names the interface: a link is taken over only where it belongs.
    fn pin(&self, hook: &str) -> PathBuf {
        self.bpffs.join(format!("{}{hook}_{}", pin_prefix(), self.link))
    }

    /// The link that an earlier daemon has left there.
    fn left(&self, hook: &str) -> Option<FdLink> {
        PinnedLink::from_pin(self.pin(hook)).ok().map(FdLink::from)
    }

    fn refused(&self, hook: &'static str) -> impl Fn(ProgramError) -> BpfError {
        let interface = self.interface.to_owned();
        move |source| BpfError::Attach { interface: interface.clone(), hook, source }
    }
}

/// Attaches both directions, as `wish` says, and pins the links where bpffs allows it.
///
/// Links that an earlier daemon has left are taken over: the new program replaces the old one between
/// two packets, and the fence has no gap.
///
/// # Errors
/// [`BpfError::Attach`] with the last refusal, when no hook takes a program.
pub fn attach(programs: &mut Programs, place: Place<'_>, wish: Attach) -> Result<Attachment, BpfError> {
    // Egress first: without ingress nothing is heard, but nothing leaks either.
    let (egress, hold) = attach_tc(programs, place, EGRESS, TcAttachType::Egress)?;
    let mut holds = vec![hold];
    let mut refused = None;
    for hook in candidates(wish, place) {
        match attach_ingress(programs, place, hook) {
            Ok((ingress, hold)) => {
                holds.push(hold);
                let attachment = Attachment { ingress, egress, link: place.link, holds };
                remove_leftovers(place.bpffs, |at| at == place.link, &attachment.pinned())?;
                attachment.unused().for_each(|direction| remove_filter(place.interface, direction));
                return Ok(attachment);
            }
            Err(e) => {
                tracing::debug!(interface = place.interface, ?hook, "refused: {e}");
                refused = Some(e);
            }
        }
    }
    Err(refused.unwrap_or(BpfError::Missing(INGRESS)))
}

impl Attachment {
    /// Where it has no filter.
    fn unused(&self) -> impl Iterator<Item = TcAttachType> + use<> {
        let ingress = (self.ingress != IngressHook::Tc(EgressHook::Clsact)).then_some(TcAttachType::Ingress);
        let egress = (self.egress != EgressHook::Clsact).then_some(TcAttachType::Egress);
        ingress.into_iter().chain(egress)
    }

    fn pinned(&self) -> Vec<&Path> {
        let pinned = self.holds.iter().filter_map(|hold| match hold {
            Hold::Pinned(_, pin) => Some(pin.as_path()),
            Hold::Link(_) | Hold::Clsact(..) => None,
        });
        pinned.collect()
    }
}

/// Whether a daemon that was killed has left a program of ours attached there.
#[must_use]
pub fn is_left(place: Place<'_>) -> bool {
    [Attach::Native, Attach::Generic, Attach::Tc].iter().any(|hook| place.pin(hook_name(*hook)).exists())
        || place.pin(EGRESS).exists()
}

/// Which hooks are tried, in order: first the one that an earlier daemon has used.
#[must_use]
pub fn candidates(wish: Attach, place: Place<'_>) -> Vec<Attach> {
    let mut hooks = match wish {
        // Generic XDP is the last: it copies every packet that lacks the headroom it wants.
        Attach::Auto if place.veth => vec![Attach::Tc, Attach::Generic],
        Attach::Auto => vec![Attach::Native, Attach::Tc, Attach::Generic],
        wish => vec![wish],
    };
    hooks.sort_by_key(|hook| !place.pin(hook_name(*hook)).exists());
    hooks
}

const fn hook_name(hook: Attach) -> &'static str {
    match hook {
        Attach::Native => "xdp_native",
        Attach::Generic => "xdp_generic",
        Attach::Tc | Attach::Auto => INGRESS,
    }
}

fn attach_ingress(
    programs: &mut Programs,
    place: Place<'_>,
    hook: Attach,
) -> Result<(IngressHook, Hold), BpfError> {
    match hook {
        Attach::Native => attach_xdp(programs, place, hook, XdpMode::Driver, IngressHook::XdpNative),
        Attach::Generic => attach_xdp(programs, place, hook, XdpMode::Skb, IngressHook::XdpGeneric),
        Attach::Tc | Attach::Auto => {
            let (hook, hold) = attach_tc(programs, place, INGRESS, TcAttachType::Ingress)?;
            Ok((IngressHook::Tc(hook), hold))
        }
    }
}

fn attach_xdp(
    programs: &mut Programs,
    place: Place<'_>,
    hook: Attach,
    mode: XdpMode,
    ingress: IngressHook,
) -> Result<(IngressHook, Hold), BpfError> {
    let refused = place.refused(ingress.name());
    let name = hook_name(hook);
    let xdp = programs.xdp()?;
    let left = place.left(name).and_then(|link| XdpLink::try_from(link).ok());
    let taken_over = left.and_then(|link| xdp.attach_to_link(link).ok());
    let id = match taken_over {
        Some(id) => id,
        None => {
            // XDP has room for one program, and a link of another mode of ours may be in the way.
            remove_leftovers(place.bpffs, |at| at == place.link, &[&place.pin(EGRESS)])?;
            xdp.attach_to_if_index(place.link.0, mode).map_err(&refused)?
        }
    };
    let link = xdp.take_link(id).map_err(&refused)?;
    let link = FdLink::try_from(link).map_err(|_| refused(ProgramError::NotAttached))?;
    Ok((ingress, pin(link, place, name)?))
}

fn attach_tc(
    programs: &mut Programs,
    place: Place<'_>,
    name: &'static str,
    direction: TcAttachType,
) -> Result<(EgressHook, Hold), BpfError> {
    let program = programs.tc(name)?;
    let left = place.left(name).and_then(|link| SchedClassifierLink::try_from(link).ok());
    let taken_over = left.and_then(|link| program.attach_to_link(link).ok());
    let tcx = || TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = taken_over.or_else(|| program.attach_with_options(place.interface, direction, tcx()).ok());
    if let Some(id) = id
        && let Ok(link) = program.take_link(id)
        && let Ok(link) = FdLink::try_from(link)
    {
        return Ok((EgressHook::Tcx, pin(link, place, name)?));
    }
    attach_filter(program, place, direction)
        .map(|hold| (EgressHook::Clsact, hold))
        .map_err(place.refused("clsact"))
}

/// A filter instead of a link. Nothing pins it, and nothing needs to: one that an earlier daemon has left is where ours is
/// always, and gets the new program between two packets.
fn attach_filter(
    program: &mut SchedClassifier,
    place: Place<'_>,
    direction: TcAttachType,
) -> Result<Hold, ProgramError> {
    // It is there already more often than not.
    let _ = tc::qdisc_add_clsact(place.interface);
    let NlOptions { priority, handle, classid } = FILTER;
    let left = SchedClassifierLink::attached(place.interface, direction, priority, handle, classid).ok();
    let id = match left.and_then(|link| program.attach_to_link(link).ok()) {
        Some(id) => id,
        None => {
            let options = TcAttachOptions::Netlink(FILTER);
            program.attach_with_options(place.interface, direction, options)?
        }
    };
    program.take_link(id).map(|link| Hold::Clsact(link, direction))
}

/// Pins the link; without a usable bpffs it lives and dies with this process.
fn pin(link: FdLink, place: Place<'_>, hook: &str) -> Result<Hold, BpfError> {
    if let Err(e) = prepare(place.bpffs) {
        tracing::warn!(bpffs = %place.bpffs.display(), "not pinned, the fence ends with this process: {e}");
        return Ok(Hold::Link(link));
    }
    let path = place.pin(hook);
    remove(&path)?; // the link that was taken over is held open here, and comes back under the same name
    let pinned = link.pin(&path).map_err(|source| BpfError::CannotPin { path: path.clone(), source })?;
    Ok(Hold::Pinned(pinned, path))
}

/// Makes the folder for pins.
///
/// # Errors
/// When it cannot be made, or is not on a bpffs.
pub(super) fn prepare(bpffs: &Path) -> io::Result<()> {
    fs::create_dir_all(bpffs)?;
    on_bpffs(bpffs)
}

/// # Errors
/// When `path` is not on a bpffs, or does not exist.
pub fn on_bpffs(path: &Path) -> io::Result<()> {
    if statfs(path)?.filesystem_type() == BPF_FS_MAGIC {
        Ok(())
    } else {
        Err(io::Error::other("not on a bpffs: is it mounted there?"))
    }
}
