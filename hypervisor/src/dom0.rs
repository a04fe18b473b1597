//! Domain-0: built from the boot loader's modules, laid out by `loader`, checked like any guest.

use crate::arch::x86::boot::{self, BootInfo};
use crate::arch::x86::mm;
use crate::host::HOST;
use crate::panic::fatal_fmt;
use crate::{guest_cpuid, schedule, smp};
use ::mm::{Budget, Level, Paging};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use domain::{CpuidPolicy, CreateParams, Domain, Host, PF_DOWN};
use loader::start_info::{Rings, start_info};
use loader::{Kernel, LoadError, PvKind, PvLayout, PvRequest};
use xen_abi::xen::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};
use xen_abi::{DomId, Errno, Mfn};
use zerocopy::IntoBytes;

/// Largest unpacked kernel we take.
const MAX_KERNEL: usize = 512 << 20;
/// Largest block to give dom0 at once (log2 of pages).
const MAX_ORDER: u32 = 10;
/// Where in the start_info page the screen is described.
const SCREEN_OFFSET: u32 = 2048;
/// dom0's grant frames and mappings of others' grants.
const GRANT_FRAMES: u32 = 64;
const MAPTRACK: u32 = 1 << 18;

/// Runs of dom0's memory: from this pfn on, these machine frames.
struct Memory {
    runs: Vec<(u64, Mfn, u64)>,
}

impl Memory {
    fn mfn(&self, pfn: u64) -> Option<u64> {
        let i = self
            .runs
            .partition_point(|(start, ..)| *start <= pfn)
            .checked_sub(1)?;
        let (start, mfn, count) = self.runs.get(i)?;
        (pfn - start < *count).then(|| mfn.0 + (pfn - start))
    }

    /// Copies bytes to a place counted from pfn 0.
    fn write(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let within = (offset & 4095) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(4096 - within));
            let mfn = self.mfn(offset >> 12).ok_or(Errno::EINVAL)?;
            HOST.write_frame(Mfn(mfn), within, now)?;
            offset += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }
}

/// Builds Domain-0 and runs it.
pub fn start(boot: &'static BootInfo) -> ! {
    let modules = boot.modules();
    let Some(kernel) = modules.first() else {
        fatal_fmt(format_args!(
            "no module: the boot loader loaded no Domain-0 kernel. Add \"module2 /vmlinuz ...\" to the GRUB entry."
        ));
    };
    let initrd = modules.get(1);
    let pvh = boot.config.dom0.pvh;
    let built = match pvh {
        true => crate::dom0_pvh::build(kernel, initrd),
        false => build(kernel, initrd),
    };
    if let Err(e) = built {
        fatal_fmt(format_args!(
            "cannot build Domain-0 from its kernel module: {e}"
        ));
    }
    if !pvh {
        free_modules();
    }
    log::info!(
        "Domain-0 starts with {} MiB; {} MiB are free",
        HOST.domains()
            .get(DomId::DOM0)
            .map_or(0, |d| d.tot_pages.load(Ordering::Relaxed) >> 8),
        HOST.with_heap(|h| h.free_pages()) >> 8
    );
    crate::console::release_screen(&boot.config);
    schedule::ap_idle(0)
}

/// What is in the modules is no longer needed.
pub fn free_modules() {
    let boot = boot::info();
    for module in boot.modules() {
        // The pages at its ends too, where they are all memory: what boot kept back besides has been copied.
        let (start, end) = (module.start & !4095, module.end.next_multiple_of(4096));
        let all_ram = |r: &bootcfg::Region| {
            r.kind == boot::RegionKind::Ram && r.start <= start && end <= r.end
        };
        match boot.memory.regions().iter().any(all_ram) {
            true => mm::add_ram(start, end),
            false => mm::add_ram(module.start, module.end),
        }
    }
}

/// The bytes of a module.
pub fn bytes(m: &boot::Module) -> &'static [u8] {
    // SAFETY: boot kept the module's memory out of the heaps; it is RAM, so the direct map covers it, and nobody
    // writes to it before `start` hands it to the heap, after the last use of this slice.
    unsafe { core::slice::from_raw_parts(mm::phys_to_virt(m.start), (m.end - m.start) as usize) }
}

/// Frames at the top of memory for the unpacked kernel, given back when dropped.
pub struct Unpacked {
    pa: u64,
    order: u32,
    len: usize,
}

impl Unpacked {
    /// For `size` bytes.
    pub fn with_room(size: usize) -> Result<Unpacked, LoadError> {
        let order = size.div_ceil(4096).next_power_of_two().trailing_zeros();
        let pa = mm::alloc_top(order).ok_or_else(|| LoadError::TooFewPages {
            need: 1 << order,
            have: HOST.with_heap(|h| h.free_pages()),
        })?;
        Ok(Unpacked {
            pa,
            order,
            len: size,
        })
    }

