//! What aya does not do with a pinned link: taking it off its interface at once, and seeing where it is. Without being told the kernel does it some time after the last
//! reference has gone, and until then another mode of XDP is refused.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use wgha_common::IfIndex;

/// linux/bpf.h, `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;

/// What `union bpf_attr` is for BPF_OBJ_GET.
#[repr(C)]
struct ObjectGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// And for BPF_LINK_DETACH.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// And for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info`, as far as XDP's and TCX's begin alike.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 15],
}

/// Detaches the link that is pinned there. The pin stays.
///
/// # Errors
/// The kernel's: there is no link, or it is older than Linux 5.9.
pub(super) fn detach(pin: &Path) -> io::Result<()> {
    let link = open(pin)?;
    let link_fd = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_LINK_DETACH, &mut LinkDetach { link_fd }).map(drop)
}

/// The interface that the link pinned there is attached to; none when somebody has detached it, or the interface is gone.
///
/// # Errors
/// The kernel's: there is no link.
pub(super) fn interface_of(pin: &Path) -> io::Result<Option<IfIndex>> {
    let link = open(pin)?;
    let mut found = LinkInfo::default();
    let mut request = GetInfo {
        bpf_fd: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?,
        info_len: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: (&raw mut found) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request)?;
    Ok(Some(IfIndex(found.ifindex)).filter(|index| index.0 != 0))
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = bpf(BPF_OBJ_GET, &mut ObjectGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 })?;
    #[expect(unsafe_code, reason = "aya does not give away the descriptors of links")]
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    #[expect(unsafe_code, reason = "aya does not detach links")]
    // SAFETY: the kernel reads no more of the attributes than their size says, and what they point to outlives the call;
    // it writes to nothing but `info_len`, which nobody reads again, and what `info` points to, for no more than that.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(rc).map_err(io::Error::other) }
}
