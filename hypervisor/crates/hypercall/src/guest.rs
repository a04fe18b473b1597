//! Guest handles: typed copies in and out of the caller's memory. Nothing else reads a guest pointer.
use crate::{Cx, Stop};
use alloc::vec::Vec;
use domain::Host;
use xen_abi::{Errno, GuestHandle};
use zerocopy::{FromBytes, Immutable, IntoBytes};

impl<H: Host> Cx<'_, H> {
    /// Reads one `T` at guest address `addr`.
    #[inline]
    pub fn read<T: FromBytes + IntoBytes>(&self, addr: u64) -> Result<T, Stop> {
        let mut value = T::new_zeroed();
        self.h.copy_from_guest(value.as_mut_bytes(), addr)?;
        Ok(value)
    }

    /// Writes one `T` at guest address `addr`.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, addr: u64, value: &T) -> Result<(), Stop> {
        self.h.copy_to_guest(addr, value.as_bytes())?;
        Ok(())
    }

    /// Reads element `n` of the array behind `handle`.
    #[inline]
    pub fn read_nth<T: FromBytes + IntoBytes>(
        &self,
        handle: GuestHandle<T>,
        n: u64,
    ) -> Result<T, Stop> {
        self.read(handle.nth(n).ok_or(Errno::EFAULT)?.addr())
    }

    /// Writes element `n` of the array behind `handle`.
    #[inline]
    pub fn write_nth<T: IntoBytes + Immutable>(
        &self,
        handle: GuestHandle<T>,
        n: u64,
        value: &T,
    ) -> Result<(), Stop> {
        self.write(handle.nth(n).ok_or(Errno::EFAULT)?.addr(), value)
    }

    /// Reads `len` bytes, at most `max` (`E2BIG`).
    pub fn read_bytes(&self, addr: u64, len: usize, max: usize) -> Result<Vec<u8>, Stop> {
        if len > max {
            return Err(Errno::E2BIG.into());
        }
        let mut buf = Vec::new();
        buf.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        buf.resize(len, 0);
        self.h.copy_from_guest(&mut buf, addr)?;
        Ok(buf)
    }

    /// Writes bytes.
    pub fn write_bytes(&self, addr: u64, bytes: &[u8]) -> Result<(), Stop> {
        self.h.copy_to_guest(addr, bytes)?;
        Ok(())
    }

    /// Writes text into a fixed array, cut and terminated with a zero byte.
    pub fn write_text(&self, addr: u64, text: &str, size: usize) -> Result<(), Stop> {
        let mut buf = Vec::new();
        buf.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        buf.extend(text.bytes().take(size.saturating_sub(1)));
        buf.push(0);
        self.write_bytes(addr, &buf)
    }
}
