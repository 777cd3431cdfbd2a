//! `[vrrp] virtual_addresses`: each by itself, and together.

use std::net::IpAddr;

use wgha_common::{Family, abi::MAX_VIPS, wire::vrrp};

use super::{
    VirtualAddress,
    document::{Located, Section, Value, shown},
    read::not_a_host,
};

const WANTED: &str = "the addresses that move, with their prefix, as in [\"2001:db8:1::2/64\"]";

/// All of them, of one family, none twice, no more than fit.
pub(super) fn virtual_addresses(section: &Section<'_>) -> Option<(Family, Vec<Located<VirtualAddress>>)> {
    let list = section.required("virtual_addresses", WANTED, Value::list)?;
    let addresses = section.each(&list, virtual_address)?;
    let Some(first) = addresses.first() else {
        section.tell(list.problem(format!("empty; list {WANTED}")));
        return None;
    };
    let family = first.value.family();
    let limit = vrrp::max_addresses(family).min(MAX_VIPS as usize);
    let mut problems = Vec::new();
    if addresses.len() > limit {
        let wrong = format!("{} addresses; wgha moves at most {limit} {family} addresses", addresses.len());
        problems.push(list.problem(wrong));
    }
    for (i, address) in addresses.iter().enumerate() {
        problems.extend(conflict(address, family, &addresses[..i]).map(|wrong| address.problem(wrong)));
    }
    let right = problems.is_empty();
    problems.into_iter().for_each(|problem| section.tell(problem));
    right.then_some((family, addresses))
}

fn conflict(
    this: &Located<VirtualAddress>,
    family: Family,
    before: &[Located<VirtualAddress>],
) -> Option<String> {
    if this.value.family() != family {
        return Some(format!(
            "{} among {family} addresses; wgha does not mix both in one virtual router yet, list one family only",
            this.value.family()
        ));
    }
    let twin = before.iter().find(|other| other.value.address == this.value.address)?;
    Some(format!("listed twice, first on line {}; leave one out", twin.line()))
}

fn virtual_address(value: &Value<'_>) -> Result<VirtualAddress, String> {
    let written = value.string("2001:db8:1::2/64")?;
    if written.contains(',') {
        return Err("several in one string; put each in double quotes of its own".to_owned());
    }
    let Some((address, prefix)) = written.split_once('/') else {
        let right = "add the prefix of the uplink's subnet, as in 2001:db8:1::2/64 or 192.0.2.2/24";
        let known = written.parse::<IpAddr>().is_ok();
        return Err(format!(
            "{}; {right}",
            if known { "no prefix" } else { "not an IP address with a prefix" }
        ));
    };
    let right = "use one as in 2001:db8:1::2/64 or 192.0.2.2/24";
    let address: IpAddr = address.parse().map_err(|_| format!("not an IP address; {right}"))?;
    if let Some(what) = not_a_host(&address) {
        return Err(format!("{what}; use a unicast address of the uplink's subnet"));
    }
    let family = family_of(&address);
    let prefix_len = prefix_len(prefix, family)?;
    let virtual_address = VirtualAddress { address, prefix_len };
    match not_of_a_host_in(&virtual_address) {
        Some(what) => Err(format!("{what} of its own subnet; use an address between them")),
        None => Ok(virtual_address),
    }
}

fn prefix_len(prefix: &str, family: Family) -> Result<u8, String> {
    let bits = prefix.bytes().all(|b| b.is_ascii_digit()).then(|| prefix.parse::<u8>().ok()).flatten();
    bits.filter(|bits| (1..=family.max_prefix_len()).contains(bits)).ok_or_else(|| {
        format!(
            "/{} is no {family} prefix; use /1 to /{}, that of the uplink's subnet",
            shown(prefix),
            family.max_prefix_len()
        )
    })
}

/// Whether it is the first or the last address of its subnet, which no host may have (RFC 4291 §2.6.1: the routers'
/// anycast address; RFC 1122 §3.2.1.3: the subnet and its broadcast address). Subnets of one or two addresses have
/// neither (RFC 6164, RFC 3021).
fn not_of_a_host_in(vip: &VirtualAddress) -> Option<&'static str> {
    let host_bits = u32::from(vip.family().max_prefix_len() - vip.prefix_len);
    let bits = match vip.address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mask = 1_u128.checked_shl(host_bits).map_or(u128::MAX, |subnet| subnet - 1);
    match (bits & mask, vip.family()) {
        _ if host_bits < 2 => None,
        (0, Family::V6) => Some("the routers' anycast address"),
        (0, Family::V4) => Some("the name"),
        (host, Family::V4) if host == mask => Some("the broadcast address"),
        _ => None,
    }
}

impl VirtualAddress {
    /// Which IP version it is of.
    #[must_use]
    pub fn family(&self) -> Family {
        family_of(&self.address)
    }
}

/// Which IP version an address is of.
pub(super) fn family_of(address: &IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}
