//! `/dev/xen/gntdev`: mapping pages that other domains granted to this one.
use crate::mapping::Mapped;
use crate::sys::{self, Map, ioc};
use crate::{Error, Prot, Result, SharedMem};
use std::fs::File;
use std::io;
use std::sync::Arc;
use xen_abi::types::PAGE_SIZE;
use xen_abi::{DomId, GrantRef, Port};

const PATH: &str = "/dev/xen/gntdev";
const IOC_MAP: u64 = ioc(b'G', 0, 24);
const IOC_UNMAP: u64 = ioc(b'G', 1, 16);
const IOC_COPY: u64 = ioc(b'G', 8, 16);
const IOC_UNMAP_NOTIFY: u64 = ioc(b'G', 7, 16);

const NOTIFY_CLEAR_BYTE: u32 = 1;
const NOTIFY_SEND_EVENT: u32 = 2;

/// What the kernel does when a mapping goes, even if this process is killed.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnmapNotify {
    /// Byte offset in the mapping that is set to zero.
    pub clear_byte: Option<u64>,
    /// Local port on which an event is sent.
    pub send_event: Option<Port>,
}

/// The grant device.
#[derive(Clone)]
pub struct GntTab {
    file: Arc<File>,
}

/// `struct gntdev_grant_copy_segment`, for a copy from a grant to this process.
#[repr(C)]
struct CopySegment {
    gref: u32,
    offset: u16,
    domid: u16,
    to: *mut u8,
    len: u16,
    flags: u16,
    /// Out: `GNTST_*`.
    status: i16,
    _pad: u16,
}

/// `struct ioctl_gntdev_grant_copy`.
#[repr(C)]
struct CopyList {
    count: u32,
    _pad: u32,
    segments: *mut CopySegment,
}

#[repr(C)]
struct Unmap {
    index: u64,
    count: u32,
    _pad: u32,
}

#[repr(C)]
struct Notify {
    index: u64,
    action: u32,
    port: u32,
}

impl GntTab {
    /// Opens the device.
    pub fn open() -> Result<GntTab> {
        let file = sys::open(PATH, false).map_err(|e| Error::new(format!("opening {PATH}"), e))?;
        Ok(GntTab {
            file: Arc::new(file),
        })
    }

    /// Maps pages that `dom` granted, one after the other. They are unmapped when the result is dropped.
    pub fn map(
        &self,
        dom: DomId,
        refs: &[GrantRef],
        prot: Prot,
        notify: UnmapNotify,
    ) -> Result<Box<dyn SharedMem>> {
        let what = || match refs {
            [one] => format!("mapping {one} of {dom}"),
            _ => format!("mapping {} grants of {dom}", refs.len()),
        };
        let count = u32::try_from(refs.len()).ok().filter(|n| *n > 0);
        let count = count.ok_or_else(|| Error::new(what(), io::ErrorKind::InvalidInput.into()))?;
        // struct ioctl_gntdev_map_grant_ref: count, pad, index (out, two words here), then (domid, ref) pairs.
        let mut req = vec![count, 0, 0, 0];
        req.extend(refs.iter().flat_map(|r| [u32::from(dom.0), r.0]));
        // SAFETY: the record's variable part has `count` pairs; the vector's memory starts with the fixed part. It is
        // only 4-byte aligned, which the kernel's copy does not mind.
        unsafe {
            sys::ioctl(
                &self.file,
                IOC_MAP,
                &mut *req.as_mut_ptr().cast::<[u32; 6]>(),
            )
        }
        .map_err(|e| Error::new(what(), e))?;
        let index = u64::from(req[2]) | u64::from(req[3]) << 32;

        let write = prot == Prot::ReadWrite;
        let map = match Map::new(Some(&self.file), refs.len() * PAGE_SIZE, write, index) {
            Ok(m) => m,
            Err(e) => {
                unmap(&self.file, index, count);
                return Err(Error::new(what(), e));
            }
        };
        let file = self.file.clone();
        let mapped = Mapped::new(map, write).and_then(move || unmap(&file, index, count));
        self.set_notify(index, notify)
            .map_err(|e| Error::new(what(), e))?;
        Ok(Box::new(mapped))
    }

    /// Copies the beginning of a page that `dom` granted, as much as `buf` holds, by one call of the hypervisor.
    pub fn copy(&self, dom: DomId, gref: GrantRef, buf: &mut [u8]) -> Result<()> {
        let what = || format!("copying from {gref} of {dom}");
        let len = u16::try_from(buf.len())
            .ok()
            .filter(|n| usize::from(*n) <= PAGE_SIZE);
        let len = len.ok_or_else(|| Error::new(what(), io::ErrorKind::InvalidInput.into()))?;
        let mut segment = CopySegment {
            gref: gref.0,
            offset: 0,
            domid: dom.0,
            to: buf.as_mut_ptr(),
            len,
            flags: xen_abi::grant_table::GNTCOPY_SOURCE_GREF,
            status: 0,
            _pad: 0,
        };
        let mut list = CopyList {
            count: 1,
            _pad: 0,
            segments: &mut segment,
        };
        // SAFETY: one segment; it names `len` bytes of `buf`, which is borrowed for as long.
        unsafe { sys::ioctl(&self.file, IOC_COPY, &mut list) }
            .map_err(|e| Error::new(what(), e))?;
        match segment.status {
            0 => Ok(()),
            status => Err(Error::new(
                what(),
                io::Error::other(format!("refused by the hypervisor (status {status})")),
            )),
        }
    }

    fn set_notify(&self, index: u64, notify: UnmapNotify) -> io::Result<()> {
        let mut req = Notify {
            index,
            action: 0,
            port: 0,
        };
        if let Some(offset) = notify.clear_byte {
            req.index += offset;
            req.action |= NOTIFY_CLEAR_BYTE;
        }
        if let Some(port) = notify.send_event {
            req.port = port.0;
            req.action |= NOTIFY_SEND_EVENT;
        }
        if req.action == 0 {
            return Ok(());
        }
        // SAFETY: the record is ioctl_gntdev_unmap_notify, without addresses inside.
        unsafe { sys::ioctl(&self.file, IOC_UNMAP_NOTIFY, &mut req) }.map(drop)
    }
}

fn unmap(file: &File, index: u64, count: u32) {
    let mut req = Unmap {
        index,
        count,
        _pad: 0,
    };
    // SAFETY: the record is ioctl_gntdev_unmap_grant_ref, without addresses inside. A failure leaves the grant to the
    // closing of the file; there is nothing else to do about it here.
    let _ = unsafe { sys::ioctl(file, IOC_UNMAP, &mut req) };
}
