//! Hypercall buffers in plain memory, found again by address: for hypervisors in the same process.
use crate::{HeapMem, SharedMem};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use xen_abi::types::PAGE_SIZE;

/// Hands out buffers at made-up addresses and resolves addresses to them, as a hypervisor resolves guest handles.
#[derive(Default)]
pub struct Arena {
    live: Mutex<BTreeMap<u64, Weak<HeapMem>>>,
}

/// Where the first buffer is put.
const BASE: u64 = 0x7f00_0000_0000;

impl Arena {
    /// A zeroed buffer of `len` bytes, rounded up to pages; its addresses are valid until it is dropped.
    pub fn alloc(&self, len: usize) -> Box<dyn SharedMem> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, m| m.strong_count() > 0);
        let len = len.max(1).next_multiple_of(PAGE_SIZE);
        let end = live
            .last_key_value()
            .map(|(a, m)| a + m.upgrade().map_or(0, |m| m.len() as u64));
        // A hole between buffers catches accesses that run over.
        let addr = end.map_or(BASE, |e| e + PAGE_SIZE as u64);
        let mem = Arc::new(HeapMem::new(addr, len));
        live.insert(addr, Arc::downgrade(&mem));
        Box::new(mem)
    }

    fn find(&self, addr: u64, len: usize) -> Option<(Arc<HeapMem>, usize)> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, mem) = live.range(..=addr).next_back()?;
        let mem = mem.upgrade()?;
        let offset = usize::try_from(addr - start).ok()?;
        (offset.checked_add(len)? <= mem.len()).then_some((mem, offset))
    }

    /// Copies from `addr`; false if that is not all within one buffer.
    pub fn read(&self, addr: u64, out: &mut [u8]) -> bool {
        self.find(addr, out.len())
            .map(|(m, o)| m.read(o, out))
            .is_some()
    }

    /// Copies to `addr`; false if that is not all within one buffer.
    pub fn write(&self, addr: u64, data: &[u8]) -> bool {
        self.find(addr, data.len())
            .map(|(m, o)| m.write(o, data))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedMemExt;

    #[test]
    fn addresses_resolve_while_the_buffer_lives() {
        let arena = Arena::default();
        let (a, b) = (arena.alloc(10), arena.alloc(5000));
        b.write_obj(4000, &7u32);
        let mut out = [0; 4];
        assert!(arena.read(b.addr() + 4000, &mut out));
        assert_eq!(u32::from_ne_bytes(out), 7);
        assert!(arena.write(a.addr(), &[9]));
        assert_eq!(a.read_obj::<u8>(0), 9);
        assert!(!arena.read(a.addr() + 4094, &mut out), "across the end");
        let gone = b.addr();
        drop(b);
        assert!(!arena.read(gone, &mut out), "after the end");
    }
}
