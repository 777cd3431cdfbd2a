use std::{collections::HashSet, fmt::Write as _, net::IpAddr, path::Path};

use wgha_common::{Family, abi, abi::ChecksumStyle};

use crate::config::{Attach, Config, ConfigError, Problem};

/// How long what is said about one thing may be: whatever is shown of the file is cut short.
const TOLD_MAX: usize = 2000;

/// The text of a configuration. One that is taken is valid, and is read again from what it is written as; of one that is
/// not, every problem has a line that exists, and something to say in letters that do no harm on a terminal.
#[must_use]
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let file = Path::new("wgha.toml");
    match Config::parse(file, text) {
        Ok(config) => {
            is_valid(&config);
            let written = written(&config);
            match Config::parse(file, &written) {
                Ok(again) => assert_eq!(again, config),
                Err(e) => panic!("{written}\n{e}"),
            }
            true
        }
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty() && problems.is_sorted_by_key(|p| p.line));
            problems.iter().for_each(|problem| is_told(problem, text));
            false
        }
        Err(other) => panic!("{other}"),
    }
}

fn is_told(problem: &Problem, text: &str) {
    let told = problem.to_string();
    assert!((1..=text.split('\n').count()).contains(&problem.line), "{told}");
    assert!(!problem.wrong.is_empty() && !told.contains(char::is_control), "{told:?}");
    assert!(told.len() <= TOLD_MAX, "{} bytes: {told}", told.len());
}

fn is_valid(config: &Config) {
    let vrrp = &config.vrrp;
    let vips: HashSet<_> = vrrp.virtual_addresses.iter().map(|vip| vip.address).collect();
    let peers: HashSet<_> = config.peers.iter().collect();
    let family = |address: &IpAddr| if address.is_ipv4() { Family::V4 } else { Family::V6 };
    assert!((1..=abi::MAX_VIPS as usize).contains(&vips.len()) && peers.len() <= abi::MAX_PEERS as usize);
    assert_eq!(
        (vips.len(), peers.len()),
        (vrrp.virtual_addresses.len(), config.peers.len()),
        "one is there twice"
    );
    assert!(vips.iter().chain(&config.peers).all(|address| family(address) == vrrp.family));
    assert!(config.peers.iter().all(|peer| !vips.contains(peer)));
    assert_ne!(config.uplink.interface, config.wireguard);
    assert!(config.paths.bpffs.is_absolute() && config.paths.socket.is_absolute());
    if let Some(detect) = config.detect {
        assert!((1..=1000).contains(&detect.interval.as_millis()) && detect.multiplier >= 2);
    }
}

/// As a person would write it.
fn written(config: &Config) -> String {
    let Config { uplink, vrrp, paths, .. } = config;
    let attach = match uplink.attach {
        Attach::Auto => "auto",
        Attach::Native => "native",
        Attach::Generic => "generic",
        Attach::Tc => "tc",
    };
    let checksum = match vrrp.checksum {
        None => "auto",
        Some(ChecksumStyle::Rfc9568) => "rfc9568",
        Some(ChecksumStyle::PseudoHeader) => "pseudo-header",
    };
    let vips: Vec<_> = vrrp.virtual_addresses.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "[uplink]\ninterface = {}\nattach = {attach:?}\n[wireguard]\ninterface = {}\n[vrrp]\nid = {}\npriority = {}\n\
         advert_interval = \"{}\"\npreempt = {}\npreempt_delay = \"{}\"\nchecksum = {checksum:?}\n\
         virtual_addresses = {vips:?}\n[paths]\nbpffs = {}\nsocket = {}\n",
        Quoted(&uplink.interface),
        Quoted(&config.wireguard),
        vrrp.id,
        vrrp.priority,
        vrrp.advert_interval,
        vrrp.preempt,
        humantime::format_duration(vrrp.preempt_delay),
        Quoted(&paths.bpffs.to_string_lossy()),
        Quoted(&paths.socket.to_string_lossy()),
    );
    if let Some(detect) = config.detect {
        let interval = humantime::format_duration(detect.interval);
        let _ = write!(text, "[detect]\ninterval = \"{interval}\"\nmultiplier = {}\n", detect.multiplier);
    }
    for peer in &config.peers {
        let _ = write!(text, "[[peer]]\naddress = \"{peer}\"\n");
    }
    text
}

/// A string as TOML has it.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\U{:08x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_str("\"")
    }
}
