//! A machine made of vectors: [`FakeHost`] implements `domain::Host` over a real frame table and heap. It runs nothing;
//! what it was told to do is recorded as [`Effect`]s. Included by path wherever a hypervisor in the same process is wanted.
#![allow(dead_code)]
mod irqs;
mod memory;
mod platform;
mod tools;

pub use irqs::FakeIrqs;
pub use memory::{FlatMemory, GuestMemory};
#[allow(unused_imports)]
pub use tools::Tools;

use domain::{
    CpuMask, CpuidPolicy, CpuidResult, CreateParams, Domain, EfiInfo, Fault, Host, HostInfo,
    IrqControl,
};
use domain::{PF_DOWN, Registry, SegmentBase, Vcpu};
use hypercall::Stop;
use mm::{FrameInfo, FrameTable, Heap};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use xen_abi::{DomId, Errno, Mfn, VcpuId};

/// CPUs of the machine.
pub const CPUS: u32 = 4;
/// Words in a frame.
const WORDS: usize = 512;
/// Continuations after which a call is taken for endless.
const MAX_CONTINUATIONS: u32 = 100_000;

/// Something the hypervisor asked of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    FlushP2m(DomId),
    Kick(DomId, VcpuId),
    Preempt(DomId, VcpuId),
    Affinity(DomId, VcpuId),
    Params(DomId),
    Retired(DomId),
    DebugKey(u8),
    MachineShutdown(u32),
}

/// The machine.
pub struct FakeHost {
    memory: &'static [AtomicU64],
    frames: FrameTable<'static>,
    heap: Mutex<Heap<'static>>,
    m2p: Vec<AtomicU64>,
    domains: Registry,
    guest: Box<dyn GuestMemory>,
    tlb_clock: AtomicU32,
    last_flush: AtomicU32,
    irqs: FakeIrqs,
    /// Nanoseconds since boot.
    pub now: AtomicU64,
    /// Wall clock at boot.
    pub wallclock: AtomicU64,
    /// The console ring; its index is a byte count.
    pub console: Mutex<Vec<u8>>,
    /// All that it was asked to do.
    pub effects: Mutex<Vec<Effect>>,
    /// `vcpu_created` fails from this vcpu on.
    pub refuse_vcpus_from: AtomicU32,
    /// Hardware-assisted guests.
    pub hvm: AtomicBool,
    /// RFLAGS.IF of a hardware-assisted guest that calls.
    pub interrupts_on: AtomicBool,
    /// Set when UEFI started it.
    pub efi: OnceLock<EfiInfo>,
}

impl FakeHost {
    /// A machine with `frames` frames of RAM, whose guests' virtual memory is `guest`. It is never freed.
    pub fn new(frames: usize, guest: Box<dyn GuestMemory>) -> &'static FakeHost {
        let table: Vec<FrameInfo> = (0..frames).map(|_| FrameInfo::default()).collect();
        let table = FrameTable::new(Box::leak(table.into_boxed_slice()));
        let words: Vec<AtomicU64> = (0..frames * WORDS).map(|_| AtomicU64::new(0)).collect();
        let mut heap = Heap::new(table);
        heap.add_range(Mfn(0), table.end());
        Box::leak(Box::new(FakeHost {
            memory: Box::leak(words.into_boxed_slice()),
            frames: table,
            heap: Mutex::new(heap),
            m2p: (0..frames).map(|_| AtomicU64::new(u64::MAX)).collect(),
            domains: Registry::new(),
            guest,
            tlb_clock: AtomicU32::new(1),
            last_flush: AtomicU32::new(0),
            irqs: FakeIrqs::default(),
            now: AtomicU64::new(1_000_000_000),
            wallclock: AtomicU64::new(0),
            console: Mutex::default(),
            effects: Mutex::default(),
            refuse_vcpus_from: AtomicU32::new(u32::MAX),
            hvm: AtomicBool::new(false),
            interrupts_on: AtomicBool::new(false),
            efi: OnceLock::new(),
        }))
    }

    /// Domain 0 with `vcpus` vcpus, running, and `pages` pages.
    pub fn dom0(&'static self, vcpus: u32, pages: u64) -> Arc<Domain> {
        let params = CreateParams {
            id: DomId::DOM0,
            handle: [0; 16],
            privileged: true,
            max_vcpus: vcpus,
            max_evtchn: 4096,
            max_grant_frames: 64,
            max_maptrack: 1024,
            nr_pirqs: 64,
            max_pages: u64::MAX,
            ssidref: 0,
            hvm: None,
        };
        let dom = Domain::new(self, &params).unwrap();
        *dom.cpuid.lock() = self.default_cpuid();
        assert!(self.domains.insert(dom.clone()));
        for v in dom.vcpus.iter() {
            v.clear_flags(PF_DOWN);
            v.initialised.store(true, Ordering::Release);
        }
        for _ in 0..pages {
            domain::alloc_page(self, &dom).unwrap();
        }
        dom.creating.store(false, Ordering::Release);
        domain::unpause(self, &dom);
        dom
    }

    /// Makes hypercall `nr` as vcpu 0 of `dom`, continuing it until it ends.
    pub fn call(&'static self, dom: &Arc<Domain>, nr: u32, args: &[u64]) -> Result<i64, Errno> {
        let mut regs = [0; 6];
        regs[..args.len()].copy_from_slice(args);
        for _ in 0..MAX_CONTINUATIONS {
            match hypercall::call(self, dom, &dom.vcpus[0], u64::from(nr), regs) {
                Ok(value) => return Ok(value),
                Err(Stop::Error(e)) => return Err(e),
                Err(Stop::Again(next)) => regs = next,
                Err(Stop::Crash(why)) => panic!("{} crashed: {why}", dom.id),
            }
        }
        panic!("hypercall {nr} never ends");
    }

    /// What it was asked to do since the last time.
    pub fn take_effects(&self) -> Vec<Effect> {
        std::mem::take(&mut self.effects.lock().unwrap())
    }

    fn record(&self, effect: Effect) {
        self.effects.lock().unwrap().push(effect);
    }

    /// Word `index` of a frame.
    fn word(&self, mfn: Mfn, index: usize) -> Option<&'static AtomicU64> {
        let frame = usize::try_from(mfn.0).ok()?.checked_mul(WORDS)?;
        (index < WORDS)
            .then(|| self.memory.get(frame + index))
            .flatten()
    }

    /// A typed view of `size_of::<T>()` bytes of a frame, for atomics and arrays of them.
    fn shared<T>(&self, mfn: Mfn, offset: usize) -> Option<&'static T> {
        if !offset.is_multiple_of(align_of::<T>())
            || offset.checked_add(size_of::<T>())? > WORDS * 8
        {
            return None;
        }
        let word = self.word(mfn, 0)? as *const AtomicU64;
        // SAFETY: the frame's 4096 bytes are part of one leaked allocation, the range lies inside them, is aligned
        // (frames are at least 8-byte aligned and T is no larger an atomic), and all access is through atomics.
        Some(unsafe { &*word.cast::<u8>().add(offset).cast::<T>() })
    }
}

