//! Memory shared with the hypervisor or another domain: copied in and out, never borrowed.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A range of memory somebody else may read or write at any time.
///
/// Offsets are in bytes from the start. Every access outside `len()` panics: offsets are the caller's own
/// arithmetic and must be checked before if they derive from what a guest wrote.
pub trait SharedMem: Send + Sync {
    /// Address by which the hypervisor knows the memory (the virtual address, for real ones).
    fn addr(&self) -> u64;
    /// Bytes.
    fn len(&self) -> usize;
    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies out.
    fn read(&self, offset: usize, out: &mut [u8]);
    /// Copies in. Panics if the mapping is read-only.
    fn write(&self, offset: usize, data: &[u8]);
    /// Copies `len` bytes of a file in, from `position` on. Panics if the mapping is read-only. Errors: those of pread(2), and
    /// `UnexpectedEof` where the file ends before.
    fn read_from(&self, offset: usize, len: usize, file: &File, position: u64) -> io::Result<()> {
        let mut data = vec![0; len];
        file.read_exact_at(&mut data, position)?;
        self.write(offset, &data);
        Ok(())
    }
    /// Loads an aligned `u32` in one access; later accesses are not moved before it.
    fn load_u32(&self, offset: usize) -> u32;
    /// Stores an aligned `u32` in one access; earlier accesses are not moved after it.
    fn store_u32(&self, offset: usize, value: u32);
}

/// Typed copies, for every [`SharedMem`].
pub trait SharedMemExt: SharedMem {
    /// Copies a value out.
    fn read_obj<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut v = T::new_zeroed();
        self.read(offset, v.as_mut_bytes());
        v
    }
    /// Copies a value in.
    fn write_obj<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        self.write(offset, value.as_bytes());
    }
    /// Copies `n` values out.
    fn read_vec<T: FromBytes + IntoBytes + Clone>(&self, offset: usize, n: usize) -> Vec<T> {
        let size = size_of::<T>();
        (0..n).map(|i| self.read_obj(offset + i * size)).collect()
    }
    /// Copies a slice in.
    fn write_slice<T: IntoBytes + Immutable>(&self, offset: usize, values: &[T]) {
        self.write(offset, values.as_bytes());
    }
    /// Copies all of it out.
    fn to_vec(&self) -> Vec<u8> {
        let mut v = vec![0; self.len()];
        self.read(0, &mut v);
        v
    }
}

impl<M: SharedMem + ?Sized> SharedMemExt for M {}

/// Plain memory behind the [`SharedMem`] interface, for tests and in-process hypervisors.
pub struct HeapMem {
    addr: u64,
    bytes: Mutex<Vec<u8>>,
}

impl HeapMem {
    /// `len` zero bytes that claim to live at `addr`.
    pub fn new(addr: u64, len: usize) -> Self {
        HeapMem {
            addr,
            bytes: Mutex::new(vec![0; len]),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.bytes.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

impl SharedMem for HeapMem {
    fn addr(&self) -> u64 {
        self.addr
    }
    fn len(&self) -> usize {
        self.with(|b| b.len())
    }
    fn read(&self, offset: usize, out: &mut [u8]) {
        self.with(|b| out.copy_from_slice(&b[offset..offset + out.len()]));
    }
    fn write(&self, offset: usize, data: &[u8]) {
        self.with(|b| b[offset..offset + data.len()].copy_from_slice(data));
    }
    fn load_u32(&self, offset: usize) -> u32 {
        self.read_obj(offset)
    }
    fn store_u32(&self, offset: usize, value: u32) {
        self.write_obj(offset, &value);
    }
}

impl<M: SharedMem + ?Sized> SharedMem for std::sync::Arc<M> {
    fn addr(&self) -> u64 {
        (**self).addr()
    }
    fn len(&self) -> usize {
        (**self).len()
    }
    fn read(&self, offset: usize, out: &mut [u8]) {
        (**self).read(offset, out)
    }
    fn write(&self, offset: usize, data: &[u8]) {
        (**self).write(offset, data)
    }
    fn read_from(&self, offset: usize, len: usize, file: &File, position: u64) -> io::Result<()> {
        (**self).read_from(offset, len, file, position)
    }
    fn load_u32(&self, offset: usize) -> u32 {
        (**self).load_u32(offset)
    }
    fn store_u32(&self, offset: usize, value: u32) {
        (**self).store_u32(offset, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_copies_round_trip() {
        let m = HeapMem::new(0x1000, 64);
        m.write_slice(8, &[1u64, 2, 3]);
        assert_eq!(m.read_vec::<u64>(8, 3), [1, 2, 3]);
        m.store_u32(4, 7);
        assert_eq!(m.load_u32(4), 7);
        assert_eq!(m.read_obj::<u32>(4), 7);
    }

    #[test]
    #[should_panic]
    fn access_past_the_end_panics() {
        HeapMem::new(0, 8).read(4, &mut [0; 8]);
    }
}
