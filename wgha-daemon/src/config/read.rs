//! From one value of the file to what it means. An error says what is wrong and what would be right.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use wgha_common::{Centiseconds, Priority, Vrid, abi::ChecksumStyle};

use super::{Attach, Witness, document::Value};
use crate::proto::Remedy;

/// Bytes of a name that the kernel has room for (IFNAMSIZ - 1).
const INTERFACE_NAME_MAX: usize = 15;
/// Bytes of a path that fit into `sun_path`, less a suffix: the socket is made beside its place and then moved.
const SOCKET_PATH_MAX: usize = 100;
/// A longer delay is a slip.
const PREEMPT_DELAY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

type Read<T> = Result<T, String>;

pub(super) fn vrid(value: &Value<'_>) -> Read<Vrid> {
    let id = value.integer("use 1 to 255, the same on all servers")?;
    Vrid::new(id).map_err(|_| "0 is no virtual router; use 1 to 255, the same on all servers".to_owned())
}

pub(super) fn priority(value: &Value<'_>) -> Read<Priority> {
    let number = value.integer("use 1 to 254, the highest where the VIP belongs")?;
    Priority::new(number).map_err(|_| match number {
        Priority::RESIGNED => "0 is what a router says when it resigns; use 1 to 254".to_owned(),
        _ => "255 belongs to the owner of an address, which never gives it away; use 1 to 254".to_owned(),
    })
}

pub(super) fn advert_interval(value: &Value<'_>) -> Read<Centiseconds> {
    let interval = duration(value)?;
    Centiseconds::from_duration(interval).map_err(|_| {
        if (Duration::from_millis(10)..=Centiseconds::MAX.duration()).contains(&interval) {
            "VRRP counts in steps of 10ms; use a multiple of 10ms".to_owned()
        } else {
            "VRRP has room for 10ms to 40.95s, in steps of 10ms; use for example 100ms".to_owned()
        }
    })
}

pub(super) fn preempt_delay(value: &Value<'_>) -> Read<Duration> {
    duration_within(value, Duration::ZERO, PREEMPT_DELAY_MAX, "0s to 24h")
}

pub(super) fn detect_interval(value: &Value<'_>) -> Read<Duration> {
    duration_within(value, Duration::from_millis(1), Duration::from_secs(1), "1ms to 1s")
}

pub(super) fn detect_multiplier(value: &Value<'_>) -> Read<u8> {
    match value.integer("use 2 to 255")? {
        0 => Err("0 probes prove nothing; use 2 to 255".to_owned()),
        1 => Err("one lost packet would be a failover; use 2 to 255".to_owned()),
        multiplier => Ok(multiplier),
    }
}

/// WireGuard itself takes a client for gone after no less (KEEPALIVE_TIMEOUT, and REKEY_TIMEOUT).
pub(super) fn silence(value: &Value<'_>) -> Read<Duration> {
    duration_within(value, Duration::from_secs(15), Duration::from_secs(600), "15s to 10m")
}

pub(super) fn hold_off(value: &Value<'_>) -> Read<Duration> {
    duration_within(value, Duration::from_secs(10), Duration::from_secs(3600), "10s to 1h")
}

