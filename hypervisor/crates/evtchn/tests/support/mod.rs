//! Guest memory made of plain atomics, and the guest's side of both delivery ABIs.
#![allow(dead_code)]
use evtchn::{ControlBlock, Limits, Ports, SharedEvents, VcpuEvents};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use xen_abi::{DomId, Port, VcpuId};

pub const PENDING: u32 = 1 << 31;
pub const MASKED: u32 = 1 << 30;
pub const LINKED: u32 = 1 << 29;
pub const LINK_MASK: u32 = (1 << 17) - 1;

pub struct Vcpu {
    upcall: AtomicU8,
    mask: AtomicU8,
    sel: AtomicU64,
    ready: AtomicU32,
    heads: [AtomicU32; 16],
    /// The guest's own copy of the heads.
    local_heads: [AtomicU32; 16],
}

/// What one domain shares with the hypervisor.
pub struct Memory {
    pending: Vec<AtomicU64>,
    mask: Vec<AtomicU64>,
    vcpus: Vec<Vcpu>,
    /// Grows by pages of 1024 words; a word beyond does not exist.
    pub words: Vec<AtomicU32>,
    /// Vcpus with a control block.
    pub controls: u32,
}

impl Memory {
    pub fn new(vcpus: u32) -> Memory {
        let vcpu = || Vcpu {
            upcall: AtomicU8::new(0),
            mask: AtomicU8::new(0),
            sel: AtomicU64::new(0),
            ready: AtomicU32::new(0),
            heads: Default::default(),
            local_heads: Default::default(),
        };
        Memory {
            pending: (0..64).map(|_| AtomicU64::new(0)).collect(),
            mask: (0..64).map(|_| AtomicU64::new(0)).collect(),
            vcpus: (0..vcpus).map(|_| vcpu()).collect(),
            words: Vec::new(),
            controls: 0,
        }
    }

    pub fn upcall(&self, vcpu: u32) -> bool {
        self.vcpus[vcpu as usize].upcall.load(SeqCst) != 0
    }

    pub fn set_mask(&self, port: Port, masked: bool) {
        let (word, bit) = (&self.mask[port.0 as usize / 64], 1 << (port.0 % 64));
        if masked {
            word.fetch_or(bit, SeqCst);
        } else {
            word.fetch_and(!bit, SeqCst);
        }
    }

    pub fn word(&self, port: Port) -> u32 {
        self.words[port.0 as usize].load(SeqCst)
    }

    /// A guest's 2-level upcall handler on `vcpu`: the ports it handled.
    pub fn take_two_level(&self, vcpu: u32) -> Vec<Port> {
        let v = &self.vcpus[vcpu as usize];
        let mut got = Vec::new();
        while v.upcall.swap(0, SeqCst) != 0 {
            let sel = v.sel.swap(0, SeqCst);
            for i in (0..64).filter(|i| sel >> i & 1 != 0) {
                let mask = self.mask[i].load(SeqCst);
                let bits = self.pending[i].fetch_and(mask, SeqCst) & !mask;
                got.extend(
                    (0..64)
                        .filter(|b| bits >> b & 1 != 0)
                        .map(|b| Port((i * 64 + b) as u32)),
                );
            }
        }
        got
    }

    /// A guest's FIFO upcall handler on `vcpu`: the ports it handled.
    pub fn take_fifo(&self, vcpu: u32) -> Vec<Port> {
        let v = &self.vcpus[vcpu as usize];
        let mut got = Vec::new();
        while v.upcall.swap(0, SeqCst) != 0 {
            let mut ready = v.ready.swap(0, SeqCst);
            while ready != 0 {
                let priority = ready.trailing_zeros();
                let mut head = v.local_heads[priority as usize].load(SeqCst);
                if head == 0 {
                    head = v.heads[priority as usize].load(SeqCst);
                }
                let word = &self.words[head as usize];
                let old = word.fetch_and(!(LINKED | LINK_MASK), SeqCst);
                let next = old & LINK_MASK;
                if next == 0 {
                    ready &= !(1 << priority);
                }
                let now = word.load(SeqCst);
                if now & PENDING != 0 && now & MASKED == 0 {
                    word.fetch_and(!PENDING, SeqCst);
                    got.push(Port(head));
                }
                v.local_heads[priority as usize].store(next, SeqCst);
                ready |= v.ready.swap(0, SeqCst);
            }
        }
        got
    }

    pub fn add_page(&mut self, initial: u32) {
        self.words
            .extend((0..1024).map(|_| AtomicU32::new(initial)));
    }
}

impl SharedEvents for Memory {
    fn pending_word(&self, i: usize) -> Option<&AtomicU64> {
        self.pending.get(i)
    }
    fn mask_word(&self, i: usize) -> Option<&AtomicU64> {
        self.mask.get(i)
    }
    fn vcpu_events(&self, vcpu: VcpuId) -> Option<VcpuEvents<'_>> {
        let v = self.vcpus.get(vcpu.0 as usize)?;
        Some(VcpuEvents {
            upcall_pending: &v.upcall,
            upcall_mask: &v.mask,
            pending_sel: &v.sel,
        })
    }
    fn event_word(&self, port: Port) -> Option<&AtomicU32> {
        self.words.get(port.0 as usize)
    }
    fn control_block(&self, vcpu: VcpuId) -> Option<ControlBlock<'_>> {
        let v = self.vcpus.get(vcpu.0 as usize)?;
        (vcpu.0 < self.controls).then_some(ControlBlock {
            ready: &v.ready,
            heads: &v.heads,
        })
    }
}

/// A table for `dom` with 4 vcpus.
pub fn ports(dom: u16) -> Ports {
    let limits = Limits {
        ports: 1 << 17,
        vcpus: 4,
        pirqs: 64,
    };
    Ports::new(DomId(dom), limits).unwrap()
}

/// A table and its memory, switched to FIFO with one array page.
pub fn fifo(dom: u16) -> (Ports, Memory) {
    let (mut p, mut m) = (ports(dom), Memory::new(4));
    p.init_fifo(&m).unwrap();
    m.controls = 4;
    m.add_page(0);
    p.expand_array(&m, |_| {}).unwrap();
    (p, m)
}
