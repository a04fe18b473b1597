//! [`XenNotes`]: what a kernel tells Xen about itself (public/elfnote.h), from ELF notes or the older
//! `__xen_guest` section. Values are allegations: [`crate::pv`] checks them before use.
use crate::LoadError;
use crate::elf::{Elf, open};
use alloc::string::String;
use elf::abi::{PT_NOTE, SHT_NOTE};

/// Note numbers (`XEN_ELFNOTE_*`).
pub mod ty {
    #![allow(missing_docs)]
    pub const ENTRY: u32 = 1;
    pub const HYPERCALL_PAGE: u32 = 2;
    pub const VIRT_BASE: u32 = 3;
    pub const PADDR_OFFSET: u32 = 4;
    pub const XEN_VERSION: u32 = 5;
    pub const GUEST_OS: u32 = 6;
    pub const GUEST_VERSION: u32 = 7;
    pub const LOADER: u32 = 8;
    pub const PAE_MODE: u32 = 9;
    pub const FEATURES: u32 = 10;
    pub const BSD_SYMTAB: u32 = 11;
    pub const HV_START_LOW: u32 = 12;
    pub const L1_MFN_VALID: u32 = 13;
    pub const SUSPEND_CANCEL: u32 = 14;
    pub const INIT_P2M: u32 = 15;
    pub const MOD_START_PFN: u32 = 16;
    pub const SUPPORTED_FEATURES: u32 = 17;
    pub const PHYS32_ENTRY: u32 = 18;
}

/// Feature names by bit number (`XENFEAT_*` in public/features.h).
pub const FEATURE_NAMES: [&str; 18] = [
    "writable_page_tables",
    "writable_descriptor_tables",
    "auto_translated_physmap",
    "supervisor_mode_kernel",
    "pae_pgdir_above_4gb",
    "mmu_pt_update_preserve_ad",
    "highmem_assist",
    "gnttab_map_avail_bits",
    "hvm_callback_vector",
    "hvm_safe_pvclock",
    "hvm_pirqs",
    "dom0",
    "grant_map_identity",
    "memory_op_vnode_supported",
    "ARM_SMCCC_supported",
    "linux_rsdp_unrestricted",
    "not_direct_mapped",
    "direct_mapped",
];

/// Bit number of `XENFEAT_auto_translated_physmap`.
pub const FEAT_AUTO_TRANSLATED: u32 = 2;
/// Bit number of `XENFEAT_dom0`.
pub const FEAT_DOM0: u32 = 11;

/// Bits that any PV kernel may require: what every hypervisor of this ABI does for it. Writable page tables is the
/// emulation of stray writes (a VM assist), not direct access.
pub const PV_FEATURES: u32 = 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << FEAT_DOM0 | 1 << 13;

/// Where kernels older than the notes say the same.
pub(crate) const LEGACY_SECTION: &str = "__xen_guest";

/// A kernel's notes; `None` where it gave none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XenNotes {
    /// Came from the `__xen_guest` section, whose defaults differ.
    pub legacy: bool,
    /// Virtual address of the entry point.
    pub entry: Option<u64>,
    /// Virtual address of the page to fill with hypercall stubs.
    pub hypercall_page: Option<u64>,
    /// Virtual address at which pseudo-physical 0 is to be mapped.
    pub virt_base: Option<u64>,
    /// What to subtract from `p_paddr` to get a pseudo-physical address.
    pub paddr_offset: Option<u64>,
    /// Interface the kernel was built for, "xen-3.0".
    pub xen_version: Option<String>,
    /// Name of the operating system.
    pub guest_os: Option<String>,
    /// Its version.
    pub guest_version: Option<String>,
    /// Loader type, "generic".
    pub loader: Option<String>,
    /// 32-bit only.
    pub pae_mode: Option<String>,
    /// The feature string as given.
    pub features: Option<String>,
    /// Bits of the features supported, from both notes.
    pub supported: u32,
    /// Bits of the features the kernel cannot do without (`!name`).
    pub required: u32,
    /// First name in the feature string that must be offered and that nobody knows.
    pub required_unknown: Option<String>,
    /// Wants its symbol table loaded.
    pub bsd_symtab: bool,
    /// Lowest address the hypervisor's hole may begin at.
    pub hv_start_low: Option<u64>,
    /// `(mask, value)`: how to recognise a not-present L1 entry that still names a frame.
    pub l1_mfn_valid: Option<(u64, u64)>,
    /// Understands a cancelled suspend.
    pub suspend_cancel: bool,
    /// Virtual address at which to map the p2m list instead of behind the kernel.
    pub init_p2m: Option<u64>,
    /// Takes its initrd unmapped, by frame number.
    pub mod_start_pfn: bool,
    /// Physical 32-bit entry point for PVH.
    pub phys32_entry: Option<u64>,
    count: u32,
}

