//! `/dev/xen/privcmd`: hypercalls and foreign mappings, as dom0's kernel offers them.
use crate::mapping::Mapped;
use crate::sys::{self, Map, ioc};
use crate::{Error, ForeignMemory, Hypercall, Prot, Result, SharedMem};
use std::fs::File;
use std::io;
use xen_abi::types::PAGE_SIZE;
use xen_abi::{DomId, Errno, Gfn};

const PRIVCMD: &str = "/dev/xen/privcmd";
/// Anonymous memory whose pages never move, made for hypercall arguments (Linux 4.18 and later).
const HYPERCALL: &str = "/dev/xen/hypercall";

#[repr(C)]
struct HypercallArgs {
    op: u64,
    args: [u64; 5],
}

#[repr(C)]
struct MmapBatchV2 {
    num: u32,
    dom: u16,
    _pad: u16,
    addr: u64,
    frames: *const u64,
    errors: *mut i32,
}

#[repr(C)]
struct MmapResource {
    dom: u16,
    _pad: u16,
    kind: u32,
    id: u32,
    index: u32,
    num: u64,
    addr: u64,
}

const IOC_HYPERCALL: u64 = ioc(b'P', 0, size_of::<HypercallArgs>());
const IOC_MMAPBATCH_V2: u64 = ioc(b'P', 4, size_of::<MmapBatchV2>());
const IOC_MMAP_RESOURCE: u64 = ioc(b'P', 7, size_of::<MmapResource>());
const _: () = assert!(
    IOC_HYPERCALL == 0x30_5000 && IOC_MMAPBATCH_V2 == 0x20_5004 && IOC_MMAP_RESOURCE == 0x20_5007
);

/// The privileged command device.
pub struct Privcmd {
    file: File,
    buffers: Option<File>,
}

impl Privcmd {
    /// Opens the device. The error says what to do when it is absent.
    pub fn open() -> Result<Privcmd> {
        let file = sys::open(PRIVCMD, false).map_err(|e| {
            let hint = match e.kind() {
                io::ErrorKind::NotFound => " (is this a Xen dom0 with module xen-privcmd loaded?)",
                io::ErrorKind::PermissionDenied => " (are you root?)",
                _ => "",
            };
            Error::new(format!("opening {PRIVCMD}{hint}"), e)
        })?;
        Ok(Privcmd {
            file,
            buffers: sys::open(HYPERCALL, false).ok(),
        })
    }
}

fn errno(e: &io::Error) -> Errno {
    e.raw_os_error()
        .and_then(Errno::from_raw)
        .unwrap_or(Errno::EIO)
}

impl Hypercall for Privcmd {
    fn hypercall(&self, op: u32, args: [u64; 5]) -> std::result::Result<i64, Errno> {
        let mut call = HypercallArgs {
            op: op.into(),
            args,
        };
        // SAFETY: the record is privcmd_hypercall; addresses in `args` come from `alloc`, whose buffers outlive the
        // call because callers hold them across it. The hypervisor writes only where a call's definition says.
        unsafe { sys::ioctl(&self.file, IOC_HYPERCALL, &mut call) }.map_err(|e| errno(&e))
    }

    fn alloc(&self, len: usize) -> std::result::Result<Box<dyn SharedMem>, Errno> {
        let len = len
            .max(1)
            .checked_next_multiple_of(PAGE_SIZE)
            .ok_or(Errno::EINVAL)?;
        let map = Map::new(self.buffers.as_ref(), len, true, 0).map_err(|e| errno(&e))?;
        let mem = Mapped::new(map, true);
        if self.buffers.is_none() {
            mem.raw().lock().map_err(|e| errno(&e))?;
        }
        // Touch every page now: the hypervisor cannot fault them in later.
        for off in (0..len).step_by(PAGE_SIZE) {
            mem.write(off, &[0]);
        }
        Ok(Box::new(mem))
    }
}

impl ForeignMemory for Privcmd {
    fn map(&self, dom: DomId, prot: Prot, frames: &[Gfn]) -> Result<Box<dyn SharedMem>> {
        let what = || format!("mapping {} frames of {dom}", frames.len());
        let num = u32::try_from(frames.len()).ok().filter(|n| *n > 0);
        let num = num.ok_or_else(|| Error::new(what(), io::ErrorKind::InvalidInput.into()))?;
        let write = prot == Prot::ReadWrite;
        let map = Map::new(Some(&self.file), frames.len() * PAGE_SIZE, write, 0)
            .map_err(|e| Error::new(what(), e))?;
        let mut errors = vec![0i32; frames.len()];
        let mut batch = MmapBatchV2 {
            num,
            dom: dom.0,
            _pad: 0,
            addr: map.ptr as u64,
            frames: frames.as_ptr().cast(),
            errors: errors.as_mut_ptr(),
        };
        // SAFETY: the record is privcmd_mmapbatch_v2; both arrays have `num` elements (Gfn is a transparent u64)
        // and `addr` is a fresh mapping of this device with `num` pages.
        let result = unsafe { sys::ioctl(&self.file, IOC_MMAPBATCH_V2, &mut batch) };
        if let Some(i) = errors.iter().position(|e| *e != 0) {
            let cause = io::Error::from_raw_os_error(-errors[i]);
            return Err(Error::new(
                format!("{} (failed at {})", what(), frames[i]),
                cause,
            ));
        }
        result.map_err(|e| Error::new(what(), e))?;
        Ok(Box::new(Mapped::new(map, write)))
    }

    fn map_resource(
        &self,
        dom: DomId,
        kind: u32,
        id: u32,
        first: u64,
        count: u64,
    ) -> Result<Box<dyn SharedMem>> {
        let what = || format!("mapping frames {first}+{count} of resource {kind}.{id} of {dom}");
        let bad = || Error::new(what(), io::ErrorKind::InvalidInput.into());
        let index = u32::try_from(first).map_err(|_| bad())?;
        let len = usize::try_from(count)
            .ok()
            .and_then(|c| c.checked_mul(PAGE_SIZE))
            .filter(|l| *l > 0);
        let map = Map::new(Some(&self.file), len.ok_or_else(bad)?, true, 0)
            .map_err(|e| Error::new(what(), e))?;
        let mut req = MmapResource {
            dom: dom.0,
            _pad: 0,
            kind,
            id,
            index,
            num: count,
            addr: map.ptr as u64,
        };
        // SAFETY: the record is privcmd_mmap_resource and `addr` a fresh mapping of this device with `num` pages.
        unsafe { sys::ioctl(&self.file, IOC_MMAP_RESOURCE, &mut req) }
            .map_err(|e| Error::new(what(), e))?;
        Ok(Box::new(Mapped::new(map, true)))
    }
}
