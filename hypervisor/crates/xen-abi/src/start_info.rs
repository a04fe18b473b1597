//! What a PV guest finds at its start (`public/xen.h`): the start info page, modules, the VGA console.
use crate::handle::{Payload, Payload32};
use crate::types::{Mfn, Pfn, Port};

consts! { SIF: u32 {
    /// The domain is privileged.
    SIF_PRIVILEGED = 0x1, "SIF_PRIVILEGED";
    /// The domain is the first one.
    SIF_INITDOMAIN = 0x2, "SIF_INITDOMAIN";
    /// `mod_start` addresses a list of [`MultibootModList`].
    SIF_MULTIBOOT_MOD = 0x4, "SIF_MULTIBOOT_MOD";
    /// `mod_start` is a pfn and not an address.
    SIF_MOD_START_PFN = 0x8, "SIF_MOD_START_PFN";
    SIF_VIRT_P2M_4TOOLS = 0x10, "SIF_VIRT_P2M_4TOOLS";
    SIF_PM_MASK = 0xff00, "SIF_PM_MASK";
} }

consts! { VGA_TYPES: u8 {
    VGATYPE_TEXT_MODE_3 = 0x3, "XEN_VGATYPE_TEXT_MODE_3";
    VGATYPE_VESA_LFB = 0x23, "XEN_VGATYPE_VESA_LFB";
    VGATYPE_EFI_LFB = 0x70, "XEN_VGATYPE_EFI_LFB";
} }

abi_structs! { LAYOUT {
    /// The start info page of a PV guest; its address is in `rsi` at entry.
    struct StartInfo = "struct start_info", 1168 {
        /// "xen-3.0-x86_64".
        0 => magic: [u8; 32],
        32 => nr_pages: u64,
        /// Machine address of the shared info page.
        40 => shared_info: u64,
        48 => flags: u32,
        52 => _pad52: u32,
        /// Xenstore ring.
        56 => store_mfn: Mfn,
        64 => store_evtchn: Port,
        68 => _pad68: u32,
        /// [`ConsoleDomU`] or [`ConsoleDom0`].
        72 => console: Payload<2>,
        /// Virtual address of the page-table root.
        88 => pt_base: u64,
        96 => nr_pt_frames: u64,
        /// Virtual address of the p2m.
        104 => mfn_list: u64,
        /// Virtual address (or pfn) of the RAM disk.
        112 => mod_start: u64,
        120 => mod_len: u64,
        /// Zero-terminated.
        128 => cmd_line: [u8; 1024],
        /// First pfn of the p2m when it is outside the initial mapping.
        1152 => first_p2m_pfn: Pfn,
        1160 => nr_p2m_frames: u64,
    }
    /// A module of the first domain.
    struct MultibootModList = "struct xen_multiboot_mod_list", 16 {
        0 => mod_start: u32,
        4 => mod_end: u32,
        8 => cmdline: u32,
        12 => pad: u32,
    }
    /// State of the VGA console, for the first domain.
    struct VgaConsoleInfo = "struct dom0_vga_console_info", 40 {
        0 => video_type: u8,
        1 => _pad1: [u8; 3],
        4 => u: Payload32<9>,
    }
    /// Ring and port of an ordinary guest's console.
    struct ConsoleDomU = "__typeof__(((struct start_info *)0)->console.domU)", 16 {
        0 => mfn: Mfn,
        8 => evtchn: Port,
        12 => _pad12: u32,
    }
    /// Where the first domain finds its [`VgaConsoleInfo`].
    struct ConsoleDom0 = "__typeof__(((struct start_info *)0)->console.dom0)", 8 {
        /// Offset from the start info page.
        0 => info_off: u32,
        4 => info_size: u32,
    }
    /// Member of [`VgaConsoleInfo`] in text mode.
    struct VgaTextMode3 = "__typeof__(((struct dom0_vga_console_info *)0)->u.text_mode_3)", 10 {
        0 => font_height: u16,
        2 => cursor_x: u16,
        4 => cursor_y: u16,
        6 => rows: u16,
        8 => columns: u16,
    }
} }

/// Bytes of the command line in [`StartInfo`], its terminating zero included.
pub const MAX_GUEST_CMDLINE: usize = 1024;
/// [`StartInfo::magic`] of a 64-bit guest.
pub const START_INFO_MAGIC: &[u8] = b"xen-3.0-x86_64\0";