impl Host for FakeHost {
    fn frames(&self) -> FrameTable<'static> {
        self.frames
    }
    fn domains(&self) -> &Registry {
        &self.domains
    }
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap<'static>) -> R) -> R {
        f(&mut self.heap.lock().unwrap())
    }
    fn shared_u8(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU8> {
        self.shared(mfn, offset)
    }
    fn shared_u32(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU32> {
        self.shared(mfn, offset)
    }
    fn shared_u64(&self, mfn: Mfn, offset: usize) -> Option<&'static AtomicU64> {
        self.shared(mfn, offset)
    }
    fn shared_pair(&self, mfn: Mfn, offset: usize) -> Option<&'static [AtomicU32; 2]> {
        self.shared(mfn, offset)
    }
    fn shared_heads(&self, mfn: Mfn, offset: usize) -> Option<&'static [AtomicU32; 16]> {
        self.shared(mfn, offset)
    }
    fn zero_frame(&self, mfn: Mfn) {
        for index in 0..WORDS {
            if let Some(w) = self.word(mfn, index) {
                w.store(0, Ordering::SeqCst);
            }
        }
    }
    fn read_frame(&self, mfn: Mfn, offset: usize, buf: &mut [u8]) -> Result<(), Fault> {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = self
                .shared_u8(mfn, offset + i)
                .ok_or(Fault)?
                .load(Ordering::SeqCst);
        }
        Ok(())
    }
    fn copy_frame(&self, from: (Mfn, usize), to: (Mfn, usize), len: usize) -> Result<(), Fault> {
        let mut bytes = vec![0; len];
        self.read_frame(from.0, from.1, &mut bytes)?;
        self.write_frame(to.0, to.1, &bytes)
    }
    fn write_frame(&self, mfn: Mfn, offset: usize, buf: &[u8]) -> Result<(), Fault> {
        for (i, byte) in buf.iter().enumerate() {
            self.shared_u8(mfn, offset + i)
                .ok_or(Fault)?
                .store(*byte, Ordering::SeqCst);
        }
        Ok(())
    }
    fn m2p_get(&self, mfn: Mfn) -> u64 {
        self.m2p
            .get(mfn.0 as usize)
            .map_or(u64::MAX, |e| e.load(Ordering::SeqCst))
    }
    fn m2p_set(&self, mfn: Mfn, pfn: u64) {
        if let Some(e) = self.m2p.get(mfn.0 as usize) {
            e.store(pfn, Ordering::SeqCst);
        }
    }

    fn copy_from_guest(&self, buf: &mut [u8], gva: u64) -> Result<(), Fault> {
        if buf.is_empty() || self.guest.read(gva, buf) {
            Ok(())
        } else {
            Err(Fault)
        }
    }
    fn copy_to_guest(&self, gva: u64, buf: &[u8]) -> Result<(), Fault> {
        if buf.is_empty() || self.guest.write(gva, buf) {
            Ok(())
        } else {
            Err(Fault)
        }
    }

    fn now_ns(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn tsc(&self) -> u64 {
        self.now_ns()
    }
    fn wallclock_base_ns(&self) -> u64 {
        self.wallclock.load(Ordering::Relaxed)
    }
    fn set_wallclock_base_ns(&self, ns: u64) {
        self.wallclock.store(ns, Ordering::Relaxed);
    }
    fn info(&self) -> HostInfo {
        HostInfo {
            cpus: CPUS,
            threads_per_core: 2,
            cores_per_socket: 2,
            cpu_khz: 1_000_000,
            total_pages: self.with_heap(|h| h.total_pages()),
            max_mfn: self.frames.end().0,
            tsc_mul: 1 << 31,
            tsc_shift: 1,
            hvm: self.hvm.load(Ordering::Relaxed),
            hw_cap: [0x1788_3fff; 8],
        }
    }

    fn kick(&self, v: &Vcpu) {
        self.record(Effect::Kick(v.dom, v.id));
    }
    fn preempt(&self, v: &Vcpu) {
        self.record(Effect::Preempt(v.dom, v.id));
    }
    fn wait_descheduled(&self, _: &Vcpu) {}
    fn interrupts_on(&self) -> bool {
        self.interrupts_on.load(Ordering::Relaxed)
    }
    fn reschedule(&self) {}
    fn vcpu_timer_changed(&self, _: &Vcpu) {}
    fn vcpu_created(&self, _: &Arc<Domain>, v: &Vcpu) -> Result<(), Errno> {
        if v.id.0 >= self.refuse_vcpus_from.load(Ordering::Relaxed) {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }
    fn domain_retired(&self, dom: &Domain) {
        self.record(Effect::Retired(dom.id));
    }
    fn affinity_changed(&self, v: &Vcpu) {
        self.record(Effect::Affinity(v.dom, v.id));
    }
    fn sched_params_changed(&self, dom: &Domain) {
        self.record(Effect::Params(dom.id));
    }
    fn vcpu_runtime_ns(&self, v: &Vcpu) -> u64 {
        1000 * (u64::from(v.id.0) + 1)
    }

    fn release_one_mapping(&self, dom: &Arc<Domain>) -> bool {
        hypercall::grant_table::release_one(self, dom)
    }
    fn flush_tlb_local(&self) {}
    fn flush_page_local(&self, _: u64) {}
    fn flush_tlb_mask(&self, _: CpuMask, _: Option<u64>) {}
    fn flush_p2m(&self, dom: &Domain) {
        self.effects.lock().unwrap().push(Effect::FlushP2m(dom.id));
    }

    fn time_area_changed(&self, _: &Domain, _: &Vcpu) {}
    fn vcpu_info_moved(&self, _: &Domain, _: &Vcpu) {}
    fn reload_cr3(&self, _: &Vcpu) {}
    fn reload_descriptors(&self, _: &Vcpu) {}
    fn set_segment_base(&self, _: SegmentBase, _: u64) -> Result<(), Errno> {
        Ok(())
    }
    fn set_task_switched(&self, _: bool) {}
    fn load_debug_register(&self, _: u32, _: u64) {}

    fn console_write(&self, _: DomId, bytes: &[u8]) {
        self.console.lock().unwrap().extend_from_slice(bytes);
    }
    fn console_read(&self, _: &mut [u8]) -> usize {
        0
    }
    fn console_ring(&self, buf: &mut [u8], index: u32, _: bool, clear: bool) -> (usize, u32) {
        let mut ring = self.console.lock().unwrap();
        let from = (index as usize).min(ring.len());
        let n = buf.len().min(ring.len() - from);
        buf[..n].copy_from_slice(&ring[from..from + n]);
        if clear {
            ring.clear();
        }
        (n, (from + n) as u32)
    }
    fn debug_key(&self, key: u8) {
        self.record(Effect::DebugKey(key));
    }
    fn command_line(&self) -> &str {
        "dom0_mem=512M"
    }

    fn machine_shutdown(&self, reason: u32) {
        self.record(Effect::MachineShutdown(reason));
    }
    fn irqs(&self) -> &dyn IrqControl {
        &self.irqs
    }
    fn cpu_idle_ns(&self, cpu: u32) -> u64 {
        u64::from(cpu) * 10
    }
    fn machine_e820(&self, index: usize) -> Option<(u64, u64, u32)> {
        (index == 0).then(|| (0, self.frames.end().0 * 4096, 1))
    }
    fn host_cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        platform::cpuid(leaf, subleaf)
    }
    fn efi(&self) -> Option<&EfiInfo> {
        self.efi.get()
    }
    fn default_cpuid(&self) -> CpuidPolicy {
        CpuidPolicy::pv_default(platform::cpuid)
    }
}
