//! Loading the object that is embedded in this binary.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, MapError, RingBuf},
    pin::PinError,
    programs::{ProgramError, SchedClassifier, Xdp},
};
use aya_log::EbpfLogger;
use wgha_common::abi::PINNED;

use super::{attach, maps::Maps, pins::Pins};

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
    /// A pin, or the folder for pins, is in the way or cannot be made.
    #[error("{} cannot be made or removed", path.display())]
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
    /// Those of their maps.
    pins: Option<Pins>,
}

/// What was loaded.
pub struct Loaded {
    /// The programs.
    pub programs: Programs,
    /// Their maps.
    pub maps: Maps,
    /// And their ring.
    pub ring: RingBuf<MapData>,
}

/// XDP ingress.
pub(super) const XDP: &str = "wgha_xdp";
/// TC ingress, where XDP is not to be had.
pub(super) const INGRESS: &str = "wgha_ingress";
/// TC egress.
pub(super) const EGRESS: &str = "wgha_egress";

impl Programs {
    /// Loads maps and programs into the kernel, and pins nothing.
    ///
    /// # Errors
    /// [`BpfError`]: EPERM without CAP_BPF and CAP_NET_ADMIN.
    pub fn load() -> Result<Loaded, BpfError> {
        Self::verified(object(None)?)?.handed_out()
    }

    /// The same, with the maps that outlive a daemon pinned on `bpffs`, if it is one. Those that an earlier daemon has pinned
    /// for this uplink are taken over as they are. If they are of another version, programs with new ones replace them, and
    /// so the fence is closed.
    ///
    /// # Errors
    /// [`BpfError`], as above.
    pub fn load_pinned(bpffs: &Path, uplink: &str) -> Result<Loaded, BpfError> {
        let fresh = object(None)?;
        let pins = Pins::new(bpffs, uplink);
        if pins.fit(&fresh) {
            drop(fresh);
            let programs = Self::verified(object(Some(&pins))?)?;
            return programs.with(pins).handed_out();
        }
        let programs = Self::verified(fresh)?;
        let prepared =
            attach::prepare(bpffs).map_err(|source| BpfError::Pin { path: bpffs.to_owned(), source });
        match prepared.and_then(|()| pins.replace(&programs.ebpf)) {
            Ok(()) => programs.with(pins).handed_out(),
            Err(e) => {
                tracing::warn!("not pinned, the maps end with this process: {:#}", anyhow::Error::new(e));
                programs.handed_out()
            }
        }
    }

    fn verified(ebpf: Ebpf) -> Result<Self, BpfError> {
        let mut programs = Self { ebpf, pins: None };
        programs.xdp()?.load().map_err(|e| BpfError::Program(XDP, e))?;
        programs.tc(INGRESS)?.load().map_err(|e| BpfError::Program(INGRESS, e))?;
        programs.tc(EGRESS)?.load().map_err(|e| BpfError::Program(EGRESS, e))?;
        Ok(programs)
    }

    fn with(mut self, mut pins: Pins) -> Self {
        pins.set_stay(false);
        self.pins = Some(pins);
        self
    }

    fn handed_out(mut self) -> Result<Loaded, BpfError> {
        let maps = Maps::take(&mut self.ebpf)?;
        let ring = self.ebpf.take_map("EVENTS").ok_or(BpfError::Missing("EVENTS"))?;
        let ring = RingBuf::try_from(ring).map_err(|e| BpfError::Map("EVENTS", e))?;
        Ok(Loaded { programs: self, maps, ring })
    }

    /// The maps stay pinned when this process ends.
    pub fn leave(&mut self) {
        self.pins.iter_mut().for_each(|pins| pins.set_stay(true));
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

/// The object with its maps made, or taken from their pins.
fn object(pins: Option<&Pins>) -> Result<Ebpf, BpfError> {
    if OBJECT.is_empty() {
        return Err(BpfError::NoObject);
    }
    let mut loader = EbpfLoader::new();
    // The kernel's own types are for CO-RE relocations, of which the object has none.
    loader.btf(None);
    for (pins, map) in pins.iter().flat_map(|pins| PINNED.map(|map| (pins, map))) {
        loader.map_pin_path(map, pins.path(map));
    }
    Ok(loader.load(OBJECT)?)
}
