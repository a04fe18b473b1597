//! `/dev/xen/privcmd` without a kernel: hypercalls are function calls, foreign memory is the fake machine's.

use crate::machine::{FakeHost, GuestMemory};
use domain::{Domain, Host};
use mm::PageRef;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use xen_abi::memory::{ACQUIRE_RESOURCE, MemAcquireResource};
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Mfn, hypercall::MEMORY_OP};
use xendev::{ForeignMemory, HeapMem, Hypercall, Prot, SharedMem, SharedMemExt};
use zerocopy::IntoBytes;

/// Memory set aside for arguments, by address: what dom0 has mapped, as far as the hypervisor can see.
#[derive(Default)]
struct Buffers {
    by_address: Mutex<BTreeMap<u64, Weak<HeapMem>>>,
    next: AtomicU64,
}

impl Buffers {
    fn find(&self, addr: u64, len: usize) -> Option<(Arc<HeapMem>, usize)> {
        let all = self.by_address.lock().unwrap();
        let (start, memory) = all.range(..=addr).next_back()?;
        let memory = memory.upgrade()?;
        let offset = usize::try_from(addr - start).ok()?;
        (offset.checked_add(len)? <= memory.len()).then_some((memory, offset))
    }
}

impl GuestMemory for Buffers {
    fn read(&self, addr: u64, out: &mut [u8]) -> bool {
        self.find(addr, out.len())
            .map(|(m, at)| m.read(at, out))
            .is_some()
    }
    fn write(&self, addr: u64, data: &[u8]) -> bool {
        self.find(addr, data.len())
            .map(|(m, at)| m.write(at, data))
            .is_some()
    }
}

/// The device, and the machine behind it.
pub struct Loopback {
    pub host: &'static FakeHost,
    dom0: Arc<Domain>,
    buffers: Arc<Buffers>,
}

impl Loopback {
    /// A machine of `frames` frames with a dom0 of two vcpus.
    pub fn new(frames: usize) -> Loopback {
        let buffers = Arc::new(Buffers {
            by_address: Mutex::default(),
            next: AtomicU64::new(0x10_0000),
        });
        let host = FakeHost::new(frames, Box::new(buffers.clone()));
        Loopback {
            host,
            dom0: host.dom0(2, 256),
            buffers,
        }
    }
}

impl Hypercall for Loopback {
    fn hypercall(&self, op: u32, args: [u64; 5]) -> Result<i64, Errno> {
        self.host.call(&self.dom0, op, &args)
    }

    fn alloc(&self, len: usize) -> Result<Box<dyn SharedMem>, Errno> {
        let size = len.max(1).next_multiple_of(4096);
        // A page between two buffers belongs to neither.
        let addr = self
            .buffers
            .next
            .fetch_add(size as u64 + 4096, Ordering::Relaxed);
        let memory = Arc::new(HeapMem::new(addr, size));
        self.buffers
            .by_address
            .lock()
            .unwrap()
            .insert(addr, Arc::downgrade(&memory));
        Ok(Box::new(memory))
    }
}

/// Frames of the machine in a row, held as a mapping holds them.
struct Mapping {
    host: &'static FakeHost,
    frames: Vec<Mfn>,
    held: Vec<PageRef>,
}

impl Mapping {
    /// (frame, offset within, bytes) for each piece of a range.
    fn pieces(
        &self,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = (Mfn, usize, std::ops::Range<usize>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            (at < len).then(|| {
                let (frame, inside) = ((offset + at) / 4096, (offset + at) % 4096);
                let n = (4096 - inside).min(len - at);
                at += n;
                (self.frames[frame], inside, at - n..at)
            })
        })
    }
}

impl SharedMem for Mapping {
    fn addr(&self) -> u64 {
        0
    }
    fn len(&self) -> usize {
        self.frames.len() * 4096
    }
    fn read(&self, offset: usize, out: &mut [u8]) {
        for (mfn, inside, range) in self.pieces(offset, out.len()) {
            self.host.read_frame(mfn, inside, &mut out[range]).unwrap();
        }
    }
    fn write(&self, offset: usize, data: &[u8]) {
        for (mfn, inside, range) in self.pieces(offset, data.len()) {
            self.host.write_frame(mfn, inside, &data[range]).unwrap();
        }
    }
    fn load_u32(&self, offset: usize) -> u32 {
        self.read_obj(offset)
    }
    fn store_u32(&self, offset: usize, value: u32) {
        self.write(offset, value.as_bytes());
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for page in self.held.drain(..) {
            domain::put_page(self.host, page);
        }
    }
}

impl ForeignMemory for Loopback {
    fn map(&self, dom: DomId, _: Prot, frames: &[Gfn]) -> xendev::Result<Box<dyn SharedMem>> {
        let mut mapping = Mapping {
            host: self.host,
            frames: Vec::new(),
            held: Vec::new(),
        };
        for frame in frames {
            let owner = self.host.domains().get(dom);
            let page = owner
                .and_then(|d| domain::hvm::get_page(self.host, &d, frame.0).ok())
                .ok_or_else(|| {
                    xendev::Error::new(
                        format!("mapping {frame} of {dom}"),
                        std::io::ErrorKind::InvalidInput.into(),
                    )
                })?;
            mapping.frames.push(page.mfn());
            mapping.held.push(page);
        }
        Ok(Box::new(mapping))
    }

    fn map_resource(
        &self,
        dom: DomId,
        kind: u32,
        id: u32,
        first: u64,
        count: u64,
    ) -> xendev::Result<Box<dyn SharedMem>> {
        let failed = |e: Errno| {
            xendev::Error::new(
                format!("resource {kind} of {dom}"),
                std::io::Error::from_raw_os_error(e as i32),
            )
        };
        let args = self.alloc(4096).map_err(failed)?;
        let list = self.alloc(count as usize * 8).map_err(failed)?;
        let request = MemAcquireResource {
            domid: dom,
            r#type: kind as u16,
            id,
            nr_frames: count as u32,
            pad: 0,
            frame: first,
            frame_list: GuestHandle::new(list.addr()),
        };
        args.write_obj(0, &request);
        self.hypercall(MEMORY_OP, [ACQUIRE_RESOURCE.into(), args.addr(), 0, 0, 0])
            .map_err(failed)?;
        let frames = list
            .read_vec::<u64>(0, count as usize)
            .into_iter()
            .map(Mfn)
            .collect();
        Ok(Box::new(Mapping {
            host: self.host,
            frames,
            held: Vec::new(),
        }))
    }
}
