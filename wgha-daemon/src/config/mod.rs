//! The configuration: a serde mirror of the file, turned once into a [`Config`] that, if it exists, is valid.

mod document;
mod problem;
mod read;
mod suggest;
mod syntax;
mod validate;
mod virtual_addresses;

use std::{
    fmt,
    fs::File,
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use wgha_common::{Centiseconds, Family, Priority, Vrid, abi::ChecksumStyle};

use crate::proto::HealthRules;

pub use problem::{ConfigError, Problem};

/// Where the configuration is, unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/wgha/wgha.toml";
/// Where the control socket is, unless `[paths] socket` or `--socket` say otherwise.
pub const DEFAULT_SOCKET: &str = "/run/wgha/wgha.sock";
/// Where the links of the programs are pinned, unless `[paths] bpffs` says otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/wgha";
/// `[vrrp] advert_interval` when it is not written.
pub const DEFAULT_ADVERT_INTERVAL: Centiseconds = match Centiseconds::new(10) {
    Ok(interval) => interval,
    Err(_) => Centiseconds::MAX,
};
/// A longer file is not a configuration.
const FILE_MAX: u64 = 64 * 1024;

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[uplink]`
    pub uplink: Uplink,
    /// `[wireguard] interface`
    pub wireguard: String,
    /// `[wireguard] listen_port`: what it is going to listen on; only the fence must know before there is an interface.
    pub listen_port: Option<u16>,
    /// `[vrrp]`
    pub vrrp: Vrrp,
    /// `[[peer]] address`: the other servers.
    pub peers: Vec<IpAddr>,
    /// `[detect]`, unless it is left to [`Config::detect_or_default`].
    pub detect: Option<Detect>,
    /// `[detect] witness`
    pub witness: Witness,
    /// `[health]`
    pub health: HealthRules,
    /// `[paths]`
    pub paths: Paths,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line. The system is not looked at.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
        let mut bytes = Vec::new();
        let opened = File::open(file).map_err(unreadable)?;
        opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(ConfigError::TooLarge { file: file.to_owned(), limit: FILE_MAX });
        }
        let text = String::from_utf8(bytes).map_err(|e| not_utf8(file, &e))?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file that was read already.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        validate::validate(file, text)
            .map_err(|problems| ConfigError::Invalid { file: file.to_owned(), problems })
    }

    /// What `[detect]` says, or what fits a daemon whose loop runs in real time, or does not.
    #[must_use]
    pub fn detect_or_default(&self, real_time: bool) -> Detect {
        self.detect.unwrap_or(if real_time { Detect::REAL_TIME } else { Detect::USUAL })
    }

    /// How a failure of the Active Router is noticed by a daemon whose loop runs in real time, or does not.
    #[must_use]
    pub fn detection_note(&self, real_time: bool) -> String {
        let vrrp = &self.vrrp;
        let down = vrrp.advert_interval.active_down_interval(vrrp.priority.number());
        let down = Duration::from_millis(u64::try_from(down.as_millis()).unwrap_or(u64::MAX));
        let by_adverts = format!("by adverts, {} after the last one", humantime::format_duration(down));
        if self.peers.is_empty() {
            return format!("{by_adverts}; without a [[peer]] nobody is probed");
        }
        let Detect { interval, multiplier } = self.detect_or_default(real_time);
        let interval = humantime::format_duration(interval);
        format!(
            "by {multiplier} unanswered probes, one every {interval}; where a peer does not answer any, {by_adverts}"
        )
    }
}

fn not_utf8(file: &Path, error: &std::string::FromUtf8Error) -> ConfigError {
    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let wrong = "not UTF-8; save the file as UTF-8 text".to_owned();
    let problems = vec![Problem { line, key: None, value: None, wrong }];
    ConfigError::Invalid { file: file.to_owned(), problems }
}

/// `[uplink]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The interface that the VIP and the adverts are on.
    pub interface: String,
    /// Where the programs are attached.
    pub attach: Attach,
}

/// `[uplink] attach`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// The first of the others that works.
    #[default]
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the stack.
    Generic,
    /// TC ingress.
    Tc,
}

/// `[vrrp]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vrrp {
    /// `id`
    pub id: Vrid,
    /// `priority`
    pub priority: Priority,
    /// `advert_interval`
    pub advert_interval: Centiseconds,
    /// `preempt`
    pub preempt: bool,
    /// `preempt_delay`, counted from the start or from the mending of a fault.
    pub preempt_delay: Duration,
    /// `checksum`: of IPv4 adverts; `None` (`auto`): as the others send theirs.
    pub checksum: Option<ChecksumStyle>,
    /// `authentication`: a claim has to be proven by a probe; an advert changes no role.
    pub authentication: bool,
    /// `virtual_addresses`: at least one, all of `family`.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// The family of all of them.
    pub family: Family,
}

/// An address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix_len: u8,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// `[detect]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detect {
    /// Between two probes.
    pub interval: Duration,
    /// How many in a row must go unanswered.
    pub multiplier: u8,
}

/// `[detect] witness`: who is asked whether this node hears anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Witness {
    /// The next hops of the default routes over the uplink.
    #[default]
    Gateway,
    /// Nobody.
    None,
}

impl Detect {
    /// For a loop that runs in real time: longer than the host of a virtual machine takes the CPU away.
    pub const REAL_TIME: Self = Self { interval: Duration::from_millis(10), multiplier: 5 };
    /// For one that does not: longer than a busy machine keeps it waiting.
    pub const USUAL: Self = Self { interval: Duration::from_millis(50), multiplier: 6 };
}

/// `[paths]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The folder on a bpffs in which the links of the programs are pinned.
    pub bpffs: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { bpffs: DEFAULT_BPFFS.into(), socket: DEFAULT_SOCKET.into() }
    }
}
