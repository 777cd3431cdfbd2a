//! Who executes the machine's instructions, and by which clock.

use std::time::Duration;

/// Who executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Accelerator {
    /// QEMU, everywhere: the machine's clock counts its instructions and skips idleness, so it goes neither by how slow
    /// emulation is nor by what else is done here
    Counted,
    /// The processor, by /dev/kvm where that works, in real time
    Kvm,
}

impl Accelerator {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counted => "instructions counted",
            Self::Kvm => "kvm",
        }
    }

    /// What QEMU is told. An instruction is a nanosecond, and what does nothing costs nothing. Two processors would only take
    /// turns there, and what they say to each other is dear: twice the time. So are instructions that repeat themselves byte
    /// by byte (erms): the kernel takes words where the processor has none.
    pub const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Counted => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                "max,erms=off,fsrm=off",
                "-smp",
                "1",
            ],
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
        }
    }

    /// By how much waits in the machine are longer, as its processor is slower.
    pub const fn slowness(self) -> u32 {
        match self {
            Self::Counted => 4,
            Self::Kvm => 2,
        }
    }

    /// How long what takes `time` by the machine's own clock may take here.
    pub fn patience(self, time: Duration) -> Duration {
        match self {
            Self::Counted => time * 10 + Duration::from_secs(120),
            Self::Kvm => time + Duration::from_secs(60),
        }
    }

    /// How many machines run at a time without being in each other's way.
    pub fn machines(self) -> usize {
        match self {
            Self::Counted => std::thread::available_parallelism().map_or(1, usize::from),
            Self::Kvm => 1,
        }
    }
}
