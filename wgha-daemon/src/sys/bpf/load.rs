//! Loading the object that is embedded in this binary.

use std::{io, path::PathBuf};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, MapError, RingBuf},
    pin::PinError,
    programs::{ProgramError, SchedClassifier, Xdp},
};
use aya_log::EbpfLogger;

use super::maps::Maps;

/// Built by `cargo xtask build-ebpf`; empty when this binary was built without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/wgha-ebpf"));

/// What can go wrong between the daemon and the kernel half.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The binary is incomplete.
    #[error("this binary was built without the kernel half: run `cargo xtask build-ebpf` and build it again")]
    NoObject,
    /// The object was refused.
    #[error("the kernel half cannot be loaded")]
    Load(#[from] EbpfError),
    /// A program was refused; the verifier's words follow.
    #[error("program {0} cannot be loaded")]
    Program(&'static str, #[source] ProgramError),
    /// A program or map that the object should have.
    #[error("the kernel half has no {0}: it is of another version")]
    Missing(&'static str),
    /// A map could not be read or written.
    #[error("map {0}")]
    Map(&'static str, #[source] MapError),
    /// Nowhere to attach.
    #[error("{hook} of {interface} refuses the program")]
    Attach {
        /// The interface.
        interface: String,
        /// Which hook, or the last of several.
        hook: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// An old pin is in the way.
    #[error("{} cannot be removed", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new pin cannot be made.
    #[error("{} cannot be pinned", path.display())]
    CannotPin {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: PinError,
    },
}

/// The loaded programs; nothing is attached yet.
pub struct Programs {
    ebpf: Ebpf,
}

/// XDP ingress.
pub(super) const XDP: &str = "wgha_xdp";
/// TC ingress, where XDP is not to be had.
pub(super) const INGRESS: &str = "wgha_ingress";
/// TC egress.
pub(super) const EGRESS: &str = "wgha_egress";

impl Programs {
    /// Loads maps and programs into the kernel.
    ///
    /// # Errors
    /// [`BpfError`]: EPERM without CAP_BPF and CAP_NET_ADMIN.
    pub fn load() -> Result<(Self, Maps, RingBuf<MapData>), BpfError> {
        if OBJECT.is_empty() {
            return Err(BpfError::NoObject);
        }
        // The kernel's own types are for CO-RE relocations, of which the object has none.
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT)?;
        let maps = Maps::take(&mut ebpf)?;
        let ring = ebpf.take_map("EVENTS").ok_or(BpfError::Missing("EVENTS"))?;
        let ring = RingBuf::try_from(ring).map_err(|e| BpfError::Map("EVENTS", e))?;
        let mut programs = Self { ebpf };
        programs.xdp()?.load().map_err(|e| BpfError::Program(XDP, e))?;
        programs.tc(INGRESS)?.load().map_err(|e| BpfError::Program(INGRESS, e))?;
        programs.tc(EGRESS)?.load().map_err(|e| BpfError::Program(EGRESS, e))?;
        Ok((programs, maps, ring))
    }

    /// What the kernel half logs, if it has a logger.
    pub fn logger(&mut self) -> Option<EbpfLogger<&'static dyn log::Log>> {
        EbpfLogger::init(&mut self.ebpf).ok()
    }

    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, BpfError> {
        let program = self.ebpf.program_mut(XDP).ok_or(BpfError::Missing(XDP))?;
        program.try_into().map_err(|e| BpfError::Program(XDP, e))
    }

    pub(super) fn tc(&mut self, name: &'static str) -> Result<&mut SchedClassifier, BpfError> {
        let program = self.ebpf.program_mut(name).ok_or(BpfError::Missing(name))?;
        program.try_into().map_err(|e| BpfError::Program(name, e))
    }
}
