//! The loaded hardware guest's memory by its own virtual addresses: translated by its tables and its physmap, page by page.

use super::{p2m, vendor};
use crate::arch::x86::pv;
use crate::host::HOST;
use core::sync::atomic::Ordering;
use domain::{Domain, Fault, GuestPaging, GuestTables, GuestUse, Host};
use xen_abi::Mfn;

/// Reads an entry of a guest's page table.
fn entry(dom: &Domain, gpa: u64, bytes: u32) -> Option<u64> {
    let offset = gpa as usize & 0xfff;
    p2m::with_frame(dom, gpa >> 12, false, |mfn| match bytes {
        8 => Some(HOST.shared_u64(mfn, offset)?.load(Ordering::Acquire)),
        _ => Some(HOST.shared_u32(mfn, offset)?.load(Ordering::Acquire).into()),
    })?
}

/// A guest's tables, which learn that they were used.
struct Tables<'a>(&'a Domain);

impl GuestTables for Tables<'_> {
    fn read(&mut self, at: u64, bytes: u32) -> Option<u64> {
        entry(self.0, at, bytes)
    }
    fn set(&mut self, at: u64, bytes: u32, bits: u64) {
        // Its own business if the tables have changed since.
        if entry(self.0, at, bytes).is_some_and(|e| e & bits == bits) {
            return;
        }
        let offset = at as usize & 0xfff;
        p2m::with_frame(self.0, at >> 12, true, |mfn| match bytes {
            8 => {
                if let Some(word) = HOST.shared_u64(mfn, offset) {
                    word.fetch_or(bits, Ordering::SeqCst);
                }
            }
            _ => {
                if let Some(word) = HOST.shared_u32(mfn, offset) {
                    word.fetch_or(bits as u32, Ordering::SeqCst);
                }
            }
        });
    }
}

/// The guest-physical address of `gva`, as the CPU would find it; or the error code of the page fault.
pub fn translate(dom: &Domain, paging: &GuestPaging, gva: u64, what: GuestUse) -> Result<u64, u32> {
    paging.translate(gva, what, Tables(dom))
}

/// Is there memory at a guest-physical address?
pub fn is_mapped(dom: &Domain, gpa: u64) -> bool {
    p2m::with_frame(dom, gpa >> 12, false, drop).is_some()
}

/// Reads within a page of guest-physical memory; `false`: there is none.
pub fn read_physical(dom: &Domain, gpa: u64, part: &mut [u8]) -> bool {
    let offset = gpa as usize & 0xfff;
    p2m::with_frame(dom, gpa >> 12, false, |mfn| {
        HOST.read_frame(mfn, offset, part).is_ok()
    })
    .unwrap_or(false)
}

/// Writes within a page of guest-physical memory; `false`: there is none that may be written.
pub fn write_physical(dom: &Domain, gpa: u64, part: &[u8]) -> bool {
    let offset = gpa as usize & 0xfff;
    p2m::with_frame(dom, gpa >> 12, true, |mfn| {
        HOST.write_frame(mfn, offset, part).is_ok()
    })
    .unwrap_or(false)
}

/// Calls `f` with the frame behind `gva`.
fn at<R>(
    paging: &GuestPaging,
    gva: u64,
    write: bool,
    f: impl FnOnce(Mfn) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let (dom, _) = pv::guest();
    let gpa = paging.walk(gva, write, |at, bytes| entry(dom, at, bytes))?;
    p2m::with_frame(dom, gpa >> 12, write, f).ok_or(Fault)?
}

/// Calls `f` for each page of `[gva, gva + len)`: frame, offset in it, first byte and length of the part.
fn pages(
    gva: u64,
    len: usize,
    write: bool,
    mut f: impl FnMut(Mfn, usize, usize, usize) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let paging = vendor::paging();
    let mut done = 0;
    while done < len {
        let address = gva.checked_add(done as u64).ok_or(Fault)?;
        let offset = address as usize & 0xfff;
        let part = (4096 - offset).min(len - done);
        at(&paging, address, write, |mfn| f(mfn, offset, done, part))?;
        done += part;
    }
    Ok(())
}

/// Reads the loaded guest's memory; may leave `buf` partly written on a fault.
pub fn copy_from_guest(buf: &mut [u8], gva: u64) -> Result<(), Fault> {
    pages(gva, buf.len(), false, |mfn, offset, first, len| {
        let part = buf.get_mut(first..first + len).ok_or(Fault)?;
        HOST.read_frame(mfn, offset, part)
    })
}

/// Writes the loaded guest's memory; may leave the target partly written on a fault.
pub fn copy_to_guest(gva: u64, buf: &[u8]) -> Result<(), Fault> {
    pages(gva, buf.len(), true, |mfn, offset, first, len| {
        let part = buf.get(first..first + len).ok_or(Fault)?;
        HOST.write_frame(mfn, offset, part)
    })
}

/// Reads up to `buf.len()` bytes (of at most two pages) for an instruction; how many there are.
pub fn read_some(paging: &GuestPaging, gva: u64, buf: &mut [u8]) -> usize {
    let here = (4096 - (gva as usize & 0xfff)).min(buf.len());
    let (first, second) = buf.split_at_mut(here);
    let read = |address: u64, part: &mut [u8]| {
        let offset = address as usize & 0xfff;
        at(paging, address, false, |mfn| {
            HOST.read_frame(mfn, offset, part)
        })
    };
    if read(gva, first).is_err() {
        return 0;
    }
    match second.is_empty() || read(gva.wrapping_add(here as u64), second).is_err() {
        true => here,
        false => here + second.len(),
    }
}
