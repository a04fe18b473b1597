//! The virtual memory of whoever calls, by address.
use std::sync::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Resolves guest addresses. `false` is a fault.
pub trait GuestMemory: Send + Sync {
    /// Copies from `addr`.
    fn read(&self, addr: u64, out: &mut [u8]) -> bool;
    /// Copies to `addr`.
    fn write(&self, addr: u64, data: &[u8]) -> bool;
}

impl<M: GuestMemory + ?Sized> GuestMemory for std::sync::Arc<M> {
    fn read(&self, addr: u64, out: &mut [u8]) -> bool {
        (**self).read(addr, out)
    }
    fn write(&self, addr: u64, data: &[u8]) -> bool {
        (**self).write(addr, data)
    }
}

/// Where [`FlatMemory`] begins.
const BASE: u64 = 0x10_0000;

/// Memory that only grows, for tests that place their own arguments.
#[derive(Default)]
pub struct FlatMemory(Mutex<Vec<u8>>);

impl FlatMemory {
    /// Places bytes; their address. Unmapped memory follows.
    pub fn put_bytes(&self, bytes: &[u8]) -> u64 {
        let mut all = self.0.lock().unwrap();
        let at = all.len().next_multiple_of(16);
        all.resize(at, 0);
        all.extend_from_slice(bytes);
        BASE + at as u64
    }
    /// Places a value.
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&self, value: &T) -> u64 {
        self.put_bytes(value.as_bytes())
    }
    /// Reads a value back.
    pub fn get<T: FromBytes + IntoBytes>(&self, addr: u64) -> T {
        let mut value = T::new_zeroed();
        assert!(
            self.read(addr, value.as_mut_bytes()),
            "nothing at {addr:#x}"
        );
        value
    }
}

impl GuestMemory for FlatMemory {
    fn read(&self, addr: u64, out: &mut [u8]) -> bool {
        let all = self.0.lock().unwrap();
        let Some(at) = addr.checked_sub(BASE) else {
            return false;
        };
        match all.get(at as usize..(at as usize).saturating_add(out.len())) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return false,
        }
        true
    }
    fn write(&self, addr: u64, data: &[u8]) -> bool {
        let mut all = self.0.lock().unwrap();
        let Some(at) = addr.checked_sub(BASE) else {
            return false;
        };
        match all.get_mut(at as usize..(at as usize).saturating_add(data.len())) {
            Some(bytes) => bytes.copy_from_slice(data),
            None => return false,
        }
        true
    }
}