impl XenNotes {
    /// Whether the image had any Xen note at all.
    pub fn is_present(&self) -> bool {
        self.count != 0
    }

    /// Whether this can be started as a PV guest: has notes beyond the PVH entry.
    pub fn is_pv(&self) -> bool {
        self.legacy || self.entry.is_some() || self.virt_base.is_some()
    }

    /// Checks that everything the kernel requires is in the bit set `offered`.
    pub fn check_required(&self, offered: u32) -> Result<(), LoadError> {
        if let Some(name) = &self.required_unknown {
            return Err(LoadError::RequiredFeature(name.clone()));
        }
        let missing = self.required & !offered;
        match FEATURE_NAMES
            .iter()
            .enumerate()
            .find(|(bit, _)| missing & (1 << bit) != 0)
        {
            Some((_, name)) => Err(LoadError::RequiredFeature(String::from(*name))),
            None => Ok(()),
        }
    }

    fn set(&mut self, n_type: u32, desc: &[u8]) {
        self.count += 1;
        match n_type {
            ty::ENTRY => self.entry = number(desc),
            ty::HYPERCALL_PAGE => self.hypercall_page = number(desc),
            ty::VIRT_BASE => self.virt_base = number(desc),
            ty::PADDR_OFFSET => self.paddr_offset = number(desc),
            ty::XEN_VERSION => self.xen_version = text(desc),
            ty::GUEST_OS => self.guest_os = text(desc),
            ty::GUEST_VERSION => self.guest_version = text(desc),
            ty::LOADER => self.loader = text(desc),
            ty::PAE_MODE => self.pae_mode = text(desc),
            ty::FEATURES => {
                if let Some(s) = text(desc) {
                    self.add_features(&s);
                }
            }
            ty::BSD_SYMTAB => self.bsd_symtab = text(desc).as_deref() == Some("yes"),
            ty::HV_START_LOW => self.hv_start_low = number(desc),
            ty::L1_MFN_VALID => {
                if let Some((mask, value)) = desc.split_at_checked(8) {
                    self.l1_mfn_valid = number(mask).zip(value.get(..8).and_then(number));
                }
            }
            ty::SUSPEND_CANCEL => self.suspend_cancel = number(desc).unwrap_or(0) != 0,
            ty::INIT_P2M => self.init_p2m = number(desc),
            ty::MOD_START_PFN => self.mod_start_pfn = number(desc).unwrap_or(0) != 0,
            ty::SUPPORTED_FEATURES => self.supported |= number(desc).unwrap_or(0) as u32,
            ty::PHYS32_ENTRY => self.phys32_entry = number(desc),
            // INFO and whatever the future brings.
            _ => {}
        }
    }

    fn add_features(&mut self, list: &str) {
        for word in list.split('|').filter(|w| !w.is_empty()) {
            let (name, required) = match word.strip_prefix('!') {
                Some(name) => (name, true),
                None => (word, false),
            };
            match FEATURE_NAMES.iter().position(|n| *n == name) {
                Some(bit) => {
                    self.supported |= 1 << bit;
                    self.required |= u32::from(required) << bit;
                }
                None if required && self.required_unknown.is_none() => {
                    self.required_unknown = Some(String::from(name));
                }
                None => {}
            }
        }
        self.features = Some(String::from(list));
    }

