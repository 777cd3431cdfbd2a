//! The one pass from the file to a [`Config`], which finds everything that is wrong with it.

use std::{net::IpAddr, path::Path, time::Duration};

use wgha_common::abi::MAX_PEERS;

use super::{
    Attach, Config, DEFAULT_ADVERT_INTERVAL, Detect, Paths, Uplink, Vrrp, Witness,
    document::{Document, Located, Names, Section},
    problem::Problem,
    read,
    virtual_addresses::{family_of, virtual_addresses},
};
use crate::proto::HealthRules;

const SECTIONS: Names = &["uplink", "wireguard", "vrrp", "peer", "detect", "health", "paths"];
const UPLINK_KEYS: Names = &["interface", "attach"];
const WIREGUARD_KEYS: Names = &["interface", "listen_port"];
const VRRP_KEYS: Names = &[
    "id",
    "priority",
    "advert_interval",
    "preempt",
    "preempt_delay",
    "checksum",
    "authentication",
    "virtual_addresses",
];
const PEER_KEYS: Names = &["address"];
const DETECT_KEYS: Names = &["interval", "multiplier", "witness"];
const HEALTH_KEYS: Names = &["wireguard_stuck", "path_broken", "weight", "silence", "hold_off"];
const PATHS_KEYS: Names = &["bpffs", "socket"];

/// Turns the text of `file` into a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn validate(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let document = Document::parse(text, SECTIONS)?;
    let uplink = uplink(&document);
    let wireguard = wireguard(&document, uplink.as_ref());
    let vrrp = vrrp(&document);
    let peers = peers(&document, vrrp.as_ref());
    let (detect, witness) = detect(&document);
    let health = health(&document);
    let paths = paths(&document);
    let liveness = detect.zip(witness).zip(health);
    let config = assemble(file, uplink, wireguard, vrrp, peers, liveness, paths);
    match (document.into_problems(), config) {
        (problems, Some(config)) if problems.is_empty() => Ok(config),
        (problems, _) => Err(problems),
    }
}

fn assemble(
    file: &Path,
    uplink: Option<Uplink>,
    wireguard: Option<(String, Option<u16>)>,
    vrrp: Option<Vrrp>,
    peers: Option<Vec<IpAddr>>,
    liveness: Option<((Option<Detect>, Witness), HealthRules)>,
    paths: Option<Paths>,
) -> Option<Config> {
    let ((detect, witness), health) = liveness?;
    let (wireguard, listen_port) = wireguard?;
    Some(Config {
        file: file.to_owned(),
        uplink: uplink?,
        wireguard,
        listen_port,
        vrrp: vrrp?,
        peers: peers?,
        detect,
        witness,
        health,
        paths: paths?,
    })
}

fn uplink(document: &Document<'_>) -> Option<Uplink> {
    let wanted = "it must name the interface that the VIP is on, as in interface = \"eno1\"";
    let section = document.section("uplink", UPLINK_KEYS, Some(wanted));
    let interface =
        section.required("interface", "the interface that the VIP is on, as in \"eno1\"", read::interface);
    let attach = section.optional("attach", Attach::Auto, read::attach);
    Some(Uplink { interface: interface?.value, attach: attach? })
}

fn wireguard(document: &Document<'_>, uplink: Option<&Uplink>) -> Option<(String, Option<u16>)> {
    let wanted = "it must name the WireGuard interface, as in interface = \"wg1\"";
    let section = document.section("wireguard", WIREGUARD_KEYS, Some(wanted));
    let interface = section.required("interface", "the WireGuard interface, as in \"wg1\"", read::interface);
    let listen_port = section.optional("listen_port", None, |value| read::listen_port(value).map(Some));
    let interface = interface?;
    if uplink.is_some_and(|uplink| uplink.interface == interface.value) {
        section.tell(interface.problem("the uplink itself; use the WireGuard interface, as in \"wg1\""));
        return None;
    }
    Some((interface.value, listen_port?))
}

fn vrrp(document: &Document<'_>) -> Option<Vrrp> {
    let wanted = "it must hold id, priority and virtual_addresses";
    let section = document.section("vrrp", VRRP_KEYS, Some(wanted));
    let id =
        section.required("id", "the virtual router's number, 1 to 255, the same on all servers", read::vrid);
    let priority =
        section.required("priority", "1 to 254, the highest where the VIP belongs", read::priority);
    let advert_interval = section.optional("advert_interval", DEFAULT_ADVERT_INTERVAL, read::advert_interval);
    let preempt = section.optional("preempt", true, read::boolean);
    let preempt_delay = section.optional("preempt_delay", Duration::ZERO, read::preempt_delay);
    let checksum = section.optional("checksum", None, read::checksum);
    let authentication = authentication(document, &section);
    let addresses = virtual_addresses(&section);
    let (family, virtual_addresses) = addresses?;
    Some(Vrrp {
        id: id?.value,
        priority: priority?.value,
        advert_interval: advert_interval?,
        preempt: preempt?,
        preempt_delay: preempt_delay?,
        checksum: checksum?,
        authentication: authentication?,
        virtual_addresses: virtual_addresses.into_iter().map(|located| located.value).collect(),
        family,
    })
}

