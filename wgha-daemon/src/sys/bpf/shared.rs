//! Array maps in our own memory: read and written without a call of the system (`BPF_F_MMAPABLE`).

use std::{
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

use aya::{
    Ebpf, Pod,
    maps::{Map, MapData, MapError},
};
use nix::{
    libc::c_void,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};

use super::load::BpfError;

/// The elements of one array map, word by word: the kernel half may be reading or writing them.
pub(super) struct Shared<T> {
    name: &'static str,
    memory: NonNull<c_void>,
    bytes: NonZeroUsize,
    elements: usize,
    /// The programs that are yet to be loaded name the map by its descriptor.
    _map: Map,
    of: PhantomData<T>,
}

#[expect(unsafe_code, reason = "a pointer is no promise by itself")]
// SAFETY: the memory belongs to the process, not to a thread, and is only accessed by atomic operations.
unsafe impl<T> Send for Shared<T> {}

impl<T: Pod> Shared<T> {
    /// For reading, and with `writable` for writing.
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str, writable: bool) -> Result<Self, BpfError> {
        let map = ebpf.take_map(name).ok_or(BpfError::Missing(name))?;
        let Map::Array(data) = &map else { return Err(BpfError::Missing(name)) };
        let (memory, bytes, elements) = Self::mapped(data, writable).map_err(|e| BpfError::Map(name, e))?;
        Ok(Self { name, memory, bytes, elements, _map: map, of: PhantomData })
    }

    fn mapped(data: &MapData, writable: bool) -> Result<(NonNull<c_void>, NonZeroUsize, usize), MapError> {
        const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>())) } // or the elements would lie further apart
        let elements = data.info()?.max_entries() as usize;
        let bytes = NonZeroUsize::new(elements * size_of::<T>()).ok_or(MapError::KeyNotFound)?;
        let access =
            if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        #[expect(unsafe_code, reason = "a mapping is made of raw parts")]
        // SAFETY: a new mapping, of memory that is the map's; its length is rounded up to whole pages by both sides.
        let memory = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) };
        Ok((memory.map_err(|e| MapError::IoError(e.into()))?, bytes, elements))
    }

    /// The eight bytes at `offset` of element `index`.
    pub(super) fn word(&self, index: u32, offset: usize) -> Result<&AtomicU64, BpfError> {
        let at = self.place(index, offset, size_of::<u64>())?;
        #[expect(unsafe_code, reason = "the kernel's memory has no type of its own")]
        // SAFETY: inside the mapping, which lives as long as self, aligned, and any bytes are a value. The kernel half
        // accesses it meanwhile, in whole words.
        Ok(unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) })
    }

    /// The four bytes at `offset` of element `index`.
    pub(super) fn half(&self, index: u32, offset: usize) -> Result<&AtomicU32, BpfError> {
        let at = self.place(index, offset, size_of::<u32>())?;
        #[expect(unsafe_code, reason = "the kernel's memory has no type of its own")]
        // SAFETY: as above.
        Ok(unsafe { AtomicU32::from_ptr(at.as_ptr().cast()) })
    }

    fn place(&self, index: u32, offset: usize, len: usize) -> Result<NonNull<u8>, BpfError> {
        let index = index as usize;
        if index >= self.elements || !offset.is_multiple_of(len) || offset + len > size_of::<T>() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let max_entries = u32::try_from(self.elements).unwrap_or(u32::MAX);
            return Err(BpfError::Map(self.name, MapError::OutOfBounds { index, max_entries }));
        }
        #[expect(unsafe_code, reason = "the kernel's memory has no type of its own")]
        // SAFETY: inside the mapping, by the check above.
        Ok(unsafe { self.memory.cast::<u8>().add(index * size_of::<T>() + offset) })
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "a mapping is made of raw parts")]
        // SAFETY: it was mapped with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.memory, self.bytes.get()) };
    }
}
