//! The maps that outlive the daemon: pinned in a folder that names the contract's version, the network namespace and
//! the uplink.
//!
//! The version is in the folder's name, not in a map: a daemon of another version finds no folder of its own, and there is
//! no moment at which half of it is written. That the maps in it are of the right shape is compared as well.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, MapInfo, MapType},
};
use wgha_common::{
    Address,
    abi::{ABI_VERSION, Lease, PINNED, Revoked},
};

use super::load::BpfError;
use crate::config::VirtualAddress;

/// What the names of the folders begin with.
const FOLDER: &str = "maps";

/// What tells this network namespace from others: several may share one bpffs.
pub(super) fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/net").map_or(0, |ns| ns.ino())
}

/// The pins of one uplink's maps. Those of a daemon that ends go with it; those of one that is killed stay.
#[derive(Debug)]
pub(super) struct Pins {
    bpffs: PathBuf,
    uplink: String,
    stay: bool,
}

impl Pins {
    /// Those that there are stay, for now.
    pub(super) fn new(bpffs: &Path, uplink: &str) -> Self {
        Self { bpffs: bpffs.to_owned(), uplink: on_bpffs(uplink), stay: true }
    }

    /// The pin of one map.
    pub(super) fn path(&self, map: &str) -> PathBuf {
        self.folder().join(map)
    }

    fn folder(&self) -> PathBuf {
        self.bpffs.join(format!("{FOLDER}{ABI_VERSION}_{}_{}", namespace(), self.uplink))
    }

    /// Whether every map that is to be pinned is there, in the shape that it has in `fresh`.
    pub(super) fn fit(&self, fresh: &Ebpf) -> bool {
        let fits = |name: &&str| {
            let shape = fresh.map(name).and_then(data).and_then(|map| Some(Shape::of(&map.info().ok()?)));
            let pinned = MapInfo::from_pin(self.path(name)).ok().map(|info| Shape::of(&info));
            shape.is_some() && shape == pinned
        };
        self.folder().is_dir() && PINNED.iter().all(fits)
    }

    /// Pins the maps of `fresh`, in place of whatever an earlier daemon has pinned for this uplink.
    ///
    /// # Errors
    /// [`BpfError::Pin`], [`BpfError::CannotPin`], [`BpfError::Missing`].
    pub(super) fn replace(&self, fresh: &Ebpf) -> Result<(), BpfError> {
        self.remove_all_versions()?;
        let folder = self.folder();
        fs::create_dir(&folder).map_err(|source| BpfError::Pin { path: folder, source })?;
        for name in PINNED {
            let map = fresh.map(name).and_then(data).ok_or(BpfError::Missing(name))?;
            let path = self.path(name);
            map.pin(&path).map_err(|source| BpfError::CannotPin { path, source })?;
        }
        Ok(())
    }

    /// What a map of one record holds.
    fn record<T: Pod>(&self, map: &str) -> Option<T> {
        let map = Map::from_map_data(MapData::from_pin(self.path(map)).ok()?).ok()?;
        Array::<_, T>::try_from(map).ok()?.get(&0, 0).ok()
    }

    /// Whether they stay when this is dropped.
    pub(super) const fn set_stay(&mut self, stay: bool) {
        self.stay = stay;
    }

    fn remove_all_versions(&self) -> Result<(), BpfError> {
        let ours = format!("{}_{}", namespace(), self.uplink);
        remove(&self.bpffs, |of| of == ours)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.stay || std::thread::panicking() {
            return;
        }
        if let Err(e) = self.remove_all_versions() {
            tracing::warn!("still pinned: {e:#}");
        }
    }
}

/// The lease in the maps that are pinned for this uplink, and the newest epoch that is over; none: there are no such maps.
#[must_use]
pub fn lease(bpffs: &Path, uplink: &str) -> Option<(Lease, u64)> {
    let pins = Pins::new(bpffs, uplink);
    Some((pins.record::<Lease>("LEASE")?, pins.record::<Revoked>("REVOKED")?.epoch))
}

/// The VIPs in the maps that are pinned for this uplink; none where there are no such maps.
#[must_use]
pub fn vips(bpffs: &Path, uplink: &str) -> Vec<VirtualAddress> {
    let pin = Pins::new(bpffs, uplink).path("VIPS");
    let map = MapData::from_pin(pin).and_then(Map::from_map_data);
    let Ok(Ok(vips)) = map.map(HashMap::<_, Address, u8>::try_from) else { return Vec::new() };
    let vip = |(address, prefix_len): (Address, u8)| VirtualAddress { address: address.into(), prefix_len };
    vips.iter().filter_map(Result::ok).map(vip).collect()
}

/// Whether maps are pinned for this uplink.
#[must_use]
pub fn are_there(bpffs: &Path, uplink: &str) -> bool {
    Pins::new(bpffs, uplink).folder().is_dir()
}

/// Removes the pins of the maps of those uplinks of this network namespace that are wanted.
///
/// # Errors
/// [`BpfError::Pin`].
pub fn remove_maps(bpffs: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), BpfError> {
    let here = format!("{}_", namespace());
    remove(bpffs, |of| of.strip_prefix(&here).is_some_and(|uplink| wanted(&interface(uplink))))
}

/// Removes the folders of any version whose `NAMESPACE_UPLINK` is as wanted.
fn remove(bpffs: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), BpfError> {
    let Ok(entries) = fs::read_dir(bpffs) else { return Ok(()) };
    for folder in entries.filter_map(Result::ok).map(|e| e.path()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if uplink_of(&name).is_some_and(&wanted) {
            remove_folder(&folder).map_err(|source| BpfError::Pin { path: folder, source })?;
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    for pin in fs::read_dir(folder)? {
        fs::remove_file(pin?.path())?;
    }
    fs::remove_dir(folder)
}

/// The `NAMESPACE_UPLINK` of a folder of maps.
fn uplink_of(folder: &str) -> Option<&str> {
    let (version, of) = folder.strip_prefix(FOLDER)?.split_once('_')?;
    (!version.is_empty() && version.bytes().all(|b| b.is_ascii_digit())).then_some(of)
}

/// A bpffs takes no dots in names.
pub(super) fn on_bpffs(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

/// The interface whose name was made fit for a bpffs.
pub(super) fn interface(on_bpffs: &str) -> String {
    on_bpffs.replace("%2e", ".").replace("%25", "%")
}

/// What must be alike.
#[derive(PartialEq)]
struct Shape {
    kind: Option<MapType>,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

impl Shape {
    fn of(map: &MapInfo) -> Self {
        Self {
            kind: map.map_type().ok(),
            key: map.key_size(),
            value: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }
}

/// Of the kinds of map that are pinned.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::PerCpuArray(data) => Some(data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_by_their_names() {
        assert_eq!(uplink_of("maps4_4026531840_eno1"), Some("4026531840_eno1"));
        assert_eq!(uplink_of("maps12_1_a_b"), Some("1_a_b"));
        for other in ["maps_1_eno1", "mapsx_1_eno1", "link_1_wgha_egress_2", "maps4", ""] {
            assert_eq!(uplink_of(other), None, "{other}");
        }
    }

    #[test]
    fn no_name_of_an_interface_is_refused_or_mistaken_for_another() {
        assert_eq!(on_bpffs("eno1"), "eno1");
        assert_eq!(on_bpffs("eth0.100"), "eth0%2e100");
        assert_eq!(on_bpffs("eth0%2e100"), "eth0%252e100");
    }
}
