//! Where the socket is in the file system, and who may open it.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Who may ask: the owner, and this group if there is one.
const GROUP: &str = "wgha";
const MODE: u32 = 0o660;

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another daemon uses it.
    #[error("{}: another daemon answers here; stop it first", .0.display())]
    InUse(PathBuf),
    /// There is something that wgha did not make.
    #[error("{}: not a socket; move it away, or set another [paths] socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("{}: the control socket cannot be made", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A bound socket's file. Removed when dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    inode: u64,
}

impl Place {
    /// Binds a listener at `path`. It appears there with its owner and mode set, or not at all; a socket that
    /// nobody answers on is replaced.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), BindError> {
        check_free(path)?;
        let io = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        remove_if_there(&beside).map_err(io)?;
        let listener = UnixListener::bind(&beside).map_err(io)?;
        let moved = give_to_group(&beside).and_then(|()| {
            fs::rename(&beside, path)?;
            Ok(Self { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() })
        });
        if moved.is_err() {
            let _ = fs::remove_file(&beside);
        }
        Ok((moved.map_err(io)?, listener))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode);
        if ours && let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!("{}: left behind: {e}", self.path.display());
        }
    }
}

fn check_free(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
        Ok(there) if !there.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(e) => Err(io(e)),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn give_to_group(path: &Path) -> io::Result<()> {
    if let Some(gid) = fs::read_to_string("/etc/group").ok().and_then(|groups| gid_of(GROUP, &groups))
        && let Err(e) = chown(path, None, Some(gid))
    {
        tracing::warn!("the control socket is for its owner only, not for group {GROUP}: {e}");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
}

/// The number of a group in the text of `/etc/group` (`name:password:gid:members`).
fn gid_of(name: &str, groups: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':'));
    let mut fields = lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nwgha-admin:x:7:\nbroken\nwgha:x:990:alice,bob\n";
        assert_eq!(gid_of("wgha", groups), Some(990));
        assert_eq!(gid_of("root", groups), Some(0));
        assert_eq!(gid_of("nobody", groups), None);
        assert_eq!(gid_of("broken", groups), None);
    }
}
