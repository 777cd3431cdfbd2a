//! The modules of a kernel that the tests may ask for, unpacked: under emulation that takes seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::run;

/// Folders and modules, as modules.dep names them. What they need comes with them.
const WANTED: &[&str] = &[
    "kernel/drivers/net/dummy.ko",
    "kernel/drivers/net/macvlan.ko",
    "kernel/drivers/net/tun.ko",
    "kernel/drivers/net/veth.ko",
    "kernel/drivers/net/virtio_net.ko",
    "kernel/drivers/net/wireguard/",
    "kernel/drivers/virtio/virtio_pci.ko",
    "kernel/net/8021q/",
    "kernel/net/bridge/bridge.ko",
    "kernel/net/ipv4/netfilter/nf_",
    "kernel/net/ipv6/netfilter/nf_",
    "kernel/net/netfilter/nf_",
    "kernel/net/netfilter/nft_",
    "kernel/net/sched/",
];

/// Where the chosen ones are.
pub fn chosen(root: &Path, release: &str) -> PathBuf {
    below(&root.join("chosen"), release)
}

fn below(root: &Path, release: &str) -> PathBuf {
    root.join("lib/modules").join(release)
}

/// Puts those that are wanted of the kernel unpacked at `root` where [`chosen`] says, unless they are there already.
///
/// # Errors
/// The system's, or a program's.
pub fn choose(root: &Path, release: &str) -> Result<()> {
    let (note, list) = (root.join("chosen/list"), WANTED.join("\n"));
    if fs::read_to_string(&note).is_ok_and(|noted| noted == list) {
        return Ok(());
    }
    depmod(root, release)?;
    let (all, to) = (below(root, release), chosen(root, release));
    let list = fs::read_to_string(all.join("modules.dep")).context("modules.dep")?;
    for name in wanted(&list) {
        copy(&all.join(name), &to.join(name))?;
    }
    for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(all.join(list), to.join(list)).with_context(|| list.to_owned())?;
    }
    depmod(&root.join("chosen"), release)?;
    fs::write(note, list).context("what was chosen")
}

fn depmod(root: &Path, release: &str) -> Result<()> {
    run::shown(Command::new("depmod").arg("--basedir").arg(root).arg(release))
}

/// The wanted ones and what they need, from the lines `module: what it needs, and what that needs`.
fn wanted(list: &str) -> BTreeSet<&str> {
    let lines = list.lines().filter_map(|line| line.split_once(':')).collect::<BTreeMap<_, _>>();
    let is_wanted = |name: &str| WANTED.iter().any(|start| name.starts_with(start));
    let chosen = lines.iter().filter(|(name, _)| is_wanted(name));
    chosen.flat_map(|(name, needs)| needs.split_whitespace().chain([*name])).collect()
}

/// Copies one, unpacked.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    let context = || from.display().to_string();
    if from.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("-dc").arg(from).output().with_context(context)?;
        return fs::write(to.with_extension(""), output.stdout).with_context(context);
    }
    fs::copy(from, to).map(drop).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_with_it() {
        let list = "kernel/net/sched/cls_bpf.ko.xz:\n\
                    kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/lib/a.ko.xz kernel/lib/b.ko.xz\n\
                    kernel/drivers/net/bonding/bonding.ko.xz: kernel/net/tls.ko.xz\n";
        let names = wanted(list).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "kernel/drivers/net/wireguard/wireguard.ko.xz",
                "kernel/lib/a.ko.xz",
                "kernel/lib/b.ko.xz",
                "kernel/net/sched/cls_bpf.ko.xz"
            ]
        );
    }
}
