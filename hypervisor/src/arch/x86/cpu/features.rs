//! What the CPU can do, read once on CPU 0, with errata applied.

use raw_cpuid::{CpuId, CpuIdReaderNative};
use spin::Once;

/// The features the hypervisor itself cares about.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// CPUID vendor string.
    pub vendor: [u8; 12],
    /// Brand string, zero-padded.
    pub brand: [[u8; 16]; 3],
    /// Family, extended family added.
    pub family: u8,
    /// Model, extended model included.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
    /// The hypervisor we run under, by its CPUID leaf 0x40000000.
    pub under: Option<[u8; 12]>,
    /// Supervisor mode execution prevention.
    pub smep: bool,
    /// Supervisor mode access prevention, after errata.
    pub smap: bool,
    /// 1 GiB pages.
    pub pages_1g: bool,
    /// XSAVE.
    pub xsave: bool,
    /// Features XCR0 may have, of those we know how to save.
    pub xcr0: u64,
    /// Bytes an XSAVE area needs with all of `xcr0`.
    pub xsave_size: u32,
    /// x2APIC mode.
    pub x2apic: bool,
    /// The APIC timer's TSC-deadline mode.
    pub tsc_deadline: bool,
    /// The TSC runs at a constant rate in all states.
    pub invariant_tsc: bool,
    /// RDTSCP.
    pub rdtscp: bool,
    /// MONITOR/MWAIT.
    pub mwait: bool,
    /// FSGSBASE instructions.
    pub fsgsbase: bool,
    /// Process-context identifiers.
    pub pcid: bool,
    /// INVPCID.
    pub invpcid: bool,
    /// Intel VT-x.
    pub vmx: bool,
    /// AMD-V.
    pub svm: bool,
    /// AMD-V: interrupts can be injected; else they are made pending in the guest and taken by it.
    pub injects_interrupts: bool,
    /// Physical address bits.
    pub phys_bits: u8,
}

/// An emulator's or CPU's defect that a feature must be left off for.
struct Erratum {
    applies: fn(&Features) -> bool,
    apply: fn(&mut Features),
    text: &'static str,
}

/// What QEMU says in CPUID leaf 0x40000000 when it emulates.
const QEMU_TCG: [u8; 12] = *b"TCGTCGTCGTCG";

static ERRATA: &[Erratum] = &[
    Erratum {
        // QEMU's TCG, fixed in version 10: with CR4.SMAP set, IRETQ at CPL 3 faults as if it were a supervisor access.
        applies: |f| f.smap && f.under == Some(QEMU_TCG),
        apply: |f| f.smap = false,
        text: "SMAP left off: QEMU's TCG checks it on user-mode IRETQ",
    },
    Erratum {
        // QEMU's TCG, 7.2: VMRUN delivers an injected interrupt and leaves it noted as an exception; where the emulator then
        // looks up from its work before the next exit, it delivers it a second time, on top, with interrupts off.
        applies: |f| f.svm && f.under == Some(QEMU_TCG),
        apply: |f| f.injects_interrupts = false,
        text: "Guests' interrupts are made pending, not injected: QEMU's TCG delivers injected ones twice now and then",
    },
];

static FEATURES: Once<Features> = Once::new();

/// The features; read on first use.
pub fn features() -> &'static Features {
    FEATURES.call_once(|| {
        let mut found = detect();
        for erratum in ERRATA {
            if (erratum.applies)(&found) {
                (erratum.apply)(&mut found);
                log::info!("{}", erratum.text);
            }
        }
        found
    })
}

fn vendor_bytes(text: &str) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    bytes
}

fn detect() -> Features {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let mut f = Features {
        injects_interrupts: true,
        ..Features::default()
    };
    if let Some(vendor) = cpuid.get_vendor_info() {
        f.vendor = vendor_bytes(vendor.as_str());
    }
    if let Some(brand) = cpuid.get_processor_brand_string() {
        for (to, from) in f
            .brand
            .as_flattened_mut()
            .iter_mut()
            .zip(brand.as_str().bytes())
        {
            *to = from;
        }
    }
    if let Some(leaf) = cpuid.get_feature_info() {
        (f.family, f.model, f.stepping) = (leaf.family_id(), leaf.model_id(), leaf.stepping_id());
        f.xsave = leaf.has_xsave();
        f.x2apic = leaf.has_x2apic();
        f.tsc_deadline = leaf.has_tsc_deadline();
        f.mwait = leaf.has_monitor_mwait();
        f.pcid = leaf.has_pcid();
        f.vmx = leaf.has_vmx();
        if leaf.has_hypervisor() {
            let leaf = core::arch::x86_64::__cpuid(0x4000_0000);
            let mut under = [0; 12];
            for (to, from) in under.chunks_mut(4).zip([leaf.ebx, leaf.ecx, leaf.edx]) {
                to.copy_from_slice(&from.to_le_bytes());
            }
            f.under = Some(under);
        }
    }
    if let Some(leaf) = cpuid.get_extended_feature_info() {
        f.smep = leaf.has_smep();
        f.smap = leaf.has_smap();
        f.fsgsbase = leaf.has_fsgsbase();
        f.invpcid = leaf.has_invpcid();
    }
    if let Some(leaf) = cpuid.get_extended_processor_and_feature_identifiers() {
        f.pages_1g = leaf.has_1gib_pages();
        f.rdtscp = leaf.has_rdtscp();
        f.svm = leaf.has_svm();
    }
    f.invariant_tsc = cpuid
        .get_advanced_power_mgmt_info()
        .is_some_and(|leaf| leaf.has_invariant_tsc());
    f.phys_bits = cpuid
        .get_processor_capacity_feature_info()
        .map_or(36, |leaf| leaf.physical_address_bits());
    if f.xsave {
        // x87, SSE, AVX, AVX-512 (three parts); the others need more than saving.
        let leaf = core::arch::x86_64::__cpuid_count(0xd, 0);
        f.xcr0 = (u64::from(leaf.eax) | u64::from(leaf.edx) << 32) & 0xe7;
        if f.xcr0 & 0x4 == 0 || f.xcr0 & 0xe0 != 0xe0 {
            f.xcr0 &= 0x7;
        }
        f.xsave_size = leaf.ecx;
    }
    f
}

/// Logs what CPU this is.
pub fn report() {
    let f = features();
    let text = |bytes: &'static [u8]| {
        core::str::from_utf8(bytes)
            .unwrap_or("?")
            .trim_matches([' ', '\0'])
    };
    log::info!(
        "CPU: {} ({} {:#x}/{:#x}/{}), {} address bits{}{}",
        text(f.brand.as_flattened()),
        text(&f.vendor),
        f.family,
        f.model,
        f.stepping,
        f.phys_bits,
        if f.svm { ", AMD-V" } else { "" },
        if f.vmx { ", VT-x" } else { "" },
    );
    if let Some(under) = &f.under {
        log::info!("Running under {}", text(under));
    }
}