    fn set_legacy(&mut self, key: &str, value: &str) {
        self.count += 1;
        match key {
            "VIRT_ENTRY" => self.entry = hex(value),
            // A page number here, made an address once VIRT_BASE is known.
            "HYPERCALL_PAGE" => self.hypercall_page = hex(value),
            "VIRT_BASE" => self.virt_base = hex(value),
            "ELF_PADDR_OFFSET" => self.paddr_offset = hex(value),
            "XEN_VER" => self.xen_version = Some(String::from(value)),
            "GUEST_OS" => self.guest_os = Some(String::from(value)),
            "GUEST_VER" | "GUEST_VERSION" => self.guest_version = Some(String::from(value)),
            "LOADER" => self.loader = Some(String::from(value)),
            "PAE" => self.pae_mode = Some(String::from(value)),
            "FEATURES" => self.add_features(value),
            "BSD_SYMTAB" => self.bsd_symtab = true,
            "SUSPEND_CANCEL" => self.suspend_cancel = hex(value).unwrap_or(1) != 0,
            _ => {}
        }
    }
}

/// Reads the Xen notes of an unpacked ELF image. No notes is not an error here.
pub fn parse(image: &[u8]) -> Result<XenNotes, LoadError> {
    let file = open(image)?;
    let mut notes = XenNotes::default();
    for h in file
        .segments()
        .iter()
        .flat_map(|t| t.iter())
        .filter(|h| h.p_type == PT_NOTE)
    {
        parse_block(slice(image, h.p_offset, h.p_filesz), &mut notes);
    }
    if notes.is_present() {
        return Ok(notes);
    }
    for h in file
        .section_headers()
        .iter()
        .flat_map(|t| t.iter())
        .filter(|h| h.sh_type == SHT_NOTE)
    {
        parse_block(slice(image, h.sh_offset, h.sh_size), &mut notes);
    }
    if !notes.is_present() {
        parse_legacy(&file, image, &mut notes);
    }
    Ok(notes)
}

fn parse_legacy(file: &Elf<'_>, image: &[u8], notes: &mut XenNotes) {
    let Ok(Some(section)) = file.section_header_by_name(LEGACY_SECTION) else {
        return;
    };
    let Some(words) = text(slice(image, section.sh_offset, section.sh_size)) else {
        return;
    };
    for word in words.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        notes.set_legacy(key, value);
    }
    notes.legacy = notes.is_present();
    if let (true, Some(page)) = (notes.legacy, notes.hypercall_page) {
        notes.hypercall_page = page
            .checked_mul(crate::PAGE_SIZE)
            .and_then(|a| a.checked_add(notes.virt_base.unwrap_or(0)));
    }
}

/// Walks one note section: `namesz, descsz, type, name, desc`, each part padded to 4 bytes.
fn parse_block(mut block: &[u8], notes: &mut XenNotes) {
    while let Some((header, rest)) = block.split_at_checked(12) {
        let word =
            |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let (name_size, desc_size) = (word(0) as usize, word(4) as usize);
        let desc_at = name_size.next_multiple_of(4);
        let Some(name) = rest.get(..name_size) else {
            return;
        };
        let Some(desc) = rest.get(desc_at..).and_then(|r| r.get(..desc_size)) else {
            return;
        };
        if name == b"Xen\0" {
            notes.set(word(8), desc);
        }
        block = rest
            .get(desc_at + desc_size.next_multiple_of(4)..)
            .unwrap_or(&[]);
    }
}

/// The part of `[offset, offset + size)` that the image has.
fn slice(image: &[u8], offset: u64, size: u64) -> &[u8] {
    let start = (offset.min(image.len() as u64)) as usize;
    let rest = &image[start..];
    &rest[..(size.min(rest.len() as u64)) as usize]
}

/// A little-endian number of 1 to 8 bytes.
fn number(desc: &[u8]) -> Option<u64> {
    if desc.is_empty() || desc.len() > 8 {
        return None;
    }
    Some(desc.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

/// The text up to the first NUL, if it is UTF-8.
fn text(desc: &[u8]) -> Option<String> {
    let end = desc.iter().position(|&b| b == 0).unwrap_or(desc.len());
    core::str::from_utf8(&desc[..end]).ok().map(String::from)
}

fn hex(value: &str) -> Option<u64> {
    match value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
    {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}
