//! [`InProcess`]: hypercalls and foreign mappings without a kernel in between, by the toolstack's own traits.
use crate::machine::{FakeHost, GuestMemory};
use domain::{Domain, Host};
use mm::pv::WritableRef;
use mm::{PageRef, Paging};
use std::io;
use std::sync::Arc;
use xen_abi::memory::{ACQUIRE_RESOURCE, MemAcquireResource};
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Mfn, hypercall as nr};
use xenctrl::Xenctrl;
use xendev::{Arena, ForeignMemory, Hypercall, Prot, SharedMem, SharedMemExt};

impl GuestMemory for Arena {
    fn read(&self, addr: u64, out: &mut [u8]) -> bool {
        Arena::read(self, addr, out)
    }
    fn write(&self, addr: u64, data: &[u8]) -> bool {
        Arena::write(self, addr, data)
    }
}

/// Domain 0 of a machine in this process.
#[derive(Clone)]
pub struct InProcess {
    /// The machine.
    pub h: &'static FakeHost,
    arena: Arc<Arena>,
    dom0: Arc<Domain>,
}

impl InProcess {
    /// A machine with so many frames.
    pub fn new(frames: usize) -> InProcess {
        let arena = Arc::new(Arena::default());
        let h = FakeHost::new(frames, Box::new(arena.clone()));
        InProcess {
            h,
            arena,
            dom0: h.dom0(1, 16),
        }
    }

    /// The toolstack's handle on it.
    pub fn xenctrl(&self) -> Xenctrl {
        let me = Arc::new(self.clone());
        Xenctrl::new(me.clone(), me)
    }

    fn mapping(&self, dom: DomId, prot: Prot, frames: &[Mfn]) -> Result<Mapping, Errno> {
        let mut map = Mapping {
            h: self.h,
            held: Vec::new(),
        };
        for mfn in frames {
            // The references that page-table entries of dom0 would hold.
            map.held.push(match prot {
                Prot::Read => Held::Read(self.h.frames().get_page(*mfn, dom)?),
                Prot::ReadWrite => {
                    Held::Write(Paging::new(self.h.frames(), self.h).get_writable(*mfn, dom)?)
                }
            });
        }
        Ok(map)
    }
}

impl Hypercall for InProcess {
    fn hypercall(&self, op: u32, args: [u64; 5]) -> Result<i64, Errno> {
        self.h.call(&self.dom0, op, &args)
    }
    fn alloc(&self, len: usize) -> Result<Box<dyn SharedMem>, Errno> {
        Ok(self.arena.alloc(len))
    }
}

fn failed(what: String, e: Errno) -> xendev::Error {
    xendev::Error::new(what, io::Error::from_raw_os_error(e as i32))
}

impl ForeignMemory for InProcess {
    fn map(&self, dom: DomId, prot: Prot, frames: &[Gfn]) -> xendev::Result<Box<dyn SharedMem>> {
        let frames: Vec<Mfn> = frames.iter().map(|g| Mfn(g.0)).collect();
        let map = self.mapping(dom, prot, &frames);
        Ok(Box::new(map.map_err(|e| {
            failed(format!("mapping {} frames of {dom}", frames.len()), e)
        })?))
    }

    fn map_resource(
        &self,
        dom: DomId,
        kind: u32,
        id: u32,
        first: u64,
        count: u64,
    ) -> xendev::Result<Box<dyn SharedMem>> {
        let what = |e| failed(format!("mapping resource {kind} of {dom}"), e);
        let list = self.arena.alloc(count as usize * 8);
        let args = self.arena.alloc(size_of::<MemAcquireResource>());
        args.write_obj(
            0,
            &MemAcquireResource {
                domid: dom,
                r#type: kind as u16,
                id,
                nr_frames: count as u32,
                frame: first,
                frame_list: GuestHandle::new(list.addr()),
                ..Default::default()
            },
        );
        let call = [u64::from(ACQUIRE_RESOURCE), args.addr()];
        self.h
            .call(&self.dom0, nr::MEMORY_OP, &call)
            .map_err(what)?;
        let frames: Vec<Mfn> = list
            .read_vec::<u64>(0, count as usize)
            .into_iter()
            .map(Mfn)
            .collect();
        Ok(Box::new(
            self.mapping(dom, Prot::ReadWrite, &frames).map_err(what)?,
        ))
    }
}

/// What a mapped page holds.
enum Held {
    Read(PageRef),
    Write(WritableRef),
}

/// Frames of another domain, mapped one after the other.
struct Mapping {
    h: &'static FakeHost,
    held: Vec<Held>,
}

impl Mapping {
    /// Calls `f` for each piece of a range that lies in one frame: frame, offset in it, offset in the range, length.
    fn pieces(&self, offset: usize, len: usize, mut f: impl FnMut(Mfn, usize, usize, usize)) {
        let mut at = 0;
        while at < len {
            let (page, inside) = ((offset + at) / 4096, (offset + at) % 4096);
            let n = (4096 - inside).min(len - at);
            let mfn = match &self.held[page] {
                Held::Read(p) => p.mfn(),
                Held::Write(w) => w.mfn(),
            };
            f(mfn, inside, at, n);
            at += n;
        }
    }
}

impl SharedMem for Mapping {
    fn addr(&self) -> u64 {
        0
    }
    fn len(&self) -> usize {
        self.held.len() * 4096
    }
    fn read(&self, offset: usize, out: &mut [u8]) {
        self.pieces(offset, out.len(), |mfn, inside, at, n| {
            self.h
                .read_frame(mfn, inside, &mut out[at..at + n])
                .unwrap()
        });
    }
    fn write(&self, offset: usize, data: &[u8]) {
        self.pieces(offset, data.len(), |mfn, inside, at, n| {
            self.h.write_frame(mfn, inside, &data[at..at + n]).unwrap()
        });
    }
    fn load_u32(&self, offset: usize) -> u32 {
        self.read_obj(offset)
    }
    fn store_u32(&self, offset: usize, value: u32) {
        self.write_obj(offset, &value);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for held in self.held.drain(..) {
            match held {
                Held::Read(page) => domain::put_page(self.h, page),
                Held::Write(page) => domain::put_writable(self.h, page),
            }
        }
    }
}
