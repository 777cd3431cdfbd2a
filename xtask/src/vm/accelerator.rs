//! Who executes the machine's instructions: this processor, if it can be had, else QEMU.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;

use super::{
    kernel::Kernel,
    machine::{Ended, Machine, Parts},
};

/// How much longer than on the processor itself everything takes under emulation, and what depends on time may take.
const EMULATION: u32 = 8;

/// Who executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Accelerator {
    /// The processor, by /dev/kvm
    Kvm,
    /// QEMU translates
    Tcg,
}

impl Accelerator {
    /// The processor if it works: a machine in a machine may not, or die in the middle. What is found is noted until the
    /// next boot of this one.
    ///
    /// # Errors
    /// The system's.
    pub fn find(kernel: &Kernel, initramfs: &Path, cache: &Path) -> Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let note = cache.join("accelerator");
        let noted = fs::read_to_string(&note).unwrap_or_default();
        if let Some(found) = noted.strip_prefix(&boot).filter(|_| !boot.is_empty()) {
            return Ok(if found == Self::Kvm.name() { Self::Kvm } else { Self::Tcg });
        }
        let found =
            if Path::new("/dev/kvm").exists() { Self::probe(kernel, initramfs, cache) } else { Self::Tcg };
        fs::write(note, boot + found.name())?;
        Ok(found)
    }

    /// Boots a machine on the processor and has it do a little.
    fn probe(kernel: &Kernel, initramfs: &Path, cache: &Path) -> Self {
        let folder = cache.join("probe");
        let tried = fs::create_dir_all(&folder).map_err(Into::into).and_then(|()| {
            let parts = Parts { kernel, initramfs, accelerator: Self::Kvm, folder: &folder, cards: false };
            let mut machine = Machine::boot_once(&parts)?;
            let work = "i=0; while [ $i -lt 100 ]; do ip link show >/dev/null; i=$((i+1)); done";
            machine.run(work, Duration::from_secs(20), &mut |_| {})
        });
        match tried {
            Ok(Ended::Code(0)) => Self::Kvm,
            Ok(ended) => {
                println!(
                    "/dev/kvm is there, but a machine did not do its work ({ended:?}): emulation instead"
                );
                Self::Tcg
            }
            Err(e) => {
                println!("/dev/kvm is there, but does not work: {e:#}: emulation instead");
                Self::Tcg
            }
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// What QEMU is told.
    pub const fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// By how much waits are longer.
    pub const fn slowness(self) -> u32 {
        match self {
            Self::Kvm => 2,
            Self::Tcg => EMULATION,
        }
    }

    /// How long it may take to boot.
    pub const fn booting(self) -> Duration {
        match self {
            Self::Kvm => Duration::from_secs(30),
            Self::Tcg => Duration::from_secs(120),
        }
    }
}
