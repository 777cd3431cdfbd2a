//! Whether the closed fence stays when a daemon ends, as `wgha fence` wants it: an empty folder beside the pins.
//!
//! Not in the configuration: it goes with the bpffs, as the pins do, and with `wgha detach`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    attach,
    load::BpfError,
    pins::{interface, namespace, on_bpffs},
};

/// What the names of the folders begin with.
fn prefix() -> String {
    format!("fence_{}_", namespace())
}

fn path(bpffs: &Path, uplink: &str) -> PathBuf {
    bpffs.join(prefix() + &on_bpffs(uplink))
}

/// From now on the fence of this uplink stays. The folder for pins is made, if it is not there.
///
/// # Errors
/// [`BpfError::Pin`]: it cannot be made, or is not on a bpffs.
pub fn put(bpffs: &Path, uplink: &str) -> Result<(), BpfError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BpfError::Pin { path, source }
    };
    attach::prepare(bpffs).map_err(failed(bpffs))?;
    let mark = path(bpffs, uplink);
    match fs::create_dir(&mark) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed(&mark)(e)),
        _ => Ok(()),
    }
}

/// Whether the fence of this uplink is to stay.
#[must_use]
pub fn is_there(bpffs: &Path, uplink: &str) -> bool {
    path(bpffs, uplink).is_dir()
}

/// Removes the marks of those uplinks of this network namespace that are wanted.
///
/// # Errors
/// [`BpfError::Pin`].
pub fn remove(bpffs: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), BpfError> {
    let prefix = prefix();
    for mark in fs::read_dir(bpffs).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()) {
        let name = mark.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_prefix(&prefix).is_some_and(|uplink| wanted(&interface(uplink))) {
            fs::remove_dir(&mark).map_err(|source| BpfError::Pin { path: mark, source })?;
        }
    }
    Ok(())
}
