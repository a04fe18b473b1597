//! The virtual machine control block: [`Vmcb`], a page that the CPU reads and writes. Layout: AMD APM vol. 2 appendix B.

use domain::hvm_vcpu::{Seg, Segment};

/// Offsets of fields and bits in them.
#[allow(missing_docs)]
pub mod field {
    pub const INTERCEPT_CR: usize = 0x000;
    pub const INTERCEPT_DR: usize = 0x004;
    pub const INTERCEPT_EXCEPTIONS: usize = 0x008;
    pub const INTERCEPT_MISC1: usize = 0x00c;
    pub const INTERCEPT_MISC2: usize = 0x010;
    pub const PAUSE_THRESHOLD: usize = 0x03c;
    pub const PAUSE_COUNT: usize = 0x03e;
    pub const IOPM: usize = 0x040;
    pub const MSRPM: usize = 0x048;
    pub const TSC_OFFSET: usize = 0x050;
    pub const ASID: usize = 0x058;
    pub const TLB_CONTROL: usize = 0x05c;
    pub const INT_CTL: usize = 0x060;
    pub const INT_VECTOR: usize = 0x064;
    pub const INT_SHADOW: usize = 0x068;
    pub const EXIT_CODE: usize = 0x070;
    pub const EXIT_INFO1: usize = 0x078;
    pub const EXIT_INFO2: usize = 0x080;
    pub const EXIT_INT_INFO: usize = 0x088;
    pub const NESTED_CTL: usize = 0x090;
    pub const EVENT_INJ: usize = 0x0a8;
    pub const NESTED_CR3: usize = 0x0b0;
    pub const LBR_CTL: usize = 0x0b8;
    pub const CLEAN: usize = 0x0c0;
    pub const NEXT_RIP: usize = 0x0c8;
    pub const SEGMENTS: usize = 0x400;
    pub const GDTR: usize = 0x460;
    pub const IDTR: usize = 0x480;
    pub const CPL: usize = 0x4cb;
    pub const EFER: usize = 0x4d0;
    pub const CR4: usize = 0x548;
    pub const CR3: usize = 0x550;
    pub const CR0: usize = 0x558;
    pub const DR7: usize = 0x560;
    pub const DR6: usize = 0x568;
    pub const RFLAGS: usize = 0x570;
    pub const RIP: usize = 0x578;
    pub const RSP: usize = 0x5d8;
    pub const RAX: usize = 0x5f8;
    pub const STAR: usize = 0x600;
    pub const LSTAR: usize = 0x608;
    pub const CSTAR: usize = 0x610;
    pub const SFMASK: usize = 0x618;
    pub const KERNEL_GS_BASE: usize = 0x620;
    pub const SYSENTER_CS: usize = 0x628;
    pub const SYSENTER_ESP: usize = 0x630;
    pub const SYSENTER_EIP: usize = 0x638;
    pub const CR2: usize = 0x640;
    pub const PAT: usize = 0x668;
    pub const DEBUGCTL: usize = 0x670;
    /// Of the last branch, and of the last interrupt or exception: from and to.
    pub const LAST_BRANCH: [usize; 4] = [0x678, 0x680, 0x688, 0x690];
}

/// A VMCB's page in the direct map, of this CPU.
#[derive(Clone, Copy)]
pub struct Vmcb {
    page: *mut u8,
    /// Its physical address.
    pub pa: u64,
}

impl Vmcb {
    /// The VMCB in the frame at `pa`, which is nobody else's for good.
    pub fn at(pa: u64) -> Vmcb {
        Vmcb {
            page: crate::arch::x86::mm::phys_to_virt(pa),
            pa,
        }
    }

    /// Reads a field.
    #[inline]
    pub fn get<T: Copy>(&self, offset: usize) -> T {
        assert!(offset + size_of::<T>() <= 4096);
        // SAFETY: inside our page; every bit pattern is a value of the integers read. The CPU changes it only in VMRUN
        // and VMSAVE.
        unsafe { self.page.add(offset).cast::<T>().read_volatile() }
    }

    /// Writes a field.
    #[inline]
    pub fn set<T: Copy>(&self, offset: usize, value: T) {
        assert!(offset + size_of::<T>() <= 4096);
        // SAFETY: inside our page. What a guest chooses of it is only state of the guest, which VMRUN checks.
        unsafe { self.page.add(offset).cast::<T>().write_volatile(value) }
    }

    /// A 64-bit field.
    #[inline]
    pub fn get64(&self, offset: usize) -> u64 {
        self.get(offset)
    }

    fn segment_at(&self, offset: usize) -> Segment {
        Segment {
            selector: self.get(offset),
            attributes: self.get(offset + 2),
            limit: self.get(offset + 4),
            base: self.get(offset + 8),
        }
    }

    fn set_segment_at(&self, offset: usize, s: &Segment) {
        self.set(offset, s.selector);
        self.set(offset + 2, s.attributes);
        self.set(offset + 4, s.limit);
        self.set(offset + 8, s.base);
    }

    /// Offset of a segment register.
    fn offset(seg: Seg) -> usize {
        match seg {
            // The rows of GDTR and IDTR lie between.
            Seg::Ldtr => 0x470,
            Seg::Tr => 0x490,
            other => field::SEGMENTS + other as usize * 16,
        }
    }

    /// A segment register.
    pub fn segment(&self, seg: Seg) -> Segment {
        self.segment_at(Self::offset(seg))
    }

    /// Sets a segment register.
    pub fn set_segment(&self, seg: Seg, s: &Segment) {
        self.set_segment_at(Self::offset(seg), s);
    }

    /// GDTR.
    pub fn gdtr(&self) -> Segment {
        self.segment_at(field::GDTR)
    }

    /// IDTR.
    pub fn idtr(&self) -> Segment {
        self.segment_at(field::IDTR)
    }

    /// Sets GDTR and IDTR.
    pub fn set_tables(&self, gdtr: &Segment, idtr: &Segment) {
        self.set_segment_at(field::GDTR, gdtr);
        self.set_segment_at(field::IDTR, idtr);
    }
}
