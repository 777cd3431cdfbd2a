//! Taking a pinned link off its interface at once. Without being told the kernel does it some time after the last
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

/// linux/bpf.h, `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_int = 7;
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

/// Detaches the link that is pinned there. The pin stays.
///
/// # Errors
/// The kernel's: there is no link, or it is older than Linux 5.9.
pub(super) fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = bpf(BPF_OBJ_GET, &ObjectGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 })?;
    #[expect(unsafe_code, reason = "aya does not give away the descriptors of links")]
    // SAFETY: the descriptor is new and nobody else's.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let link_fd = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_LINK_DETACH, &LinkDetach { link_fd }).map(drop)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    #[expect(unsafe_code, reason = "aya does not detach links")]
    // SAFETY: the kernel reads no more of the attributes than their size says, writes nothing for these commands, and
    // what they point to outlives the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(rc).map_err(io::Error::other) }
}