/// It goes by what peers prove: without one, nobody could ever take a role.
fn authentication(document: &Document<'_>, section: &Section<'_>) -> Option<bool> {
    let Some(written) = section.optional_at("authentication", read::boolean)? else { return Some(false) };
    if written.value && !document.has("peer") {
        let wrong =
            "there is nobody who could prove a claim; name the other server in a [[peer]], or leave it out";
        section.tell(written.problem(wrong));
        return None;
    }
    Some(written.value)
}

fn peers(document: &Document<'_>, vrrp: Option<&Vrrp>) -> Option<Vec<IpAddr>> {
    let mut peers: Vec<Located<IpAddr>> = Vec::new();
    let mut right = true;
    for section in document.sections("peer", PEER_KEYS) {
        let wanted = "the other server's own address, as in \"2001:db8:1::4\"";
        let Some(peer) = section.required("address", wanted, read::peer) else {
            right = false;
            continue;
        };
        if let Some(wrong) = conflict(&peer, &peers, vrrp) {
            section.tell(peer.problem(wrong));
            right = false;
        }
        peers.push(peer);
    }
    right.then(|| peers.into_iter().map(|located| located.value).collect())
}

fn conflict(this: &Located<IpAddr>, before: &[Located<IpAddr>], vrrp: Option<&Vrrp>) -> Option<String> {
    if let Some(twin) = before.iter().find(|other| other.value == this.value) {
        return Some(format!("listed twice, first on line {}; leave one out", twin.line()));
    }
    let vrrp = vrrp?;
    if vrrp.virtual_addresses.iter().any(|vip| vip.address == this.value) {
        return Some("a virtual address, which moves; use the other server's own address".to_owned());
    }
    if matches!(this.value, IpAddr::V6(address) if address.is_unicast_link_local()) {
        return Some("link-local; use the other server's global address on this segment".to_owned());
    }
    if before.len() >= MAX_PEERS as usize {
        return Some(format!("one too many; wgha probes up to {MAX_PEERS} other servers"));
    }
    let (family, wanted) = (family_of(&this.value), vrrp.family);
    (family != wanted).then(|| {
        format!("{family}, but virtual_addresses are {wanted}; use the other server's {wanted} address")
    })
}

fn detect(document: &Document<'_>) -> (Option<Option<Detect>>, Option<Witness>) {
    let section = document.section("detect", DETECT_KEYS, None);
    (probes(&section), section.optional("witness", Witness::Gateway, read::witness))
}

/// The inner `None`: nothing is said, and the default depends on what the daemon is allowed.
fn probes(section: &Section<'_>) -> Option<Option<Detect>> {
    let interval = section.optional("interval", None, |value| read::detect_interval(value).map(Some));
    let multiplier = section.optional("multiplier", None, |value| read::detect_multiplier(value).map(Some));
    let (interval, multiplier) = (interval?, multiplier?);
    let default = Detect::REAL_TIME;
    let said = interval.is_some() || multiplier.is_some();
    Some(said.then(|| Detect {
        interval: interval.unwrap_or(default.interval),
        multiplier: multiplier.unwrap_or(default.multiplier),
    }))
}

fn health(document: &Document<'_>) -> Option<HealthRules> {
    let section = document.section("health", HEALTH_KEYS, None);
    let default = HealthRules::default();
    let wireguard_stuck = section.optional("wireguard_stuck", default.wireguard_stuck, read::remedy);
    let path_broken = section.optional("path_broken", default.path_broken, read::remedy);
    let weight = section.optional("weight", default.weight, read::weight);
    let silence = section.optional("silence", default.silence, read::silence);
    let hold_off = section.optional("hold_off", default.hold_off, read::hold_off);
    Some(HealthRules {
        wireguard_stuck: wireguard_stuck?,
        path_broken: path_broken?,
        weight: weight?,
        silence: silence?,
        hold_off: hold_off?,
    })
}

fn paths(document: &Document<'_>) -> Option<Paths> {
    let section = document.section("paths", PATHS_KEYS, None);
    let default = Paths::default();
    let bpffs = section.optional("bpffs", default.bpffs, read::folder);
    let socket = section.optional("socket", default.socket, read::socket);
    Some(Paths { bpffs: bpffs?, socket: socket? })
}