    /// The kernel in `file`.
    pub fn new(file: &[u8]) -> Result<Unpacked, LoadError> {
        let payload = loader::kernel::payload(file)?;
        let size = payload
            .size_hint
            .unwrap_or(payload.data.len().saturating_mul(8))
            .max(4096);
        if size > MAX_KERNEL {
            return Err(LoadError::TooLarge {
                what: "the unpacked kernel",
                size: size as u64,
                limit: MAX_KERNEL as u64,
            });
        }
        let mut new = Unpacked::with_room(size)?;
        new.len = 4096 << new.order;
        let scratch = payload.scratch_bytes(size);
        new.len = mm::with_scratch(scratch, || {
            loader::kernel::decompress_into(&payload, new.bytes_mut())
        })?;
        Ok(new)
    }

    /// All of it, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: frames of our own in the direct map, borrowed exclusively through `self`.
        unsafe { core::slice::from_raw_parts_mut(mm::phys_to_virt(self.pa), self.len) }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as above, shared.
        unsafe { core::slice::from_raw_parts(mm::phys_to_virt(self.pa), self.len) }
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        mm::free_frames(self.pa, self.order);
    }
}

fn build(kernel: &boot::Module, initrd: Option<&boot::Module>) -> Result<(), LoadError> {
    let config = &boot::info().config;
    let unpacked = Unpacked::new(bytes(kernel))?;
    let image = Kernel::from_elf(unpacked.bytes())?;
    image.notes.check_required(loader::notes::PV_FEATURES)?;
    let initrd_bytes = initrd.map_or(&[][..], bytes);
    let modules: u64 = [Some(kernel), initrd]
        .into_iter()
        .flatten()
        .map(|m| (m.end - m.start) >> 12)
        .sum();
    let available = HOST.with_heap(|h| h.free_pages()) + (1 << unpacked.order) + modules;
    let pages = config.dom0_mem.resolve(available);
    let free = HOST.with_heap(|h| h.free_pages());
    let initial = pages.initial.min(free.saturating_sub(1024));
    let layout = PvLayout::new(
        &image,
        &PvRequest {
            kind: PvKind::Dom0,
            nr_pages: initial,
            initrd_len: initrd_bytes.len() as u64,
        },
    )?;
    log::info!(
        "Domain-0 kernel: {} {}, {} KiB, entry {:#x}, region {:#x}-{:#x}",
        image.notes.guest_os.as_deref().unwrap_or("unknown"),
        image.notes.guest_version.as_deref().unwrap_or(""),
        unpacked.len >> 10,
        layout.entry,
        layout.v_start,
        layout.v_end
    );
    let dom = create(pages.max, None)?;
    *dom.cpuid.lock() = CpuidPolicy::pv_default(guest_cpuid::offered);
    HOST.domains().insert(dom.clone());
    fill(&dom, &image, &layout, kernel.cmdline, initrd_bytes)
        .map_err(|_| LoadError::Corrupt("its page tables or pages are refused"))?;
    run(&dom);
    Ok(())
}

/// Domain-0 without memory or CPUID policy. `hvm`: its emulated devices, if it is a hardware guest.
pub fn create(max_pages: Option<u64>, hvm: Option<u32>) -> Result<Arc<Domain>, LoadError> {
    let config = &boot::info().config;
    let cpus = smp::cpu_count();
    let params = CreateParams {
        id: DomId::DOM0,
        handle: [0; 16],
        privileged: true,
        max_vcpus: config
            .dom0_max_vcpus
            .map_or(cpus, |r| r.resolve(cpus))
            .clamp(1, domain::MAX_VCPUS),
        max_evtchn: evtchn::FIFO_PORTS,
        max_grant_frames: GRANT_FRAMES,
        max_maptrack: MAPTRACK,
        nr_pirqs: hypercall::physdev::MAX_PIRQS as u32,
        max_pages: max_pages.unwrap_or(u64::from(u32::MAX)),
        ssidref: 0,
        hvm,
    };
    Domain::new(&HOST, &params).map_err(|_| LoadError::Corrupt("no memory for Domain-0's own data"))
}

/// Its first vcpu may run.
pub fn run(dom: &Arc<Domain>) {
    for v in dom.vcpus.iter() {
        let _ = HOST.vcpu_created(dom, v);
    }
    hypercall::platform::update_wallclock(&HOST, dom);
    if let Some(v) = dom.vcpus.first() {
        v.initialised.store(true, Ordering::Release);
        v.clear_flags(PF_DOWN);
    }
    dom.creating.store(false, Ordering::Relaxed);
    domain::unpause(&HOST, dom);
}