pub(super) fn remedy(value: &Value<'_>) -> Read<Remedy> {
    Ok(match value.string("priority")? {
        "ignore" => Remedy::Ignore,
        "priority" => Remedy::Priority,
        "fault" => Remedy::Fault,
        _ => return Err(r#"no such remedy; use "priority", "fault" or "ignore""#.to_owned()),
    })
}

pub(super) fn weight(value: &Value<'_>) -> Read<u8> {
    let right = "use 1 to 253, more than the priorities of the servers differ by";
    match value.integer(right)? {
        0 => Err(format!("0 changes nothing; {right}, or \"ignore\" in place of \"priority\"")),
        254 | 255 => Err(format!("more than there are priorities; {right}")),
        weight => Ok(weight),
    }
}

pub(super) fn listen_port(value: &Value<'_>) -> Read<u16> {
    match value.integer("use 1 to 65535, as in wg1's ListenPort")? {
        0 => Err("0 is a port that WireGuard chooses itself; give it one, 1 to 65535".to_owned()),
        port => Ok(port),
    }
}

pub(super) fn witness(value: &Value<'_>) -> Read<Witness> {
    match value.string("gateway")? {
        "gateway" => Ok(Witness::Gateway),
        "none" => Ok(Witness::None),
        _ => Err(r#"no such witness; use "gateway", or "none" to ask nobody"#.to_owned()),
    }
}

pub(super) fn boolean(value: &Value<'_>) -> Read<bool> {
    value.boolean()
}

pub(super) fn attach(value: &Value<'_>) -> Read<Attach> {
    Ok(match value.string("auto")? {
        "auto" => Attach::Auto,
        "native" => Attach::Native,
        "generic" => Attach::Generic,
        "tc" => Attach::Tc,
        _ => return Err(r#"no such way; use "auto", "native", "generic" or "tc""#.to_owned()),
    })
}

pub(super) fn checksum(value: &Value<'_>) -> Read<Option<ChecksumStyle>> {
    Ok(match value.string("auto")? {
        "auto" => None,
        "rfc9568" => Some(ChecksumStyle::Rfc9568),
        "pseudo-header" => Some(ChecksumStyle::PseudoHeader),
        _ => {
            let right = r#"use "auto", "rfc9568", or "pseudo-header" for keepalived's default"#;
            return Err(format!("no such checksum; {right}"));
        }
    })
}

/// By the rules of the kernel's `dev_valid_name`.
pub(super) fn interface(value: &Value<'_>) -> Read<String> {
    let name = value.string("eno1")?;
    let right = format!("use the name that `ip link` shows, 1 to {INTERFACE_NAME_MAX} bytes");
    let wrong = match name {
        "" => "empty",
        "." | ".." => "no name of an interface",
        _ if name.len() > INTERFACE_NAME_MAX => "too long for an interface",
        _ if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) => {
            "an interface has no slash, colon or space in its name"
        }
        _ => return Ok(name.to_owned()),
    };
    Err(format!("{wrong}; {right}"))
}

pub(super) fn peer(value: &Value<'_>) -> Read<IpAddr> {
    let right = "use the other server's own address, as in 2001:db8:1::4 or 192.0.2.4";
    let address: IpAddr =
        value.string("2001:db8:1::4")?.parse().map_err(|_| format!("not an IP address; {right}"))?;
    match not_a_host(&address) {
        Some(what) => Err(format!("{what}; {right}")),
        None => Ok(address),
    }
}

pub(super) fn folder(value: &Value<'_>) -> Read<PathBuf> {
    absolute(value.string(super::DEFAULT_BPFFS)?)
}

pub(super) fn socket(value: &Value<'_>) -> Read<PathBuf> {
    let path = value.string(super::DEFAULT_SOCKET)?;
    if path.len() > SOCKET_PATH_MAX {
        return Err(format!("too long for a socket; use at most {SOCKET_PATH_MAX} bytes"));
    }
    if matches!(path.rsplit('/').next(), Some("" | "." | "..")) && path.contains('/') {
        return Err("a folder; use the path of a file that wgha may create".to_owned());
    }
    absolute(path)
}

/// Why an address is not one that a host answers on, if so.
pub(super) fn not_a_host(address: &IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("the unspecified address");
    }
    if address.is_loopback() {
        return Some("a loopback address, which no other machine reaches");
    }
    if address.is_multicast() {
        return Some("a multicast address, not one host's");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address, not one host's"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => Some("a reserved address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address written as IPv6"),
        _ => None,
    }
}

fn absolute(path: &str) -> Read<PathBuf> {
    match path {
        _ if path.contains('\0') => Err("no path has a zero byte in it; leave it out".to_owned()),
        _ if path.starts_with('/') => Ok(PathBuf::from(path)),
        "" => Err("empty; use an absolute path".to_owned()),
        _ => Err("relative, and the daemon has no folder of its own; use an absolute path".to_owned()),
    }
}

fn duration_within(value: &Value<'_>, least: Duration, most: Duration, range: &str) -> Read<Duration> {
    let duration = duration(value)?;
    let right = (least..=most).contains(&duration);
    if right { Ok(duration) } else { Err(format!("out of range; use {range}")) }
}

fn duration(value: &Value<'_>) -> Read<Duration> {
    if value.value.is_integer() || value.value.is_float() {
        return Err("a number without a unit; use a string with one, as in \"100ms\" or \"1s\"".to_owned());
    }
    let wrong = "not a duration; use a number with a unit, as in \"100ms\" or \"1s\"";
    humantime::parse_duration(value.string("100ms")?).map_err(|_| wrong.to_owned())
}