fn allocate(dom: &Domain, pages: u64) -> Result<Memory, Errno> {
    let mut memory = Memory { runs: Vec::new() };
    let (mut pfn, mut order) = (0, MAX_ORDER);
    while pfn < pages {
        order = order.min((pages - pfn).ilog2());
        match domain::alloc_pages(&HOST, dom, order, None) {
            Ok(mfn) => {
                for i in 0..1 << order {
                    HOST.m2p_set(Mfn(mfn.0 + i), pfn + i);
                }
                memory.runs.push((pfn, mfn, 1 << order));
                pfn += 1 << order;
            }
            Err(e) if order == 0 => return Err(e),
            Err(_) => order -= 1,
        }
    }
    Ok(memory)
}

fn fill(
    dom: &Arc<Domain>,
    image: &Kernel,
    layout: &PvLayout,
    cmdline: &str,
    initrd: &[u8],
) -> Result<(), Errno> {
    let memory = allocate(dom, layout.nr_pages)?;
    for i in 0..image.elf.segments.len() {
        let (Some(at), Some(data)) = (layout.segment_offset(image, i), image.segment_data(i))
        else {
            return Err(Errno::EINVAL);
        };
        memory.write(at, data)?;
    }
    if let Some(place) = &layout.initrd {
        memory.write(place.pfn << 12, initrd)?;
    }
    for pfn in 0..layout.nr_pages {
        let mfn = memory.mfn(pfn).ok_or(Errno::EINVAL)?;
        memory.write((layout.p2m.pfn << 12) + pfn * 8, &mfn.to_le_bytes())?;
    }
    let screen = crate::dom0_screen::describe(boot::info());
    let vga = screen.map(|s| (SCREEN_OFFSET, size_of_val(&s) as u32));
    let info = start_info(
        layout,
        dom.shared_info.addr(),
        cmdline.as_bytes(),
        Rings::Dom0 { vga },
    )
    .map_err(|_| Errno::EINVAL)?;
    let page = layout.start_info - layout.v_start;
    if let Some(screen) = screen {
        memory.write(page + u64::from(SCREEN_OFFSET), screen.as_bytes())?;
    }
    memory.write(layout.start_info - layout.v_start, info.as_bytes())?;
    if let Some(pfn) = layout.hypercall_page.and_then(|va| layout.pfn_of(va)) {
        let mfn = memory.mfn(pfn).ok_or(Errno::EINVAL)?;
        hypercall::control::write_hypercall_page(&HOST, Mfn(mfn))?;
    }
    let mut table = [0u64; 512];
    let mut root = None;
    for t in layout.tables() {
        layout
            .fill_table(t, &mut table, |pfn| memory.mfn(pfn))
            .map_err(|_| Errno::EINVAL)?;
        memory.write(t.pfn << 12, table.as_bytes())?;
        if t.level == 4 {
            root = memory.mfn(t.pfn);
        }
    }
    start_vcpu(dom, layout, Mfn(root.ok_or(Errno::EINVAL)?))
}

fn start_vcpu(dom: &Domain, layout: &PvLayout, root: Mfn) -> Result<(), Errno> {
    let paging = Paging::new(HOST.frames(), &HOST);
    {
        let mut tables = dom.paging.lock();
        while let Err(e) = paging.pin(&mut tables, Level::L4, root, &mut Budget(1 << 16)) {
            if e != Errno::ERESTART {
                log::error!("Domain-0's initial page tables are refused: {e}");
                return Err(e);
            }
        }
        let reference = paging.get_root(&mut tables, root, &mut Budget(1 << 16))?;
        let v = dom.vcpus.first().ok_or(Errno::EINVAL)?;
        v.kernel_l4.store(reference.into_raw().0, Ordering::Relaxed);
    }
    let v = dom.vcpus.first().ok_or(Errno::EINVAL)?;
    if let Some((mfn, offset)) = v.info.get()
        && let Some(mask) = HOST.shared_u8(mfn, offset + 1)
    {
        mask.store(1, Ordering::Relaxed);
    }
    let mut pv = v.pv.lock();
    pv.regs.rip = layout.entry;
    pv.regs.rsp = layout.stack_top();
    pv.regs.rsi = layout.start_info;
    pv.regs.cs = FLAT_KERNEL_CS;
    pv.regs.ss = FLAT_KERNEL_SS;
    pv.regs.rflags = 0x202;
    pv.kernel_ss = u64::from(FLAT_KERNEL_SS);
    v.kernel_sp.store(layout.stack_top(), Ordering::Relaxed);
    Ok(())
}
